//go:build dane_clientid

package ldapbridge

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
	"dancemta/ldapbridge/message"
	"dancemta/saslext/door"
)

// bindAt is what becomes of a bind with a certificate: the alert, or the result.
func bindAt(t *testing.T, address string, cert *tls.Certificate) string {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, clientConfig(cert))
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(message.AppendMessage(nil, 1, bindOp("EXTERNAL", nil), nil)); err != nil {
		return err.Error()
	}
	m, err := message.Read(bufio.NewReader(c), message.Limits{})
	if err != nil {
		return err.Error() // a late alert comes with the first read
	}
	r, err := message.ParseResult(m.Op)
	if err != nil {
		t.Fatal(err)
	}
	return r.Code.String()
}

// TestNamesToldOverLDAP: the rows of client-auth 8.2 that a door for users has, with
// real DNS.
func TestNamesToldOverLDAP(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	anchors, err := dnssec.ParseAnchors(n.World.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dnssec.New(dnssec.Options{Upstreams: []string{n.DNS.Addr()}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	verifier, err := daneclient.New(daneclient.Options{Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	both := daneclient.Sources{Extension: clientid.DefaultType, Certificate: true}
	w := newWorld(t, func(o *Options) {
		o.Verifier = verifier
		o.Listeners = []Listener{
			{Name: "both", Implicit: true, Policy: door.Policy{Names: both}},
			{Name: "abort", Implicit: true, Policy: door.Policy{Names: both, Abort: true}},
			{Name: "only", Implicit: true, Policy: door.Policy{Names: daneclient.Sources{Extension: clientid.DefaultType}}},
		}
	})
	addresses := map[string]string{}
	for name := range w.conns {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses[name] = l.Addr().String()
		w.serving.Go(func() { _ = w.srv.Serve(name, l) })
	}
	told := func(c *lab.Client, name string) *tls.Certificate {
		cert := c.TLSCertificate()
		cert.Extensions = []tls.Extension{{Type: clientid.DefaultType, Data: append([]byte{byte(len(name))}, name...)}}
		return &cert
	}
	plain := n.Rick.TLSCertificate()
	const failure, nobody = "handshake failure", "inappropriateAuthentication"
	for _, c := range []struct {
		name, listener string
		cert           *tls.Certificate
		want           string
	}{
		{"his own name", "both", told(&n.Rick, "_user.partner.test"), "success"},
		{"his own name, where failures abort", "abort", told(&n.Rick, "_user.partner.test"), "success"},
		{"where nothing else counts", "only", told(&n.Rick, "_user.partner.test"), "success"},
		{"no name", "both", &plain, "success"},
		{"no name, where failures abort", "abort", &plain, "success"},
		{"no name, where the certificate does not count", "only", &plain, nobody},
		{"another domain", "both", told(&n.Rick, "_user.ee.test"), failure},
		{"no name in it", "both", told(&n.Rick, ""), failure},
		{"a client's name", "both", told(&n.Device, n.Device.Owner), nobody},
		{"a client's name, where failures abort", "abort", told(&n.Device, n.Device.Owner), failure},
		{"a user whom no rule lets in", "both", told(&n.Unknown, "_user.stranger.test"), nobody},
	} {
		if got := bindAt(t, addresses[c.listener], c.cert); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if log := w.log.take(); !strings.Contains(log, `reply="TLS alert 40 (handshake failure)"`) || !strings.Contains(log, "peer=127.0.0.1:") {
		t.Errorf("who is refused in the handshake is not in the log:\n%s", log)
	}
	w.shut()
}
