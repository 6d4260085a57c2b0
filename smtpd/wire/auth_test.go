package wire

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
)

var longAuth = strings.Repeat("QUJD", 12284/4) // with CRLF and one more group: over 12288

var authCases = []struct {
	name, send, want string
	calls            string // behind "session x"
	events           string
	closed           bool
	login            error
}{
	{name: "empty initial", send: "AUTH EXTERNAL =\r\n", want: "235 2.7.0", calls: "auth EXTERNAL, identity "},
	{name: "initial", send: "auth external cmlja0B4\r\n", want: "235 2.7.0", calls: "auth EXTERNAL, identity rick@x"},
	{name: "empty response", send: "AUTH EXTERNAL\r\n\r\n", want: "334, 235 2.7.0", calls: "auth EXTERNAL, identity "},
	{name: "equals sign", send: "AUTH EXTERNAL\r\n=\r\n", want: "334, 235 2.7.0", calls: "auth EXTERNAL, identity "},
	{name: "response", send: "AUTH EXTERNAL\r\ncmlja0B4\r\nNOOP\r\n", want: "334, 235 2.7.0, 250 2.0.0", calls: "auth EXTERNAL, identity rick@x"},
	{name: "cancelled", send: "AUTH EXTERNAL\r\n*\r\nNOOP\r\n", want: "334, 501 5.7.0, 250 2.0.0", calls: "auth EXTERNAL"},
	{name: "again after a cancel", send: "AUTH EXTERNAL\r\n*\r\nAUTH EXTERNAL =\r\n", want: "334, 501 5.7.0, 235 2.7.0", calls: "auth EXTERNAL, auth EXTERNAL, identity "},
	{name: "pipelined", send: "AUTH EXTERNAL =\r\nMAIL FROM:<a@b>\r\n", want: "235 2.7.0, 250 2.1.0", calls: "auth EXTERNAL, identity , mail a@b size=0 body="},
	{name: "bad initial", send: "AUTH EXTERNAL !\r\nAUTH EXTERNAL cm=ja0B4\r\nAUTH EXTERNAL cmlja0B\r\nAUTH EXTERNAL *\r\n", want: "501 5.5.2, 501 5.5.2, 501 5.5.2, 501 5.5.2"},
	{name: "bits beyond the end", send: "AUTH EXTERNAL YR==\r\n", want: "501 5.5.2"},
	{name: "bad response", send: "AUTH EXTERNAL\r\ncml ja0B4\r\nNOOP\r\n", want: "334, 501 5.5.2, 250 2.0.0", calls: "auth EXTERNAL"},
	{name: "space behind", send: "AUTH EXTERNAL\r\ncmlja0B4 \r\n", want: "334, 501 5.5.2", calls: "auth EXTERNAL"},
	{name: "command as response", send: "AUTH EXTERNAL\r\nQUIT\r\n", want: "334, 235 2.7.0", calls: "auth EXTERNAL, identity A\x42\x13"},
	{name: "longest line", send: "AUTH EXTERNAL\r\n" + longAuth + "\r\n", want: "334, 235 2.7.0", calls: "auth EXTERNAL, identity " + strings.Repeat("ABC", 12284/4)},
	{name: "line too long", send: "AUTH EXTERNAL\r\n" + longAuth + "QUJD\r\n", want: "334, 500 5.5.6", calls: "auth EXTERNAL", events: "long line", closed: true},
	{name: "bare lf", send: "AUTH EXTERNAL\r\n=\nNOOP\r\n", want: "334, 500 5.5.2", calls: "auth EXTERNAL", events: "bare line end", closed: true},
	{name: "syntax", send: "AUTH\r\nAUTH  EXTERNAL\r\nAUTH EXTERNAL = =\r\nAUTH EXT(\r\nAUTH ABCDEFGHIJKLMNOPQRSTU\r\n", want: "501 5.5.4, 501 5.5.4, 501 5.5.4, 501 5.5.4, 501 5.5.4"},
	{name: "not offered", send: "AUTH PLAIN =\r\nAUTH FOO\r\n", want: "504 5.5.4, 504 5.5.4"},
	{name: "twice", send: "AUTH EXTERNAL =\r\nAUTH EXTERNAL =\r\nEHLO x\r\nAUTH EXTERNAL =\r\n", want: "235 2.7.0, 503 5.5.1, 250, 503 5.5.1", calls: "auth EXTERNAL, identity , reset"},
	{name: "in a transaction", send: "MAIL FROM:<a@b>\r\nAUTH EXTERNAL =\r\nRSET\r\nAUTH EXTERNAL =\r\n", want: "250 2.1.0, 503 5.5.1, 250 2.0.0, 235 2.7.0",
		calls: "mail a@b size=0 body=, reset, auth EXTERNAL, identity "},
	{name: "after helo", send: "HELO x\r\nAUTH EXTERNAL =\r\n", want: "250, 503 5.5.1", calls: "reset"},
	{name: "refused", send: "AUTH EXTERNAL =\r\nAUTH EXTERNAL =\r\nAUTH EXTERNAL =\r\nNOOP\r\n", login: smtp.ErrAuthFailed,
		want: "535 5.7.8, 535 5.7.8, 535 5.7.8, 421 4.7.0", calls: strings.TrimSuffix(strings.Repeat("auth EXTERNAL, identity , ", 3), ", "), events: "too many errors", closed: true},
	{name: "trouble", send: "AUTH EXTERNAL =\r\nAUTH EXTERNAL\r\n\r\n", login: errors.New("secret"), want: "454 4.7.0, 334, 454 4.7.0",
		calls: "auth EXTERNAL, identity , auth EXTERNAL, identity ", events: "internal error, internal error"},
	{name: "nul", send: "AUTH EXTERNAL AA==\r\n", want: "454 4.7.0", calls: "auth EXTERNAL", events: "internal error"},
}

