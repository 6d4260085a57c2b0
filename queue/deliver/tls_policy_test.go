package deliver

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue"
	"dancemta/queue/mtasts"
	"dancemta/queue/tlsrpt"
)

// policies are those of MTA-STS, by domain.
type policies struct {
	of       map[string]mtasts.Policy
	err      error
	rechecks int
}

func (p *policies) Policy(_ context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	return p.of[domain.String()], p.err
}

func (p *policies) Recheck(dnsname.Name) { p.rechecks++ }

func sts(mode mtasts.Mode, mx ...string) *policies {
	p := mtasts.Policy{Mode: mode, MX: mx, MaxAge: time.Hour}
	of := map[string]mtasts.Policy{}
	for _, d := range []string{"d.test", "p.test", "mx.h.test"} {
		p.Domain = dnsname.MustParse(d)
		of[d] = p
	}
	return &policies{of: of}
}

func pool(ca *lab.CA) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Certificate)
	return p
}

// toPlain leads p.test to mx.p.test at 192.0.2.1, nothing signed.
var toPlain = []string{"p.test: @ MX 10 mx.p.test.", "p.test: mx A 192.0.2.1"}

// TestSTS is what MTA-STS demands (RFC 8461 5), and what DANE leaves it to say.
func TestSTS(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	issued := func(n ...string) *lab.Credential { return new(ca.Issue(lab.LeafOptions{Names: n})) }
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.p.test"}})
	late := ca.Issue(lab.LeafOptions{Names: []string{"mx.p.test"}, NotAfter: time.Now().Add(-time.Minute)})
	dane := append(toMX, "h.test: _25._tcp.mx "+lab.TLSA(3, 1, 1, own.Leaf()))
	daneUnusable := append(toMX, "h.test: _25._tcp.mx TLSA 3 1 9 00")
	enforce := func(mx ...string) *policies { return sts(mtasts.Enforce, mx...) }
	testing_ := func(mx ...string) *policies { return sts(mtasts.Testing, mx...) }
	const ok, noProof, noTLS = "delivered 2.0.0 mx.p.test", "deferred 4.7.5", "deferred 4.7.10"
	for _, c := range []struct {
		name      string
		records   []string
		policy    *policies
		shows     *lab.Credential
		want, tls string
		result    tlsrpt.ResultType
		rechecks  int
	}{
		{"enforce", toPlain, enforce("mx.p.test"), issued("mx.p.test"), ok, "mta-sts: TLS1.3 verified", "", 0},
		{"enforce, a star", toPlain, enforce("*.p.test"), issued("*.p.test"), ok, "mta-sts: TLS1.3 verified", "", 0},
		{"enforce, host not named", toPlain, enforce("mx.other.test"), issued("mx.p.test"), noProof, "mta-sts: none", tlsrpt.ValidationFailure, 1},
		{"enforce, STARTTLS hidden", toPlain, enforce("mx.p.test"), nil, noTLS, "mta-sts: none", tlsrpt.StartTLSNotSupported, 1},
		{"enforce, the domain is not the host", toPlain, enforce("mx.p.test"), issued("p.test"), noProof, "mta-sts: TLS1.3 not verified", tlsrpt.CertificateHostMismatch, 1},
		{"enforce, self-signed", toPlain, enforce("mx.p.test"), &own, noProof, "mta-sts: TLS1.3 not verified", tlsrpt.CertificateNotTrusted, 1},
		{"enforce, expired", toPlain, enforce("mx.p.test"), &late, noProof, "mta-sts: TLS1.3 not verified", tlsrpt.CertificateExpired, 1},
		{"testing", toPlain, testing_("mx.p.test"), issued("mx.p.test"), ok, "mta-sts testing: TLS1.3 verified", "", 0},
		{"testing, self-signed", toPlain, testing_("mx.p.test"), &own, ok, "mta-sts testing: TLS1.3 not verified", tlsrpt.CertificateNotTrusted, 0},
		{"testing, host not named", toPlain, testing_("mx.other.test"), issued("mx.p.test"), ok, "mta-sts testing: TLS1.3 not verified", tlsrpt.ValidationFailure, 0},
		{"testing, no TLS", toPlain, testing_("mx.p.test"), nil, ok, "mta-sts testing: none", tlsrpt.StartTLSNotSupported, 0},
		{"none", toPlain, sts(mtasts.None), &own, ok, "may: TLS1.3", "", 0},
		{"no policy, it could not be had", toPlain, &policies{err: &mtasts.Error{Kind: mtasts.WebPKIError, Domain: dnsname.MustParse("p.test"), Err: errors.New("expired")}}, &own, ok, "may: TLS1.3", tlsrpt.STSWebPKIInvalid, 0},
		{"a policy holds though a newer could not be had", toPlain, &policies{of: enforce("mx.p.test").of, err: errors.New("gone")}, &own, noProof, "mta-sts: TLS1.3 not verified", tlsrpt.CertificateNotTrusted, 1},

		// RFC 8461 2: it never overrides DANE.
		{"DANE passes, MTA-STS would not", dane, enforce("mx.other.test"), &own, "delivered 2.0.0 mx.h.test", "dane: TLS1.3 verified 3 1 1", "", 0},
		{"DANE fails, MTA-STS would pass", dane, enforce("mx.h.test"), issued("mx.h.test"), noProof, "dane: TLS1.3 not verified", tlsrpt.TLSAInvalid, 0},
		{"DANE fails, MTA-STS tests", dane, testing_("mx.h.test"), issued("mx.h.test"), noProof, "dane: TLS1.3 not verified", tlsrpt.TLSAInvalid, 0},
		{"records unusable, MTA-STS decides", daneUnusable, enforce("mx.h.test"), &own, noProof, "mta-sts: TLS1.3 not verified", tlsrpt.CertificateHostMismatch, 1},
		{"records unusable, MTA-STS tests: TLS all the same", daneUnusable, testing_("mx.h.test"), nil, noTLS, "mta-sts testing: none", tlsrpt.StartTLSNotSupported, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTLSWorld(t)
			w.add(c.records...)
			s := w.sink(t, "192.0.2.1", c.shows)
			to := "b@d.test"
			if strings.HasPrefix(c.records[0], "p.test") {
				to = "b@p.test"
			}
			got := newDeliverer(t, w.options(Options{STS: c.policy, Roots: pool(ca)})).attempt(t.Context(), job("x\r\n", to))
			if text(got) != c.want || got[0].TLS != c.tls || c.policy.rechecks != c.rechecks {
				t.Errorf("%s, %q, %q, %d rechecks; want %s, %q, %d", text(got), got[0].TLS, got[0].Reply, c.policy.rechecks, c.want, c.tls, c.rechecks)
			}
			if len(w.sessions) == 0 || w.sessions[0].Result != c.result {
				t.Errorf("reported: %+v; want %q", w.sessions, c.result)
			}
			if !strings.HasPrefix(c.want, "delivered") && len(s.Messages()) != 0 {
				t.Error("the mail has gone")
			}
		})
	}
}

