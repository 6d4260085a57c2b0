package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestStartTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.dial()
		p.send("EHLO before.example\r\n" + envelope)
		session := w.rec.lastConn
		if _, ok := session.TLS(); ok {
			t.Error("TLS in clear")
		}
		p.send("STARTTLS\r\n")
		if got := p.take(); !strings.HasSuffix(got, "\r\n220 2.0.0 Ready to start TLS\r\n") {
			t.Errorf("STARTTLS: %q", got)
		}
		p.secure()
		if session.Context().Err() == nil {
			t.Error("the context of the plaintext phase goes on")
		}
		// RFC 3207 4.2: EHLO, MAIL and RCPT of before are void.
		p.send("DATA\r\nMAIL FROM:<a@b>\r\nEHLO after.example\r\nDATA\r\nSTARTTLS\r\n")
		if got, want := p.codes(), "503 5.5.1, 503 5.5.1, 250, 503 5.5.1, 503 5.5.1"; got != want {
			t.Errorf("inside: %s, want %s", got, want)
		}
		state, ok := w.rec.lastConn.TLS()
		if !ok || len(state.PeerCertificates) != 1 || w.rec.lastConn.Session() != session.Session() {
			t.Errorf("TLS %v, %d certificates", ok, len(state.PeerCertificates))
		}
		p.close()
		w.shut()
		want := "session before.example, mail a@b.example size=0 body=, rcpt c@d.example, logout, session after.example, reset, logout"
		if got := strings.Join(w.rec.called(), ", "); got != strings.Replace(want, "reset, ", "", 1) {
			t.Errorf("calls %s", got)
		}
		if w.events() != "" {
			t.Errorf("events %s", w.events())
		}
	})
}

func TestSlowHandshake(t *testing.T) { // its time is its own, not what is left of a command's
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, _ *recorder) { c.Limits.Idle = 5 * time.Second })
		p := w.dial()
		p.send("EHLO x\r\n")
		p.send("STARTTLS\r\n")
		time.Sleep(9 * time.Second)
		p.secure()
		p.send("NOOP\r\n")
		if got := p.codes(); got != "250 2.0.0" {
			t.Errorf("%s", got)
		}
		p.close()
		w.shut()
	})
}

func TestNoTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, _ *recorder) { c.TLS = nil })
		p := w.dial()
		p.send("EHLO x\r\nSTARTTLS\r\nNOOP\r\n")
		if got := p.take(); strings.Contains(got, "250 STARTTLS") || codes(got) != "220, 250, 502 5.5.1, 250 2.0.0" {
			t.Errorf("%q", got)
		}
		p.close()
		w.shut()
	})
}

// TestInjection: octets behind STARTTLS are never read inside TLS (CVE-2011-0411).
func TestInjection(t *testing.T) {
	for _, behind := range []string{"E", "EHLO evil.example\r\n" + envelope, "\x16\x03\x01"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			p := w.dial()
			p.send("EHLO x\r\n")
			p.take()
			p.send("STARTTLS\r\n" + behind)
			if got := p.take(); got != "" || !p.isClosed() {
				t.Errorf("%q: %q, closed %v", behind, got, p.isClosed())
			}
			p.close()
			p = w.dial()
			p.take()
			p.send("EHLO x\r\nSTARTTLS\r\n" + behind) // nor does what was asked before get an answer
			if got := p.take(); got != "" || !p.isClosed() {
				t.Errorf("%q: %q, closed %v", behind, got, p.isClosed())
			}
			p.close()
			w.shut()
			if w.events() != "injection behind starttls, injection behind starttls" {
				t.Errorf("%q: events %s", behind, w.events())
			}
		})
	}
}

// TestHandshakeFails: no reply, no way back to plaintext (RFC 3207 4.1).
func TestHandshakeFails(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		for _, garbage := range []string{"EHLO evil.example\r\n" + envelope, "", "\x16\x03\x01\x00\x05hallo"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config, _ *recorder) { c.Implicit = implicit })
				p := w.dial()
				if !implicit {
					p.send("EHLO x\r\n")
					p.send("STARTTLS\r\n")
				}
				p.take()
				p.send(garbage)
				if garbage == "" {
					time.Sleep(10 * time.Second) // the bubble's: a handshake that does not come
					synctest.Wait()
				}
				if got := p.take(); strings.Contains(got, "50 ") || strings.Contains(got, "20 ") || !p.isClosed() {
					t.Errorf("%q: %q, closed %v", garbage, got, p.isClosed())
				}
				p.close()
				w.shut()
				if w.events() != "handshake failed" || len(w.rec.accepted()) != 0 {
					t.Errorf("%q: events %s", garbage, w.events())
				}
			})
		}
	}
}

