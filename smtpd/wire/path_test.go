package wire

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
)

func refuseNo(_ *Config, r *recorder) {
	no := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no"}
	r.onRcpt = func(to string) error {
		if strings.HasPrefix(to, "no@") {
			return no
		}
		return nil
	}
	r.onMail = func(from string, _ *smtp.MailOptions) error {
		if strings.HasPrefix(from, "no@") {
			return no
		}
		return nil
	}
}

var (
	l64 = strings.Repeat("l", 64)
	d   = "@" + strings.Repeat(strings.Repeat("d", 59)+".", 3) + "example"
)

// mailAndRcpt: what is sent, the reply, and what the session gets of it.
var mailAndRcpt = []struct{ send, want, call string }{
	{"MAIL FROM:<>", "250 2.1.0", "mail  size=0 body="},
	{"mail from:<a@b.example>", "250 2.1.0", "mail a@b.example size=0 body="},
	{"MAIL FROM: <a@b.example>", "250 2.1.0", "mail a@b.example size=0 body="},
	{"MAIL FROM:<a@b> SIZE=3  body=8bitmime", "250 2.1.0", "mail a@b size=3 body=8BITMIME"},
	{"MAIL FROM:<a@b> BODY=7BIT SIZE=0", "250 2.1.0", "mail a@b size=0 body=7BIT"},
	{"MAIL FROM:<a@b> SIZE=4294967295", "250 2.1.0", "mail a@b size=4294967295 body="},
	{"MAIL FROM:<a@b> SIZE=4294967296", "552 5.3.4", ""},
	{"MAIL FROM:<a@b> SIZE=99999999999999999999", "552 5.3.4", ""},
	{"MAIL FROM:<a@b> SIZE=999999999999999999999", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> SIZE=", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> SIZE", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> SIZE=-1", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> SIZE=1 SIZE=2", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> BODY=7BIT body=7BIT", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> BODY=BINARYMIME", "555 5.5.4", ""},
	{"MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> X" + strings.Repeat("x", 1000), "555 5.5.4", ""},
	{"MAIL FROM:<a@b> BODY", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> FUTURE=1", "555 5.5.4", ""},
	{"MAIL FROM:<a@b> X=1=2", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> =1", "501 5.5.4", ""},
	{"MAIL FROM:<a@b>SIZE=3", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=<>", "250 2.1.0", "mail a@b size=0 body= auth="},
	{"MAIL FROM:<a@b> AUTH=c@d", "250 2.1.0", "mail a@b size=0 body= auth=c@d"},
	{"MAIL FROM:<a@b> AUTH=c+2Bd+3De@f", "250 2.1.0", "mail a@b size=0 body= auth=c+d=e@f"},
	{`MAIL FROM:<a@b> AUTH="c+20d"@f`, "250 2.1.0", "mail a@b size=0 body= auth=c d@f"},
	{"MAIL FROM:<a@b> AUTH=c+2bd@f", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=c+2", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=c+C3+BCd@f", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=<c@d>", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=c@d>", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=c", "501 5.5.4", ""},
	{"MAIL FROM:<a@b> AUTH=", "501 5.5.4", ""},
	{"MAIL a@b", "501 5.5.4", ""},
	{"MAIL", "501 5.5.4", ""},
	{"MAIL FROM:", "501 5.1.7", ""},
	{"MAIL FROM:a@b", "501 5.1.7", ""},
	{"MAIL FROM:<a@b", "501 5.1.7", ""},
	{"MAIL FROM:<a@b@c>", "501 5.1.7", ""},
	{"MAIL FROM:<a>", "501 5.1.7", ""},
	{"MAIL FROM:<postmaster>", "501 5.1.7", ""},
	{"MAIL FROM:<@b>", "501 5.1.7", ""},
	{"MAIL FROM:<a@>", "501 5.1.7", ""},
	{"MAIL FROM:<a b@c>", "501 5.1.7", ""},
	{"MAIL FROM:<.a@c>", "501 5.1.7", ""},
	{"MAIL FROM:<a..b@c>", "501 5.1.7", ""},
	{"MAIL FROM:<a@b..c>", "501 5.1.7", ""},
	{"MAIL FROM:<a@b.>", "501 5.1.7", ""},
	{"MAIL FROM:<a@b c>", "501 5.1.7", ""},
	{"MAIL FROM:<a\x01@b>", "501 5.1.7", ""},
	{"MAIL FROM:<\"a\x01\"@b>", "501 5.1.7", ""},
	{"MAIL FROM:<\"a\\\x7f\"@b>", "501 5.1.7", ""},
	{`MAIL FROM:<""@b>`, "501 5.1.7", ""},
	{`MAIL FROM:<"a@b>`, "501 5.1.7", ""},
	{`MAIL FROM:<"a\`, "501 5.1.7", ""},
	{`MAIL FROM:<"a"b@c>`, "501 5.1.7", ""},
	{"MAIL FROM:<ü@b>", "553 5.6.7", ""},
	{`MAIL FROM:<"ü"@b>`, "553 5.6.7", ""},
	{"MAIL FROM:<a@bücher.example>", "553 5.6.7", ""},
	{`MAIL FROM:<"a"@b>`, "250 2.1.0", "mail a@b size=0 body="},
	{`MAIL FROM:<"a b> NOTIFY=NEVER <c"@d>`, "250 2.1.0", "mail a b> NOTIFY=NEVER <c@d size=0 body="},
	{`MAIL FROM:<"a\"b\\c@d"@e>`, "250 2.1.0", `mail a"b\c@d@e size=0 body=`},
	{`MAIL FROM:<"\a.."@e>`, "250 2.1.0", `mail a..@e size=0 body=`},
	{"MAIL FROM:<@x,@y.example:a@b>", "250 2.1.0", "mail a@b size=0 body="},
	{"MAIL FROM:<@x@y:a@b>", "501 5.1.7", ""},
	{"MAIL FROM:<@x,y:a@b>", "501 5.1.7", ""},
	{"MAIL FROM:<@x:>", "501 5.1.7", ""},
	{"MAIL FROM:<a@[192.0.2.1]>", "250 2.1.0", "mail a@[192.0.2.1] size=0 body="},
	{"MAIL FROM:<a@[IPv6:2001:db8::1]>", "250 2.1.0", "mail a@[IPv6:2001:db8::1] size=0 body="},
	{"MAIL FROM:<a@[]>", "501 5.1.7", ""},
	{"MAIL FROM:<a@[a@b]>", "501 5.1.7", ""},
	{"MAIL FROM:<" + l64 + "@b>", "250 2.1.0", "mail " + l64 + "@b size=0 body="},
	{"MAIL FROM:<" + l64 + "l@b>", "501 5.1.7", ""},
	{"RCPT TO:<PostMaster>", "250 2.1.5", "rcpt postmaster@mx.example.test"},
	{"RCPT TO:<\"a b\"@c>", "250 2.1.5", "rcpt a b@c"},
	{"RCPT TO:<@x:c@d>", "250 2.1.5", "rcpt c@d"},
	{"RCPT TO:<c" + d + ">", "250 2.1.5", "rcpt c" + d},
	{"RCPT TO:<" + l64 + d + ">", "250 2.1.5", "rcpt " + l64 + d},
	{"RCPT TO:<" + l64 + d + "exa>", "501 5.1.3", ""},
	{"RCPT TO:<>", "501 5.1.3", ""},
	{"RCPT TO:c@d", "501 5.1.3", ""},
	{"RCPT TO:<c@d@e>", "501 5.1.3", ""},
	{"RCPT TO:<\"postmaster\">", "501 5.1.3", ""},
	{"RCPT c@d", "501 5.5.4", ""},
	{"RCPT TO:<ü@d>", "553 5.6.7", ""},
	{"RCPT TO:<c@d> FUTURE", "555 5.5.4", ""},
	{"RCPT TO:<c@d> ORCPT=rfc822;x ORCPT=rfc822;x", "501 5.5.4", ""},
	{"RCPT TO:<c@d>NOTIFY=NEVER", "501 5.5.4", ""},
}

func TestMailAndRcpt(t *testing.T) {
	for _, tt := range mailAndRcpt {
		for _, secure := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				p := w.dial()
				if secure {
					p.close()
					p = w.dialTLS()
				}
				p.send("EHLO x\r\n")
				if strings.HasPrefix(tt.send, "RCPT") {
					p.send("MAIL FROM:<s@s>\r\n")
				}
				before := len(w.rec.called())
				p.take()
				p.send(tt.send + "\r\n")
				if got := p.codes(); got != tt.want {
					t.Errorf("%s: %s, want %s", tt.send, got, tt.want)
				}
				call := strings.Join(w.rec.called()[before:], "; ")
				if call != tt.call {
					t.Errorf("%s: the session got %q, want %q", tt.send, call, tt.call)
				}
				p.close()
				w.shut()
			})
		}
	}
}
