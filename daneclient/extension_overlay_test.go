//go:build dane_clientid

package daneclient_test

import (
	"crypto/tls"
	"net/netip"
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
)

// What came in the handshake becomes the name, or the reason why there is none.
func TestSources(t *testing.T) {
	state := func(data ...string) tls.ConnectionState {
		s := tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13, PeerCertificates: selfSigned("mx.example.org").Chain}
		for _, d := range data {
			s.PeerCertificateExtensions = append(s.PeerCertificateExtensions, tls.Extension{Type: clientid.DefaultType, Data: []byte(d)})
		}
		return s
	}
	both := daneclient.Sources{Extension: clientid.DefaultType, Certificate: true}
	for _, test := range []struct {
		name  string
		from  daneclient.Sources
		state tls.ConnectionState
		named bool
		want  daneclient.Reason
	}{
		{"told", both, state("\x0emx.example.org"), true, daneclient.NotAllowed},
		{"not told", both, state(), false, daneclient.NotAllowed},
		{"empty", both, state("\x00"), true, daneclient.BadClientName},
		{"no octets", both, state(""), true, daneclient.BadClientName},
		{"malformed", both, state("\x05a"), true, daneclient.BadClientName},
		{"no name", both, state("\x04a..b"), true, daneclient.BadClientName},
		{"not told, and certificates do not count", daneclient.Sources{Extension: clientid.DefaultType}, state(), false, daneclient.NoName},
		{"told where nobody is asked", daneclient.Sources{Certificate: true}, state("\x0emx.example.org"), false, daneclient.NotAllowed},
		{"of another type", daneclient.Sources{Extension: 0xFFDD, Certificate: true}, state("\x0emx.example.org"), false, daneclient.NotAllowed},
	} {
		cred, ok := test.from.Credential(test.state, netip.Addr{})
		if !ok || cred.Named != test.named {
			t.Errorf("%s: %v, named %v", test.name, ok, cred.Named)
		}
		_, err := verifier(t, daneclient.Options{Resolver: &answers{}}).Client(t.Context(), cred, nil)
		if reasonOf(t, err) != test.want {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}