// TestTLSPolicy is the operator's word, over what is published and what is not.
func TestTLSPolicy(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	issued := func(n ...string) *lab.Credential { return new(ca.Issue(lab.LeafOptions{Names: n})) }
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.h.test"}})
	other := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.h.test"}})
	tlsa := "h.test: _25._tcp.mx " + lab.TLSA(3, 1, 1, own.Leaf())
	dane := append(toMX, tlsa)
	fromPlain := []string{"p.test: @ MX 10 mx.h.test.", "h.test: mx A 192.0.2.1"}
	hop := Route{Hosts: []string{"mx.h.test:25"}}
	with := func(r Route, p TLSPolicy) Route { r.TLS, r.Roots = p, pool(ca); return r }
	const ok, noProof, noTLS = "delivered 2.0.0 mx.h.test", "deferred 4.7.5", "deferred 4.7.10"
	for _, c := range []struct {
		name      string
		records   []string
		route     Route
		shows     *lab.Credential
		want, tls string
	}{
		{"may, DANE would fail", dane, Route{TLS: TLSMay}, &other, ok, "may: TLS1.3"},
		{"may, no TLS", dane, Route{TLS: TLSMay}, nil, ok, "may: none"},
		{"encrypt", toMX, Route{TLS: TLSEncrypt}, &other, ok, "encrypt: TLS1.3"},
		{"encrypt, no TLS", toMX, Route{TLS: TLSEncrypt}, nil, noTLS, "encrypt: none"},
		{"verify", toMX, with(Route{}, TLSVerify), issued("mx.h.test"), ok, "verify: TLS1.3 verified"},
		{"verify, the domain", toMX, with(Route{}, TLSVerify), issued("d.test"), ok, "verify: TLS1.3 verified"},
		{"verify, self-signed", toMX, with(Route{}, TLSVerify), &own, noProof, "verify: TLS1.3 not verified"},
		{"verify, another name", toMX, with(Route{}, TLSVerify), issued("h.test"), noProof, "verify: TLS1.3 not verified"},
		{"verify, no TLS", toMX, with(Route{}, TLSVerify), nil, noTLS, "verify: none"},
		{"verify, the name is nobody's word", fromPlain, with(Route{}, TLSVerify), issued("mx.h.test"), noProof, "verify: TLS1.3 not verified"},
		{"verify, the name is nobody's word, the domain", fromPlain, with(Route{}, TLSVerify), issued("p.test"), ok, "verify: TLS1.3 verified"},
		{"verify, an address literal", toMX, with(Route{Hosts: []string{"192.0.2.1:25"}}, TLSVerify), issued("mx.h.test"), noProof, "verify: TLS1.3 not verified"},
		{"dane", dane, Route{TLS: TLSDANE}, &own, ok, "dane: TLS1.3 verified 3 1 1"},
		{"dane, mismatch", dane, Route{TLS: TLSDANE}, &other, noProof, "dane: TLS1.3 not verified"},
		{"dane, no records", toMX, Route{TLS: TLSDANE}, &other, ok, "encrypt: TLS1.3"},
		{"dane, no records, no TLS", toMX, Route{TLS: TLSDANE}, nil, noTLS, "encrypt: none"},
		{"dane-only", dane, Route{TLS: TLSDANEOnly}, &own, ok, "dane-only: TLS1.3 verified 3 1 1"},
		{"dane-only, mismatch", dane, Route{TLS: TLSDANEOnly}, &other, noProof, "dane-only: TLS1.3 not verified"},
		{"dane-only, no records", toMX, Route{TLS: TLSDANEOnly}, &own, noTLS, "dane-only: none"},
		{"dane-only, MX insecure", append(fromPlain, tlsa), Route{TLS: TLSDANEOnly}, &own, noTLS, "dane-only: none"},

		{"hop, nothing known", toMX, hop, &other, ok, "may: TLS1.3"},
		{"hop, DANE", dane, hop, &own, ok, "dane: TLS1.3 verified 3 1 1"},
		{"hop, DANE, mismatch", dane, hop, &other, noProof, "dane: TLS1.3 not verified"},
		{"hop, roots", toMX, with(hop, TLSDefault), issued("mx.h.test"), ok, "verify: TLS1.3 verified"},
		{"hop, roots, self-signed", toMX, with(hop, TLSDefault), &own, noProof, "verify: TLS1.3 not verified"},
		{"hop, DANE over roots", dane, with(hop, TLSDefault), &own, ok, "dane: TLS1.3 verified 3 1 1"},
		{"hop, verify over DANE", dane, with(hop, TLSVerify), &own, noProof, "verify: TLS1.3 not verified"},
		{"hop, dane-only", dane, with(hop, TLSDANEOnly), &own, ok, "dane-only: TLS1.3 verified 3 1 1"},
		{"hop, dane-only, an address", dane, with(Route{Hosts: []string{"192.0.2.1:25"}}, TLSDANEOnly), &own, noTLS, "dane-only: none"},
		{"hop with a password, self-signed", toMX, Route{Hosts: hop.Hosts, Roots: pool(ca), Auth: Auth{User: "u", Password: "p"}}, &own, noProof, "verify: TLS1.3 not verified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTLSWorld(t)
			w.add(c.records...)
			s := w.sink(t, "192.0.2.1", c.shows)
			to := "b@d.test"
			if strings.HasPrefix(c.records[0], "p.test") {
				to = "b@p.test"
			}
			o := w.options(Options{Route: func(string) Route { return c.route }})
			got := newDeliverer(t, o).attempt(t.Context(), job("x\r\n", to))
			if text(got) != c.want || got[0].TLS != c.tls {
				t.Errorf("%s, %q, %q; want %s, %q", text(got), got[0].TLS, got[0].Reply, c.want, c.tls)
			}
			if !strings.HasPrefix(c.want, "delivered") && len(s.Messages()) != 0 {
				t.Error("the mail has gone")
			}
		})
	}
}

