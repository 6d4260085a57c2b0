package tlsa_test

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/lab"
)

// What usage 2 demands of the chain, and usage 3 does not: in each case the
// 3 1 1 record of the leaf matches. The anchor published is the first CA.
func TestChainRules(t *testing.T) {
	uid := lab.OtherName{Type: lab.OIDUID, Value: []byte("rick")}.DER()
	dns := lab.DNSName(name)
	tests := []struct {
		name                  string
		anchor, between, leaf func(*x509.Certificate) // between nil: the anchor issues the leaf
		want                  string                  // in the error; "" for a match
	}{
		{"in good order", ca("a"), nil, leaf(), ""},
		{"a CA between", ca("a"), ca("b"), leaf(), ""},
		{"path length kept", ca("a", endsHere), nil, leaf(), ""},
		{"path length violated", ca("a", endsHere), ca("b"), leaf(), "too many intermediates"},
		{"anchor is no CA", ca("a", notCA), nil, leaf(), "the certificate published is no CA"},
		{"anchor without basicConstraints", ca("a", noConstraints), nil, leaf(), "the certificate published is no CA"},
		{"anchor without keyUsage", ca("a", noKeyUsage), nil, leaf(), ""},
		{"anchor without keyCertSign", ca("a", signsNothing), nil, leaf(), "must not sign certificates"},
		{"anchor with an empty keyUsage", ca("a", emptyKeyUsage), nil, leaf(), "must not sign certificates"},
		{"anchor expired", ca("a", expired), nil, leaf(), "the CA published expired 20"},
		{"anchor not yet valid", ca("a", future), nil, leaf(), "the CA published is not valid before 20"},
		{"anchor with an unknown critical extension", ca("a", strange), nil, leaf(), "unhandled critical extension"},
		{"anchor for servers only", ca("a", eku(x509.ExtKeyUsageServerAuth)), nil, leaf(), "incompatible key usage"},
		{"between is no CA", ca("a"), ca("b", notCA), leaf(), "x509: "},
		{"between without keyCertSign", ca("a"), ca("b", signsNothing), leaf(), "x509: "},
		{"between expired", ca("a"), ca("b", expired), leaf(), "has expired or is not yet valid"},
		{"between not yet valid", ca("a"), ca("b", future), leaf(), "has expired or is not yet valid"},
		{"between signed with SHA-1", ca("a"), ca("b", sha1), leaf(), "x509: "},
		{"leaf expired", ca("a"), nil, leaf(expired), "has expired or is not yet valid"},
		{"leaf not yet valid", ca("a"), nil, leaf(future), "has expired or is not yet valid"},
		{"leaf signed with SHA-1", ca("a"), nil, leaf(sha1), "x509: "},
		{"leaf with an unknown critical extension", ca("a"), nil, leaf(strange), "unhandled critical extension"},
		{"leaf with a critical SAN of dNSName and uid", ca("a"), nil, leaf(sanOf(lab.SAN(dns, uid))), ""},
		{"leaf with a critical SAN of uid alone", ca("a"), nil, leaf(sanOf(lab.SAN(uid))), "unhandled critical extension"},
		{"leaf for clients", ca("a"), nil, leaf(eku(x509.ExtKeyUsageClientAuth)), ""},
		{"leaf for anything", ca("a"), nil, leaf(eku(x509.ExtKeyUsageAny)), ""},
		{"leaf for both", ca("a"), nil, leaf(eku(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)), ""},
		{"leaf for servers only", ca("a"), nil, leaf(eku(x509.ExtKeyUsageServerAuth)), "incompatible key usage"},
		{"leaf for code", ca("a"), nil, leaf(eku(x509.ExtKeyUsageCodeSigning)), "incompatible key usage"},
		{"name permitted", ca("a", permits("example.org")), nil, leaf(), ""},
		{"name not permitted", ca("a", permits("example.net")), nil, leaf(), "not authorized to sign for this name"},
		{"name excluded", ca("a"), ca("b", excludes("_device.example.org")), leaf(), "not authorized to sign for this name"},
		{"name in upper case", ca("a"), nil, leaf(named("SENSOR7._DEVICE.example.ORG")), ""},
		{"name is the second", ca("a"), nil, leaf(named("mx.example.org", name)), ""},
		{"another name", ca("a"), nil, leaf(named("sensor8._device.example.org")), "does not hold the dNSName"},
		{"name is a wildcard", ca("a"), nil, leaf(named("*._device.example.org")), "does not hold the dNSName"},
		{"name with a final dot", ca("a"), nil, leaf(named(name + ".")), "does not hold the dNSName"},
		{"name in the CN alone", ca("a"), nil, leaf(named(), func(c *x509.Certificate) { c.Subject.CommonName = name }), "does not hold the dNSName"},
		{"name as mail address", ca("a"), nil, leaf(named(), func(c *x509.Certificate) { c.EmailAddresses = []string{name} }), "does not hold the dNSName"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			anchor := grow(t, nil, test.anchor)
			issuer, chain := anchor, []*x509.Certificate{anchor.cert}
			if test.between != nil {
				issuer = grow(t, anchor, test.between)
				chain = append([]*x509.Certificate{issuer.cert}, chain...)
			}
			end := grow(t, issuer, test.leaf)
			chain = append([]*x509.Certificate{end.cert}, chain...)
			bothColumns(t, chain, anchor.cert, test.want)
		})
	}
}

