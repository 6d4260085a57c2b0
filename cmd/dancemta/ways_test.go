package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/config"
	"dancemta/internal/lab"
	"dancemta/queue"
)

// waysConfig has ways out of every kind.
const waysConfig = minimalConfig + `
[[relay_domain]]
domain     = "own.test"
recipients = "any"
next_hop   = ["10.0.0.1:25"]

[[relay_domain]]
domain     = "mx.test"
recipients = "any"

[[route]]
domain   = "any"
next_hop = ["10.0.0.9:25"]
rate     = "10/m"

[[route]]
domain   = "*.test"
next_hop = ["10.0.0.2:25"]

[[route]]
domain   = "*.b.test"
next_hop = ["10.0.0.3:25"]

[[route]]
domain   = "own.test"
next_hop = ["10.0.0.4:25"]

[[route]]
domain = "direct.test"
helo   = "out.example.test"

[[route]]
domain        = "login.test"
next_hop      = ["in.login.test:465"]
implicit_tls  = true
auth          = "plain"
user          = "rick"
password_file = "password"
`

// The closest route decides, and a relay domain's own next hop before all.
func TestClosestRoute(t *testing.T) {
	path := writeConfig(t, waysConfig)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "password"), []byte("s3cret\r\nnot this\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := newRoutes(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for destination, want := range map[string]string{
		"own.test": "10.0.0.1:25", "x.own.test": "10.0.0.2:25", "mx.test": "10.0.0.2:25", "a.test": "10.0.0.2:25", "a.b.test": "10.0.0.3:25",
		"b.test": "10.0.0.2:25", "test": "10.0.0.9:25", "example.org": "10.0.0.9:25", "[192.0.2.1]": "10.0.0.9:25", "direct.test": "",
	} {
		if got := strings.Join(rs.route(destination).Hosts, " "); got != want {
			t.Errorf("%s goes to %q, not %q", destination, got, want)
		}
	}
	if r := rs.route("direct.test"); r.Hello.String() != "out.example.test" || r.Version == 0 {
		t.Errorf("%+v", r)
	}
	if r := rs.route("login.test"); r.Auth.User != "rick" || r.Auth.Password != "s3cret" || !r.ImplicitTLS || strings.Contains(fmt.Sprintf("%+v", r), "s3cret") {
		t.Errorf("%+v", r)
	}
	if got := rs.rate("example.org"); got != (queue.Rate{Key: "route any", Messages: 10, Per: time.Minute}) {
		t.Errorf("%+v", got)
	}
	if got := rs.rate("a.test"); got != (queue.Rate{}) {
		t.Errorf("%+v", got)
	}
}

// The connections of a route are those of all its domains; a closer route has its own.
func TestRouteConnections(t *testing.T) {
	rs := routes{
		{what: "route a.test", conf: config.Route{Domain: "a.test"}},
		{what: "route any", conf: config.Route{Domain: "any", Connections: 3}},
	}
	p := new(parts)
	p.live.Store(&live{routes: rs})
	for destination, want := range map[string]queue.Share{
		"a.test": {Key: "route a.test"}, "b.test": {Key: "route any", Visits: 3}, "[192.0.2.1]": {Key: "route any", Visits: 3},
	} {
		if got := rs.share(destination); got != want {
			t.Errorf("%s: %+v, want %+v", destination, got, want)
		}
		if kept := p.keep(destination); (kept == 0) != (want.Visits > 0) {
			t.Errorf("%s: a connection waits %v", destination, kept)
		}
	}
	if got := rs[:1].share("b.test"); got != (queue.Share{}) {
		t.Errorf("no route: %+v", got)
	}
}

// A password that everybody may read is none any more.
func TestPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	for _, c := range []struct {
		text string
		mode os.FileMode
		want error
	}{{"s3cret\n", 0o600, nil}, {"s3cret", 0o640, nil}, {"s3cret\n", 0o644, errOpenPassword}, {"s3cret\n", 0o602, errOpenPassword}, {"\nx", 0o600, errNoPassword}, {"", 0o600, errNoPassword}} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		if got, err := readPassword(file); !errors.Is(err, c.want) || err == nil && got != "s3cret" {
			t.Errorf("%q, %o: %q, %v", c.text, c.mode, got, err)
		}
	}
	if _, err := readPassword(file + ".gone"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestOwnPorts(t *testing.T) {
	cfg := &config.Config{Listeners: []config.Listener{{Address: "192.0.2.1:25"}, {Address: "[::1]:587"}, {Address: "192.0.2.1:0"}, {Address: ":26"}}}
	cfg.Delivery.MXPort = 25
	got := ownPorts(cfg)
	if len(got) < 3 || got[0] != netip.MustParseAddrPort("192.0.2.1:25") || got[1] != netip.MustParseAddrPort("[::1]:587") || got[2].Port() != 26 {
		t.Errorf("%v", got)
	}
	if got := ownAddresses(cfg); len(got) != 1 || got[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("%v", got)
	}
}

// store is a mail store that takes one message by LMTP.
func store(t *testing.T, path string) chan error {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	end := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = takeLMTP(conn)
		}
		end <- err
	}()
	return end
}

