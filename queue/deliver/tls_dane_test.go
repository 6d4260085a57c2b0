package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue"
	"dancemta/queue/tlsrpt"
)

// tlsWorld is signed zones behind a real resolver, and hosts at 192.0.2.1 and
// 192.0.2.2. Domain d.test and hosts h.test are signed, p.test and plain.test not.
type tlsWorld struct {
	*lab.World
	resolver *dnssec.Resolver
	silent   map[string]bool // what nobody answers
	asked    map[string]bool // owners of TLSA that were asked for
	sinks    map[string]*lab.Sink
	sessions []tlsrpt.Session
}

func newTLSWorld(t *testing.T) *tlsWorld {
	t.Helper()
	w := &tlsWorld{World: lab.NewWorld(time.Now()), silent: map[string]bool{}, asked: map[string]bool{}, sinks: map[string]*lab.Sink{}}
	w.AddZone("test.", lab.ZoneOptions{})
	for _, signed := range []string{"d.test.", "h.test.", "c.test."} {
		w.AddZone(signed, lab.ZoneOptions{})
	}
	for _, plain := range []string{"p.test.", "plain.test."} {
		w.AddZone(plain, lab.ZoneOptions{Unsigned: true})
	}
	w.AddZone("bad.test.", lab.ZoneOptions{Fault: lab.BrokenSignatures})
	server, err := w.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := dnssec.ParseAnchors(w.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	w.resolver, err = dnssec.New(dnssec.Options{Upstreams: []string{server.Addr()}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.resolver.Close(); server.Close() })
	return w
}

// add puts records into zones: "h.test: mx A 192.0.2.1".
func (w *tlsWorld) add(records ...string) {
	for _, r := range records {
		zone, rr, _ := strings.Cut(r, ": ")
		w.Zone(zone + ".").Add(rr)
	}
}

func (w *tlsWorld) Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	if t == dnssec.TypeTLSA {
		w.asked[name.String()] = true
	}
	if w.silent[name.String()] {
		return dnssec.Answer{Reason: "no answer"}
	}
	return w.resolver.Lookup(ctx, name, t)
}

func (w *tlsWorld) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	s := w.sinks[host]
	if s == nil {
		return nil, errors.New("connection refused")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr())
}