// TestSenderDemands is what a message itself says of TLS (RFC 8689).
func TestSenderDemands(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	issued := func(n ...string) *lab.Credential { return new(ca.Issue(lab.LeafOptions{Names: n})) }
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.h.test"}})
	dane := append(toMX, "h.test: _25._tcp.mx "+lab.TLSA(3, 1, 1, own.Leaf()))
	const must, may = "must", "may"
	for _, c := range []struct {
		name, demands string
		records       []string
		policy        *policies
		shows         *lab.Credential
		want, tls     string
	}{
		{"DANE", must, dane, sts(mtasts.None), &own, "delivered 2.0.0 mx.h.test", "dane: TLS1.3 verified 3 1 1"},
		{"signed MX, PKIX", must, toMX, sts(mtasts.None), issued("mx.h.test"), "delivered 2.0.0 mx.h.test", "requiretls: TLS1.3 verified"},
		{"signed MX, self-signed", must, toMX, sts(mtasts.None), &own, "deferred 4.7.5", "requiretls: TLS1.3 not verified"},
		{"signed MX, no TLS", must, toMX, sts(mtasts.None), nil, "failed 5.7.10", "requiretls: none"},
		{"nothing proves the MX", must, toPlain, sts(mtasts.None), issued("mx.p.test"), "failed 5.7.30", "may: none"},
		{"MTA-STS", must, toPlain, sts(mtasts.Enforce, "mx.p.test"), issued("mx.p.test"), "delivered 2.0.0 mx.p.test", "mta-sts: TLS1.3 verified"},
		{"MTA-STS testing proves, too", must, toPlain, sts(mtasts.Testing, "mx.p.test"), issued("mx.p.test"), "delivered 2.0.0 mx.p.test", "mta-sts testing: TLS1.3 verified"},
		{"MTA-STS testing, self-signed", must, toPlain, sts(mtasts.Testing, "mx.p.test"), &own, "deferred 4.7.5", "mta-sts testing: TLS1.3 not verified"},
		{"MTA-STS testing, host not named", must, toPlain, sts(mtasts.Testing, "else.test"), issued("mx.p.test"), "failed 5.7.30", "mta-sts testing: none"},

		{"TLS-Required: No, DANE fails", may, dane, sts(mtasts.None), issued("mx.h.test"), "delivered 2.0.0 mx.h.test", "may: TLS1.3"},
		{"TLS-Required: No, MTA-STS fails", may, toPlain, sts(mtasts.Enforce, "else.test"), &own, "delivered 2.0.0 mx.p.test", "may: TLS1.3"},
		{"TLS-Required: No, no TLS", may, dane, sts(mtasts.None), nil, "delivered 2.0.0 mx.h.test", "may: none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTLSWorld(t)
			w.add(c.records...)
			s := w.sink(t, "192.0.2.1", c.shows)
			s.Answer(func(cmd lab.Command) string {
				if cmd.Verb == "EHLO" && cmd.TLS {
					return "250-sink.test\r\n250 REQUIRETLS"
				}
				return ""
			})
			to := "b@d.test"
			if strings.HasPrefix(c.records[0], "p.test") {
				to = "b@p.test"
			}
			j := job("x\r\n", to)
			j.Envelope.RequireTLS, j.Envelope.TLSOptional = c.demands == must, c.demands == may
			o := w.options(Options{STS: c.policy, Roots: pool(ca), Route: func(string) Route { return Route{Roots: pool(ca)} }})
			got := newDeliverer(t, o).attempt(t.Context(), j)
			if text(got) != c.want || got[0].TLS != c.tls {
				t.Errorf("%s, %q, %q; want %s, %q", text(got), got[0].TLS, got[0].Reply, c.want, c.tls)
			}
			if got[0].Result != queue.Delivered && len(s.Messages()) != 0 {
				t.Error("the mail has gone")
			}
			if c.demands == may && len(w.sessions) != 0 {
				t.Errorf("reported: %+v", w.sessions)
			}
		})
	}
}

// TestSTSBrokenHandshake: TLS that breaks before a certificate was shown is trouble
// under a policy as a wrong certificate is: the policy is looked at again, and nothing
// goes in clear (RFC 8461 5.1).
func TestSTSBrokenHandshake(t *testing.T) {
	w := newTLSWorld(t)
	w.add(toPlain...)
	s := w.sink(t, "192.0.2.1", nil)
	s.Answer(func(c lab.Command) string {
		switch c.Verb {
		case "EHLO":
			return "250-mx\r\n250 STARTTLS"
		case "STARTTLS":
			return "220 go on" // and no TLS comes
		}
		return ""
	})
	p := sts(mtasts.Enforce, "mx.p.test")
	got := newDeliverer(t, w.options(Options{STS: p})).attempt(t.Context(), job("x\r\n", "b@p.test"))
	if text(got) != "deferred 4.7.0" || got[0].TLS != "mta-sts: none" || p.rechecks != 1 || len(s.Messages()) != 0 {
		t.Errorf("%s, %q, %q, %d rechecks, %d messages", text(got), got[0].TLS, got[0].Reply, p.rechecks, len(s.Messages()))
	}
}
