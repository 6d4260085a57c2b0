package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/config"
	player "dancemta/internal/dialog"
	"dancemta/internal/lab"
)

// selfConfig sends from 192.0.2.1, as it says.
const selfConfig = `hostname   = "mx.example.test"
postmaster = %q
state_dir  = "state"
tls        = { certificate = "mx.pem", key = "mx.key" }
dns        = { upstreams = [%q], trust_anchors = "root.ds" }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"

[[relay_domain]]
domain     = "remote.test"
recipients = "any"
`

// checked runs check on a configuration in a world of its own, and looks for a line.
func checked(t *testing.T, name, text string, n *lab.Internet, want string) {
	t.Helper()
	path := writeConfig(t, text)
	if err := n.WritePKI(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run(t, "check", "--config", path); code != exitOK || !slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool { return strings.HasPrefix(l, want) }) {
		t.Errorf("%s: exit %d, not said: %s\n%s", name, code, want, out)
	}
}

func selfWorld(t *testing.T) *lab.Internet {
	t.Helper()
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// check says whether our names lead to this host.
func TestCheckHostname(t *testing.T) {
	n := selfWorld(t)
	n.World.Zone("example.test.").Add("far A 192.0.2.9", "far AAAA 2001:db8::9", "both A 192.0.2.9", "both AAAA ::1")
	n.World.Zone("bogus.test.").Add("mx A 127.0.0.1")
	for _, c := range []struct{ hostname, more, want string }{
		{"mx.example.test", "", "ok       hostname mx.example.test has the address 127.0.0.1 of this host (secure, secure)"},
		{"far.example.test", "", "warning  hostname far.example.test leads to [192.0.2.9 2001:db8::9], and this host has no such address"},
		{"both.example.test", "", "ok       hostname both.example.test has the address ::1 of this host"},
		{"no.example.test", "", "warning  hostname no.example.test has no address (answers: secure, secure): other servers may refuse its mail"},
		{"mx.bogus.test", "", "warning  hostname mx.bogus.test has no address (answers: bogus, bogus)"},
		{"mx.example.test", "delivery = { helo = \"far.example.test\" }\n", "warning  delivery.helo far.example.test leads to [192.0.2.9 2001:db8::9], and this host"},
		{"mx.example.test", "delivery = { source_ipv4 = \"192.0.2.9\", helo = \"far.example.test\" }\n", "ok       delivery.helo far.example.test has the address 192.0.2.9 of this host"},
	} {
		text := c.more + strings.Replace(fmt.Sprintf(selfConfig, "boss@example.test", n.DNS.Addr()), "mx.example.test", c.hostname, 1)
		checked(t, c.hostname, text, n, c.want)
	}
}

// check says whether the addresses that others see have a name that leads back.
func TestCheckReverse(t *testing.T) {
	n := selfWorld(t)
	n.World.Zone("example.test.").Add("out A 192.0.2.1", "out A 192.0.2.3", "out AAAA 2001:db8::1", "else A 192.0.2.99")
	n.World.Zone("bogus.test.").Add("out A 192.0.2.7")
	n.World.AddZone("2.0.192.in-addr.arpa.", lab.ZoneOptions{}).Add("1 PTR out.example.test.", "3 PTR else.example.test.", "3 PTR out.example.test.",
		"4 PTR else.example.test.", "5 PTR none.example.test.", "7 PTR out.bogus.test.")
	n.World.AddZone("8.b.d.0.1.0.0.2.ip6.arpa.", lab.ZoneOptions{}).Add("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR out.example.test.")
	const advice = ": many servers take no mail from such an address; let your provider name it mx.example.test"
	for _, c := range []struct{ source, want string }{
		{`source_ipv4 = "192.0.2.1"`, "ok       192.0.2.1 has the name out.example.test, which leads back to it"},
		{`source_ipv6 = "2001:db8::1"`, "ok       2001:db8::1 has the name out.example.test, which leads back to it"},
		{`source_ipv6 = "2001:db8::2"`, "warning  2001:db8::2 has no name in DNS (PTR)" + advice},
		{`source_ipv4 = "192.0.2.2"`, "warning  192.0.2.2 has no name in DNS (PTR)" + advice},
		{`source_ipv4 = "192.0.2.3"`, "ok       192.0.2.3 has the name out.example.test, which leads back to it"}, // one of two
		{`source_ipv4 = "192.0.2.4"`, "warning  192.0.2.4 has the name else.example.test, which does not lead back to it" + advice},
		{`source_ipv4 = "192.0.2.5"`, "warning  192.0.2.5 has the name none.example.test, which does not lead back to it" + advice},
		{`source_ipv4 = "192.0.2.7"`, "warning  192.0.2.7: its name cannot be asked for now (bogus: "},
	} {
		checked(t, c.source, "delivery = { "+c.source+" }\n"+fmt.Sprintf(selfConfig, "boss@example.test", n.DNS.Addr()), n, c.want)
	}
}

// Which addresses others see: those that are configured, else public ones, else
// those that our name leads to; none that nobody outside can see.
func TestSendsFrom(t *testing.T) {
	for _, c := range []struct{ v4, v6, interfaces, named, want string }{
		{"", "", "127.0.0.1 ::1 10.0.0.5 fe80::1", "", ""},
		{"", "", "127.0.0.1 ::1 10.0.0.5 fe80::1", "192.0.2.1 10.0.0.9 2001:db8::1", "192.0.2.1 2001:db8::1"},
		{"", "", "192.0.2.8 192.0.2.7 10.0.0.5 2001:db8::7", "192.0.2.1 2001:db8::1", "192.0.2.7 192.0.2.8 2001:db8::7"},
		{"192.0.2.8", "", "192.0.2.8 192.0.2.7 2001:db8::7", "192.0.2.1", "192.0.2.8 2001:db8::7"},
		{"10.0.0.5", "2001:db8::8", "10.0.0.5 2001:db8::7", "192.0.2.1", "192.0.2.1 2001:db8::8"},
		{"", "", "192.0.2.1 192.0.2.1", "", "192.0.2.1"},
	} {
		var cfg config.Config
		cfg.Delivery.SourceIPv4.Addr, cfg.Delivery.SourceIPv6.Addr = oneAddr(c.v4), oneAddr(c.v6)
		if got, want := sendsFrom(&cfg, manyAddrs(c.interfaces), manyAddrs(c.named)), manyAddrs(c.want); !slices.Equal(got, want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if got := len(sendsFrom(new(config.Config), manyAddrs(strings.Repeat("192.0.2.1 ", 3)+"192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 192.0.2.9"), nil)); got != maxReverseAddress {
		t.Errorf("%d addresses", got)
	}
}

func oneAddr(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a
}

func manyAddrs(s string) (all []netip.Addr) {
	for f := range strings.FieldsSeq(s) {
		all = append(all, netip.MustParseAddr(f))
	}
	return all
}

// check says whether mail to the postmaster would get through.
func TestCheckPostmaster(t *testing.T) {
	n := selfWorld(t)
	n.World.Zone("example.test.").Add("null MX 0 .", "loop MX 10 mx", "mx2 A 127.0.0.1", "far MX 10 mx2")
	route := func(hop any) string { return fmt.Sprintf("\n[[route]]\ndomain = \"any\"\nnext_hop = [\"%v\"]\n", hop) }
	no := player.Serve(t, "S: 220 a\nC: EHLO mx.example.test\nS: 250 a\nC: QUIT\nS: 221 a", // of the route itself
		"S: 220 a\nC: EHLO mx.example.test\nS: 250 a\nC: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<boss@remote.test>\nS: 550 5.1.1 no such user\nC: QUIT\nS: 221 a")
	for _, c := range []struct{ name, postmaster, more, want string }{
		{"taken", "boss@remote.test", route(n.Sink.Addr()), "ok       postmaster boss@remote.test: "},
		{"refused", "boss@remote.test", route(no.Addr()), "warning  postmaster boss@remote.test cannot be reached: 550 5.1.1 no such user: what people write to the postmaster"},
		{"no such domain", "boss@none.example.test", "", "warning  postmaster boss@none.example.test cannot be reached: domain none.example.test does not exist: "},
		{"null MX", "boss@null.example.test", "", "warning  postmaster boss@null.example.test cannot be reached: domain null.example.test accepts no mail (null MX): "},
		{"this host, which has no mailboxes", "postmaster@loop.example.test", "", "warning  postmaster postmaster@loop.example.test cannot be reached: "},
		{"an address that no mail goes to", "boss@far.example.test", "", "warning  postmaster boss@far.example.test cannot be reached"},
		{"trouble of DNS", "boss@bogus.test", "", "warning  postmaster boss@bogus.test cannot be reached now: lookup bogus.test MX: bogus: "},
	} {
		checked(t, c.name, fmt.Sprintf(selfConfig, c.postmaster, n.DNS.Addr())+c.more, n, c.want)
	}
}
