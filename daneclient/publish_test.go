package daneclient

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func name(s string) dnsname.Name {
	if s == "" {
		return dnsname.Name{}
	}
	return dnsname.MustParse(s)
}

func TestOwners(t *testing.T) {
	type made func() (Owner, error)
	client := func(s string) made { return func() (Owner, error) { return ClientOwner(name(s)) } }
	device := func(n, d string) made { return func() (Owner, error) { return DeviceOwner(name(n), name(d)) } }
	wildcard := func(s string) made { return func() (Owner, error) { return AnyDeviceOwner(name(s)) } }
	user := func(s string) made { return func() (Owner, error) { return UserOwner(name(s)) } }
	server := func(s string, port uint16) made { return func() (Owner, error) { return ServerOwner(name(s), port) } }
	free := func(s string) made { return func() (Owner, error) { return FreeOwner(name(s)) } }
	opaque := func(m made) made {
		return func() (Owner, error) {
			o, err := m()
			if err != nil {
				return o, err
			}
			return o.Opaque()
		}
	}
	for _, c := range []struct {
		what string
		make made
		want string // "" for an error
	}{
		{"client", client("mx.example.org"), "_smtp-client.mx.example.org"},
		{"device", device("sensor7", "example.org"), "sensor7._device.example.org"},
		{"device of a room", device("sensor7.cellar", "example.org"), "sensor7.cellar._device.example.org"},
		{"all devices", wildcard("example.org"), "*._device.example.org"},
		{"users", user("xn--bcher-kva.example"), "_user.xn--bcher-kva.example"},
		{"server", server("mx.example.org", 25), "_25._tcp.mx.example.org"},
		{"free", free("_imap.box.example.org"), "_imap.box.example.org"},
		{"free without underscore", free("box.example.org"), "box.example.org"},
		{"number in ENUM", free("4.3.2.1.e164.arpa"), "4.3.2.1.e164.arpa"},
		// printf sensor7._device.example.org | sha256sum | cut -c 1-32
		{"opaque device", opaque(device("sensor7", "example.org")), "d8b689fcbc07ecd130f8916f0a756bf4._device.example.org"},

		{"no host", client(""), ""},
		{"top-level domain", client("org"), ""},
		{"address", client("192.0.2.1"), ""},
		{"client of a client", client("_smtp-client.mx.example.org"), ""},
		{"nameless device", device("", "example.org"), ""},
		{"underscore in a device", device("_user", "example.org"), ""},
		{"device below _device", device("sensor7", "_device.example.org"), ""},
		{"users of _user", user("_user.example.org"), ""},
		{"users of a top-level domain", user("org"), ""},
		{"devices of a top-level domain", wildcard("org"), ""},
		{"port 0", server("mx.example.org", 0), ""},
		{"free: users", free("_user.example.org"), ""},
		{"free: users inside", free("x._user.example.org"), ""},
		{"free: server", free("_25._tcp.mx.example.org"), ""},
		{"free: single label", free("localhost"), ""},
		{"opaque client", opaque(client("mx.example.org")), ""},
		{"opaque users", opaque(user("example.org")), ""},
		{"opaque wildcard", opaque(wildcard("example.org")), ""},
		{"over 253 octets", client(strings.Repeat("a123456789.", 22) + "example.org"), ""},
	} {
		got, err := c.make()
		if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
			t.Errorf("%s: %q, %v; want %q", c.what, got, err, c.want)
		}
	}
}

