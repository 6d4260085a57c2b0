package tlsrpt

import (
	"fmt"
	"strings"
	"testing"
)

func TestRecords(t *testing.T) {
	const good = "v=TLSRPTv1; rua=mailto:a@d.test"
	for _, c := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"mail", []string{good}, "mailto:a@d.test"},
		{"both", []string{"v=TLSRPTv1;rua=mailto:a@d.test , https://r.d.test/v1/x?y=z"}, "mailto:a@d.test https://r.d.test/v1/x"},
		{"spaces", []string{"v=TLSRPTv1 ; \t rua=mailto:a@d.test ;"}, "mailto:a@d.test"},
		{"extension", []string{"v=TLSRPTv1; x=y; rua=mailto:a@d.test; z=1"}, "mailto:a@d.test"},
		{"others beside", []string{"v=spf1 -all", good, "v=TLSRPTv2; rua=mailto:b@d.test"}, "mailto:a@d.test"},
		{"encoded", []string{"v=TLSRPTv1; rua=mailto:%22a%2Cb%22@d.test"}, `"a,b"@d.test`},
		{"header fields", []string{"v=TLSRPTv1; rua=mailto:a@d.test?bcc=b@e.test"}, "mailto:a@d.test"},
		{"port", []string{"v=TLSRPTv1; rua=https://r.d.test:8443/"}, "https://r.d.test:8443/"},
		{"case of hosts", []string{"v=TLSRPTv1; rua=https://R.D.test/"}, "https://R.D.test/"},
		{"one of two is good", []string{"v=TLSRPTv1; rua=http://r.d.test/,mailto:a@d.test"}, "mailto:a@d.test"},
		{"none", nil, ""},
		{"two", []string{good, good}, ""},
		{"version of another case", []string{"v=tlsrptv1; rua=mailto:a@d.test"}, ""},
		{"longer version", []string{"v=TLSRPTv10; rua=mailto:a@d.test"}, ""},
		{"version not first", []string{"rua=mailto:a@d.test; v=TLSRPTv1;"}, ""},
		{"no rua", []string{"v=TLSRPTv1;"}, ""},
		{"clear", []string{"v=TLSRPTv1; rua=http://r.d.test/"}, ""},
		{"login", []string{"v=TLSRPTv1; rua=https://u:p@r.d.test/"}, ""},
		{"address", []string{"v=TLSRPTv1; rua=https://192.168.0.1/,https://[::1]/,https:///x,https://r..test/"}, ""},
		{"no mailbox", []string{"v=TLSRPTv1; rua=mailto:,mailto:a,mailto:a@,mailto:a@[192.0.2.1],mailto:a%0d%0ab@d.test,mailto:%zz@d.test"}, ""},
		{"UTF-8", []string{"v=TLSRPTv1; rua=mailto:\u00fc@d.test"}, ""},
		{"too many", []string{"v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@d.test,", 20)}, strings.TrimSpace(strings.Repeat("mailto:a@d.test ", 8))},
		{"too long", []string{"v=TLSRPTv1; rua=https://r.d.test/" + strings.Repeat("x", 1024)}, ""},
	} {
		var got []string
		for _, r := range parseRecords(c.texts) {
			got = append(got, r.String())
		}
		if s := strings.Join(got, " "); s != c.want && s != "mailto:"+c.want {
			t.Errorf("%s: %s", c.name, s)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@d.test,https://r.d.test/")
	f.Fuzz(func(t *testing.T, text string) {
		all := parseRecords([]string{text})
		if len(all) > maxRUA {
			t.Fatalf("%d places", len(all))
		}
		for _, r := range all {
			if (r.url == nil) == r.mail.IsNull() || strings.ContainsAny(r.String(), "\r\n") {
				t.Fatalf("%q", r)
			}
		}
	})
}

// TestBounds: whatever strangers publish and do, the counts stay small and their sums
// right.
func TestBounds(t *testing.T) {
	w := newWorld(t)
	c := w.r.Counter()
	for i := range 1000 {
		p := Policy{Type: STS, Domain: name("d.test"), Strings: []string{fmt.Sprint("mx: ", i)}}
		c.Add(Session{Domain: name("d.test"), Policy: p, Result: CertificateExpired, Helo: fmt.Sprint("h", i)})
		c.Add(Session{Domain: name("e.test"), Policy: Policy{Type: TLSA}, Result: ValidationFailure, Reason: strings.Repeat("x", 5000), Helo: fmt.Sprint("h", i)})
	}
	c.Add(Session{Domain: name("d.test"), Policy: Policy{Type: TLSA}})
	all := c.tallies("2026-11-24", name("d.test"))
	var sum int64
	for _, p := range all.Policies {
		sum += p.failures()
	}
	w.equal("policies", len(all.Policies), maxPolicies+1)
	w.equal("failures", sum, int64(1000))
	e := c.tallies("2026-11-24", name("e.test")).Policies[0]
	w.equal("kinds", len(e.Failures), maxFailures+1)
	w.equal("sum", e.failures(), int64(1000))
	w.equal("text", len(e.Failures[0].Reason), maxText)
	for i := range maxDomains + 10 {
		w.add(fmt.Sprintf("d%d.test", i))
	}
	w.equal("domains", len(c.domains("2026-11-24")), maxDomains)
	w.equal("said once", strings.Count(w.log.String(), "not counted today"), 1)
	var none *Counter
	none.Add(Session{Domain: name("d.test")})
}
