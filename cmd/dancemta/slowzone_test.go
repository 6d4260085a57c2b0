//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/internal/lab"
)

const (
	// slowPeers hold a session each, waiting for a zone that never answers.
	slowPeers = 1000
	// maxLogin is half of what they wait: milliseconds on a machine that does nothing
	// else, and no test of its speed.
	maxLogin = 5 * time.Second
)

// deafTo forwards questions to a resolver, but for those about slow.test, which get no
// answer. It returns its address.
func deafTo(t *testing.T, upstream string) string {
	t.Helper()
	in, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { in.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			buf := make([]byte, 1500)
			n, from, err := in.ReadFrom(buf)
			if err != nil {
				return
			}
			if bytes.Contains(buf[:n], []byte("\x04slow\x04test\x00")) {
				continue
			}
			wait.Go(func() {
				out, err := net.Dial("udp", upstream)
				if err != nil {
					return
				}
				defer out.Close()
				out.SetDeadline(time.Now().Add(5 * time.Second))
				reply := make([]byte, 4096)
				if _, err := out.Write(buf[:n]); err != nil {
					return
				}
				if n, err := out.Read(reply); err == nil {
					in.WriteTo(reply[:n], from)
				}
			})
		}
	})
	return in.LocalAddr().String()
}

// sessionFrom opens one from an address of loopback of its own, up to the EHLO after
// STARTTLS.
func (d *demo) sessionFrom(t *testing.T, from string, client *lab.Client) *dialog {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(withTimeout(t), "tcp", d.server.addresses["relay"])
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	s := &dialog{conn: conn, text: textproto.NewConn(conn), out: d.out}
	if err := s.secure(d.tlsConfig(client)); err != nil {
		t.Fatal(err)
	}
	return s
}

// A thousand sessions, each from an address of its own, wait for names in a zone that
// never answers; whoever has another zone is let in meanwhile.
func TestSlowZoneStopsNobodyElse(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	d := &demo{dir: t.TempDir(), net: n, out: &transcript{w: io.Discard}}
	if d.ldap, err = d.net.StartDirectory(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.ldap.Close() })
	if err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(d.configPath())
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), n.DNS.Addr(), deafTo(t, n.DNS.Addr()), 1) +
		fmt.Sprintf("\n[[rule]]\nwho = \"_smtp-client.*.slow.test\"\naction = \"allow\"\nfrom = [\"any\"]\n\n[limits]\nconnections = %d\n", slowPeers+10)
	if err := os.WriteFile(d.configPath(), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	d.server = startServer(t, d.configPath())

	slow := make([]*dialog, slowPeers)
	var wait sync.WaitGroup
	for part := range 8 {
		wait.Go(func() {
			for i := part; i < slowPeers; i += 8 {
				cred := lab.SelfSigned(lab.LeafOptions{Names: []string{fmt.Sprintf("mx%d.slow.test", i)}})
				slow[i] = d.sessionFrom(t, fmt.Sprintf("127.1.%d.%d", i/250, i%250+1), &lab.Client{Credential: cred})
			}
		})
	}
	wait.Wait()
	for _, s := range slow {
		defer s.conn.Close()
		if err := s.text.PrintfLine("MAIL FROM:<a@slow.test>\r\nRCPT TO:<%s>", recipient); err != nil {
			t.Fatal(err)
		}
	}
	longest := time.Duration(0)
	for i := range 20 {
		start := time.Now()
		s := d.sessionFrom(t, fmt.Sprintf("127.2.0.%d", i+1), &n.Device)
		for _, line := range []string{"MAIL FROM:<sensor7@partner.test>", "RCPT TO:<" + recipient + ">"} {
			if err := s.expect(line, "250"); err != nil {
				t.Error(err)
			}
		}
		longest = max(longest, time.Since(start))
		s.close()
	}
	answered := strings.Count(d.server.text(), `"command":"RCPT"`)
	t.Logf("the longest login took %v, %d of the sessions have been put off by then", longest, answered)
	if answered > slowPeers/2 {
		t.Errorf("%d of %d sessions do not wait any more", answered, slowPeers)
	}
	if longest > maxLogin {
		t.Errorf("a login took %v beside %d sessions that wait", longest, slowPeers)
	}
}