// An opaque name shows nothing of the plain one, and domains do not share them.
func TestOpaque(t *testing.T) {
	plain, err := DeviceOwner(name("sensor7"), name("example.org"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("sensor7._device.example.org"))
	o, err := plain.Opaque()
	if want := hex.EncodeToString(sum[:16]) + "._device.example.org"; err != nil || o.String() != want {
		t.Errorf("%q, %v; want %q", o, err, want)
	}
	elsewhere, err := DeviceOwner(name("sensor7"), name("example.net"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := elsewhere.Opaque(); err != nil || e.String()[:32] == o.String()[:32] {
		t.Errorf("the same label in two domains: %q, %v", e, err)
	}
}

func TestRecord(t *testing.T) {
	now := time.Now()
	ca := lab.NewCA("ca", lab.CAOptions{})
	mx := ca.Issue(lab.LeafOptions{Names: []string{"mx.example.org"}})
	sensor := lab.SelfSigned(lab.LeafOptions{Names: []string{"sensor7._device.example.org"}})
	rick := ca.Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}})
	key := Material{SPKI: mx.Leaf().RawSubjectPublicKeyInfo}
	old := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.org"}, NotBefore: now.AddDate(-2, 0, 0), NotAfter: now.AddDate(-1, 0, 0)})
	ahead := lab.NewCA("ahead", lab.CAOptions{NotBefore: now.AddDate(0, 1, 0), NotAfter: now.AddDate(1, 0, 0)})

	client, device, free := owner(ClientOwner(name("mx.example.org"))), owner(DeviceOwner(name("sensor7"), name("example.org"))), owner(FreeOwner(name("box.example.org")))
	wildcard, users, server := owner(AnyDeviceOwner(name("example.org"))), owner(UserOwner(name("example.org"))), owner(ServerOwner(name("mx.example.org"), 25))
	certs := func(c ...*x509.Certificate) Material { return Material{Certificates: c} }
	for _, c := range []struct {
		what    string
		owner   Owner
		src     Material
		f       Fields
		u, s, m uint8
		of      *x509.Certificate
		doubt   string
	}{
		{"client", client, certs(mx.Chain...), Fields{}, 3, 1, 1, mx.Leaf(), ""},
		{"client by its CA", client, certs(mx.Chain...), Fields{Usage: n(2)}, 2, 0, 1, ca.Certificate, ""},
		{"client by the CA alone", client, certs(ca.Certificate), Fields{Usage: n(2)}, 2, 0, 1, ca.Certificate, ""},
		{"client by its CA's key", client, certs(mx.Chain...), Fields{Usage: n(2), Selector: n(1), Matching: n(2)}, 2, 1, 2, ca.Certificate, ""},
		{"client by its key", client, key, Fields{}, 3, 1, 1, mx.Leaf(), ""},
		{"client by a CA's key", client, key, Fields{Usage: n(2)}, 2, 1, 1, mx.Leaf(), ""},
		{"client, expired: no matter", client, certs(old.Chain...), Fields{}, 3, 1, 1, old.Leaf(), ""},
		{"client, whole certificate", client, certs(mx.Chain...), Fields{Selector: n(0), Matching: n(0)}, 3, 0, 0, mx.Leaf(), ""},
		{"client of another name", client, certs(sensor.Chain...), Fields{}, 3, 1, 1, sensor.Leaf(), "claims sensor7._device.example.org, not _smtp-client.mx.example.org: only a client that tells its name by dane_clientid"},
		{"client with a user's certificate", client, certs(rick.Chain...), Fields{}, 3, 1, 1, rick.Leaf(), "claims no name"},
		{"client by a public certificate", client, certs(mx.Chain...), Fields{Usage: n(1)}, 1, 1, 1, mx.Leaf(), "usage 1 counts only at relays"},
		{"client by a public CA", client, certs(mx.Chain...), Fields{Usage: n(0)}, 0, 1, 1, ca.Certificate, "usage 0 counts only at relays"},
		{"device", device, certs(sensor.Chain...), Fields{}, 3, 1, 1, sensor.Leaf(), ""},
		{"name without underscore", free, certs(sensor.Chain...), Fields{}, 3, 1, 1, sensor.Leaf(), "only a client that tells"},
		{"all devices", wildcard, certs(ca.Certificate), Fields{}, 2, 0, 1, ca.Certificate, ""},
		{"users", users, certs(ca.Certificate), Fields{}, 2, 0, 1, ca.Certificate, ""},
		{"users, from a user's chain", users, certs(rick.Chain...), Fields{}, 2, 0, 1, ca.Certificate, ""},
		{"users, from another's chain", users, certs(mx.Chain...), Fields{}, 2, 0, 1, ca.Certificate, "no certificate of a user of example.org"},
		{"users, CA ahead of its time", users, certs(ahead.Certificate), Fields{}, 2, 0, 1, ahead.Certificate, ""},
		{"server", server, certs(sensor.Chain...), Fields{}, 3, 1, 1, sensor.Leaf(), ""}, // RFC 7672 3.1.1: no names
		{"server by its CA", server, certs(mx.Chain...), Fields{Usage: n(2)}, 2, 0, 1, ca.Certificate, ""},
		{"server by its CA, other name", server, certs(rick.Chain...), Fields{Usage: n(2)}, 2, 0, 1, ca.Certificate, "not mx.example.org"},
	} {
		got, doubts, err := c.owner.Record(c.src, c.f, now)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		want, err := tlsa.Make(c.u, c.s, c.m, c.of)
		if err != nil || got.String() != want.String() {
			t.Errorf("%s: %s, want %s (%v)", c.what, got.Short(), want.Short(), err)
		}
		if said := strings.Join(doubts, "; "); (said == "") != (c.doubt == "") || !strings.Contains(said, c.doubt) {
			t.Errorf("%s: doubts %q, want %q", c.what, said, c.doubt)
		}
	}
}

func owner(o Owner, err error) Owner {
	if err != nil {
		panic(err)
	}
	return o
}

func n(v uint8) *uint8 { return &v }

