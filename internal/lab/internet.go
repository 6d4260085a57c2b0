package lab

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Names of the ready-made world.
const (
	ServerName = "mx.example.test" // our server, and the name in its certificate
	SinkName   = "mx.remote.test"  // the MX of remote.test
)

// Client is a peer of the ready-made world, with its identity and credential.
type Client struct {
	File  string // base name of its files in WritePKI
	Owner string // of its TLSA records, without the final dot
	User  string // uid@domain of a user; "" for a server or device
	Credential
}

// Internet is the ready-made world: DNS and a sink that serve, and clients.
//
// All zones are signed unless said. example.test is our server's. partner.test
// has a device, an MTA and a user; its own mail goes to the sink, as that of
// remote.test does. unsigned.test has no DNSSEC, bogus.test has signatures that
// do not verify; in both stands a perfect record. ee.test publishes a user's
// own key at _user, which makes nobody a user. stranger.test publishes a client
// in good order that no rule should name.
type Internet struct {
	World *World
	DNS   *DNSServer
	Sink  *Sink // behind MX and address of remote.test, on the port of its Addr

	ServerCA *CA
	Server   Credential // for ServerName

	Device   Client // sensor7._device.partner.test, 3 1 1
	Wrong    Client // says it is the device, but has another key
	MTA      Client // _smtp-client.mta.partner.test, 2 0 1
	Rick     Client // rick@partner.test, 2 0 1; his certificate says "Rick"
	Eve      Client // eve@ee.test, 3 1 1 at _user
	Unsigned Client // _smtp-client.mta.unsigned.test
	Bogus    Client // _smtp-client.mta.bogus.test
	Random   Client // a fresh random name; see NewRandom
	Namesake Client // rick@other.test, 2 0 1
	Ann      Client // ann@remote.test, 2 0 1
	Careless Client // rick@unsigned.test, 2 0 1
	Unknown  Client // rick@stranger.test, 2 0 1

	GatewayCA *CA        // of those that may act for others at the directory
	Gateway   Credential // our server's, as a client of the directory

	now time.Time
}

// NewInternet makes the world as of now, and serves it on free ports of
// 127.0.0.1 until Close.
func NewInternet(now time.Time) (*Internet, error) {
	n := &Internet{World: NewWorld(now), now: now}
	n.addServers()
	n.addPartner()
	n.addDoubtful()
	n.addPeople()
	n.Random = n.NewRandom()
	var err error
	if n.Sink, err = StartSink("127.0.0.1:0", n.sinkOptions("")); err != nil {
		return nil, err
	}
	if n.DNS, err = n.World.Start("127.0.0.1:0"); err != nil {
		n.Sink.Close()
		return nil, err
	}
	return n, nil
}

// Close stops DNS and sink and waits for both.
func (n *Internet) Close() error {
	n.Sink.Close()
	return n.DNS.Close()
}

// KeepMailIn starts the sink anew with a folder into which each message is
// written, see SinkOptions.Dir. Its port changes.
func (n *Internet) KeepMailIn(dir string) error {
	s, err := StartSink("127.0.0.1:0", n.sinkOptions(dir))
	if err != nil {
		return err
	}
	n.Sink.Close()
	n.Sink = s
	return nil
}

func (n *Internet) sinkOptions(dir string) SinkOptions {
	cert := n.ServerCA.Issue(n.leaf(LeafOptions{Names: []string{SinkName}})).TLSCertificate()
	return SinkOptions{Hostname: SinkName, Certificate: &cert, Dir: dir}
}

