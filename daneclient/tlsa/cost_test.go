package tlsa_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
)

// rsaCA is a CA whose key nobody has: any odd number serves as a modulus where
// no signature is right.
func rsaCA(t *testing.T, bits, exponent int) *x509.Certificate {
	t.Helper()
	modulus := make([]byte, bits/8)
	rand.Read(modulus)
	modulus[0] |= 0x80
	modulus[len(modulus)-1] |= 1
	signer := grow(t, nil, ca("root"))
	template := *signer.cert
	der, err := x509.CreateCertificate(rand.Reader, &template, signer.cert, &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: exponent}, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// A signature is not checked by a key that was chosen to make it take seconds:
// neither one in a record nor one in the peer's chain.
func TestSlowKeys(t *testing.T) {
	root := grow(t, nil, ca("root"))
	end := grow(t, root, leaf())
	good := record(t, 2, 0, 1, root.cert)
	for _, test := range []struct {
		bits, exponent int
		want           string
	}{
		{2048, 3, ""},
		{2048, 65537, ""},
		{8192, 65537, ""},
		{8200, 65537, "RSA key of 8200 bits, over 8192"},
		{120000, 1<<31 - 1, "RSA key of 120000 bits, over 8192"},
		{2048, 65539, "RSA exponent over 65537"},
	} {
		slow := rsaCA(t, test.bits, test.exponent)
		for selector := range uint8(2) {
			if r := record(t, 2, selector, 0, slow); r.Problem(nil) != test.want {
				t.Errorf("2 %d 0, %d bits, exponent %d: %q", selector, test.bits, test.exponent, r.Problem(nil))
			}
		}
		_, err := tlsa.Match([]tlsa.Record{good}, []*x509.Certificate{end.cert, slow, root.cert}, tlsa.Options{Name: name, Now: time.Now()})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("shown, %d bits, exponent %d: %v", test.bits, test.exponent, err)
		}
		// Usage 3 checks no signature.
		if _, err := tlsa.Match([]tlsa.Record{record(t, 3, 1, 1, end.cert)}, []*x509.Certificate{end.cert, slow}, tlsa.Options{}); err != nil {
			t.Errorf("usage 3, %d bits, exponent %d: %v", test.bits, test.exponent, err)
		}
	}
}
