package tlsa_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"dancemta/daneclient/tlsa"
)

// The digests were made by openssl and sha256sum from testdata/leaf.pem.
const (
	certSHA256 = "b512c34dd01079c59588c9900cf6cbd859dce8aebd8e764c5d8fe115f0049239"
	certSHA512 = "74367b4687de74476073b825bba4c5e239c47185d945bb3d43c54160c21501c67af8fdc642328cdb42ed18a7a73610934f893d8167ff691894bab0f9728433a4"
	keySHA256  = "2cafc978637404417170f168127eb165df266946f872f0c9b68b39216bac249a"
	keySHA512  = "35b1dd7e47148109652fe1fd8d6fd0777b5e2eff2e08193112ddf6fc99ff90faa468358cf3f6ac6ec083dc838c7be0d5537ba1bc50cf910f01f2d5a30223f256"
	keyDER     = "3059301306072a8648ce3d020106082a8648ce3d030107034200045c4c295e4d314df5a37eb53084dc621cee26217e6d56a180f0d6f9e3cefe7f8ad9000b23b59b0ad5ac031c57349e96cfa5803277f64e611fc54fd05b05a14b1f"
)

func readCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestMakeAgreesWithOpenSSL(t *testing.T) {
	cert := readCert(t, "testdata/leaf.pem")
	tests := []struct {
		usage, selector, matching uint8
		want                      string
	}{
		{3, 0, 1, "3 0 1 " + certSHA256},
		{3, 0, 2, "3 0 2 " + certSHA512},
		{2, 1, 0, "2 1 0 " + keyDER},
		{3, 1, 1, "3 1 1 " + keySHA256},
		{0, 1, 2, "0 1 2 " + keySHA512},
	}
	for _, test := range tests {
		r, err := tlsa.Make(test.usage, test.selector, test.matching, cert)
		if err != nil || r.String() != test.want {
			t.Errorf("got %v, %v; want %s", r, err, test.want)
		}
	}
	whole, err := tlsa.Make(3, 0, 0, cert)
	if err != nil || !strings.HasPrefix(whole.String(), "3 0 0 308201a330820149a003020102021450bd043ed15e83e9") {
		t.Errorf("got %v, %v", whole.Short(), err)
	}
}

func TestMakeRefuses(t *testing.T) {
	cert := readCert(t, "testdata/leaf.pem")
	for _, bad := range []struct {
		usage, selector, matching uint8
		cert                      *x509.Certificate
	}{{4, 0, 0, cert}, {3, 2, 0, cert}, {3, 0, 3, cert}, {3, 1, 1, nil}, {3, 1, 1, &x509.Certificate{}}} {
		if r, err := tlsa.Make(bad.usage, bad.selector, bad.matching, bad.cert); err == nil {
			t.Errorf("made %v", r)
		}
	}
}

func TestShort(t *testing.T) {
	r := tlsa.Record{Usage: 3, Selector: 1, Matching: 1, Data: []byte("0123456789")}
	if got := r.Short(); got != "3 1 1 3031323334353637…" {
		t.Errorf("got %q", got)
	}
	r.Data = r.Data[:2]
	if got := r.Short(); got != "3 1 1 3031" {
		t.Errorf("got %q", got)
	}
}
