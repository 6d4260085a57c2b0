package compose

import (
	"bytes"
	"errors"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

var options = Options{
	Sender: mailaddr.MustParse("a@example.test"), Hostname: dnsname.MustParse("host.test"),
	Now: time.Date(2026, 11, 24, 9, 5, 3, 0, time.FixedZone("", 3600)),
}

const (
	date = "Date: Tue, 24 Nov 2026 09:05:03 +0100\r\n"
	id   = "Message-ID: <ID@host.test>\r\n"
)

var someID = regexp.MustCompile(`<[A-Z2-7]{26}@`)

func finish(t *testing.T, text string, o Options) string {
	t.Helper()
	d, err := Read(strings.NewReader(text))
	if err != nil {
		return err.Error()
	}
	out, err := d.Finish(o)
	if err != nil {
		return err.Error()
	}
	return someID.ReplaceAllString(string(out), "<ID@")
}

func TestFinish(t *testing.T) {
	const whole = "Message-Id: <x@y>\r\ndate: now\r\nFROM: b@b.test\r\n"
	for _, c := range []struct{ name, text, want string }{
		{"complete", whole + "\r\nbody\r\n", whole + "\r\nbody\r\n"},
		{"LF", strings.ReplaceAll(whole, "\r", "") + "\nbody\n\n.\n..\nend", whole + "\r\nbody\r\n\r\n.\r\n..\r\nend\r\n"},
		{"CRLF and LF", whole + "\nbody\r\nmore\n", whole + "\r\nbody\r\nmore\r\n"},
		{"nothing", "", "From: <a@example.test>\r\n" + date + id + "\r\n"},
		{"a body alone", "hello\nyou\n", "From: <a@example.test>\r\n" + date + id + "\r\nhello\r\nyou\r\n"},
		{"an empty line first", "\nSubject: body\n", "From: <a@example.test>\r\n" + date + id + "\r\nSubject: body\r\n"},
		{"no body", "Subject: x\n", "Subject: x\r\nFrom: <a@example.test>\r\n" + date + id + "\r\n"},
		{"no field in between", "Subject: x\nbody: not\n\tfield\nbut this\nTo: x\n", "Subject: x\r\nbody: not\r\n\tfield\r\nFrom: <a@example.test>\r\n" + date + id + "\r\nbut this\r\nTo: x\r\n"},
		{"of a mailbox", "From b@b.test Tue Nov 24\n" + whole + "\nx", whole + "\r\nx\r\n"},
		{"blind copies", "Bcc: c@c.test,\n d@d.test\nSubject: x\nBCC : e@e.test\nResent-Bcc: f@f.test\n" + whole + "\nBcc: in the body\n", "Subject: x\r\n" + whole + "\r\nBcc: in the body\r\n"},
		{"8-bit and long", whole + "\n\xe4\xc3\xa4" + strings.Repeat("x", 3000), whole + "\r\n\xe4\xc3\xa4" + strings.Repeat("x", 3000) + "\r\n"},
		{"lone CR", "a\rb\n", ErrLines.Error()},
		{"CR before CRLF", "a\r\r\n", ErrLines.Error()},
		{"CR at the end", "a\r", ErrLines.Error()},
		{"CR in the header", "Subject: a\rBcc: b\n\n", ErrLines.Error()},
		{"NUL", "a\x00b\n", ErrLines.Error()},
	} {
		if got := finish(t, c.text, options); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestFrom(t *testing.T) {
	for _, c := range []struct{ sender, name, want string }{
		{"a@example.test", "", "From: <a@example.test>"},
		{"a@example.test", "Cron Daemon", `From: "Cron Daemon" <a@example.test>`},
		{"a@example.test", "Jürgen", `From: =?utf-8?q?J=C3=BCrgen?= <a@example.test>`},
		{"a@example.test", "x\r\nBcc: y@y.test", ""}, // any form but one of two lines
		{`"a b"@[192.0.2.1]`, `Q "uote"`, `From: "Q \"uote\"" <"a b"@[192.0.2.1]>`},
		{"", "x", ErrNoFrom.Error()},
	} {
		o := options
		o.Sender, o.FullName = mailaddr.MustParse(c.sender), c.name
		got := finish(t, "\nx", o)
		if m, err := mail.ReadMessage(strings.NewReader(got)); err == nil && m.Header.Get("Bcc") != "" {
			t.Errorf("%q made a field of its own: %q", c.name, got)
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s, %q: %q, want %q", c.sender, c.name, got, c.want)
		}
	}
}

func TestRecipients(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"all three", "To: b@b.test\nCc: \"C, c\" <c@c.test>, D <d@d.test>\nBcc: e@e.test\nFrom: a@a.test\n", "b@b.test c@c.test d@d.test e@e.test"},
		{"folded, twice, in any case", "to: b@b.test,\n\tc@c.test\nTO: d@d.test\n", "b@b.test c@c.test d@d.test"},
		{"groups", "To: undisclosed-recipients:;\nCc: us: b@b.test, c@c.test;, d@d.test\n", "b@b.test c@c.test d@d.test"},
		{"a comment and words in other charsets", "To: =?x-unknown?q?B=E4r?= <b@b.test> (the bear)\n", "b@b.test"},
		{"quoted", "To: \"b c\"@b.test\n", `"b c"@b.test`},
		{"empty", "To:\nBcc: \n", ""},
		{"none", "Subject: b@b.test\n\nTo: c@c.test\n", ""},
		{"a local name", "To: root\n", "error"},
		{"broken", "To: b@@b.test\n", "error"},
		{"UTF-8", "To: b\xc3\xa4r@b.test\n", "b\xc3\xa4r@b.test"},
		{"Latin 1", "To: b\xe4r@b.test\n", "error"},
		{"two lines in quotes", "To: \"b\n c\"@b.test\n", `"b c"@b.test`},
		{"resent", "To: b@b.test\nResent-To: c@c.test\n", "error"},
	} {
		d, err := Read(strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		all, err := d.Recipients()
		got := ""
		for _, a := range all {
			got += a.String() + " "
		}
		if err != nil {
			got = "error"
		}
		if strings.TrimSpace(got) != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}

func TestSender(t *testing.T) {
	for text, want := range map[string]string{
		"From: A <a@a.test>\n":                         "a@a.test",
		"From: a@a.test, b@b.test\nSender: c@c.test\n": "c@c.test",
		"From: a@a.test, b@b.test\n":                   "",
		"From: root\n":                                 "",
		"Reply-To: a@a.test\n":                         "",
	} {
		d, err := Read(strings.NewReader(text))
		if err != nil || d.Sender().String() != want {
			t.Errorf("%q: %v, %v; want %s", text, d.Sender(), err, want)
		}
	}
}

// endless never runs dry.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestReadFails(t *testing.T) {
	if _, err := Read(endless{}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := Read(errReader{broken}); !errors.Is(err, broken) { // half a message is none
		t.Error(err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func FuzzRead(f *testing.F) {
	for _, text := range []string{"", "To: a@a.test\n\nx", "Bcc: a\n b\nX:\n\n.\n", "From x\nBcc : y\r\n\r\n", ":\n", "a\rb"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		d.Recipients()
		out, err := d.Finish(options)
		if err != nil {
			t.Fatal(err)
		}
		bare := strings.ReplaceAll(string(out), "\r\n", "")
		if strings.ContainsAny(bare, "\r\n\x00") || !bytes.HasSuffix(out, crlf) {
			t.Fatalf("not lines: %q", out)
		}
		again, err := Read(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		if again.has("bcc") || !again.has("from") || !again.has("date") || !again.has("message-id") {
			t.Fatalf("fields: %q", out)
		}
		if twice, _ := again.Finish(options); !bytes.Equal(twice, out) {
			t.Fatalf("%q became %q", out, twice)
		}
	})
}
