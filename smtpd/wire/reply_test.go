package wire

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
)

func TestReplies(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, tt := range []struct {
		to   awaited
		said string
		want string // "": go-smtp and the wire do not agree
	}{
		{mail, "250 2.0.0 Roger, accepting mail from <x>\r\n", "250 2.1.0 Sender OK"},
		{rcpt, "250 2.0.0 I'll make sure <x> gets this\r\n", "250 2.1.5 Recipient OK"},
		{mail, "502 5.7.0 Please authenticate first\r\n", "530 5.7.0 Authentication required"},
		{rcpt, "502 5.7.0 Please authenticate first\r\n", "530 5.7.0 Authentication required"},
		{mail, "502 5.5.1 Please introduce yourself first.\r\n", "503 5.5.1 Please introduce yourself first."},
		{auth, "235 2.0.0 Authentication succeeded\r\n", "235 2.7.0 Authentication successful"},
		{auth, "501 5.0.0 Negotiation cancelled\r\n", "501 5.7.0 Authentication cancelled"},
		{auth, "502 5.7.0 Authentication not supported\r\n", "504 5.5.4 Mechanism not available"},
		{auth, "504 5.7.4 Unsupported authentication mechanism\r\n", "504 5.5.4 Mechanism not available"},
		{auth, "334 \r\n", "334 "},
		{auth, "334 QUJD\r\n", "334 QUJD"},
		{last, "250 2.0.0 OK: queued\r\n", "250 2.0.0 OK: queued"},
		{last, "421 4.0.0 Internal server error\r\n", "421 4.3.0 Internal error, closing connection"},
		{rcpt, "550-one\r\n550 5.1.1 two\r\n", "550-5.1.1 one\r\n550 5.1.1 two"},
		{rcpt, "550 5.1.1 two\xff\x01\r\r\n", "550 5.1.1 two??"},
		{rcpt, "550-a\r\r\n550 5.1.1 b\r\n", "550-5.1.1 a\r\n550 5.1.1 b"},
		{rcpt, "550 no code\r\n", "550 5.0.0 no code"},
		{rcpt, "450 5.1.1 other class\r\n", "450 4.0.0 other class"},
		{rcpt, "450 4.1.1000 no code\r\n", "450 4.0.0 4.1.1000 no code"},
		{rcpt, "550 5.1.1 " + long + "\r\n", "550 5.1.1 " + long[:477] + "..."},
		{ehlo, "451 4.3.0 Temporary\r\n", "451 Temporary"},
		{helo, "421 4.3.0 Closing\r\n", "421 4.3.0 Closing"},
		{mail, "", ""},
		{mail, "250 2.0.0 cut", ""},
		{mail, "250-cut\r\n", ""},
		{mail, "abc\r\n", ""},
		{mail, "250\r\n", ""},
		{mail, "\n", ""},
		{mail, "099 x\r\n", ""},
		{mail, "250-a\r\n251 b\r\n", ""},
		{mail, "250 a\r\n250 b\r\n", ""},
	} {
		r, ok := parseReply([]byte(tt.said))
		got := ""
		if ok {
			got = r.fixed(tt.to).String()
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.said, got, tt.want)
		}
	}
}

// Each refusal ends with the session id, whoever made it, once; nothing else does.
func TestRefusalsNameTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *Config, r *recorder) {
			r.onRcpt = func(string) error {
				return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No [" + r.lastConn.Session() + "]"}
			}
		})
		defer w.Close()
		p := w.dial()
		for _, c := range []struct{ line, want string }{
			{"EHLO a.test", "250"},
			{"FROB", "500"},
			{"MAIL", "501"},
			{"RCPT TO:<a@b.test>", "503"},
			{"MAIL FROM:<a@b.test>", "250"},
			{"RCPT TO:<a@b.test>", "550"},
			{"EHLO", "501"},
			{"QUIT", "221"},
		} {
			p.takeWhole()
			p.send(c.line + "\r\n")
			got := p.takeWhole()
			id := 0
			if w.rec.lastConn != nil {
				id = strings.Count(got, " ["+w.rec.lastConn.Session()+"]\r\n")
			}
			want := 0
			if c.want[0] == '5' {
				want = 1
			}
			if !strings.HasPrefix(got, c.want) || id != want {
				t.Errorf("%s: %q; the id %d times, want %d", c.line, got, id, want)
			}
		}
	})
}

// No reply is longer than 512 octets, whatever the peer writes (RFC 5321 4.5.3.1.5).
func TestReplyLines(t *testing.T) {
	long := strings.Repeat("x", 3000)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, r *recorder) {
			c.Hostname = strings.Repeat(strings.Repeat("h", 60)+".", 4) + "test"
			c.Limits.Errors = 1000
			r.onRcpt = func(to string) error {
				return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 999, 999}, Message: long + "\n" + long}
			}
		})
		defer w.Close()
		p := w.dial()
		for _, line := range []string{"EHLO x", "HELP", long, "EHLO " + long, "VRFY " + long, "MAIL FROM:<" + long + "@b>", "MAIL FROM:<a@b> " + long, "MAIL FROM:<a@b> " + long + "=1",
			"MAIL FROM:<a@b> SMTPUTF8=" + long, "MAIL FROM:<a@b> SIZE=" + long, "MAIL FROM:<a@b>", "RCPT TO:<" + long + ">", "RCPT TO:<a@b> " + long, "RCPT TO:<a@b> NOTIFY=" + long,
			"RCPT TO:<a@b> ORCPT=" + long, "RCPT TO:<a@b>", "AUTH " + long, "BDAT " + long} {
			p.send(line + "\r\n")
			got := p.takeWhole()
			if got == "" {
				t.Errorf("%.30q: no reply", line)
			}
			for l := range strings.SplitAfterSeq(got, "\r\n") {
				if len(l) > 512 {
					t.Errorf("%.30q: %d octets: %.60q", line, len(l), l)
				}
			}
		}
		p.close()
		w.shut()
	})
}