// bothColumns matches the anchor by usage 2, sent and brought by the record,
// and the leaf by usage 3, which must match in any case.
func bothColumns(t *testing.T, chain []*x509.Certificate, anchor *x509.Certificate, want string) {
	t.Helper()
	o := tlsa.Options{Name: name, Now: time.Now()}
	for _, r := range []tlsa.Record{
		record(t, 2, 0, 1, anchor), record(t, 2, 1, 1, anchor), record(t, 2, 1, 0, anchor), record(t, 2, 0, 0, anchor),
	} {
		_, err := tlsa.Match([]tlsa.Record{r}, chain, o)
		expect(t, r, err, want)
	}
	if end := len(chain) - 1; end > 0 && chain[end] == anchor {
		r := record(t, 2, 0, 0, anchor)
		_, err := tlsa.Match([]tlsa.Record{r}, chain[:end], o)
		expect(t, r, err, want)
	}
	r := record(t, 3, 1, 1, chain[0])
	if _, err := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{}); err != nil {
		t.Errorf("%s: %v", r.Short(), err)
	}
}

func expect(t *testing.T, r tlsa.Record, err error, want string) {
	t.Helper()
	var miss *tlsa.MismatchError
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", r.Short(), err)
	case want != "" && (!errors.As(err, &miss) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %q", r.Short(), err, want)
	}
}

// The leaf is never its own anchor, however it is sent.
func TestLeafIsNoAnchor(t *testing.T) {
	both := func(c *x509.Certificate) { ca("self")(c); c.DNSNames = []string{name} }
	self := grow(t, nil, both)
	for _, chain := range [][]*x509.Certificate{{self.cert}, {self.cert, self.cert}, {self.cert, self.cert, self.cert}} {
		for _, r := range []tlsa.Record{record(t, 2, 0, 0, self.cert), record(t, 2, 0, 1, self.cert), record(t, 2, 1, 1, self.cert)} {
			_, err := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Name: name, Now: time.Now()})
			if err == nil {
				t.Errorf("%s, sent %d times: matched", r.Short(), len(chain))
			}
		}
	}
	bothColumns(t, []*x509.Certificate{self.cert, self.cert}, self.cert, "the CA published is the leaf itself")
}

// RFC 7671 5.2.2: the anchor must be sent unless the record brings it whole.
func TestAnchorNotSent(t *testing.T) {
	root := grow(t, nil, ca("root"))
	end := grow(t, root, leaf())
	for selector := range uint8(2) {
		for matching := range uint8(3) {
			r := record(t, 2, selector, matching, root.cert)
			_, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert}, tlsa.Options{Name: name, Now: time.Now()})
			want := "no issuer shown is the one published"
			if selector == 0 && matching == 0 {
				want = ""
			}
			expect(t, r, err, want)
		}
	}
}

// The whole certificate in a record counts only when it issued something shown.
func TestAnchorThatIssuedNothing(t *testing.T) {
	root, other := grow(t, nil, ca("root")), grow(t, nil, ca("other"))
	end := grow(t, root, leaf())
	r := record(t, 2, 0, 0, other.cert)
	_, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert, root.cert}, tlsa.Options{Name: name, Now: time.Now()})
	expect(t, r, err, "it issued no certificate that was shown")
}

// An anchor of the same name does not vouch for what another key signed.
func TestForgedIssuer(t *testing.T) {
	good, evil := grow(t, nil, ca("root")), grow(t, nil, ca("root"))
	end := grow(t, evil, leaf())
	for _, chain := range [][]*x509.Certificate{
		{end.cert, good.cert}, {end.cert, evil.cert, good.cert}, {end.cert, good.cert, evil.cert},
	} {
		bothColumns(t, chain, good.cert, "unknown authority")
	}
}

// A CA between that is published itself is anchor enough; the root need not be
// sent, and may be expired.
func TestAnchorBetween(t *testing.T) {
	root := grow(t, nil, ca("root", expired))
	between := grow(t, root, ca("between"))
	end := grow(t, between, leaf())
	bothColumns(t, []*x509.Certificate{end.cert, between.cert}, between.cert, "")
	bothColumns(t, []*x509.Certificate{end.cert, between.cert, root.cert}, between.cert, "")
}

