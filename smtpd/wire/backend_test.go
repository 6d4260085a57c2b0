package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
)

func TestErrorsOfSessions(t *testing.T) {
	plain := errors.New("secret")
	wrapped := fmt.Errorf("secret: %w", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "of another server"})
	success := &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 6, 0}, Message: "queued as 7"}
	var none *smtp.SMTPError
	mail := func(err error) func(*Config, *recorder) {
		return func(_ *Config, r *recorder) { r.onMail = func(string, *smtp.MailOptions) error { return err } }
	}
	rcpt := func(err error) func(*Config, *recorder) {
		return func(_ *Config, r *recorder) { r.onRcpt = func(string) error { return err } }
	}
	data := func(read bool, err error) func(*Config, *recorder) {
		return func(_ *Config, r *recorder) {
			r.onData = func(_ *Conn, in io.Reader) error {
				if read {
					_, _ = io.Copy(io.Discard, in)
				}
				return err
			}
		}
	}
	const body = envelope + "BDAT 1\r\naBDAT 1 LAST\r\nbNOOP\r\n"
	for _, d := range []dialog{
		{name: "mail", bend: mail(plain), send: "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n", want: "451 4.3.0, 503 5.5.1", events: "internal error"},
		{name: "mail wrapped", bend: mail(wrapped), send: "MAIL FROM:<>\r\n", want: "451 4.3.0", events: "internal error"},
		{name: "mail nil reply", bend: mail(none), send: "MAIL FROM:<>\r\n", want: "451 4.3.0", events: "internal error"},
		{name: "mail success as error", bend: mail(success), send: "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n", want: "451 4.3.0, 503 5.5.1", events: "internal error"},
		{name: "mail needs login", bend: mail(smtp.ErrAuthRequired), send: "MAIL FROM:<>\r\n", want: "530 5.7.0"},
		{name: "mail, closing", bend: mail(&smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "go"}), send: "MAIL FROM:<>\r\nNOOP\r\n", want: "421 4.7.0", closed: true},
		{name: "mail, no code", bend: mail(&smtp.SMTPError{Code: 450, EnhancedCode: smtp.NoEnhancedCode, Message: "x"}), send: "MAIL FROM:<>\r\n", want: "450 4.0.0"},
		{name: "mail, other class", bend: mail(&smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "x"}), send: "MAIL FROM:<>\r\n", want: "450 4.0.0"},
		{name: "rcpt", bend: rcpt(plain), send: "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n", want: "250 2.1.0, 451 4.3.0, 554 5.5.1", events: "internal error"},
		{name: "data", bend: data(true, plain), send: body, want: enveloped + ", 250 2.0.0, 451 4.3.0, 250 2.0.0", events: "internal error"},
		{name: "data at once", bend: data(false, plain), send: envelope + "BDAT 1\r\naNOOP\r\n", want: enveloped + ", 451 4.3.0, 250 2.0.0", events: "internal error"},
		{name: "data success", bend: data(true, success), send: body, want: enveloped + ", 250 2.0.0, 250 2.6.0, 250 2.0.0"},
		{name: "data success, unread", bend: data(false, success), send: envelope + "DATA\r\nabc\r\n.\r\n", want: enveloped + ", 354, 451 4.3.0", events: "internal error"},
		{name: "data, unread", bend: data(false, nil), send: envelope + "DATA\r\nabc\r\n.\r\n", want: enveloped + ", 354, 451 4.3.0", events: "internal error"},
		{name: "data, nothing to read", bend: data(false, nil), send: envelope + "DATA\r\n.\r\n", want: enveloped + ", 354, 250 2.0.0"},
	} {
		d.run(t)
	}
}

func TestNoSession(t *testing.T) {
	for _, d := range []dialog{
		{name: "session", bend: func(_ *Config, r *recorder) { r.newErr = errors.New("secret") }, send: "MAIL FROM:<>\r\nEHLO x\r\n", want: "503 5.5.1, 451", events: "internal error, internal error"},
		{name: "session, its reply", bend: func(_ *Config, r *recorder) {
			r.newErr = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "no"}
		}, send: "HELO x\r\nMAIL FROM:<>\r\n", want: "554, 503 5.5.1"},
	} {
		synctest.Test(t, func(t *testing.T) { d.play(t, false, false) })
	}
}

func TestCausesStayInside(t *testing.T) {
	bubble(t, "text", func(_ *Config, r *recorder) {
		r.onMail = func(string, *smtp.MailOptions) error { return errors.New("dial tcp 10.0.0.1: secret") }
	}, func(t *testing.T, w *world, p *peer) {
		p.send("MAIL FROM:<>\r\n")
		if got := p.take(); got != "451 4.3.0 Temporary failure, try again later\r\n" {
			t.Errorf("%q", got)
		}
		w.wantEvents("internal error")
		if err := w.seen[0].Err; err == nil || !strings.Contains(err.Error(), "secret") || w.seen[0].Session == "" {
			t.Errorf("the log hears %v", w.seen[0])
		}
	})
}