func TestImplicit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, _ *recorder) { c.Implicit, c.RequireTLS = true, true })
		p := w.dial()
		p.secure()
		if got := p.take(); got != "220 mx.example.test ESMTP\r\n" {
			t.Errorf("greeting %q", got)
		}
		p.send("EHLO x\r\n" + envelope + "BDAT 1 LAST\r\nxSTARTTLS\r\nQUIT\r\n")
		if got := p.take(); strings.Contains(got, "250 STARTTLS") || codes(got) != "250, "+enveloped+", 250 2.0.0, 503 5.5.1, 221 2.0.0" {
			t.Errorf("%q", got)
		}
		if !p.isClosed() {
			t.Error("not closed")
		}
		p.close()
		w.shut()
	})
}

func TestRequireTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, _ *recorder) { c.RequireTLS, c.Limits.Errors = true, 100 })
		p := w.dial()
		p.send("NOOP\r\nMAIL FROM:<a@b>\r\nEHLO x\r\n" + envelope + "DATA\r\nBDAT 6 LAST\r\nRSET\r\nAUTH EXTERNAL =\r\nVRFY x\r\nRSET\r\nFOO\r\nHELO x\r\nEXPN x\r\n")
		no := "530 5.7.0, "
		if got, want := p.codes(), "220, 250 2.0.0, "+no+"250, "+strings.Repeat(no, 9)+"530 5.7.0"; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		p.send("STARTTLS\r\n")
		p.secure()
		p.send("EHLO x\r\n" + envelope)
		if got := p.codes(); got != "250, "+enveloped {
			t.Errorf("inside %s", got)
		}
		p.send("QUIT\r\n")
		p.close()
		p = w.dial()
		p.send("QUIT\r\n")
		if got := p.codes(); got != "220, 221 2.0.0" {
			t.Errorf("QUIT: %s", got)
		}
		p.close()
		w.shut()
	})
}

// TestCloseNotify: the peer can tell our end from a cut.
func TestCloseNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.dialTLS()
		_ = p.raw.SetReadDeadline(time.Unix(1, 0))
		<-p.done
		_ = p.raw.SetReadDeadline(time.Time{})
		go func() { _, _ = p.conn.Write([]byte("QUIT\r\n")) }()
		var buf [100]byte
		n, err := p.conn.Read(buf[:])
		if string(buf[:n]) != "221 2.0.0 Bye\r\n" || err != nil {
			t.Errorf("%q, %v", buf[:n], err)
		}
		if _, err = p.conn.Read(buf[:]); err == nil || err.Error() != "EOF" {
			t.Errorf("end: %v", err)
		}
		p.close()
		w.shut()
	})
}

// TestKeyUpdate: old deadlines do not hit what TLS has to write by itself.
func TestKeyUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.dialTLS()
		p.send("EHLO x\r\n")
		time.Sleep(4 * time.Minute)
		p.send("NOOP\r\n")
		time.Sleep(4 * time.Minute)
		if p.conn.(*tls.Conn).ConnectionState().Version != tls.VersionTLS13 {
			t.Error("not TLS 1.3")
		}
		p.send("NOOP\r\n")
		if got := p.codes(); got != "250, 250 2.0.0, 250 2.0.0" {
			t.Errorf("%s", got)
		}
		p.close()
		w.shut()
	})
}

// TestLateAlert: a client of TLS 1.3 has said EHLO by the time that its certificate
// is refused. The alert arrives, and no reset that could overtake it.
func TestLateAlert(t *testing.T) {
	spoke := make(chan struct{})
	addr, _, stop := onTCP(t, func(c *Config, _ *recorder) {
		c.Implicit = true
		c.TLS.VerifyConnection = func(tls.ConnectionState) error {
			<-spoke
			return errors.New("refused")
		}
	})
	defer stop()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, clientTLS())
	if _, err := io.WriteString(conn, "EHLO x\r\n"+strings.Repeat("x", 100_000)); err != nil {
		t.Fatal(err)
	}
	close(spoke)
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("inside: %v", err)
	}
	if _, err := raw.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("outside: %v", err)
	}
}

// TestHandshakeBytes: what a client says in a handshake is bounded as a whole;
// what it says afterwards, or has sent already, is not.
func TestHandshakeBytes(t *testing.T) {
	addr, rec, stop := onTCP(t, func(c *Config, _ *recorder) { c.Implicit = true })
	defer stop()
	for _, c := range []struct {
		name                   string
		certificates, messages int // certificates of about 340 octets; messages in all
	}{{"32 KiB", 90, 1}, {"200 KiB", 600, 1}} {
		cert := keys()
		cert.Certificate = slices.Repeat(cert.Certificate, c.certificates)
		config := clientTLS()
		config.Certificates = []tls.Certificate{cert}
		conn, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Fatal(err)
		}
		var speaker sync.WaitGroup
		speaker.Go(func() {
			_, _ = io.WriteString(conn, "EHLO x\r\n"+envelope+"DATA\r\n"+strings.Repeat("x\r\n", 100_000)+".\r\nQUIT\r\n")
		})
		got, err := io.ReadAll(conn)
		conn.Close()
		speaker.Wait()
		if n := len(rec.accepted()); n != c.messages {
			t.Errorf("%s: %d messages have come, want %d; %q, %v", c.name, n, c.messages, got, err)
		}
	}
}
