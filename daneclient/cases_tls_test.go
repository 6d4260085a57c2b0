package daneclient_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

// TestCasesByTLS: the certificate's half of the table, through real handshakes.
func TestCasesByTLS(t *testing.T) {
	runCases(t, []bool{false}, handshakes(daneclient.Sources{Certificate: true}, func(_ *testing.T, cert tls.Certificate, _ string) tls.Certificate {
		return cert
	}))
}

// handshakes presents chains to a server of these sources; tell puts the name
// into what the client sends. Each chain meets the server once.
func handshakes(from daneclient.Sources, tell func(t *testing.T, cert tls.Certificate, name string) tls.Certificate) presenter {
	met := map[string]daneclient.Credential{}
	return func(t *testing.T, cred lab.Credential, told string) daneclient.Credential {
		t.Helper()
		key := fmt.Sprintf("%s %d %x", told, len(cred.Chain), cred.Leaf().Raw)
		for _, c := range cred.Chain[1:] {
			key += c.Subject.CommonName
		}
		if _, ok := met[key]; !ok {
			state := meet(t, serverOf(t, from), tell(t, cred.TLSCertificate(), told))
			c, ok := from.Credential(state, credential().Peer)
			if !ok {
				t.Fatalf("no credential out of %+v", state)
			}
			met[key] = c
		}
		return met[key]
	}
}

// meet lets a client with this certificate shake hands with a server, and
// returns what the server saw.
func meet(t *testing.T, server *tls.Config, cert tls.Certificate) tls.ConnectionState {
	t.Helper()
	near, far := net.Pipe()
	client := tls.Client(near, &tls.Config{
		InsecureSkipVerify:   true, // the server's own certificate is not what is tried here
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	conn := tls.Server(far, server)
	deadline := time.Now().Add(10 * time.Second)
	near.SetDeadline(deadline)
	far.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	err := conn.Handshake()
	if clientErr := <-done; err != nil || clientErr != nil {
		t.Fatalf("server: %v, client: %v", err, clientErr)
	}
	near.Close()
	far.Close()
	return conn.ConnectionState()
}

// serverOf asks for certificates, and for names where the sources want them.
func serverOf(t *testing.T, from daneclient.Sources) *tls.Config {
	t.Helper()
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}}).TLSCertificate()
	c := &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true}
	if from.Extension != 0 {
		if err := clientid.Request(c, from.Extension, nil); err != nil {
			t.Fatal(err)
		}
	}
	return c
}