// addServers makes our own zone and that of the sink.
func (n *Internet) addServers() {
	n.World.AddZone("test.", ZoneOptions{})
	n.World.AddZone("example.test.", ZoneOptions{}).Add(
		"@ MX 10 mx",
		"mx A 127.0.0.1",
	)
	n.World.AddZone("remote.test.", ZoneOptions{}).Add(
		"@ MX 10 mx",
		"mx A 127.0.0.1",
	)
	n.ServerCA = n.newCA("lab server CA")
	n.Server = n.ServerCA.Issue(n.leaf(LeafOptions{
		SAN: SAN(DNSName(ServerName), IPAddress(netip.MustParseAddr("127.0.0.1"))), // some programs check where they dial
		EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
}

// addPartner makes partner.test and those who live there.
func (n *Internet) addPartner() {
	z := n.World.AddZone("partner.test.", ZoneOptions{})
	z.Add("@ MX 10 " + SinkName + ".")

	n.Device = n.client("device", "sensor7._device.partner.test", SelfSigned, n.named("sensor7._device.partner.test"))
	z.Add("sensor7._device " + TLSA(3, 1, 1, n.Device.Leaf()))
	n.Wrong = n.client("wrong", n.Device.Owner, SelfSigned, n.named("sensor7._device.partner.test"))

	machines := n.newCA("partner machine CA")
	n.MTA = n.client("mta", "_smtp-client.mta.partner.test", machines.Issue, n.named("mta.partner.test"))
	z.Add("_smtp-client.mta " + TLSA(2, 0, 1, machines.Certificate))

	users := n.newCA("partner user CA")
	n.Rick = n.client("rick", "_user.partner.test", users.Issue, n.leaf(LeafOptions{
		Names: []string{"partner.test"}, UIDs: []string{"Rick"}, CommonName: userSubject,
	}))
	n.Rick.User = "rick@partner.test"
	z.Add("_user " + TLSA(2, 0, 1, users.Certificate))
}

// addDoubtful makes the zones whose records must not count.
func (n *Internet) addDoubtful() {
	n.Unsigned = n.client("unsigned", "_smtp-client.mta.unsigned.test", SelfSigned, n.named("mta.unsigned.test"))
	n.World.AddZone("unsigned.test.", ZoneOptions{Unsigned: true}).Add(
		"_smtp-client.mta " + TLSA(3, 1, 1, n.Unsigned.Leaf()),
	)
	n.Bogus = n.client("bogus", "_smtp-client.mta.bogus.test", SelfSigned, n.named("mta.bogus.test"))
	n.World.AddZone("bogus.test.", ZoneOptions{Fault: BrokenSignatures}).Add(
		"_smtp-client.mta " + TLSA(3, 1, 1, n.Bogus.Leaf()),
	)
	n.Eve = n.client("eve", "_user.ee.test", n.newCA("ee user CA").Issue, n.leaf(LeafOptions{
		Names: []string{"ee.test"}, UIDs: []string{"eve"}, CommonName: userSubject,
	}))
	n.Eve.User = "eve@ee.test"
	n.World.AddZone("ee.test.", ZoneOptions{}).Add(
		"_user " + TLSA(3, 1, 1, n.Eve.Leaf()),
	)
	n.World.AddZone("stranger.test.", ZoneOptions{})
}

// NewRandom makes a client in stranger.test under a fresh random name, with a
// perfect record: only an allow list keeps a server from asking for it.
func (n *Internet) NewRandom() Client {
	host := fmt.Sprintf("x%x.stranger.test", noise(8))
	c := n.client("random", "_smtp-client."+host, SelfSigned, n.named(host))
	n.World.Zone("stranger.test").Add(c.Owner + ". " + TLSA(3, 1, 1, c.Leaf()))
	return c
}

func (n *Internet) client(file, owner string, issue func(LeafOptions) Credential, o LeafOptions) Client {
	return Client{File: file, Owner: owner, Credential: issue(o)}
}

func (n *Internet) named(name string) LeafOptions {
	return n.leaf(LeafOptions{Names: []string{name}, CommonName: "lab"})
}

// leaf dates a certificate by the clock of the world.
func (n *Internet) leaf(o LeafOptions) LeafOptions {
	o.NotBefore, o.NotAfter = n.now.Add(-certBefore), n.now.Add(certAfter)
	return o
}

func (n *Internet) newCA(name string) *CA {
	return NewCA(name, CAOptions{NotBefore: n.now.Add(-certBefore), NotAfter: n.now.Add(certAfter)})
}

// Clients returns all clients.
func (n *Internet) Clients() []Client {
	return []Client{n.Device, n.Wrong, n.MTA, n.Rick, n.Eve, n.Unsigned, n.Bogus, n.Random, n.Namesake, n.Ann, n.Careless, n.Unknown}
}

// WritePKI writes into a folder: server-ca.pem, mx.pem and mx.key of our
// server, gateway.pem, gateway.key and gateway-ca.pem of the same as a client of the
// directory, directory.pem and directory.key of that, NAME.pem (the chain), NAME.key and, where a CA issued it, NAME-ca.pem
// of each client by its File, and root.ds, the trust anchor.
func (n *Internet) WritePKI(dir string) error {
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	pair := func(name string, c Credential) error {
		return errors.Join(write(name+".pem", c.CertPEM()), write(name+".key", c.KeyPEM()))
	}
	err := errors.Join(
		write("server-ca.pem", n.ServerCA.PEM()),
		write("root.ds", []byte(n.World.Anchor())),
		pair("mx", n.Server),
		pair("gateway", n.Gateway),
		write("gateway-ca.pem", n.GatewayCA.PEM()),
		pair("directory", n.DirectoryCertificate()),
	)
	for _, c := range n.Clients() {
		err = errors.Join(err, pair(c.File, c.Credential))
		if issuers := c.Chain[1:]; len(issuers) > 0 {
			err = errors.Join(err, write(c.File+"-ca.pem", certPEM(issuers...)))
		}
	}
	return err
}
