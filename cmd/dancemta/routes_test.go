package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

// routeConfig is a server that takes mail for partner.test and hands it, as a
// client with an identity, to another server.
const routeConfig = jsonLog + `hostname   = "out.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
tls        = { certificate = "mx.pem", key = "mx.key" }
dns        = { upstreams = [%q], trust_anchors = "root.ds" }
queue      = { retry = ["1s"] }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"

[[relay_domain]]
domain             = "remote.test"
recipients         = "any"
next_hop           = [%q]
client_certificate = "client.pem"
client_key         = "client.key"
`

// copyPair makes a client of the lab be client.pem and client.key.
func copyPair(t *testing.T, dir string, c lab.Client) {
	t.Helper()
	for name, text := range map[string][]byte{"client.pem": c.CertPEM(), "client.key": c.KeyPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// One server relays through another, known by its certificate or by the name
// that it tells; and with other files after SIGHUP.
func TestRouteWithIdentity(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	_, port, err := splitPort(n.Sink.Addr())
	if err != nil {
		t.Fatal(err)
	}
	next := writeConfig(t, fmt.Sprintf(demoConfig, n.DNS.Addr(), port))
	if err := n.WritePKI(filepath.Dir(next)); err != nil {
		t.Fatal(err)
	}
	relay := startServer(t, next)
	source, more := "certificate", ""
	if clientid.Supported {
		source, more = "extension", fmt.Sprintf("client_name = %q\n", n.Device.Owner)
	}
	config := writeConfig(t, fmt.Sprintf(routeConfig, n.DNS.Addr(), relay.addresses["relay"])+more)
	dir := filepath.Dir(config)
	if err := n.WritePKI(dir); err != nil {
		t.Fatal(err)
	}
	copyPair(t, dir, n.Wrong)
	first := startServer(t, config)
	handOver(t, first.addresses["relay"], "sensor7@partner.test", "bob@remote.test")
	waitLog(t, relay, `"msg":"rejected"`) // the wrong key: no client, no relaying
	copyPair(t, dir, n.Device)
	first.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, first, "configuration reloaded")
	handOver(t, first.addresses["relay"], "sensor7@partner.test", "ann@remote.test")
	m, err := n.Sink.Wait(withTimeout(t), func(m lab.Message) bool { return m.To[0] == "ann@remote.test" })
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, first.text(), relay.text())
	}
	if !strings.Contains(string(m.Data), "(client dane "+n.Device.Owner+")") {
		t.Errorf("%s", m.Data)
	}
	waitLog(t, relay, fmt.Sprintf(`"source":%q`, source))
}

// deliver hands one message to a server, in clear.
func handOver(t *testing.T, address, from, to string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &dialog{conn: conn, text: textproto.NewConn(conn), out: &transcript{w: io.Discard}}
	defer s.close()
	for _, line := range []string{"", "EHLO a.test"} {
		if _, err := s.quiet(line); err != nil {
			t.Fatal(err)
		}
	}
	if reply, err := s.send(from, to, message(from, "a route")); err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("%q, %v", reply, err)
	}
}
