package smtpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
	"dancemta/internal/pattern"
	"dancemta/smtpd/policy"
)

// The tests of this file have no fake between the socket and DNS: the real
// verifier and resolver judge the clients of the lab.

// labWorld is a server whose verifier asks upstream.
func labWorld(t *testing.T, n *lab.Internet, upstream string, change ...func(*Options)) *world {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(n.World.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dnssec.New(dnssec.Options{Upstreams: []string{upstream}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resolver.Close() })
	verifier, err := daneclient.New(daneclient.Options{Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, append(change, func(o *Options) { o.Verifier, o.Now = verifier, time.Now })...)
	o := standardRules()
	o.Rules = nil
	for i, who := range []string{"*._device.partner.test", "_smtp-client.*.partner.test", "_smtp-client.*.unsigned.test", "_smtp-client.*.bogus.test"} {
		o.Rules = append(o.Rules, policy.Rule{Who: pattern.MustParse(who), Allow: true, From: addresses("any"), Line: i + 1})
	}
	for i, who := range []string{"*@partner.test", "*@ee.test"} {
		o.Rules = append(o.Rules, policy.Rule{Who: pattern.MustParse(who), Allow: true, Line: i + 11})
	}
	w.setRules(o)
	return w
}

func internet(t *testing.T) *lab.Internet {
	t.Helper()
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestLabClients(t *testing.T) {
	n := internet(t)
	w := labWorld(t, n, n.DNS.Addr())
	addr := w.serve()["mx"]
	refusals := map[string]bool{}
	for _, c := range []struct {
		name, want string
		client     *lab.Client
	}{
		{"device", "250 ", &n.Device},
		{"MTA", "250 ", &n.MTA},
		{"wrong key", "550 5.7.1 ", &n.Wrong},
		{"unsigned zone", "550 5.7.1 ", &n.Unsigned},
		{"name that no rule allows", "550 5.7.1 ", &n.Random},
		{"a user where clients are taken", "550 5.7.1 ", &n.Rick},
		{"nobody", "550 5.7.1 ", nil},
		{"bogus zone", "451 4.7.5 ", &n.Bogus},
	} {
		var cert *tls.Certificate
		if c.client != nil {
			pair := c.client.TLSCertificate()
			cert = &pair
		}
		d := openTLS(t, addr, cert)
		d.expect("MAIL FROM:<a@partner.test>", "250 ")
		got := d.cmd("RCPT TO:<a@remote.test>")
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if strings.HasPrefix(got, "550") {
			refusals[cut(got)] = true
		}
		d.expect("RCPT TO:<info@example.test>", "250 ") // ordinary mail is served whatever the certificate is
		d.expect("DATA", "354 ")
		d.expect("x\r\n.", "250 2.6.0 ")
		ms := w.queue.messages()
		named := strings.Contains(ms[len(ms)-1].body, "(client dane ")
		if named != strings.HasPrefix(c.want, "250") {
			t.Errorf("%s: Received names a client: %v", c.name, named)
		}
	}
	if len(refusals) != 1 {
		t.Errorf("refusals differ: %v", refusals)
	}
	if n.DNS.Asked(n.Random.Owner) {
		t.Error("DNS was asked for a name that no rule allows")
	}
}

func TestLabUsers(t *testing.T) {
	n := internet(t)
	w := labWorld(t, n, n.DNS.Addr())
	addr := w.serve()["sub"]
	rick, eve, device := n.Rick.TLSCertificate(), n.Eve.TLSCertificate(), n.Device.TLSCertificate()
	d := openTLS(t, addr, &rick)
	d.expect("AUTH EXTERNAL =", "235 2.7.0 ")
	d.expect("MAIL FROM:<someone@partner.test>", "553 5.7.1 ")
	if got := d.send("rick@partner.test", "a@remote.test", "Subject: x\r\n"); !strings.HasPrefix(got, "250 2.6.0 ") {
		t.Error(got)
	}
	if m := w.queue.messages()[0]; m.Identity != "rick@partner.test" || !strings.Contains(m.body, " with ESMTPSA id ") {
		t.Errorf("identity %q\n%s", m.Identity, m.body)
	}
	openTLS(t, addr, &eve).expect("AUTH EXTERNAL =", "535 5.7.8 ") // usage 3 at _user is no user
	openTLS(t, addr, &device).expect("AUTH EXTERNAL =", "535 5.7.8 ")
}

// The same with a resolver that swallows every question: those who need DNS wait
// and read a temporary refusal, all others are served at once.
func TestLabDeadDNS(t *testing.T) {
	t.Parallel() // most of it is waiting
	n := internet(t)
	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	w := labWorld(t, n, hole.LocalAddr().String())
	addrs := w.serve()
	device, rick := n.Device.TLSCertificate(), n.Rick.TLSCertificate()

	relaying := openTLS(t, addrs["mx"], &device)
	relaying.expect("MAIL FROM:<a@partner.test>", "250 ")
	fmt.Fprint(relaying.conn, "RCPT TO:<a@remote.test>\r\n")
	login := openTLS(t, addrs["sub"], &rick)
	fmt.Fprint(login.conn, "AUTH EXTERNAL =\r\n")

	begin := time.Now()
	d := openTLS(t, addrs["mx"], &device)
	if got := d.send("a@partner.test", "info@example.test", "x"); !strings.HasPrefix(got, "250 2.6.0 ") {
		t.Error(got)
	}
	if waited := time.Since(begin); waited > 3*time.Second { // one look-up takes 5 s to fail
		t.Errorf("ordinary mail waited for DNS: %v", waited)
	}
	relaying.expect("", "451 4.7.5 ")
	login.expect("", "454 4.7.0 ")
}
