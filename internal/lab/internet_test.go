package lab

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func internet(t *testing.T) *Internet {
	t.Helper()
	n, err := NewInternet(today())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// exchange asks the served world, over UDP or TCP.
func exchange(t *testing.T, n *Internet, network, name string, typ uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, typ)
	q.SetEdns0(1232, true)
	reply, _, err := (&dns.Client{Net: network}).Exchange(q, n.DNS.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestClientsHaveTheirRecords(t *testing.T) {
	n := internet(t)
	for _, c := range []struct {
		client Client
		owner  string
		usage  uint8
		depth  int // which certificate of the chain the record holds; -1: none
		signed bool
	}{
		{n.Device, "sensor7._device.partner.test", 3, 0, true},
		{n.Wrong, "sensor7._device.partner.test", 3, -1, true},
		{n.MTA, "_smtp-client.mta.partner.test", 2, 1, true},
		{n.Rick, "_user.partner.test", 2, 1, true},
		{n.Eve, "_user.ee.test", 3, 0, true},
		{n.Unsigned, "_smtp-client.mta.unsigned.test", 3, 0, false},
		{n.Bogus, "_smtp-client.mta.bogus.test", 3, 0, true},
		{n.Random, "_smtp-client." + n.Random.Leaf().DNSNames[0], 3, 0, true},
	} {
		t.Run(c.client.File, func(t *testing.T) {
			if c.client.Owner != c.owner {
				t.Errorf("owner %s, want %s", c.client.Owner, c.owner)
			}
			reply := exchange(t, n, "udp", c.owner+".", dns.TypeTLSA)
			signed := false
			match := -1
			for _, rr := range reply.Answer {
				switch rr := rr.(type) {
				case *dns.RRSIG:
					signed = true
				case *dns.TLSA:
					if rr.Usage != c.usage {
						t.Errorf("usage %d, want %d", rr.Usage, c.usage)
					}
					for i, cert := range c.client.Chain {
						if rr.Verify(cert) == nil {
							match = i
						}
					}
				}
			}
			if signed != c.signed || match != c.depth {
				t.Errorf("signed %v, record of certificate %d", signed, match)
			}
		})
	}
}

func TestUsersCertificates(t *testing.T) {
	n := internet(t)
	for _, c := range []struct {
		client            Client
		user, domain, uid string
	}{
		{n.Rick, "rick@partner.test", "partner.test", "\x0c\x04Rick"},
		{n.Eve, "eve@ee.test", "ee.test", "\x0c\x03eve"},
	} {
		leaf := c.client.Leaf()
		if c.client.User != c.user || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != c.domain || !strings.Contains(string(leaf.Raw), c.uid) {
			t.Errorf("%s: names %q", c.client.User, leaf.DNSNames)
		}
	}
}

func TestDoubtfulZones(t *testing.T) {
	n := internet(t)
	ds := exchange(t, n, "tcp", "unsigned.test.", dns.TypeDS)
	if len(ds.Answer) != 0 || !strings.Contains(ds.String(), "NSEC") {
		t.Errorf("no proof that unsigned.test has no DS: %s", ds)
	}
	bogus, sigs := rrsets(t, n.World, "bogus.test.")
	key := rrKey{"_smtp-client.mta.bogus.test.", dns.TypeTLSA}
	if got := verdict(bogus[key], sigs[key], bogus[rrKey{"bogus.test.", dns.TypeDNSKEY}]); got != "broken" {
		t.Errorf("bogus.test is %s", got)
	}
}

func TestMailOfRemoteGoesToTheSink(t *testing.T) {
	n := internet(t)
	mx := exchange(t, n, "udp", "remote.test.", dns.TypeMX).Answer[0].(*dns.MX)
	a := exchange(t, n, "udp", mx.Mx, dns.TypeA).Answer[0].(*dns.A)
	if mx.Mx != SinkName+"." || !strings.HasPrefix(n.Sink.Addr(), a.A.String()+":") {
		t.Errorf("%s %s, sink at %s", mx, a, n.Sink.Addr())
	}
}

func TestQueriesAreCounted(t *testing.T) {
	n := internet(t)
	c := n.NewRandom()
	if c.Owner == n.Random.Owner {
		t.Errorf("%s twice", c.Owner)
	}
	if n.DNS.Asked(c.Owner) {
		t.Error("asked before anybody did")
	}
	exchange(t, n, "tcp", c.Owner+".", dns.TypeTLSA)
	q := n.DNS.Queries()
	if !n.DNS.Asked(c.Owner) || !n.DNS.Asked("stranger.test") || n.DNS.Asked("partner.test") || len(q) != 1 ||
		q[0] != (Query{Name: c.Owner, Type: 52, TypeName: "TLSA", Transport: "tcp", DO: true}) {
		t.Errorf("queries %+v", q)
	}
	n.DNS.Reset()
	if len(n.DNS.Queries()) != 0 {
		t.Error("the log is not empty")
	}
}

func TestLargeAnswersAreCutForUDP(t *testing.T) {
	n := internet(t)
	z := n.World.Zone("partner.test")
	for i := range 40 {
		z.Add("large TXT " + strings.Repeat("x", 50) + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if reply := exchange(t, n, "udp", "large.partner.test.", dns.TypeTXT); !reply.Truncated {
		t.Error("no TC over UDP")
	}
	if reply := exchange(t, n, "tcp", "large.partner.test.", dns.TypeTXT); reply.Truncated || len(reply.Answer) != 41 {
		t.Errorf("%d records over TCP", len(reply.Answer))
	}
}

func TestTamper(t *testing.T) {
	n := internet(t)
	n.DNS.Tamper(func(q, reply *dns.Msg) *dns.Msg {
		reply.AuthenticatedData = true
		return reply
	})
	if !exchange(t, n, "udp", "test.", dns.TypeSOA).AuthenticatedData {
		t.Error("not tampered with")
	}
	n.DNS.Tamper(nil)
	if exchange(t, n, "udp", "test.", dns.TypeSOA).AuthenticatedData {
		t.Error("still tampered with")
	}
}

func TestPKIFiles(t *testing.T) {
	n := internet(t)
	dir := t.TempDir()
	if err := n.WritePKI(dir); err != nil {
		t.Fatal(err)
	}
	for name, certs := range map[string]int{
		"mx": 2, "device": 1, "wrong": 1, "mta": 2, "rick": 2, "eve": 2, "unsigned": 1, "bogus": 1, "random": 1,
	} {
		base := filepath.Join(dir, name)
		pair, err := tls.LoadX509KeyPair(base+".pem", base+".key")
		if err != nil || len(pair.Certificate) != certs {
			t.Errorf("%s: %d certificates, %v", name, len(pair.Certificate), err)
		}
	}
	block, _ := os.ReadFile(filepath.Join(dir, "mta-ca.pem"))
	if whole, err := os.ReadFile(filepath.Join(dir, "mta.pem")); err != nil || len(block) == 0 || !strings.HasSuffix(string(whole), string(block)) {
		t.Errorf("mta-ca.pem is not the end of mta.pem: %v", err)
	}
	if err := n.Server.Leaf().VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if err := n.Server.Leaf().VerifyHostname(ServerName); err != nil {
		t.Error(err)
	}
	anchor, err := os.ReadFile(filepath.Join(dir, "root.ds"))
	if err != nil || string(anchor) != n.World.Anchor() {
		t.Errorf("root.ds %q, %v", anchor, err)
	}
}

func TestZoneFilesHaveTheirNames(t *testing.T) {
	n := internet(t)
	paths, err := n.World.WriteZoneFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(paths["."]) != "root.zone" || filepath.Base(paths["ee.test."]) != "ee.test.zone" || len(paths) != 10 {
		t.Errorf("%v", paths)
	}
	text, err := os.ReadFile(paths["unsigned.test."])
	if err != nil || strings.Contains(string(text), "RRSIG") || !strings.Contains(string(text), "TLSA") {
		t.Errorf("unsigned.test: %s %v", text, err)
	}
}