func TestPanics(t *testing.T) {
	boom := func(*testing.T) { panic("boom") }
	for _, tt := range []struct {
		name string
		bend func(*recorder)
		send string
		want string
	}{
		{"mail", func(r *recorder) { r.onMail = func(string, *smtp.MailOptions) error { boom(t); return nil } }, "MAIL FROM:<>\r\nNOOP\r\n", "421 4.3.0"},
		{"rcpt", func(r *recorder) { r.onRcpt = func(string) error { boom(t); return nil } }, envelope, "250 2.1.0, 421 4.3.0"},
		{"data", func(r *recorder) { r.onData = func(*Conn, io.Reader) error { boom(t); return nil } }, envelope + "DATA\r\nx\r\n.\r\nNOOP\r\n", enveloped + ", 354, 421 4.3.0"},
		{"data of a chunk", func(r *recorder) { r.onData = func(*Conn, io.Reader) error { boom(t); return nil } }, envelope + "BDAT 1\r\nxNOOP\r\n", enveloped + ", 421 4.3.0"},
		{"reset", func(r *recorder) { r.onReset = func() { boom(t) } }, envelope + "RSET\r\nMAIL FROM:<>\r\n", enveloped + ", 250 2.0.0, 421 4.3.0"},
		{"login", func(r *recorder) { r.onLogin = func(string) error { boom(t); return nil } }, "AUTH EXTERNAL =\r\nNOOP\r\n", "421 4.3.0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(_ *Config, r *recorder) { r.mechs = []string{"EXTERNAL"}; tt.bend(r) })
			other := w.dial()
			p := w.dialTLS()
			p.send("EHLO x\r\n")
			p.take()
			p.send(tt.send)
			if got := p.codes(); got != tt.want || !p.isClosed() {
				t.Errorf("%s: %s, closed %v; want %s", tt.name, got, p.isClosed(), tt.want)
			}
			w.wantEvents("internal error")
			if !slices.Contains(w.rec.called(), "logout") {
				t.Errorf("%s: no logout", tt.name)
			}
			other.send("NOOP\r\n")
			if got := other.codes(); got != "220, 250 2.0.0" {
				t.Errorf("%s: the other connection: %s", tt.name, got)
			}
			other.close()
			p.close()
			w.shut()
		})
	}
	bubble(t, "logout", func(_ *Config, r *recorder) { r.onLogout = func() { boom(t) } }, func(t *testing.T, w *world, p *peer) {
		p.send("QUIT\r\n")
		if got := p.codes(); got != "221 2.0.0" || !p.isClosed() {
			t.Errorf("%s", got)
		}
	})
}

// TestMethodsDoNotOverlap: go-smtp resets and logs out while Data still runs.
func TestMethodsDoNotOverlap(t *testing.T) {
	for _, tt := range []struct{ send, want string }{
		{"RSET\r\n", "data, data ends, reset"},
		{"EHLO y\r\n", "data, data ends, reset, reset"},
		{"QUIT\r\n", "data, data ends, logout"},
		{"FOO\n", "data, data ends, logout"},
		{"BDAT 100 LAST\r\n" + strings.Repeat("x", 100), "data, data ends, reset"}, // over the size limit
	} {
		bubble(t, tt.send[:4], func(_ *Config, r *recorder) {
			r.maxBytes = 50
			r.onData = func(c *Conn, in io.Reader) error {
				_, err := io.Copy(io.Discard, in)
				time.Sleep(time.Second)
				r.note("data ends")
				return err
			}
		}, func(t *testing.T, w *world, p *peer) {
			p.send(envelope + "BDAT 1\r\nx")
			before := slices.Index(w.rec.called(), "data")
			p.send(tt.send)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := strings.Join(w.rec.called()[before:], ", "); got != tt.want {
				t.Errorf("%q: %s, want %s", tt.send, got, tt.want)
			}
		})
	}
}

// TestLogoutEndsData: a session that waits for something else than the message
// must not keep the connection when the peer has left.
func TestLogoutEndsData(t *testing.T) {
	for _, end := range []string{"QUIT\r\n", "FOO\n", "STARTTLS x\r\nQUIT\r\n"} {
		bubble(t, end[:4], func(_ *Config, r *recorder) {
			r.onData = func(c *Conn, in io.Reader) error {
				_, _ = io.ReadFull(in, make([]byte, 1))
				<-c.Context().Done()
				return c.Context().Err()
			}
		}, func(t *testing.T, w *world, p *peer) {
			p.send(envelope + "BDAT 1\r\nx" + end)
			if !p.isClosed() {
				t.Errorf("%q: not closed", end)
			}
		})
	}
}
