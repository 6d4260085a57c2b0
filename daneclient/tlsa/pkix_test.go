package tlsa_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
)

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// What usages 0 and 1 demand of the chain. The chain is leaf, b, a; a alone is a
// root. The 0 x x records publish a and b, the 1 x x records the leaf.
func TestPKIXChainRules(t *testing.T) {
	for _, test := range []struct {
		name          string
		a, b, leaf    func(*x509.Certificate)
		want          string // in the error; "" for a match
		onlyTheName   bool
		rootIsNotSent bool
	}{
		{"in good order", ca("a"), ca("b"), leaf(), "", false, false},
		{"the root is not sent", ca("a"), ca("b"), leaf(), "", false, true},
		{"root expired", ca("a", expired), ca("b"), leaf(), "expired", false, false},
		{"root is no CA", ca("a", notCA), ca("b"), leaf(), "x509: ", false, false},
		{"root with an empty keyUsage", ca("a", emptyKeyUsage), ca("b"), leaf(), "the root will not do: the CA published must not sign", false, false},
		{"path length violated", ca("a", endsHere), ca("b"), leaf(), "too many intermediates", false, false},
		{"between expired", ca("a"), ca("b", expired), leaf(), "expired", false, false},
		{"between is no CA", ca("a"), ca("b", notCA), leaf(), "x509: ", false, false},
		{"leaf expired", ca("a"), ca("b"), leaf(expired), "expired", false, false},
		{"leaf not yet valid", ca("a"), ca("b"), leaf(future), "not yet valid", false, false},
		{"leaf for servers only", ca("a"), ca("b"), leaf(eku(x509.ExtKeyUsageServerAuth)), "incompatible key usage", false, false},
		{"leaf for clients", ca("a"), ca("b"), leaf(eku(x509.ExtKeyUsageClientAuth)), "", false, false},
		{"another name", ca("a"), ca("b"), leaf(named("mx.example.org")), "does not hold the dNSName", true, false},
		{"no name", ca("a"), ca("b"), leaf(named()), "does not hold the dNSName", true, false},
		{"a wildcard name", ca("a"), ca("b"), leaf(named("*._device.example.org")), "does not hold the dNSName", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := grow(t, nil, test.a)
			b := grow(t, a, test.b)
			end := grow(t, b, test.leaf)
			chain := []*x509.Certificate{end.cert, b.cert, a.cert}
			if test.rootIsNotSent {
				chain = chain[:2]
			}
			o := tlsa.Options{Name: name, Now: time.Now(), Roots: pool(a.cert)}
			for _, r := range []tlsa.Record{
				record(t, 0, 0, 0, a.cert), record(t, 0, 1, 1, a.cert), record(t, 0, 0, 2, b.cert), record(t, 0, 1, 0, b.cert),
				record(t, 1, 0, 0, end.cert), record(t, 1, 1, 1, end.cert),
			} {
				usable := tlsa.Usable([]tlsa.Record{r}, o.Roots)
				if len(usable) != 1 {
					t.Fatalf("%s is not usable", r.Short())
				}
				got, err := tlsa.Match(usable, chain, o)
				expect(t, r, err, test.want)
				if miss, ok := errors.AsType[*tlsa.MismatchError](err); ok && miss.OnlyName != test.onlyTheName {
					t.Errorf("%s: only the name is %v", r.Short(), miss.OnlyName)
				}
				if test.want == "" && (got.NotAfter.IsZero() || got.Record.String() != r.String()) {
					t.Errorf("%s: got %v", r.Short(), got)
				}
			}
		})
	}
}

