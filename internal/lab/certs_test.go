package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The bytes are those that OpenSSL makes for this name.
func TestUserNameBytes(t *testing.T) {
	c := SelfSigned(LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}})
	want := "3023" + "820b" + hex.EncodeToString([]byte("example.org")) +
		"a014060a0992268993f22c640101a0060c047269636b"
	for _, e := range c.Leaf().Extensions {
		if e.Id.Equal(oidSAN) {
			if got := hex.EncodeToString(e.Value); got != want || e.Critical {
				t.Errorf("subjectAltName %s critical %v, want %s", got, e.Critical, want)
			}
			return
		}
	}
	t.Error("no subjectAltName")
}

func TestLongNamesHaveLongLengths(t *testing.T) {
	for n, want := range map[int]string{127: "827f", 128: "828180", 255: "8281ff", 256: "82820100"} {
		if got := hex.EncodeToString(DNSName(strings.Repeat("a", n))); !strings.HasPrefix(got, want+"61") {
			t.Errorf("%d octets: %.12s…, want %s", n, got, want)
		}
	}
}

func TestChainOfACA(t *testing.T) {
	root := NewCA("root", CAOptions{})
	middle := NewCA("middle", CAOptions{Parent: root})
	c := middle.Issue(LeafOptions{Names: []string{"a._device.example.org"}, CommonName: "x"})
	if len(c.Chain) != 3 || c.Chain[1] != middle.Certificate || c.Chain[2] != root.Certificate {
		t.Fatalf("chain of %d", len(c.Chain))
	}
	roots, middles := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Certificate)
	middles.AddCert(middle.Certificate)
	_, err := c.Leaf().Verify(x509.VerifyOptions{Roots: roots, Intermediates: middles, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		t.Error(err)
	}
	if key := c.Key.(*ecdsa.PrivateKey); key.Curve != elliptic.P256() || !key.PublicKey.Equal(c.Leaf().PublicKey) {
		t.Error("the key is not the leaf's P-256 key")
	}
}

func TestOptionsOfCAs(t *testing.T) {
	zero := 0
	if c := NewCA("x", CAOptions{PathLen: &zero}).Certificate; c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("path length %d", c.MaxPathLen)
	}
	if c := NewCA("x", CAOptions{}).Certificate; c.MaxPathLen != -1 || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("a CA in good order: %+v", c)
	}
	if c := NewCA("x", CAOptions{NotCA: true}).Certificate; c.IsCA || !c.BasicConstraintsValid {
		t.Error("NotCA is a CA")
	}
	if c := NewCA("x", CAOptions{NoConstraints: true}).Certificate; c.BasicConstraintsValid {
		t.Error("NoConstraints has some")
	}
	if c := NewCA("x", CAOptions{KeyUsage: x509.KeyUsageCRLSign}).Certificate; c.KeyUsage != x509.KeyUsageCRLSign {
		t.Errorf("key usage %b", c.KeyUsage)
	}
	if c := NewCA("x", CAOptions{NoKeyUsage: true}).Certificate; c.KeyUsage != 0 {
		t.Errorf("key usage %b", c.KeyUsage)
	}
	from, to := today().Add(-48*time.Hour), today().Add(-24*time.Hour)
	if c := NewCA("x", CAOptions{NotBefore: from, NotAfter: to}).Certificate; !c.NotBefore.Equal(from) || !c.NotAfter.Equal(to) {
		t.Errorf("dates %s %s", c.NotBefore, c.NotAfter)
	}
}

func TestKeyMayBeUsedAgain(t *testing.T) {
	key := NewKey()
	a, b := SelfSigned(LeafOptions{Key: key}), NewCA("x", CAOptions{}).Issue(LeafOptions{Key: key})
	if !bytes.Equal(a.Leaf().RawSubjectPublicKeyInfo, b.Leaf().RawSubjectPublicKeyInfo) {
		t.Error("two keys")
	}
}

// The DNS library knows the record's rules, too.
func TestTLSAText(t *testing.T) {
	cert := SelfSigned(LeafOptions{Names: []string{"x.test"}}).Leaf()
	for selector := range uint8(2) {
		for matching := range uint8(3) {
			rr, err := dns.NewRR("x.test. " + TLSA(3, selector, matching, cert))
			if err != nil {
				t.Fatal(err)
			}
			tlsa := rr.(*dns.TLSA)
			if tlsa.Usage != 3 || tlsa.Selector != selector || tlsa.MatchingType != matching || tlsa.Verify(cert) != nil {
				t.Errorf("%d %d: %s", selector, matching, rr)
			}
		}
	}
}

func TestPEMIsReadByTLS(t *testing.T) {
	c := NewCA("x", CAOptions{}).Issue(LeafOptions{Names: []string{"x.test"}})
	pair, err := tls.X509KeyPair(c.CertPEM(), c.KeyPEM())
	if err != nil || len(pair.Certificate) != 2 {
		t.Errorf("%d certificates, %v", len(pair.Certificate), err)
	}
	if got := c.TLSCertificate(); !bytes.Equal(got.Certificate[1], pair.Certificate[1]) {
		t.Error("TLSCertificate and PEM differ")
	}
}