func TestRecordRefuses(t *testing.T) {
	now := time.Now()
	ca := lab.NewCA("ca", lab.CAOptions{})
	mx := ca.Issue(lab.LeafOptions{Names: []string{"mx.example.org"}})
	servers := change(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	clients := change(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	elsewhere := change(t, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.net"} })
	suffix := change(t, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"ample.org"} })
	excluded := change(t, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{".example.org"} })
	expired := lab.NewCA("old", lab.CAOptions{NotBefore: now.AddDate(-2, 0, 0), NotAfter: now.AddDate(-1, 0, 0)}).Certificate
	big := change(t, func(c *x509.Certificate) {
		for range 2000 {
			c.PermittedDNSDomains = append(c.PermittedDNSDomains, "example.org")
		}
	})

	client, device := owner(ClientOwner(name("mx.example.org"))), owner(DeviceOwner(name("sensor7"), name("example.org")))
	wildcard, users, server := owner(AnyDeviceOwner(name("example.org"))), owner(UserOwner(name("example.org"))), owner(ServerOwner(name("mx.example.org"), 25))
	certs := func(c ...*x509.Certificate) Material { return Material{Certificates: c} }
	for _, c := range []struct {
		what  string
		owner Owner
		src   Material
		f     Fields
		says  string
	}{
		{"user's own key", users, certs(mx.Chain...), Fields{Usage: n(3)}, "could sign himself any user"},
		{"usage 1 for users", users, certs(mx.Chain...), Fields{Usage: n(1)}, "could sign himself any user"},
		{"usage 0 for users", users, certs(mx.Chain...), Fields{Usage: n(0)}, "whoever asks"},
		{"usage 0 for all devices", wildcard, certs(mx.Chain...), Fields{Usage: n(0)}, "whoever asks"},
		{"usage 1 for all devices", wildcard, certs(mx.Chain...), Fields{Usage: n(1)}, "every device"},
		{"one key for all devices", wildcard, certs(mx.Chain...), Fields{Usage: n(3)}, "every device"},
		{"usage 0 for a server", server, certs(mx.Chain...), Fields{Usage: n(0)}, "RFC 7672 3.1.3"},
		{"usage 0 and no CA", client, certs(mx.Leaf()), Fields{Usage: n(0)}, "no CA"},
		{"usage 1 for a server", server, certs(mx.Chain...), Fields{Usage: n(1)}, "RFC 7672 3.1.3"},
		{"usage 4", client, certs(mx.Chain...), Fields{Usage: n(4)}, "from 0 to 3"},
		{"selector 2", client, certs(mx.Chain...), Fields{Selector: n(2)}, "unknown"},
		{"matching 3", client, certs(mx.Chain...), Fields{Matching: n(3)}, "unknown"},
		{"certificate from a key", client, Material{SPKI: mx.Leaf().RawSubjectPublicKeyInfo}, Fields{Selector: n(0)}, "a key is selector 1"},
		{"nothing", client, Material{}, Fields{}, "no certificate"},
		{"user as a CA", users, certs(mx.Leaf()), Fields{}, "no CA"},
		{"device as a CA", device, certs(mx.Leaf()), Fields{Usage: n(2)}, "no CA"},
		{"expired CA", users, certs(expired), Fields{}, "expired"},
		{"CA that does not sign", users, certs(lab.NewCA("x", lab.CAOptions{KeyUsage: x509.KeyUsageCRLSign}).Certificate), Fields{}, "must not sign"},
		{"CA of servers for users", users, certs(servers), Fields{}, "does not vouch for TLS clients"},
		{"CA of servers for devices", wildcard, certs(servers), Fields{}, "does not vouch for TLS clients"},
		{"CA of clients for a server", server, certs(clients), Fields{Usage: n(2)}, "does not vouch for TLS servers"},
		{"CA of another domain", users, certs(elsewhere), Fields{}, "name constraints"},
		{"CA of another domain for devices", wildcard, certs(elsewhere), Fields{}, "name constraints"},
		{"CA of another domain for a client", client, certs(elsewhere), Fields{Usage: n(2)}, "name constraints"},
		{"end of a label", users, certs(suffix), Fields{}, "name constraints"},
		{"excluded domain", users, certs(excluded), Fields{}, "name constraints"},
		{"CA over 16 KiB, whole", users, certs(big), Fields{Matching: n(0)}, "over 16384"},
	} {
		r, _, err := c.owner.Record(c.src, c.f, now)
		if err == nil || !strings.Contains(err.Error(), c.says) || r.Data != nil {
			t.Errorf("%s: %s, %v; want %q", c.what, r.Short(), err, c.says)
		}
	}
	narrow := change(t, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"a._device.example.org"} })
	if _, _, err := wildcard.Record(certs(narrow), Fields{}, now); err != nil {
		t.Errorf("a CA of some devices: %v", err)
	}
	if _, _, err := users.Record(certs(servers), Fields{}, now); !errors.Is(err, ErrUseless) {
		t.Errorf("%v does not wrap ErrUseless", err)
	}
	if _, _, err := client.Record(certs(change(t, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"mx.example.org"} })), Fields{Usage: n(2)}, now); err != nil {
		t.Errorf("a CA of the host alone: %v", err)
	}
}

// change makes a CA that differs in one thing from a good one.
func change(t *testing.T, f func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	good := lab.NewCA("x", lab.CAOptions{})
	template := *good.Certificate
	template.RawSubject, template.Extensions = nil, nil
	f(&template)
	der, err := x509.CreateCertificate(nil, &template, &template, good.Key.Public(), good.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