// Which certificate a record may pin, and under which roots.
func TestPKIXPins(t *testing.T) {
	a, foreign := grow(t, nil, ca("a")), grow(t, nil, ca("foreign"))
	b := grow(t, a, ca("b"))
	end := grow(t, b, leaf())
	selfSigned := grow(t, nil, leaf(func(c *x509.Certificate) { ca("self")(c); c.DNSNames = []string{name} }))
	shown := []*x509.Certificate{end.cert, b.cert, a.cert}
	client, user := tlsa.Options{Name: name, Now: time.Now()}, tlsa.Options{Name: name, Now: time.Now(), AnchorsOnly: true}
	for _, test := range []struct {
		name   string
		record tlsa.Record
		chain  []*x509.Certificate
		o      tlsa.Options
		roots  *x509.CertPool
		want   string
	}{
		{"usage 0, the root", record(t, 0, 0, 1, a.cert), shown, client, pool(a.cert), ""},
		{"usage 0, a user", record(t, 0, 0, 1, a.cert), shown, user, pool(a.cert), ""},
		{"usage 0 never pins the leaf", record(t, 0, 0, 1, end.cert), shown, client, pool(a.cert), "no issuer on a path"},
		{"usage 0, nor by its key", record(t, 0, 1, 1, end.cert), shown, client, pool(a.cert), "no issuer on a path"},
		{"usage 0, shown and not on the path", record(t, 0, 0, 1, foreign.cert), append(shown, foreign.cert), client, pool(a.cert), "no issuer on a path"},
		{"usage 0, a root and not on the path", record(t, 0, 0, 1, foreign.cert), append(shown, foreign.cert), client, pool(a.cert, foreign.cert), "no issuer on a path"},
		{"usage 0, above the root", record(t, 0, 0, 1, a.cert), shown, client, pool(b.cert), "no issuer on a path"},
		{"usage 0, the root is between", record(t, 0, 0, 1, b.cert), shown, client, pool(b.cert), ""},
		{"usage 0, the issuer was not sent", record(t, 0, 0, 1, a.cert), shown[:1], client, pool(a.cert), "unknown authority"},
		{"usage 0, other roots", record(t, 0, 0, 1, a.cert), shown, client, pool(foreign.cert), "unknown authority"},
		{"usage 0, no root at all", record(t, 0, 0, 1, a.cert), shown, client, pool(), "unknown authority"},
		{"usage 0, nobody gave roots", record(t, 0, 0, 1, a.cert), shown, client, nil, "usage 0 would need public roots"},
		{"usage 1, the leaf", record(t, 1, 1, 1, end.cert), shown, client, pool(a.cert), ""},
		{"usage 1 makes no user", record(t, 1, 1, 1, end.cert), shown, user, pool(a.cert), "only a CA counts here"},
		{"usage 1 never pins an issuer", record(t, 1, 1, 1, b.cert), shown, client, pool(a.cert), "not the leaf that was shown"},
		{"usage 1, other roots", record(t, 1, 1, 1, end.cert), shown, client, pool(foreign.cert), "unknown authority"},
		{"usage 1, nobody gave roots", record(t, 1, 1, 1, end.cert), shown, client, nil, "usage 1 would need public roots"},
		{"usage 1, a root that is the leaf", record(t, 1, 1, 1, selfSigned.cert), []*x509.Certificate{selfSigned.cert}, client, pool(selfSigned.cert), "the root will not do: the CA published is the leaf itself"},
		{"usage 1, no certificate", record(t, 1, 1, 1, end.cert), nil, client, pool(a.cert), "no certificate was shown"},
		{"usage 2, and the roots do not matter", record(t, 2, 0, 1, a.cert), shown, client, pool(foreign.cert), ""},
		{"usage 2 needs what it publishes", record(t, 2, 0, 1, foreign.cert), shown, client, pool(a.cert), "no issuer shown is the one published"},
	} {
		test.o.Roots = test.roots
		_, err := tlsa.Match([]tlsa.Record{test.record}, test.chain, test.o)
		if err != nil || test.want != "" {
			t.Run(test.name, func(t *testing.T) { expect(t, test.record, err, test.want) })
		}
	}
}

