package wire

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/crowd"
)

func tcp(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// addressed is a connection in memory from an address of the Internet.
type addressed struct {
	net.Conn
	from net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }

func (w *world) dialFrom(address string) *peer {
	ours, theirs := net.Pipe()
	w.conns <- addressed{theirs, tcp(address)}
	p := newPeer(w.t, ours)
	synctest.Wait()
	return p
}

// TestCrowdReplies: what those read for whom there is no place.
func TestCrowdReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := ""
		w := newWorld(t, func(c *Config, _ *recorder) {
			c.Crowd = crowd.New(crowd.Options{Connections: 100, PerAddress: 1, PerNetwork: 2, Overload: func() string { return busy }})
		})
		peers := []*peer{w.dialFrom("192.0.2.7:1"), w.dialFrom("192.0.2.8:1")}
		for _, s := range []struct{ from, busy, want string }{
			{"192.0.2.7:2", "", "421 4.7.0 Too many connections from your address, try again later\r\n"},
			{"192.0.2.9:1", "", "421 4.7.0 Too many connections from your network, try again later\r\n"},
			{"198.51.100.1:1", "no memory", "421 4.3.2 Too busy, try again later\r\n"},
		} {
			busy = s.busy
			p := w.dialFrom(s.from)
			if got := p.take(); got != s.want || !p.isClosed() {
				t.Errorf("%s: %q", s.from, got)
			}
			peers = append(peers, p)
		}
		w.wantEvents("too many from one peer, too many from one network, overloaded")
		for _, p := range peers {
			p.close()
		}
		w.shut()
	})
}

// TestDense: in a dense crowd the silent lose their places within ten seconds, also
// those who were there before it became so, whatever they were silent in.
func TestDense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crowd := crowd.New(crowd.Options{Connections: 8, Handshakes: 8})
		w := newWorld(t, func(c *Config, _ *recorder) { c.Crowd = crowd })
		silent := map[string]*peer{}
		for name, said := range map[string]string{
			"from the start": "", "in a command": "EHLO x\r\nMAIL FR", "in a transaction": "EHLO x\r\n" + envelope,
			"in a body": "EHLO x\r\n" + envelope + "DATA\r\nSubject: x\r\n", "in a handshake": "EHLO x\r\nSTARTTLS\r\n",
		} {
			p := w.dial()
			p.send(said)
			silent[name] = p
		}
		time.Sleep(time.Minute)
		for name, p := range silent {
			if name != "in a handshake" && p.isClosed() { // a handshake has ten seconds anyway
				t.Errorf("%s: closed, and there is room enough", name)
			}
		}
		sixth, honest := w.dial(), w.dial() // six of eight, since the handshake is over
		w.wantEvents("handshake failed, dense crowd")
		time.Sleep(5 * time.Second)
		honest.send("EHLO x\r\n")
		time.Sleep(5*time.Second + time.Millisecond)
		for name, p := range silent {
			if !p.isClosed() {
				t.Errorf("%s: still open", name)
			}
		}
		honest.send(envelope)
		if got := honest.codes(); !strings.HasSuffix(got, enveloped) {
			t.Errorf("the one who speaks: %s", got)
		}
		time.Sleep(time.Minute) // few are left: the crowd is dense no more
		if crowd.IsDense() {
			t.Error("still dense")
		}
		late := w.dial()
		time.Sleep(time.Minute)
		if late.isClosed() {
			t.Error("closed after a minute in an empty crowd")
		}
		for _, p := range append([]*peer{sixth, honest, late}, silent["from the start"]) {
			p.close()
		}
		w.shut()
		if crowd.Len() != 0 || crowd.Handshakes() != 0 {
			t.Errorf("%d places and %d handshakes are left", crowd.Len(), crowd.Handshakes())
		}
	})
}