// sink makes a host. nil: it offers no TLS.
func (w *tlsWorld) sink(t *testing.T, addr string, c *lab.Credential) *lab.Sink {
	t.Helper()
	o := lab.SinkOptions{NoTLS: c == nil}
	if c != nil {
		o.Certificate = new(c.TLSCertificate())
	}
	s, err := lab.StartSink("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w.sinks[addr] = s
	return s
}

func (w *tlsWorld) options(o Options) Options {
	o.Resolver, o.Dial, o.OnTLS = w, w.Dial, func(s tlsrpt.Session) { w.sessions = append(w.sessions, s) }
	return o
}

// toMX leads d.test to mx.h.test at 192.0.2.1, all signed.
var toMX = []string{"d.test: @ MX 10 mx.h.test.", "h.test: mx A 192.0.2.1"}

// with is what is not as usual in a case: the recipient b@d.test, port 25.
type with struct {
	to   string
	port int
	set  func(w *tlsWorld)
}

// TestDANE is the rules for outbound DANE, each against signed zones and a server.
func TestDANE(t *testing.T) {
	ca, strange := lab.NewCA("ca", lab.CAOptions{}), lab.NewCA("strange", lab.CAOptions{})
	names := func(n ...string) lab.LeafOptions { return lab.LeafOptions{Names: n} }
	own := lab.SelfSigned(names("mx.h.test"))
	other := lab.SelfSigned(names("mx.h.test"))
	expired := lab.SelfSigned(lab.LeafOptions{Names: []string{"nobody.test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	issued := func(n ...string) *lab.Credential { return new(ca.Issue(names(n...))) }
	late := ca.Issue(lab.LeafOptions{Names: []string{"mx.h.test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	commonName := ca.Issue(lab.LeafOptions{CommonName: "mx.h.test"})
	bothNames := ca.Issue(lab.LeafOptions{CommonName: "mx.h.test", Names: []string{"else.test"}})

	tlsa := func(usage, selector, matching uint8, c *lab.Credential) string {
		cert := c.Chain[0]
		if usage == 2 || usage == 0 {
			cert = c.Chain[len(c.Chain)-1]
		}
		return lab.TLSA(usage, selector, matching, cert)
	}
	at := func(owner string, record string) string { return "h.test: _25._tcp." + owner + " " + record }
	ee := at("mx", tlsa(3, 1, 1, &own))
	ta := at("mx", tlsa(2, 0, 1, issued()))
	const ok, noProof, noTLS, dns = "delivered 2.0.0 mx.h.test", "deferred 4.7.5", "deferred 4.7.10", "deferred 4.4.3"
	const unproved, opportunistic, inClear = "dane: none", "may: TLS1.3", "may: none"

	for _, c := range []struct {
		name     string
		records  []string
		shows    *lab.Credential // nil: no TLS
		want     string
		tls, sni string
		result   tlsrpt.ResultType
		with     with
	}{
		// The MX records.
		{"MX bogus", []string{"bad.test: @ MX 10 mx.h.test."}, &own, "deferred 4.4.3", "", "", "", with{to: "b@bad.test"}},
		{"MX insecure, records match", []string{"p.test: @ MX 10 mx.h.test.", "h.test: mx A 192.0.2.1", ee}, &own, ok, "dane (not secure to the domain): TLS1.3 verified 3 1 1", "mx.h.test", "", with{to: "b@p.test"}},
		{"MX insecure, records do not match", []string{"p.test: @ MX 10 mx.h.test.", "h.test: mx A 192.0.2.1", ee}, &other, noProof, "dane (not secure to the domain): TLS1.3 not verified", "", tlsrpt.TLSAInvalid, with{to: "b@p.test"}},
		{"MX insecure, the domain is no name of the host", []string{"p.test: @ MX 10 mx.h.test.", "h.test: mx A 192.0.2.1", ta}, issued("p.test"), noProof, "dane (not secure to the domain): TLS1.3 not verified", "", tlsrpt.CertificateHostMismatch, with{to: "b@p.test"}},

		// The address.
		{"address insecure", []string{"d.test: @ MX 10 mx.plain.test.", "plain.test: mx A 192.0.2.1", "plain.test: _25._tcp.mx " + tlsa(3, 1, 1, &other)}, &own, "delivered 2.0.0 mx.plain.test", opportunistic, "mx.plain.test", "", with{}},
		{"address insecure behind a secure CNAME, records at the name", []string{"d.test: @ MX 10 a.h.test.", "h.test: a CNAME mx.plain.test.", "plain.test: mx A 192.0.2.1", at("a", tlsa(3, 1, 1, &own))}, &own, "delivered 2.0.0 a.h.test", "dane: TLS1.3 verified 3 1 1", "a.h.test", "", with{}},
		{"the same, they do not match", []string{"d.test: @ MX 10 a.h.test.", "h.test: a CNAME mx.plain.test.", "plain.test: mx A 192.0.2.1", at("a", tlsa(3, 1, 1, &own))}, &other, noProof, "dane: TLS1.3 not verified", "", tlsrpt.TLSAInvalid, with{}},
		{"insecure CNAME", []string{"d.test: @ MX 10 a.plain.test.", "plain.test: a CNAME mx.h.test.", "h.test: mx A 192.0.2.1", ee}, &other, "delivered 2.0.0 a.plain.test", opportunistic, "a.plain.test", "", with{}},
		{"secure CNAME, records at its end", []string{"d.test: @ MX 10 a.c.test.", "c.test: a CNAME mx.h.test.", "h.test: mx A 192.0.2.1", ee, "c.test: _25._tcp.a " + tlsa(3, 1, 1, &other)}, &own, "delivered 2.0.0 a.c.test", "dane: TLS1.3 verified 3 1 1", "mx.h.test", "", with{}},
		{"secure CNAME, records at the name alone", []string{"d.test: @ MX 10 a.c.test.", "c.test: a CNAME mx.h.test.", "h.test: mx A 192.0.2.1", "c.test: _25._tcp.a " + tlsa(3, 1, 1, &own)}, &own, "delivered 2.0.0 a.c.test", "dane: TLS1.3 verified 3 1 1", "a.c.test", "", with{}},
		{"secure CNAMEs, records between", []string{"d.test: @ MX 10 a.c.test.", "c.test: a CNAME b.c.test.", "c.test: b CNAME mx.h.test.", "h.test: mx A 192.0.2.1", "c.test: _25._tcp.b " + tlsa(3, 1, 1, &other)}, &own, "delivered 2.0.0 a.c.test", opportunistic, "a.c.test", "", with{}},

		// The TLSA records.
		{"bogus", append(toMX, ee), &own, dns, unproved, "", tlsrpt.DNSSECInvalid, with{set: func(w *tlsWorld) {
			w.Zone("h.test.").Break("_25._tcp.mx", uint16(dnssec.TypeTLSA), lab.BrokenSignatures)
		}}},
		{"silence", toMX, &own, dns, unproved, "", tlsrpt.DNSSECInvalid, with{set: func(w *tlsWorld) { w.silent["_25._tcp.mx.h.test"] = true }}},
		{"none", toMX, &own, ok, opportunistic, "mx.h.test", "", with{}},
		{"none, no TLS", toMX, nil, ok, inClear, "", tlsrpt.StartTLSNotSupported, with{}},
		{"insecure", append(toMX, "h.test: _25._tcp.mx CNAME r.plain.test.", "plain.test: r "+tlsa(3, 1, 1, &other)), &own, ok, opportunistic, "mx.h.test", "", with{}},
		{"all unusable", append(toMX, at("mx", tlsa(1, 1, 1, &other)), at("mx", "TLSA 3 1 9 00")), &own, ok, "dane: TLS1.3", "mx.h.test", tlsrpt.TLSAInvalid, with{}},
		{"all unusable, no TLS", append(toMX, at("mx", tlsa(0, 0, 1, issued()))), nil, noTLS, unproved, "", tlsrpt.StartTLSNotSupported, with{}},
		{"one of several", append(toMX, at("mx", tlsa(3, 1, 1, &other)), ee), &own, ok, "dane: TLS1.3 verified 3 1 1", "mx.h.test", "", with{}},
		{"another port", append(toMX, at("mx", tlsa(3, 1, 1, &other)), "h.test: _2525._tcp.mx "+tlsa(3, 1, 1, &own)), &own, ok, "dane: TLS1.3 verified 3 1 1", "mx.h.test", "", with{port: 2525}},

		// Usage 3.
		{"usage 3, no name, no dates", append(toMX, at("mx", tlsa(3, 1, 1, &expired))), &expired, ok, "dane: TLS1.3 verified 3 1 1", "mx.h.test", "", with{}},
		{"usage 3, another certificate", append(toMX, ee), &other, noProof, "dane: TLS1.3 not verified", "", tlsrpt.TLSAInvalid, with{}},
		{"STARTTLS hidden", append(toMX, ee), nil, noTLS, unproved, "", tlsrpt.StartTLSNotSupported, with{}},

		// Usage 2.
		{"usage 2, the host", append(toMX, ta), issued("mx.h.test"), ok, "dane: TLS1.3 verified 2 0 1", "mx.h.test", "", with{}},
		{"usage 2, the domain", append(toMX, ta), issued("d.test"), ok, "dane: TLS1.3 verified 2 0 1", "mx.h.test", "", with{}},
		{"usage 2, a star for the first label", append(toMX, ta), issued("*.h.test"), ok, "dane: TLS1.3 verified 2 0 1", "mx.h.test", "", with{}},
		{"usage 2, a star for two labels", append(toMX, ta), issued("*.test"), ok, "dane: TLS1.3 verified 2 0 1", "mx.h.test", "", with{}}, // d.test
		{"usage 2, half a star", append(toMX, ta), issued("m*.h.test"), noProof, "dane: TLS1.3 not verified", "", tlsrpt.CertificateHostMismatch, with{}},
		{"usage 2, another name", append(toMX, ta), issued("else.test"), noProof, "dane: TLS1.3 not verified", "", tlsrpt.CertificateHostMismatch, with{}},
		{"usage 2, CN without dNSNames", append(toMX, ta), &commonName, ok, "dane: TLS1.3 verified 2 0 1", "mx.h.test", "", with{}},
		{"usage 2, CN beside dNSNames", append(toMX, ta), &bothNames, noProof, "dane: TLS1.3 not verified", "", tlsrpt.CertificateHostMismatch, with{}},
		{"usage 2, expired", append(toMX, ta), &late, noProof, "dane: TLS1.3 not verified", "", tlsrpt.TLSAInvalid, with{}},
		{"usage 2, another CA", append(toMX, ta), new(strange.Issue(names("mx.h.test"))), noProof, "dane: TLS1.3 not verified", "", tlsrpt.TLSAInvalid, with{}},
		{"usage 2, the CNAME of the domain", []string{"c.test: www CNAME e.d.test.", "d.test: e MX 10 mx.h.test.", "h.test: mx A 192.0.2.1", ta}, issued("e.d.test"), ok, "dane: TLS1.3 verified 2 0 1", "mx.h.test", "", with{to: "b@www.c.test"}},

		// No MX records.
		{"no MX, records at the domain", []string{"d.test: @ A 192.0.2.1", "d.test: _25._tcp " + tlsa(3, 1, 1, &own)}, &own, "delivered 2.0.0 d.test", "dane: TLS1.3 verified 3 1 1", "d.test", "", with{}},
		{"no MX behind a CNAME, records at the domain", []string{"c.test: www CNAME mx.h.test.", "h.test: mx A 192.0.2.1", "c.test: _25._tcp.www " + tlsa(3, 1, 1, &own)}, &other, noProof, "dane: TLS1.3 not verified", "", tlsrpt.TLSAInvalid, with{to: "b@www.c.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTLSWorld(t)
			w.add(c.records...)
			to, o := cmp.Or(c.with.to, "b@d.test"), Options{MXPort: c.with.port}
			if c.with.set != nil {
				c.with.set(w)
			}
			s := w.sink(t, "192.0.2.1", c.shows)
			got := newDeliverer(t, w.options(o)).attempt(t.Context(), job("x\r\n", to))
			if text(got) != c.want || got[0].TLS != c.tls {
				t.Errorf("%s, %q, %q; want %s, %q", text(got), got[0].TLS, got[0].Reply, c.want, c.tls)
			}
			if c.sni != "" && (len(s.Messages()) != 1 || s.Messages()[0].TLS.ServerName != c.sni) {
				t.Errorf("%d messages, %+v", len(s.Messages()), s.Messages())
			}
			if c.tls != "" && (len(w.sessions) != 1 || w.sessions[0].Result != c.result) {
				t.Errorf("reported: %+v; want %q", w.sessions, c.result)
			}
			if !strings.HasPrefix(c.want, "delivered") && len(s.Messages()) != 0 {
				t.Error("the mail has gone")
			}
		})
	}
}

// TestDANENextMX: a host that fails its proof is passed over, and the next is used.
func TestDANENextMX(t *testing.T) {
	good, bad := lab.SelfSigned(lab.LeafOptions{}), lab.SelfSigned(lab.LeafOptions{})
	w := newTLSWorld(t)
	w.add("d.test: @ MX 10 mx.h.test.", "d.test: @ MX 20 two.h.test.", "h.test: mx A 192.0.2.1", "h.test: two A 192.0.2.2")
	for _, name := range []string{"mx", "two"} {
		w.add(fmt.Sprintf("h.test: _25._tcp.%s %s", name, lab.TLSA(3, 1, 1, good.Leaf())))
	}
	w.sink(t, "192.0.2.1", &bad)
	w.sink(t, "192.0.2.2", &good)
	got := newDeliverer(t, w.options(Options{})).attempt(t.Context(), job("x\r\n", "b@d.test"))
	if text(got) != "delivered 2.0.0 two.h.test" || len(w.sessions) != 2 {
		t.Errorf("%s, %q, %+v", text(got), got[0].Reply, w.sessions)
	}
}

// TestNoTLSAQuery: hosts whose addresses are not signed are not asked for records,
// which some servers break on (RFC 7672 2.2.2), and neither are addresses.
func TestNoTLSAQuery(t *testing.T) {
	own := lab.SelfSigned(lab.LeafOptions{})
	w := newTLSWorld(t)
	w.add("d.test: @ MX 10 mx.plain.test.", "plain.test: mx A 192.0.2.1")
	w.sink(t, "192.0.2.1", &own)
	for _, to := range []string{"b@d.test", "b@[192.0.2.1]"} {
		got := newDeliverer(t, w.options(Options{})).attempt(t.Context(), job("x\r\n", to))
		if got[0].Result != queue.Delivered || len(w.asked) != 0 {
			t.Errorf("%s: %s, asked for %v", to, text(got), w.asked)
		}
	}
}

// Outbound DANE demands that nothing goes in clear when TLS breaks in the handshake.
func TestDANEBrokenHandshake(t *testing.T) {
	own := lab.SelfSigned(lab.LeafOptions{})
	w := newTLSWorld(t)
	w.add(append(toMX, "h.test: _25._tcp.mx "+lab.TLSA(3, 1, 1, own.Leaf()))...)
	s := w.sink(t, "192.0.2.1", &own)
	s.Answer(func(c lab.Command) string {
		if c.Verb == "STARTTLS" {
			return "454 4.7.0 not now"
		}
		return ""
	})
	got := newDeliverer(t, w.options(Options{})).attempt(t.Context(), job("x\r\n", "b@d.test"))
	if got[0].Result != queue.Deferred || len(s.Messages()) != 0 || w.sessions[0].Result != tlsrpt.StartTLSNotSupported {
		t.Errorf("%s, %q, %+v", text(got), got[0].Reply, w.sessions)
	}
}
