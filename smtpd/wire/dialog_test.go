package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// dialog is one connection after EHLO: what is sent, and what must come of it.
type dialog struct {
	name    string
	bend    func(*Config, *recorder)
	noHello bool
	send    string
	want    string // replies, "250 2.1.0, 354"
	bodies  []string
	events  string
	closed  bool
}

// run plays d in clear and inside TLS, in one write and octet by octet.
func (d dialog) run(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, drip := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v/drip=%v", d.name, secure, drip), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { d.play(t, secure, drip) })
			})
		}
	}
}

func (d dialog) play(t *testing.T, secure, drip bool) {
	w := newWorld(t, d.bend)
	var p *peer
	if secure {
		p = w.dialTLS()
	} else {
		p = w.dial()
	}
	if !d.noHello {
		p.send("EHLO client.example\r\n")
	}
	p.take()
	if drip {
		p.drip(d.send)
	} else {
		p.send(d.send)
	}
	if got := p.codes(); got != d.want {
		t.Errorf("replies\n got %s\nwant %s", got, d.want)
	}
	if got := p.isClosed(); got != d.closed {
		t.Errorf("closed %v, want %v", got, d.closed)
	}
	p.close()
	w.shut()
	var bodies []string
	for _, m := range w.rec.accepted() {
		bodies = append(bodies, m.body)
	}
	if !slices.Equal(bodies, d.bodies) {
		t.Errorf("bodies\n got %q\nwant %q", bodies, d.bodies)
	}
	if got := w.events(); got != d.events {
		t.Errorf("events %q, want %q", got, d.events)
	}
}

const (
	envelope  = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
	enveloped = "250 2.1.0, 250 2.1.5"
)

func TestOrder(t *testing.T) {
	for _, d := range []dialog{
		{name: "mail before ehlo", noHello: true, send: "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nBDAT 3\r\nabcAUTH EXTERNAL\r\nRSET\r\nNOOP x y\r\nVRFY x\r\nQUIT\r\n",
			want: "503 5.5.1, 503 5.5.1, 503 5.5.1, 503 5.5.1, 503 5.5.1, 250 2.0.0, 250 2.0.0, 252 2.5.0, 221 2.0.0", closed: true},
		{name: "rcpt before mail", send: "RCPT TO:<a@b>\r\nDATA\r\nBDAT 0 LAST\r\n", want: "503 5.5.1, 503 5.5.1, 503 5.5.1"},
		{name: "second mail", send: "MAIL FROM:<a@b>\r\nMAIL FROM:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n.\r\n",
			want: "250 2.1.0, 503 5.5.1, 250 2.1.5, 354, 250 2.0.0", bodies: []string{""}},
		{name: "no recipient", send: "MAIL FROM:<a@b>\r\nDATA\r\nBDAT 5 LAST\r\nQUIT\nRCPT TO:<e@f>\r\nDATA\r\nx\r\n.\r\n",
			want: "250 2.1.0, 554 5.5.1, 554 5.5.1, 250 2.1.5, 354, 250 2.0.0", bodies: []string{"x\r\n"}},
		{name: "data after bdat", send: envelope + "BDAT 2\r\na\r" + "DATA\r\nRCPT TO:<a@b>\r\nMAIL FROM:<>\r\nBDAT 1 LAST\r\n\nBDAT 0 LAST\r\n",
			want: enveloped + ", 250 2.0.0, 503 5.5.1, 503 5.5.1, 503 5.5.1, 250 2.0.0, 503 5.5.1", bodies: []string{"a\r\n"}},
		{name: "rset drops chunks", send: envelope + "BDAT 2\r\nabRSET\r\nBDAT 2 LAST\r\ncd" + envelope + "BDAT 2 LAST\r\nef",
			want: enveloped + ", 250 2.0.0, 250 2.0.0, 503 5.5.1, " + enveloped + ", 250 2.0.0", bodies: []string{"ef"}},
		{name: "ehlo drops chunks", send: envelope + "BDAT 2\r\nabEHLO y\r\nBDAT 2 LAST\r\ncd" + envelope + "BDAT 2 LAST\r\nef",
			want: enveloped + ", 250 2.0.0, 250, 503 5.5.1, " + enveloped + ", 250 2.0.0", bodies: []string{"ef"}},
		{name: "helo drops chunks", send: envelope + "BDAT 2\r\nabHELO y\r\n" + envelope + "BDAT 2 LAST\r\nef",
			want: enveloped + ", 250 2.0.0, 250, " + enveloped + ", 250 2.0.0", bodies: []string{"ef"}},
		{name: "rset forgets a lone cr", send: envelope + "BDAT 2\r\na\rRSET\r\n" + envelope + "BDAT 1 LAST\r\ne",
			want: enveloped + ", 250 2.0.0, 250 2.0.0, " + enveloped + ", 250 2.0.0", bodies: []string{"e"}},
		{name: "ehlo resets", send: envelope + "EHLO again.example\r\nDATA\r\nHELO again.example\r\n", want: enveloped + ", 250, 503 5.5.1, 250"},
		{name: "two messages", send: envelope + "DATA\r\none\r\n.\r\n" + envelope + "BDAT 3 LAST\r\ntwo" + "QUIT\r\n",
			want: enveloped + ", 354, 250 2.0.0, " + enveloped + ", 250 2.0.0, 221 2.0.0", bodies: []string{"one\r\n", "two"}, closed: true},
		{name: "nothing behind quit", send: "QUIT\r\n" + envelope + "DATA\r\nx\r\n.\r\n", want: "221 2.0.0", closed: true},
		{name: "bdat 0", send: envelope + "BDAT 0\r\nBDAT 0\r\nBDAT 1\r\naBDAT 0\r\nBDAT 0 LAST\r\n", want: enveloped + ", 250 2.0.0, 250 2.0.0, 250 2.0.0, 250 2.0.0, 250 2.0.0", bodies: []string{"a"}},
		{name: "nothing else after bdat 0", send: envelope + "BDAT 0\r\nRCPT TO:<e@f>\r\nDATA\r\nBDAT 0 LAST\r\n", want: enveloped + ", 250 2.0.0, 503 5.5.1, 503 5.5.1, 250 2.0.0", bodies: []string{""}},
		{name: "bdat 0 last alone", send: envelope + "BDAT 0 LAST\r\n", want: enveloped + ", 250 2.0.0", bodies: []string{""}},
		{name: "nothing accepted", send: "MAIL FROM:<no@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\nDATA\r\nBDAT 3 LAST\r\nabc",
			bend: refuseNo, want: "550 5.1.1, 503 5.5.1, 503 5.5.1, 250 2.1.0, 550 5.1.1, 554 5.5.1, 554 5.5.1"},
		{name: "some accepted", send: "MAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\nRCPT TO:<yes@d>\r\nDATA\r\n.\r\n",
			bend: refuseNo, want: "250 2.1.0, 550 5.1.1, 250 2.1.5, 354, 250 2.0.0", bodies: []string{""}},
	} {
		d.run(t)
	}
}