func TestAuth(t *testing.T) {
	for _, tt := range authCases {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *Config, r *recorder) {
					r.mechs = []string{"EXTERNAL"}
					r.onLogin = func(string) error { return tt.login }
				})
				p := w.dialTLS()
				p.send("EHLO x\r\n")
				p.take()
				p.send(tt.send)
				text := p.take()
				if strings.Contains(text, "secret") {
					t.Errorf("the cause got out: %q", text)
				}
				if got := codes(text); got != tt.want {
					t.Errorf("replies\n got %s\nwant %s", got, tt.want)
				}
				if p.isClosed() != tt.closed {
					t.Errorf("closed %v", !tt.closed)
				}
				before := w.rec.called()[3:] // session, logout, session
				if got := strings.Join(before, ", "); got != tt.calls && got != tt.calls+", logout" && got != strings.TrimPrefix(tt.calls+", logout", ", ") {
					t.Errorf("calls\n got %s\nwant %s", got, tt.calls)
				}
				p.close()
				w.shut()
				if w.events() != tt.events {
					t.Errorf("events %s", w.events())
				}
			})
		})
	}
}

func TestAuthInClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *Config, r *recorder) { r.mechs = []string{"EXTERNAL"} })
		p := w.dial()
		p.send("AUTH EXTERNAL =\r\nEHLO x\r\n")
		if got := p.take(); strings.Contains(got, "AUTH") || codes(got) != "220, 503 5.5.1, 250" {
			t.Errorf("%q", got)
		}
		p.send("AUTH EXTERNAL =\r\nAUTH EXTERNAL\r\nAUTH PLAIN !\r\n")
		if got := p.codes(); got != "504 5.5.4, 504 5.5.4, 504 5.5.4" {
			t.Errorf("%s", got)
		}
		p.close()
		w.shut()
		if got := strings.Join(w.rec.called(), ", "); got != "session x, logout" {
			t.Errorf("the session was asked: %s", got)
		}
	})
}

// TestAuthBehindTLS: where TLS has ended before us AUTH gets through as under our own.
func TestAuthBehindTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, r *recorder) { c.TLS, c.TLSAhead, r.mechs = nil, true, []string{"EXTERNAL"} })
		p := w.dial()
		p.send("EHLO x\r\n")
		if got := p.take(); !strings.Contains(got, "AUTH EXTERNAL") || strings.Contains(got, "REQUIRETLS") {
			t.Errorf("%q", got)
		}
		p.send("AUTH PLAIN AGEAYg==\r\nAUTH EXTERNAL =\r\nAUTH EXTERNAL =\r\n")
		if got := p.codes(); got != "504 5.5.4, 235 2.7.0, 503 5.5.1" {
			t.Errorf("%s", got)
		}
		p.close()
		w.shut()
	})
}

func TestNoAuthSession(t *testing.T) { // the 334 line needs its space, even without text (RFC 4954 4)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *Config, r *recorder) { r.mechs = []string{"EXTERNAL"} })
		p := w.dialTLS()
		p.send("EHLO x\r\n")
		p.take()
		p.send("AUTH EXTERNAL\r\n")
		if got := p.take(); got != "334 \r\n" {
			t.Errorf("%q", got)
		}
		p.close()
		w.shut()
	})
}