// TestHandshakes: one too many is told 454, and may try again (RFC 3207 4).
func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crowd := crowd.New(crowd.Options{Connections: 100, Handshakes: 1})
		w := newWorld(t, func(c *Config, _ *recorder) { c.Crowd = crowd })
		slow, second := w.dial(), w.dial()
		slow.send("STARTTLS\r\n")
		second.send("EHLO x\r\nSTARTTLS\r\n")
		if got := second.codes(); !strings.HasSuffix(got, "454 4.7.0") {
			t.Errorf("second: %s", got)
		}
		w.wantEvents("too many handshakes")
		time.Sleep(11 * time.Second) // the slow one has lost its turn
		second.send("STARTTLS\r\n")
		second.secure()
		second.send("EHLO x\r\n")
		if got := second.codes(); !strings.HasPrefix(got, "250") {
			t.Errorf("second, later: %s", got)
		}
		if n := crowd.Handshakes(); n != 0 {
			t.Errorf("%d handshakes under way after the last", n)
		}
		slow.close()
		second.close()
		w.shut()
	})
	synctest.Test(t, func(t *testing.T) { // TLS from the first octet: nothing can be said
		crowd := crowd.New(crowd.Options{Connections: 100, Handshakes: 1})
		w := newWorld(t, func(c *Config, _ *recorder) { c.Crowd, c.Implicit = crowd, true })
		slow, second := w.dial(), w.dial()
		if got := second.take(); got != "" || !second.isClosed() {
			t.Errorf("second: %q", got)
		}
		slow.close()
		second.close()
		w.shut()
	})
}

func TestSpent(t *testing.T) {
	limits := func(l Limits) func(*Config, *recorder) { return func(c *Config, _ *recorder) { c.Limits = l } }
	bubble(t, "commands", limits(Limits{Commands: 12}), func(t *testing.T, w *world, p *peer) {
		p.send("MAIL FROM:<>\r\n" + strings.Repeat("RCPT TO:<a@b>\r\n", 8))
		if p.isClosed() { // the last of twelve, with EHLO, STARTTLS and EHLO
			t.Error("closed too early")
		}
		p.take()
		p.send(strings.Repeat("RCPT TO:<a@b>\r\n", 3))
		if got := p.codes(); !strings.HasSuffix(got, "421 4.7.0") || !p.isClosed() {
			t.Errorf("%s", got)
		}
		w.wantEvents("too many commands")
	})
	bubble(t, "that move no mail", limits(Limits{Idling: 5}), func(t *testing.T, w *world, p *peer) {
		for range 3 { // each message begins the count anew
			p.send("NOOP\r\nRSET\r\nVRFY x\r\n" + envelope + "BDAT 0 LAST\r\n")
		}
		if p.isClosed() {
			t.Error("closed too early")
		}
		p.take()
		p.send(strings.Repeat("NOOP\r\n", 6))
		if got := p.codes(); got != strings.Repeat("250 2.0.0, ", 5)+"421 4.7.0" || !p.isClosed() {
			t.Errorf("%s", got)
		}
		w.wantEvents("too many commands")
	})
	bubble(t, "octets", limits(Limits{Bytes: 1000}), func(t *testing.T, w *world, p *peer) {
		p.send(envelope + "BDAT 1000\r\n" + strings.Repeat("x", 1000) + "BDAT 0 LAST\r\n")
		if got := p.codes(); got != enveloped+", 250 2.0.0, 250 2.0.0" {
			t.Errorf("a message that has begun may end: %s", got)
		}
		p.send("MAIL FROM:<>\r\n")
		if got := p.codes(); got != "421 4.7.0" || !p.isClosed() {
			t.Errorf("%s", got)
		}
		w.wantEvents("too many octets")
	})
	bubble(t, "who leaves is let go", limits(Limits{Commands: 3}), func(t *testing.T, w *world, p *peer) {
		if p.conn == p.raw {
			p.send("NOOP\r\nNOOP\r\n")
		}
		p.take()
		p.send("QUIT\r\n")
		if got := p.codes(); got != "221 2.0.0" {
			t.Errorf("%s", got)
		}
	})
}