func TestSyntax(t *testing.T) {
	for _, d := range []dialog{
		{name: "unknown", send: "FOO\r\n\r\n EHLO x\r\nMAIL\tFROM:<>\r\nSTARTTLSxyz\r\nLHLO x\r\n", want: "500 5.5.2, 500 5.5.2, 500 5.5.2, 500 5.5.2, 500 5.5.2, 500 5.5.2"},
		{name: "not implemented", send: "EXPN x\r\nHELP\r\nSEND FROM:<>\r\nTURN\r\nETRN x\r\nSOML\r\nSAML\r\n", want: "502 5.5.1, 214 2.0.0" + strings.Repeat(", 502 5.5.1", 5)},
		{name: "help", send: "HELP\r\nhelp mail from\r\n", want: "214 2.0.0, 214 2.0.0"}, // RFC 5321 4.1.1.8
		{name: "letters that fold to ascii", send: "QU\u0131T\r\nR\u017fET\r\n" + envelope + "BDAT 1 LA\u017fT\r\nx",
			want: "500 5.5.2, 500 5.5.2, " + enveloped + ", 501 5.5.4", events: "bad chunk size", closed: true},
		{name: "arguments", send: "DATA x\r\nRSET x\r\nQUIT x\r\nSTARTTLS x\r\nVRFY\r\nEHLO\r\nHELO a b\r\nHELO a(b\r\nEHLO \u00fc\r\n",
			want: "501 5.5.4, 501 5.5.4, 501 5.5.4, 501 5.5.4, 501 5.5.4, 501, 501, 501, 501"},
		{name: "white space at the end", send: "NOOP \r\nrset\t\r\nquit  \r\n", want: "250 2.0.0, 250 2.0.0, 221 2.0.0", closed: true},
		{name: "bare lf", send: "NOOP\nNOOP\r\n", want: "500 5.5.2", events: "bare line end", closed: true},
		{name: "bare cr", send: "NO\rOP\r\nNOOP\r\n", want: "500 5.5.2", events: "bare line end", closed: true},
		{name: "cr cr lf", send: "NOOP\r\r\nNOOP\r\n", want: "500 5.5.2", events: "bare line end", closed: true},
		{name: "nul", send: "NOOP \x00\r\nNOOP\r\n", want: "500 5.5.2", events: "nul octet", closed: true},
		{name: "nul in an unfinished line", send: "\x16\x03\x01\x00", want: "500 5.5.2", events: "nul octet", closed: true},
		{name: "longest line", send: "NOOP " + strings.Repeat("x", 4096-7) + "\r\n", want: "250 2.0.0"},
		{name: "line too long", send: "NOOP " + strings.Repeat("x", 4096-6) + "\r\n", want: "500 5.5.2", events: "long line", closed: true},
		{name: "endless line", send: strings.Repeat("x", 5000), want: "500 5.5.2", events: "long line", closed: true},
		{name: "bdat syntax", send: envelope + "BDAT\r\n", want: enveloped + ", 501 5.5.4", events: "bad chunk size", closed: true},
	} {
		d.run(t)
	}
	for _, arg := range []string{"x", "-1", "+1", "1 LAST x", "1  LAST", " 1", "1 FIRST", "0x10", "1,0", "1LAST", "1000000000000000000", "\u0661"} {
		dialog{name: "bdat " + arg, send: envelope + "BDAT " + arg + "\r\nNOOP\r\n", want: enveloped + ", 501 5.5.4", events: "bad chunk size", closed: true}.run(t)
	}
}