// Without roots the records of usages 0 and 1 say nothing (RFC 7671 4), with an
// empty pool they do: nobody is trusted then.
func TestPKIXUsable(t *testing.T) {
	a := grow(t, nil, ca("a"))
	for _, usage := range []uint8{0, 1} {
		r := []tlsa.Record{record(t, usage, 0, 1, a.cert)}
		for _, test := range []struct {
			roots *x509.CertPool
			want  int
		}{{nil, 0}, {x509.NewCertPool(), 1}, {pool(a.cert), 1}} {
			if got := len(tlsa.Usable(r, test.roots)); got != test.want {
				t.Errorf("usage %d, roots %v: %d usable", usage, test.roots, got)
			}
		}
	}
	cut := tlsa.Record{Usage: 0, Selector: 1, Matching: 1, Data: make([]byte, 31)}
	if why := cut.Problem(pool(a.cert)); why != "digest of 31 octets, not 32" {
		t.Errorf("a short digest: %q", why)
	}
}

// The first certificate of the path that was pinned ends the identity.
func TestPKIXNotAfter(t *testing.T) {
	soon := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	a := grow(t, nil, ca("a"))
	b := grow(t, a, ca("b", func(c *x509.Certificate) { c.NotAfter = soon }))
	end := grow(t, b, leaf())
	o := tlsa.Options{Name: name, Now: time.Now(), Roots: pool(a.cert)}
	for _, r := range []tlsa.Record{record(t, 0, 0, 1, a.cert), record(t, 1, 1, 1, end.cert)} {
		got, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert, b.cert}, o)
		if err != nil || !got.NotAfter.Equal(soon) {
			t.Errorf("%s: %v, %v", r.Short(), got.NotAfter, err)
		}
	}
}

// A hundred records cost no more than the paths and a few hashes.
func TestPKIXManyRecords(t *testing.T) {
	a := grow(t, nil, ca("a"))
	b := grow(t, a, ca("b"))
	end := grow(t, b, leaf())
	var records []tlsa.Record
	for range 100 {
		records = append(records, tlsa.Record{Usage: 0, Matching: 2, Data: make([]byte, 64)})
	}
	start := time.Now()
	_, err := tlsa.Match(records, []*x509.Certificate{end.cert, b.cert}, tlsa.Options{Name: name, Now: start, Roots: pool(a.cert)})
	if took := time.Since(start); err == nil || took > time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// A server's leaf holds one of its names, a wildcard counts, and it is good for
// servers. The CN is no name.
func TestServerNames(t *testing.T) {
	root := grow(t, nil, ca("root"))
	hosts := []string{"mx.example.org", "example.org"}
	serverAuth, clientAuth := eku(x509.ExtKeyUsageServerAuth), eku(x509.ExtKeyUsageClientAuth)
	for _, test := range []struct {
		name string
		leaf func(*x509.Certificate)
		want string
	}{
		{"the first name", leaf(named("mx.example.org"), serverAuth), ""},
		{"the second name", leaf(named("www.example.net", "Example.ORG")), ""},
		{"a wildcard", leaf(named("*.example.org"), serverAuth), ""},
		{"a wildcard of the second name", leaf(named("*.org")), ""},
		{"a wildcard in a label", leaf(named("m*.example.org")), "leaf is for no server called"},
		{"another name", leaf(named("mx.example.net")), "leaf is for no server called"},
		{"the name of a client", leaf(), "leaf is for no server called"},
		{"the CN alone", leaf(named(), func(c *x509.Certificate) { c.Subject.CommonName = "mx.example.org" }), "leaf is for no server called"},
		{"for clients only", leaf(named("mx.example.org"), clientAuth), "incompatible key usage"},
	} {
		end := grow(t, root, test.leaf)
		o := tlsa.Options{Name: name, Hosts: hosts, Now: time.Now(), Roots: pool(root.cert)}
		for _, r := range []tlsa.Record{record(t, 2, 0, 1, root.cert), record(t, 0, 0, 1, root.cert), record(t, 1, 1, 1, end.cert)} {
			_, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert, root.cert}, o)
			t.Run(test.name, func(t *testing.T) { expect(t, r, err, test.want) })
		}
		if _, err := tlsa.Match([]tlsa.Record{record(t, 3, 1, 1, end.cert)}, []*x509.Certificate{end.cert}, o); err != nil {
			t.Errorf("%s, usage 3: %v", test.name, err)
		}
	}
}
