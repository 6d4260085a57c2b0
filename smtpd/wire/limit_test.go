package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
)

// bubble runs f with a world and a connection that has said EHLO, in clear and
// inside TLS. Time is the bubble's: no test waits.
func bubble(t *testing.T, name string, bend func(*Config, *recorder), f func(*testing.T, *world, *peer)) {
	for _, secure := range []string{"clear", "tls"} {
		t.Run(name+"/"+secure, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, bend)
				p := w.dial()
				if secure == "tls" {
					p.close()
					p = w.dialTLS()
				}
				p.send("EHLO x\r\n")
				p.take()
				f(t, w, p)
				p.close()
				w.shut()
			})
		})
	}
}

// ends checks what a connection has ended with, and how long that took.
func (p *peer) ends(codes string, start time.Time, took time.Duration) {
	p.t.Helper()
	<-p.done
	if got := p.codes(); got != codes {
		p.t.Errorf("replies %s, want %s", got, codes)
	}
	if got := time.Since(start); got != took {
		p.t.Errorf("ended after %v, want %v", got, took)
	}
}

func (w *world) wantEvents(want string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.events(); got != want {
		w.t.Errorf("events %q, want %q", got, want)
	}
}

func TestIdle(t *testing.T) {
	bubble(t, "silence", nil, func(t *testing.T, w *world, p *peer) {
		p.ends("421 4.4.2", time.Now(), 5*time.Minute)
		w.wantEvents("idle timeout")
	})
	bubble(t, "in a transaction", nil, func(t *testing.T, w *world, p *peer) {
		p.send(envelope)
		p.ends(enveloped+", 421 4.4.2", time.Now(), 5*time.Minute)
		w.wantEvents("idle timeout")
	})
	bubble(t, "a letter now and then", nil, func(t *testing.T, w *world, p *peer) {
		start := time.Now()
		for range 4 {
			p.send("N")
			time.Sleep(time.Minute)
		}
		p.send("O")
		p.ends("421 4.4.2", start, 5*time.Minute) // RFC 5321 4.5.3.2.7 speaks of a command
		w.wantEvents("idle timeout")
	})
	bubble(t, "in a sasl exchange", func(_ *Config, r *recorder) { r.mechs = []string{"EXTERNAL"} }, func(t *testing.T, w *world, p *peer) {
		p.send("AUTH EXTERNAL\r\n")
		p.take()
		p.ends("421 4.4.2", time.Now(), 5*time.Minute)
		w.wantEvents("idle timeout")
	})
}

func TestConnectionLimit(t *testing.T) {
	bubble(t, "commands", nil, func(t *testing.T, w *world, p *peer) {
		start := time.Now()
		for range 14 {
			time.Sleep(4 * time.Minute)
			p.send("NOOP\r\n")
		}
		p.take()
		p.ends("421 4.4.2", start, time.Hour)
		w.wantEvents("connection timeout")
	})
	bubble(t, "body", nil, func(t *testing.T, w *world, p *peer) {
		start := time.Now()
		p.send(envelope + "DATA\r\n")
		for range 59 {
			time.Sleep(time.Minute)
			p.send(strings.Repeat("x", 9998) + "\r\n")
		}
		p.take()
		p.ends("421 4.4.2", start, time.Hour)
		w.wantEvents("connection timeout")
		if len(w.rec.accepted()) != 0 {
			t.Error("accepted")
		}
	})
}

func TestSlowBody(t *testing.T) {
	for _, verb := range []string{"DATA\r\n", "BDAT 1000000 LAST\r\n"} {
		code := enveloped + ", 354, 421 4.4.2"
		if verb[0] == 'B' {
			code = enveloped + ", 421 4.4.2"
		}
		bubble(t, "silence "+verb[:4], nil, func(t *testing.T, w *world, p *peer) {
			p.send(envelope + verb)
			p.ends(code, time.Now(), 2*time.Minute) // the grace of the rate
			w.wantEvents("slow body")
		})
		bubble(t, "silence later "+verb[:4], nil, func(t *testing.T, w *world, p *peer) {
			p.send(envelope + verb)
			time.Sleep(time.Second)
			start := time.Now()
			p.send(strings.Repeat("x", 60_000)) // worth 468 s
			p.ends(code, start, 5*time.Minute)
			w.wantEvents("slow body")
		})
		bubble(t, "half the rate "+verb[:4], nil, func(t *testing.T, w *world, p *peer) {
			p.send(envelope + verb)
			start := time.Now()
			for range 10 {
				time.Sleep(20 * time.Second)
				p.send(strings.Repeat("x", 64*20-2) + "\r\n")
			}
			p.ends(code, start, 220*time.Second) // 200 s have earned 100 s, and 120 s are free
			w.wantEvents("slow body")
		})
	}
	bubble(t, "fast enough", nil, func(t *testing.T, w *world, p *peer) {
		p.send(envelope + "DATA\r\n")
		for range 100 {
			time.Sleep(30 * time.Second)
			p.send(strings.Repeat("x", 128*30-2) + "\r\n")
		}
		p.send(".\r\n")
		if got := p.codes(); got != enveloped+", 354, 250 2.0.0" {
			t.Errorf("%s", got)
		}
	})
	bubble(t, "slow session", func(_ *Config, r *recorder) {
		r.onData = func(_ *Conn, in io.Reader) error {
			time.Sleep(20 * time.Minute)
			_, err := io.Copy(io.Discard, in)
			return err
		}
	}, func(t *testing.T, w *world, p *peer) {
		start := time.Now()
		p.send(envelope + "DATA\r\n" + strings.Repeat("x\r\n", 100_000) + ".\r\n") // returns when all is read
		if got := time.Since(start); got < 20*time.Minute {
			t.Errorf("the session took only %v", got)
		}
		if got := p.codes(); got != enveloped+", 354, 250 2.0.0" {
			t.Errorf("%s", got)
		}
	})
}