// takeLMTP plays the store's side of one session, with one recipient.
func takeLMTP(conn net.Conn) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	lines := bufio.NewScanner(conn)
	answers := map[string]string{"LHLO": "250 store", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", ".": "250 2.1.5 ann has it", "QUIT": "221 bye"}
	heard := ""
	fmt.Fprint(conn, "220 store\r\n")
	for lines.Scan() {
		verb, _, _ := strings.Cut(lines.Text(), " ")
		answer, known := answers[verb]
		if !known {
			continue // of the message
		}
		fmt.Fprint(conn, answer+"\r\n")
		if heard += verb + " "; verb == "QUIT" {
			break
		}
	}
	if want := "LHLO MAIL RCPT DATA . QUIT "; heard != want {
		return fmt.Errorf("heard %q", heard)
	}
	return nil
}

// Mail that waits takes the way of a route that was written meanwhile.
func TestReloadReachesTheQueue(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.Sink.Answer(func(c lab.Command) string { // up, so that nobody stays away from it
		return map[string]string{"RCPT": "450 4.2.1 later"}[c.Verb]
	})
	hop := fmt.Sprintf("next_hop = [%q]\n", n.Sink.Addr())
	before := fmt.Sprintf(routeConfig[:strings.Index(routeConfig, "next_hop")], n.DNS.Addr()) + hop
	path := writeConfig(t, before)
	dir := filepath.Dir(path)
	if err := n.WritePKI(dir); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, path)
	handOver(t, s.addresses["relay"], "a@far.test", "ann@remote.test")
	waitLog(t, s, `"msg":"deferred"`)
	end := store(t, filepath.Join(dir, "lmtp"))
	after := strings.Replace(before, hop, fmt.Sprintf("[[route]]\ndomain = \"any\"\nprotocol = \"lmtp\"\nnext_hop = [\"unix:%s/lmtp\"]\n", dir), 1)
	if err := os.WriteFile(path, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, s, "configuration reloaded")
	select {
	case err := <-end:
		if err != nil {
			t.Errorf("%v\n%s", err, s.text())
		}
		waitLog(t, s, `"msg":"delivered"`)
	case <-withTimeout(t).Done():
		t.Fatalf("the message did not come:\n%s", s.text())
	}
}

// check says of each next hop whether mail can go there.
func TestCheckRoutes(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	_, port, err := splitPort(n.Sink.Addr())
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := l.Addr().String()
	l.Close() // nobody listens there now
	for _, c := range []struct {
		name, route, want string
		code              int
	}{
		{"good", fmt.Sprintf("next_hop = [\"127.0.0.1:%d\"]", port), "ok       route any: [127.0.0.1] takes mail (", 0},
		{"down", fmt.Sprintf("next_hop = [%q]", down), "warning  route any: [127.0.0.1]: dial tcp " + down, 0},
		{"one is down", fmt.Sprintf("next_hop = [%q, \"127.0.0.1:%d\"]", down, port), "warning  route any: [127.0.0.1]: dial tcp " + down, 0},
		{"no login", fmt.Sprintf("next_hop = [\"127.0.0.1:%d\"]\ntls = \"encrypt\"\nauth = \"external\"\nclient_certificate = \"client.pem\"\nclient_key = \"client.key\"", port), "problem  route any: [127.0.0.1]: AUTH: the server does not offer the login", exitBroken},
		{"no such host", "next_hop = [\"nohost.example.test:25\"]", "problem  route any: nohost.example.test: ", exitBroken},
	} {
		path := writeConfig(t, fmt.Sprintf(routeConfig[:strings.Index(routeConfig, "next_hop")], n.DNS.Addr())+"[[route]]\ndomain = \"any\"\n"+c.route+"\n")
		if err := n.WritePKI(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		copyPair(t, filepath.Dir(path), n.Device)
		if code, out, _ := run(t, "check", "--config", path); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d\n%s", c.name, code, out)
		}
	}
}
