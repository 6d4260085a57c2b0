package deliver

import (
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue/mtasts"
)

// TestSTSImplicitHost: a domain without MX records may name itself in its policy. Where
// a CNAME then leads is the word of whoever answers for DNS: a certificate of the
// end of the chain proves nothing, unless the policy names that end.
func TestSTSImplicitHost(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	const domain, end = "self.p.test", "mx.plain.test"
	for _, c := range []struct {
		name, pattern, certificate, want string
	}{
		{"the forger's own name", domain, end, "deferred 4.7.5"},
		{"the domain's name", domain, domain, "delivered 2.0.0 " + end},
		{"the end is named", end, end, "delivered 2.0.0 " + end},
		{"the end is named, the domain is shown", end, domain, "deferred 4.7.5"},
		{"neither is named", "mx.other.test", end, "deferred 4.7.5"},
	} {
		w := newTLSWorld(t)
		w.add("p.test: self CNAME mx.plain.test.", "plain.test: mx A 192.0.2.1")
		s := w.sink(t, "192.0.2.1", new(ca.Issue(lab.LeafOptions{Names: []string{c.certificate}})))
		p := &policies{of: map[string]mtasts.Policy{domain: {
			Domain: dnsname.MustParse(domain), Mode: mtasts.Enforce, MX: []string{c.pattern}, MaxAge: time.Hour,
		}}}
		got := newDeliverer(t, w.options(Options{STS: p, Roots: pool(ca)})).attempt(t.Context(), job("x\r\n", "b@"+domain))
		if text(got) != c.want || strings.HasPrefix(c.want, "deferred") != (len(s.Messages()) == 0) {
			t.Errorf("%s: %s, %q, %d messages have gone; want %s", c.name, text(got), got[0].Reply, len(s.Messages()), c.want)
		}
	}
}