func TestPipelining(t *testing.T) { // RFC 2920 3.1: replies in order, nothing thrown away
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, r *recorder) { c.Limits.Errors = 1000; refuseNo(c, r) })
		p := w.dial()
		var in, want strings.Builder
		for range 200 {
			in.WriteString("MAIL FROM:<a@b>\r\nRCPT TO:<no@b>\r\nRCPT TO:<c@d>\r\nBDAT 1 LAST\r\nxFOO\r\nMAIL FROM:<>\r\nRSET\r\n")
			want.WriteString("250 2.1.0, 550 5.1.1, 250 2.1.5, 250 2.0.0, 500 5.5.2, 250 2.1.0, 250 2.0.0, ")
		}
		p.send("EHLO x\r\n")
		p.take()
		p.send(in.String())
		if got := p.codes() + ", "; got != want.String() {
			t.Errorf("replies differ: %.300s", got)
		}
		if n := len(w.rec.accepted()); n != 200 {
			t.Errorf("%d messages", n)
		}
		p.close()
		w.shut()
	})
}

func TestEHLO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, r *recorder) { r.mechs, r.maxBytes, c.MaxRecipients = []string{"EXTERNAL"}, 1000, 5 })
		p := w.dial()
		if got := p.take(); got != "220 mx.example.test ESMTP\r\n" {
			t.Errorf("greeting %q", got)
		}
		p.send("ehlo [IPv6:2001:db8::1]\r\n")
		clear := "250-mx.example.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n" +
			"250-SMTPUTF8\r\n250-DSN\r\n250-LIMITS RCPTMAX=5\r\n250 STARTTLS\r\n"
		if got := p.take(); got != clear {
			t.Errorf("in clear %q", got)
		}
		p.send("STARTTLS\r\n")
		p.secure()
		if got := p.take(); got != "" { // RFC 3207 4.2: no second greeting
			t.Errorf("after the handshake %q", got)
		}
		p.send("EHLO x_y-z.example\r\n")
		if got, want := p.take(), strings.Replace(clear, "250 STARTTLS", "250-REQUIRETLS\r\n250 AUTH EXTERNAL", 1); got != want {
			t.Errorf("inside TLS %q", got)
		}
		if !w.rec.lastConn.Extended() {
			t.Error("EHLO is not extended")
		}
		p.send("HELO x\r\n")
		if w.rec.lastConn.Extended() {
			t.Error("HELO is extended")
		}
		if got := p.take(); got != "250 mx.example.test\r\n" {
			t.Errorf("HELO %q", got)
		}
		p.close()
		w.shut()
		want := "session [IPv6:2001:db8::1], logout, session x_y-z.example, reset, logout"
		if got := strings.Join(w.rec.called(), ", "); got != want {
			t.Errorf("calls %s", got)
		}
	})
}
