//go:build dane_clientid

package daneclient_test

import (
	"crypto/tls"
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
)

// TestCasesByExtension: the whole table through real handshakes with a server
// that asks for names. Who tells none is named by the certificate.
func TestCasesByExtension(t *testing.T) {
	from := daneclient.Sources{Extension: clientid.DefaultType, Certificate: true}
	runCases(t, []bool{true, false}, handshakes(from, func(t *testing.T, cert tls.Certificate, name string) tls.Certificate {
		t.Helper()
		if name == "" {
			return cert
		}
		cert, err := clientid.Answer(cert, from.Extension, dnsname.MustParse(name))
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}))
}
