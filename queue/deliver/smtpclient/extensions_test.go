package smtpclient

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"

	"dancemta/internal/dialog"
	"dancemta/internal/mailaddr"
)

// offers is the beginning of a session with a server that pipelines and offers
// these keywords.
func offers(keywords ...string) string {
	s := "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\n"
	for _, k := range keywords {
		s += "S: 250-" + k + "\n"
	}
	return s + "S: 250 PIPELINING\n"
}

const taken = `
	S! "250 ok\r\n250 ok\r\n354 go\r\n"
	C: x
	C: .
	S: 250 2.6.0 queued
` + quit

// Each parameter is said where it is offered and asked for, and nowhere else.
func TestParameters(t *testing.T) {
	const plainText, utf8Header = "x\r\n", "Subject: \xc3\xbc\r\n\r\n"
	for _, c := range []struct {
		name, script, body, to string
		change                 func(*Message)
		want                   string
	}{
		{"all of DSN", offers("DSN") + "C: MAIL FROM:<a@example.test> RET=HDRS ENVID=QQ+2B1+20+3Dx\nC: RCPT TO:<b@remote.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@old.test\nC: DATA" + taken,
			plainText, "b@remote.test", func(m *Message) {
				m.Return, m.EnvelopeID = "HDRS", "QQ+1 =x"
				m.Recipients[0].Notify, m.Recipients[0].Original = "SUCCESS,DELAY", "rfc822;b+x@old.test"
			}, "ok"},
		{"DSN not offered", offers() + "C: MAIL FROM:<a@example.test>\nC: RCPT TO:<b@remote.test>\nC: DATA" + taken,
			plainText, "b@remote.test", func(m *Message) {
				m.Return, m.EnvelopeID, m.Recipients[0].Notify, m.Recipients[0].Original = "FULL", "x", "NEVER", "rfc822;b@old.test"
			}, "ok"},
		{"DSN offered, nothing asked for", offers("DSN") + "C: MAIL FROM:<a@example.test>\nC: RCPT TO:<b@remote.test>\nC: DATA" + taken,
			plainText, "b@remote.test", func(*Message) {}, "ok"},
		{"words that would be parameters", offers("DSN") + "C: MAIL FROM:<a@example.test> ENVID=x+0D+0ARSET\nC: RCPT TO:<b@remote.test>\nC: DATA" + taken,
			plainText, "b@remote.test", func(m *Message) {
				m.Return, m.EnvelopeID = "FULL BODY=BINARYMIME", "x\r\nRSET"
				m.Recipients[0].Notify, m.Recipients[0].Original = "NEVER ORCPT=x", "rfc822\r\nRSET;b@old.test"
			}, "ok"},
		{"an original in UTF-8", offers("DSN") + "C: MAIL FROM:<a@example.test>\nC: RCPT TO:<b@remote.test> ORCPT=utf-8;\\x{FC}\\x{2B}\\x{5C}@old.test\nC: DATA" + taken,
			plainText, "b@remote.test", func(m *Message) { m.Recipients[0].Original = `utf-8;ü+\@old.test` }, "ok"},
		{"UTF-8 declared and not needed", offers() + "C: MAIL FROM:<a@example.test>\nC: RCPT TO:<b@remote.test>\nC: DATA" + taken,
			plainText, "b@remote.test", func(m *Message) { m.SMTPUTF8 = true }, "ok"},
		{"UTF-8 in the header", offers("SMTPUTF8") + "C: MAIL FROM:<a@example.test> SMTPUTF8\nC: RCPT TO:<b@remote.test>\nC: DATA\n" +
			`S! "250 ok\r\n250 ok\r\n354 go\r\n"` + "\nC: Subject: \xc3\xbc\nC: \nC: .\nS: 250 ok" + quit,
			utf8Header, "b@remote.test", func(m *Message) { m.SMTPUTF8 = true }, "ok"},
		{"UTF-8 in the header, not offered", offers() + quit, utf8Header, "b@remote.test", func(m *Message) { m.SMTPUTF8 = true }, "next or failed 5.6.9"},
		{"UTF-8 in an address", offers("SMTPUTF8") + "C: MAIL FROM:<a@example.test> SMTPUTF8\nC: RCPT TO:<jürgen@remote.test>\nC: DATA" + taken,
			plainText, "jürgen@remote.test", func(*Message) {}, "ok"},
		{"UTF-8 in an address, not offered", offers() + quit, plainText, "jürgen@remote.test", func(*Message) {}, "next or failed 5.6.7"},
		{"UTF-8 in the sender, not offered", offers() + quit, plainText, "b@remote.test", func(m *Message) { m.Sender = mailaddr.MustParse("jürgen@example.test") }, "next or failed 5.6.7"},
		{"TLS required, in clear", offers("REQUIRETLS") + quit, plainText, "b@remote.test", func(m *Message) { m.RequireTLS = true }, "next or failed 5.7.10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, c.script)
			client.MarkVerified() // of no effect in clear
			m := message(c.body, c.to)
			c.change(&m)
			if all := client.Send(t.Context(), m); results(all) != c.want {
				t.Errorf("got %s, want %s: %v", results(all), c.want, all[0].Err)
			}
			client.Quit(t.Context())
		})
	}
}

