package tlsa_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// node is a certificate with its key, made with any change to the template.
type node struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial int64

// grow lets issuer, nil for itself, sign a certificate.
func grow(t testing.TB, issuer *node, change func(*x509.Certificate)) *node {
	t.Helper()
	serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(template)
	n := &node{key: lab.NewKey()}
	parent, key := template, n.key
	if issuer != nil {
		parent, key = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, n.key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if n.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return n
}

// ca makes a change to a CA in good order.
func ca(name string, changes ...func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		for _, change := range changes {
			change(c)
		}
	}
}

// leaf makes a change to an end certificate in good order.
func leaf(changes ...func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.DNSNames, c.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
		for _, change := range changes {
			change(c)
		}
	}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
func future(c *x509.Certificate)  { c.NotBefore = time.Now().Add(time.Minute) }
func notCA(c *x509.Certificate)   { c.IsCA = false }
func noConstraints(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid = false, false
}
func noKeyUsage(c *x509.Certificate)    { c.KeyUsage = 0 }
func signsNothing(c *x509.Certificate)  { c.KeyUsage = x509.KeyUsageDigitalSignature }
func emptyKeyUsage(c *x509.Certificate) { c.KeyUsage = 0; extra(c, 15, []byte{3, 1, 0}) }
func endsHere(c *x509.Certificate)      { c.MaxPathLenZero = true }
func strange(c *x509.Certificate)       { extra(c, 99, []byte{5, 0}) }
func sha1(c *x509.Certificate)          { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }

func extra(c *x509.Certificate, id int, value []byte) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, id}, Critical: true, Value: value})
}

func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func eku(uses ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = uses }
}

func permits(domain string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{domain}
	}
}

func excludes(domain string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{domain} }
}

// sanOf puts a subjectAltName in whole, critical as it is for an empty subject.
func sanOf(value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = nil; extra(c, 17, value) }
}

// version1 writes a self-signed certificate by hand; crypto/x509 makes only
// version 3.
func version1(t *testing.T, n *node) *x509.Certificate {
	t.Helper()
	algorithm := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}} // ecdsa-with-SHA256
	type validity struct{ NotBefore, NotAfter time.Time }
	tbs, err := asn1.Marshal(struct {
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
		Validity  validity
		Subject   asn1.RawValue
		Key       asn1.RawValue
	}{
		big.NewInt(1), algorithm, asn1.RawValue{FullBytes: n.cert.RawSubject},
		validity{n.cert.NotBefore, n.cert.NotAfter},
		asn1.RawValue{FullBytes: n.cert.RawSubject}, asn1.RawValue{FullBytes: n.cert.RawSubjectPublicKeyInfo},
	})
	if err != nil {
		t.Fatal(err)
	}
	hash := crypto.SHA256.New()
	hash.Write(tbs)
	signature, err := n.key.Sign(rand.Reader, hash.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || cert.Version != 1 {
		t.Fatalf("version %v: %v", cert, err)
	}
	return cert
}