func TestTooManyErrors(t *testing.T) {
	bubble(t, "ten", nil, func(t *testing.T, w *world, p *peer) {
		p.send(strings.Repeat("FOO\r\n", 9))
		if p.isClosed() {
			t.Error("closed after nine")
		}
		p.take()
		p.send("BAR\r\nNOOP\r\n")
		if got := p.codes(); got != "500 5.5.2, 421 4.7.0" || !p.isClosed() {
			t.Errorf("%s", got)
		}
		w.wantEvents("too many errors")
	})
	bubble(t, "of the session's, and of any kind", func(c *Config, r *recorder) {
		refuseNo(c, r)
		c.Limits.Errors = 4
	}, func(t *testing.T, w *world, p *peer) {
		p.send("MAIL FROM:<no@x>\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@x>\r\nBDAT 1\r\nxSTARTTLS x\r\nNOOP\r\n")
		if got := p.codes(); got != "550 5.1.1, 250 2.1.0, 550 5.1.1, 554 5.5.1, 501 5.5.4, 421 4.7.0" || !p.isClosed() {
			t.Errorf("%s", got)
		}
	})
	bubble(t, "temporary ones do not count", func(c *Config, r *recorder) {
		r.onMail = func(string, *smtp.MailOptions) error {
			return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}}
		}
	}, func(t *testing.T, w *world, p *peer) {
		p.send(strings.Repeat("MAIL FROM:<>\r\n", 30))
		if p.isClosed() {
			t.Error("closed")
		}
	})
	bubble(t, "recipients", func(_ *Config, r *recorder) { r.maxRcpts = 2 }, func(t *testing.T, w *world, p *peer) { // RFC 5321 4.5.3.1.10
		p.send("MAIL FROM:<>\r\n" + strings.Repeat("RCPT TO:<a@b>\r\n", 3) + "BDAT 0 LAST\r\n")
		if got := p.codes(); got != "250 2.1.0, 250 2.1.5, 250 2.1.5, 452 4.5.3, 250 2.0.0" {
			t.Errorf("%s", got)
		}
	})
}

// TestDeafPeer: replies that nobody takes do not hold a connection for ever.
func TestDeafPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ours, theirs := net.Pipe()
		w.conns <- theirs
		start := time.Now()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		var b [1]byte
		if _, err := ours.Read(b[:]); !errors.Is(err, io.EOF) {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		w.shut()
	})
}

func TestDrain(t *testing.T) {
	drain := func(w *world) chan error {
		done := make(chan error, 1)
		go func() { done <- w.srv.Drain(context.Background()) }()
		synctest.Wait()
		return done
	}
	bubble(t, "idle", nil, func(t *testing.T, w *world, p *peer) {
		start := time.Now()
		done := drain(w)
		p.ends("421 4.3.2", start, 0)
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.wantEvents("")
	})
	bubble(t, "half a command", nil, func(t *testing.T, w *world, p *peer) {
		p.send("MAIL FR")
		done := drain(w)
		p.ends("421 4.3.2", time.Now(), 0)
		<-done
	})
	bubble(t, "in a sasl exchange", func(_ *Config, r *recorder) { r.mechs = []string{"EXTERNAL"} }, func(t *testing.T, w *world, p *peer) {
		if p.conn == p.raw {
			return // there is none in clear
		}
		p.send("AUTH EXTERNAL\r\n")
		done := drain(w)
		p.ends("334, 421 4.3.2", time.Now(), 0)
		<-done
	})
	bubble(t, "in a transaction", nil, func(t *testing.T, w *world, p *peer) {
		p.send(envelope)
		done := drain(w)
		p.send("DATA\r\nab")
		select {
		case <-done:
			t.Error("drained in the middle of a message")
		default:
		}
		p.send("\r\n.\r\n" + envelope + "DATA\r\nx\r\n.\r\n") // the second one comes too late
		p.ends(enveloped+", 354, 250 2.0.0, 421 4.3.2", time.Now(), 0)
		<-done
		if len(w.rec.accepted()) != 1 {
			t.Errorf("%d messages", len(w.rec.accepted()))
		}
	})
	synctest.Test(t, func(t *testing.T) { // in the handshake
		w := newWorld(t, func(c *Config, _ *recorder) { c.Implicit = true })
		p := w.dial()
		done := drain(w)
		p.secure()
		if got := p.take(); !strings.HasPrefix(got, "421 4.3.2 ") {
			t.Errorf("after the handshake %q", got)
		}
		<-done
		p.close()
	})
}

func TestDrainCuts(t *testing.T) {
	bubble(t, "a session that waits", func(_ *Config, r *recorder) {
		r.onData = func(c *Conn, in io.Reader) error {
			_, _ = io.Copy(io.Discard, in)
			<-c.Context().Done()
			return c.Context().Err()
		}
	}, func(t *testing.T, w *world, p *peer) {
		p.send(envelope + "BDAT 0 LAST\r\n")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := w.srv.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		<-p.done
	})
	bubble(t, "a peer that waits", nil, func(t *testing.T, w *world, p *peer) {
		p.send(envelope + "DATA\r\nx")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.srv.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-p.done
		if len(w.rec.accepted()) != 0 {
			t.Error("accepted")
		}
	})
}