// A renewed CA has the key and the name of the old one: the old one must not
// spoil the path, in whatever order they come.
func TestRenewedAnchor(t *testing.T) {
	key := lab.NewKey()
	old := lab.NewCA("root", lab.CAOptions{Key: key, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	renewed := lab.NewCA("root", lab.CAOptions{Key: key})
	end := renewed.Issue(lab.LeafOptions{Names: []string{name}}).Leaf()
	r := record(t, 2, 1, 1, old.Certificate)
	for _, chain := range [][]*x509.Certificate{
		{end, old.Certificate, renewed.Certificate}, {end, renewed.Certificate, old.Certificate},
		{end, renewed.Certificate, renewed.Certificate, renewed.Certificate},
	} {
		_, err := tlsa.Match([]tlsa.Record{r}, chain, tlsa.Options{Name: name, Now: time.Now()})
		expect(t, r, err, "")
	}
	_, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end, old.Certificate}, tlsa.Options{Name: name, Now: time.Now()})
	expect(t, r, err, "the CA published expired")
}

func TestLongChain(t *testing.T) {
	root := grow(t, nil, ca("root"))
	issuers := []*x509.Certificate{root.cert}
	issuer := root
	for len(issuers) < 10 {
		issuer = grow(t, issuer, ca("ca"+string(rune('0'+len(issuers)))))
		issuers = append([]*x509.Certificate{issuer.cert}, issuers...)
	}
	end := grow(t, issuer, leaf())
	chain := append([]*x509.Certificate{end.cert}, issuers...)
	for _, test := range []struct {
		chain []*x509.Certificate
		want  string
	}{{chain, "chain of 11 certificates, over 10"}, {chain[:10], ""}} {
		r := record(t, 2, 0, 0, root.cert)
		_, err := tlsa.Match([]tlsa.Record{r}, test.chain, tlsa.Options{Name: name, Now: time.Now()})
		expect(t, r, err, test.want)
		r = record(t, 3, 1, 1, end.cert)
		_, err = tlsa.Match([]tlsa.Record{r}, test.chain, tlsa.Options{})
		expect(t, r, err, "")
	}
}

// Many look-alikes of one CA, all published: the work stays bounded.
func TestManyLookAlikes(t *testing.T) {
	evil := grow(t, nil, ca("root"))
	end := grow(t, evil, leaf())
	var records []tlsa.Record
	for range 100 {
		records = append(records, record(t, 2, 0, 0, grow(t, nil, ca("root")).cert))
	}
	start := time.Now()
	_, err := tlsa.Match(tlsa.Usable(records, nil), []*x509.Certificate{end.cert}, tlsa.Options{Name: name, Now: start})
	if took := time.Since(start); err == nil || took > 2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// Neither the clock nor the name may be missing: crypto/x509 would take its
// own clock, and no name is no demand.
func TestOptionsMissing(t *testing.T) {
	root := grow(t, nil, ca("root"))
	end := grow(t, root, leaf())
	nameless := grow(t, root, leaf(named("")))
	r := record(t, 2, 0, 1, root.cert)
	_, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert, root.cert}, tlsa.Options{Name: name})
	expect(t, r, err, "no time to judge the chain by")
	for _, n := range []*node{end, nameless} {
		_, err = tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{n.cert, root.cert}, tlsa.Options{Now: time.Now()})
		expect(t, r, err, "does not hold the dNSName")
	}
}

// The Kelvin sign is no k: a dNSName is folded as ASCII only. crypto/x509 does
// not parse such a name, so it is put in by hand.
func TestFoldsASCIIOnly(t *testing.T) {
	root := grow(t, nil, ca("root"))
	end := grow(t, root, leaf())
	end.cert.DNSNames = []string{"\u212a.example.org"}
	r := record(t, 2, 0, 1, root.cert)
	_, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert, root.cert}, tlsa.Options{Name: "k.example.org", Now: time.Now()})
	expect(t, r, err, "does not hold the dNSName")
}

// The CAs of the system decide nothing: here they know the leaf's CA, and the
// records do not.
func TestSystemRootsDoNotCount(t *testing.T) {
	root := grow(t, nil, ca("public"))
	end := grow(t, root, leaf())
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, lab.Credential{Chain: []*x509.Certificate{root.cert}}.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file) // read once per process: no other test asks for it
	if _, err := end.cert.Verify(x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Skipf("the system's pool cannot be bent here: %v", err)
	}
	other := grow(t, nil, ca("public"))
	for _, r := range []tlsa.Record{
		record(t, 2, 0, 1, other.cert), record(t, 2, 0, 0, other.cert), record(t, 2, 1, 1, end.cert), record(t, 3, 1, 1, other.cert),
	} {
		got, err := tlsa.Match([]tlsa.Record{r}, []*x509.Certificate{end.cert, root.cert}, tlsa.Options{Name: name, Now: time.Now()})
		if err == nil {
			t.Errorf("%s: matched %s", r.Short(), got.Record.Short())
		}
	}
}

// A certificate of version 1 has no extensions: it is no CA, whatever signs.
func TestVersion1Anchor(t *testing.T) {
	root := grow(t, nil, ca("old"))
	v1 := version1(t, root)
	end := grow(t, root, leaf()) // signed by the key that the version 1 certificate holds, too
	bothColumns(t, []*x509.Certificate{end.cert, v1}, v1, "the certificate published is no CA")
	pool := x509.NewCertPool()
	pool.AddCert(v1)
	if _, err := end.cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Errorf("crypto/x509 has become stricter, the case proves nothing: %v", err)
	}
}