// A message that requires TLS goes to a proved server that offers the same, and
// to no other; the proof is of one TLS session.
func TestRequireTLS(t *testing.T) {
	for _, c := range []struct {
		name, offer string
		verified    bool
		want        string
	}{
		{"proved and offered", "REQUIRETLS", true, "ok"},
		{"not proved", "REQUIRETLS", false, "next or failed 5.7.10"},
		{"not offered", "SIZE", true, "next or failed 5.7.30"},
	} {
		script := hellosTLS + "S: 250 " + c.offer
		if c.want == "ok" {
			script += "\nC: MAIL FROM:<a@example.test> REQUIRETLS\nS: 250 ok\nC: RCPT TO:<b@remote.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok"
		}
		client := connect(t, script+quit)
		client.MarkVerified()
		if err := client.StartTLS(t.Context(), insecure); err != nil {
			t.Fatal(err)
		}
		if c.verified {
			client.MarkVerified()
		}
		m := message("x\r\n", "b@remote.test")
		m.RequireTLS = true
		if all := client.Send(t.Context(), m); results(all) != c.want {
			t.Errorf("%s: got %s, want %s: %v", c.name, results(all), c.want, all[0].Err)
		}
		client.Quit(t.Context())
	}
}

func TestUTF8Header(t *testing.T) {
	const multipart = "Subject: x\r\nContent-Type: multipart/mixed;\r\n boundary=\"a b\"\r\n\r\nü\r\n--a b\r\n"
	for in, want := range map[string]bool{
		"":                          false,
		"Subject: x\r\n\r\nü\r\n":   false,
		"Subject: ü\r\n\r\nx\r\n":   true,
		"Subject: x\r\n\tü\r\n\r\n": true,
		multipart + "\r\nü\r\n":     false,
		multipart + "X: ü\r\n\r\n":  true,
		multipart + "X: y\r\n\r\n--a b\r\nX: ü\r\n": true,
		multipart + "X: y\r\n\r\n-- \r\nJürgen\r\n": false,
		multipart + "X: y\r\n\r\n--other\r\nJürgen": false,
		"Content-type: multipart/x; boundary=c\r\n\r\n--c\r\nContent-Type: multipart/y; boundary=d;\r\n\r\n--d\r\nX: ü\r\n": true,
		"X: " + strings.Repeat("y", 3*blockSize) + "ü\r\n\r\n":                                                              true,
		"X: y\r\n\r\n" + strings.Repeat("y", blockSize-8) + "\r\n--c\r\nü":                                                  false,
	} {
		if got, err := hasUTF8Header(strings.NewReader(in)); got != want || err != nil {
			t.Errorf("%.60q: %v, %v", in, got, err)
		}
	}
	broken := errors.New("disk gone")
	if _, err := hasUTF8Header(io.MultiReader(strings.NewReader("a: b"), failing{broken})); err != broken {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	for offer, want := range map[string][2]int{
		"SIZE":                       {100, 0},
		"LIMITS":                     {100, 0},
		"LIMITS RCPTMAX=7":           {7, 0},
		"LIMITS rcptmax=7 MAILMAX=2": {7, 2},
		"LIMITS RCPTMAX=0 MAILMAX=0": {100, 0},
		"LIMITS RCPTMAX=1000":        {100, 0},
		"LIMITS RCPTMAX=-1 MAILMAX=x RCPTDOMAINMAX": {100, 0},
		"LIMITS RCPTMAX=99999999999 MAILMAX=":       {100, 0},
	} {
		c := connect(t, offers(offer)+quit)
		got := [2]int{c.MaxRecipients(), 0}
		for c.mails = 0; c.mails < 5 && !c.Full(); c.mails++ {
			got[1]++
		}
		if got[1] == 5 {
			got[1] = 0
		}
		if got != want {
			t.Errorf("%s: %v, want %v", offer, got, want)
		}
		c.Quit(t.Context())
	}
}

func TestAuthPlain(t *testing.T) {
	for _, c := range []struct {
		name, script, want string
		user               string
		verified           bool
	}{
		{"taken", "C: AUTH PLAIN AHJpY2sAczNjcmV0\nS: 235 2.7.0 hello", "", "rick", true},
		{"refused", "C: AUTH PLAIN AHJpY2sAczNjcmV0\nS: 535 5.7.8 no s3cret or AHJpY2sAczNjcmV0", "AUTH: 535 5.7.8 no *** or ***", "rick", true},
		{"not proved", "", "AUTH: " + errUnproved.Error(), "rick", false},
		{"no user", "", "AUTH: " + errNoPassword.Error(), "", true},
		{"NUL", "", "AUTH: " + errNoPassword.Error(), "a\x00b", true},
	} {
		client := connect(t, hellosTLS+"S: 250 AUTH PLAIN LOGIN\n"+c.script+quit)
		if err := client.StartTLS(t.Context(), &tls.Config{InsecureSkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		if c.verified {
			client.MarkVerified()
		}
		if !client.OffersPlain() || client.OffersExternal() {
			t.Errorf("%s: the offer was not seen", c.name)
		}
		got := ""
		if err := client.AuthPlain(t.Context(), c.user, "s3cret"); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		client.Quit(t.Context())
	}
}

// No password is told in clear, whoever says that the server was proved.
func TestAuthPlainInClear(t *testing.T) {
	c := connect(t, "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\nS: 250 AUTH PLAIN"+quit)
	c.MarkVerified()
	if err := c.AuthPlain(t.Context(), "rick", "s3cret"); !errors.Is(err, errAuthInClear) {
		t.Error(err)
	}
	c.Quit(t.Context())
}

func TestTooMany(t *testing.T) {
	for _, c := range []struct {
		e    Error
		want bool
	}{
		{Error{Step: stepRCPT, Reply: Reply{Code: 452, Status: "4.5.3"}}, true},
		{Error{Step: stepRCPT, Reply: Reply{Code: 552}}, true},
		{Error{Step: stepRCPT, Reply: Reply{Code: 452, Status: "4.2.2"}}, false},
		{Error{Step: stepRCPT, Reply: Reply{Code: 450}}, false},
		{Error{Step: stepMAIL, Reply: Reply{Code: 452}}, false},
	} {
		if c.e.TooMany() != c.want {
			t.Errorf("%+v: %v", c.e, !c.want)
		}
	}
}

// lmtp says LHLO and MAIL, with three recipients.
const lmtp = `
	S: 220 store LMTP
	C: LHLO mx.example.test
	S: 250-store
	S: 250 PIPELINING
	C: MAIL FROM:<a@example.test>
	C: RCPT TO:<b@remote.test>
	C: RCPT TO:<c@remote.test>
	C: RCPT TO:<d@remote.test>
	C: DATA
`

// LMTP answers for each recipient that was accepted (RFC 2033 4.2).
func TestLMTP(t *testing.T) {
	const dot = "\nC: x\nC: .\n"
	const go2 = `S! "250 ok\r\n250 ok\r\n550 5.1.1 who\r\n250 ok\r\n354 go\r\n"` + dot
	for _, c := range []struct{ name, script, want string }{
		{"all", lmtp + `S! "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"` + dot + `S! "250 2.1.5 b\r\n250 c\r\n250 d\r\n"` + quit, "ok, ok, ok"},
		{"one unknown, one over quota", lmtp + go2 + `S! "250 b\r\n452 4.2.2 full\r\n"` + quit, "ok, failed 5.1.1, deferred 4.2.2"},
		{"one refused", lmtp + go2 + `S! "550 5.7.1 no\r\n250 d\r\n"` + quit, "failed 5.7.1, failed 5.1.1, ok"},
		{"gone after the first", lmtp + go2 + "S: 250 b\nDROP", "ok, failed 5.1.1, deferred 4.4.2"},
		{"421 for the second", lmtp + go2 + `S! "250 b\r\n421 4.3.2 bye\r\n"`, "ok, failed 5.1.1, next 4.3.2"},
		{"nonsense for the first", lmtp + go2 + "S: 354 more\nHANG", "deferred 4.5.0, failed 5.1.1, deferred 4.5.0"},
		{"all unknown", lmtp + `S! "250 ok\r\n550 5.1.1 x\r\n550 5.1.1 x\r\n550 5.1.1 x\r\n503 5.5.1 x\r\n"` + quit, "failed 5.1.1, failed 5.1.1, failed 5.1.1"},
		{"all unknown, and 354", lmtp + `S! "250 ok\r\n550 5.1.1 x\r\n550 5.1.1 x\r\n550 5.1.1 x\r\n354 go\r\n"` + "\nHANG", "failed 5.1.1, failed 5.1.1, failed 5.1.1"},
		{"no LHLO", "S: 220 mx\nC: LHLO mx.example.test\nS: 500 5.5.1 what", "EHLO: 500 5.5.1 what"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options
			o.LMTP = true
			client, err := New(t.Context(), dial(t, dialog.Serve(t, c.script)), o)
			if err != nil {
				if err.Error() != c.want {
					t.Error(err)
				}
				return
			}
			if got := results(client.Send(t.Context(), message("x\r\n", "b@remote.test", "c@remote.test", "d@remote.test"))); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			client.Quit(t.Context())
		})
	}
}
