package daneclient_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
)

// exampleInternet is what the examples stand on: signed zones, a validating
// resolver, a port with records, and the certificates of clients.
type exampleInternet struct {
	resolver *dnssec.Resolver
	verifier *daneclient.Verifier
	listener net.Listener
	address  string // of the listener, by name
	server   tls.Certificate
	clients  map[string]tls.Certificate
	dns      *lab.DNSServer
}

// newExampleInternet panics where a program would have to do something better.
func newExampleInternet() *exampleInternet {
	i := &exampleInternet{clients: map[string]tls.Certificate{}}
	world := lab.NewWorld(time.Now())
	for _, zone := range []string{"test.", "partner.test.", "stranger.test.", "example.test.", "arpa.", "e164.arpa."} {
		world.AddZone(zone, lab.ZoneOptions{})
	}
	client := func(who, zone, owner string, names ...string) {
		c := lab.SelfSigned(lab.LeafOptions{Names: names})
		i.clients[who] = c.TLSCertificate()
		if owner != "" {
			world.Zone(zone).Add(owner + " " + lab.TLSA(3, 1, 1, c.Leaf()))
		}
	}
	client("sensor7", "partner.test", "sensor7._device", "sensor7._device.partner.test")
	client("thief", "partner.test", "", "sensor7._device.partner.test") // another key
	client("stranger", "stranger.test", "sensor7._device", "sensor7._device.stranger.test")
	client("telephone", "e164.arpa", "8.3.0.0.9.9.9.6.0.3.4.4")

	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"www.example.test"}})
	i.server = own.TLSCertificate()
	var err error
	if i.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	port := i.listener.Addr().(*net.TCPAddr).Port
	i.address = fmt.Sprintf("www.example.test:%d", port)
	world.Zone("example.test").Add("www A 127.0.0.1", fmt.Sprintf("_%d._tcp.www %s", port, lab.TLSA(3, 1, 1, own.Leaf())))

	if i.dns, err = world.Start("127.0.0.1:0"); err != nil {
		panic(err)
	}
	anchors, err := dnssec.ParseAnchors(world.Anchor())
	if err != nil {
		panic(err)
	}
	if i.resolver, err = dnssec.New(dnssec.Options{Upstreams: []string{i.dns.Addr()}, Anchors: anchors}); err != nil {
		panic(err)
	}
	if i.verifier, err = daneclient.New(daneclient.Options{Resolver: i.resolver}); err != nil {
		panic(err)
	}
	return i
}

func (i *exampleInternet) close() {
	i.listener.Close()
	i.resolver.Close()
	i.dns.Close()
}

func (i *exampleInternet) chain(who string) []*x509.Certificate {
	return []*x509.Certificate{i.clients[who].Leaf}
}
