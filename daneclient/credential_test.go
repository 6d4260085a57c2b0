package daneclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/lab"
)

var peerAddr = netip.MustParseAddr("::ffff:192.0.2.7")

// handshake runs a real one. The server sends an octet behind it, so that the
// client has read its session ticket when this returns.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	s, c := net.Pipe()
	deadline := time.Now().Add(5 * time.Second)
	s.SetDeadline(deadline)
	c.SetDeadline(deadline)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer c.Close()
		conn := tls.Client(c, client)
		io.ReadFull(conn, make([]byte, 1)) // fails when the server refuses: the server's error is the one that counts
	})
	defer s.Close()
	conn := tls.Server(s, server)
	if err := conn.Handshake(); err != nil {
		return conn.ConnectionState(), err
	}
	_, err := conn.Write([]byte{1})
	return conn.ConnectionState(), err
}

func serverConfig(change func(*tls.Config)) *tls.Config {
	c := &tls.Config{
		Certificates: []tls.Certificate{lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}}).TLSCertificate()},
		ClientAuth:   tls.RequestClientCert,
	}
	change(c)
	return c
}

func clientConfig(cert *tls.Certificate, change func(*tls.Config)) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.test"}
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	change(c)
	return c
}

func asIs(*tls.Config)        {}
func onlyTLS12(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }

func TestFromState(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{device}})
	cert := cred.TLSCertificate()
	tests := []struct {
		name   string
		server func(*tls.Config)
		cert   *tls.Certificate
		want   bool
	}{
		{"TLS 1.3", asIs, &cert, true},
		{"TLS 1.2", onlyTLS12, &cert, false},
		{"no certificate", asIs, nil, false},
		{"not asked for", func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }, &cert, false},
	}
	for _, test := range tests {
		state, err := handshake(t, serverConfig(test.server), clientConfig(test.cert, asIs))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got, ok := daneclient.FromState(state, peerAddr)
		if ok != test.want {
			t.Errorf("%s: %v, want %v", test.name, ok, test.want)
		}
		if !ok && len(got.Chain) != 0 {
			t.Errorf("%s: a chain without a credential", test.name)
		}
		if ok && (len(got.Chain) != 2 || !got.Chain[0].Equal(cred.Leaf()) || got.Peer.String() != "192.0.2.7") {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// A ticket brings back the chain of the first handshake: no identity.
func TestResumedHandshakeHasNoIdentity(t *testing.T) {
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{device}}).TLSCertificate()
	server := serverConfig(asIs)
	client := clientConfig(&cert, func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	first, err := handshake(t, server, client)
	if err != nil || first.DidResume {
		t.Fatal(err, first.DidResume)
	}
	second, err := handshake(t, server, client)
	if err != nil || !second.DidResume || len(second.PeerCertificates) == 0 {
		t.Fatalf("not resumed: %v, %v", err, second.DidResume)
	}
	if _, ok := daneclient.FromState(first, peerAddr); !ok {
		t.Error("the first handshake has no identity")
	}
	if _, ok := daneclient.FromState(second, peerAddr); ok {
		t.Error("the resumed handshake has an identity")
	}
}

// Whoever shows the certificate of another fails at CertificateVerify. Until
// then there is no credential, though the chain is there.
func TestForeignCertificate(t *testing.T) {
	victim := lab.SelfSigned(lab.LeafOptions{Names: []string{device}}).TLSCertificate()
	victim.PrivateKey = lab.NewKey()
	early := false
	server := serverConfig(func(c *tls.Config) {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("no chain yet: the test proves nothing")
			}
			_, early = daneclient.FromState(s, peerAddr)
			return nil
		}
	})
	state, err := handshake(t, server, clientConfig(&victim, asIs))
	if err == nil {
		t.Fatal("the handshake went through")
	}
	if _, late := daneclient.FromState(state, peerAddr); early || late {
		t.Errorf("credential before the proof: %v, after its failure: %v", early, late)
	}
}

func TestKeyDigest(t *testing.T) {
	cred := selfSigned(device)
	r := publish(t, 3, 1, 1, cred.Chain[0])
	if got, want := "3 1 1 "+cred.KeyDigest(), recordText(r); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (daneclient.Credential{}).KeyDigest(); got != "" {
		t.Errorf("of no leaf: %q", got)
	}
}

// The whole way with real DNS: the world of the lab, validated from its root.
func TestThroughDNSSEC(t *testing.T) {
	net, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	addWildcards(net)
	v := verifier(t, daneclient.Options{Resolver: resolver(t, net)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tests := []struct {
		client lab.Client
		want   daneclient.Reason
	}{
		{net.Device, 0},
		{net.Wrong, daneclient.NoMatch},
		{net.MTA, 0},
		{net.Unsigned, daneclient.Insecure},
		{net.Bogus, daneclient.BogusDNS},
		{net.Random, 0},
		{net.Rick, daneclient.ForbiddenName},
	}
	for _, test := range tests {
		got, err := v.Client(ctx, credential(test.client.Chain...), anyName)
		if reasonOf(t, err) != test.want || err == nil && got.Name.String() != test.client.Owner {
			t.Errorf("%s: %v, %v; want %v", test.client.File, got.Name, err, test.want)
		}
	}
	users(ctx, t, v, net)
	devices(ctx, t, v)
	stranger := net.NewRandom() // whose name no cache knows
	if _, err := v.Client(ctx, credential(stranger.Chain...), allow("_smtp-client.mta.partner.test")); reasonOf(t, err) != daneclient.NotAllowed {
		t.Errorf("not allowed: %v", err)
	}
	if net.DNS.Asked(stranger.Owner) {
		t.Error("a name that is not allowed was asked for")
	}
}
