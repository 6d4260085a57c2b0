package deliver

import (
	"crypto/tls"
	"net/netip"
	"testing"

	"dancemta/internal/dialog"
	"dancemta/internal/lab"
	"dancemta/queue"
)

// identity counts how often it is shown.
func identity(c *lab.Credential, shown *int) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*shown++
		pair := c.TLSCertificate()
		return &pair, nil
	}
}

// Our certificate is for the next hops of its route, and for nobody else.
func TestClientCertificate(t *testing.T) {
	sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}})
	for n, c := range []struct {
		name  string
		route Route
		to    string
		shown int
	}{
		{"to the next hop", Route{Hosts: []string{sink.Addr()}}, "b@hop.test", 1},
		{"not to an MX host", Route{}, "b@mx.test", 0},
		{"not to an address literal", Route{}, "b@[127.0.0.1]", 0},
	} {
		shown := 0
		c.route.Certificate = identity(&own, &shown)
		d := newDeliverer(t, Options{
			Resolver: zone{"MX mx.test": mx("10 h.mx.test"), "A h.mx.test": addrs("127.0.0.1"), "AAAA h.mx.test": none},
			Route:    func(string) Route { return c.route }, AllowPrivateTargets: true, MXPort: int(netip.MustParseAddrPort(sink.Addr()).Port()),
		})
		if got := d.attempt(t.Context(), job("x\r\n", c.to)); text(got)[:9] != "delivered" {
			t.Errorf("%s: %s, %q", c.name, text(got), got[0].Reply)
			continue
		}
		seen := sink.Messages()[n].TLS.PeerCertificates
		if shown != c.shown || len(seen) != c.shown || c.shown == 1 && !seen[0].Equal(own.Leaf()) {
			t.Errorf("%s: shown %d times, the server saw %d certificates", c.name, shown, len(seen))
		}
	}
}

// In TLS 1.2 a certificate travels in clear, and no server takes a name from it.
func TestClientCertificateNeedsTLS13(t *testing.T) {
	shown := 0
	h := host{configured: true, certificate: identity(&lab.Credential{}, &shown)}
	d := newDeliverer(t, Options{Resolver: zone{}})
	dem, _ := d.demandTLS(t.Context(), Route{}, h, queue.Envelope{})
	got, err := (&handshake{demand: dem}).config().GetClientCertificate(&tls.CertificateRequestInfo{Version: tls.VersionTLS12})
	if err != nil || len(got.Certificate) != 0 || shown != 0 {
		t.Errorf("%v, %v, shown %d times", got, err, shown)
	}
}

// Where we are to be known nothing is said in clear: the next hop would refuse a
// stranger for good.
func TestClientCertificateNeedsTLS(t *testing.T) {
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}})
	for _, c := range []struct{ name, script, want string }{
		{"no TLS", "S: 220 mx\nC: EHLO mx.example.test\nS: 250 mx\nC: QUIT\nS: 221 bye", "deferred 4.7.10"},
		{"TLS taken back", offersTLS + "S: 454 4.7.0 no\nC: QUIT\nS: 221 bye", "deferred 4.7.0 [127.0.0.1]"},
		{"TLS refused for good", offersTLS + "S: 554 5.7.0 no\nC: QUIT\nS: 221 bye", "deferred 4.7.0 [127.0.0.1]"},
		{"TLS broken", offersTLS + "S: 220 go\nBYTE\nDROP", "deferred 4.7.0"},
		{"no name, no service", offersTLS + "S: 220 go\nTLS\nDROP", "deferred 4.7.0"}, // as with a late alert
	} {
		shown := 0
		s := dialog.Serve(t, c.script)
		d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route {
			return Route{Hosts: []string{s.Addr().String()}, Certificate: identity(&own, &shown)}
		}})
		if got := d.attempt(t.Context(), job("x\r\n", "b@d.test")); text(got) != c.want {
			t.Errorf("%s: %s, %q; want %s", c.name, text(got), got[0].Reply, c.want)
		}
	}
}
