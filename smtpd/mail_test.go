package smtpd

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/emersion/go-smtp"

	"dancemta/queue"
)

func TestStrangersReachRelayDomainsOnly(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	k.expect("RCPT before MAIL", k.rcpt("info@example.test"), "503 5.5.1 ")
	k.expect("DATA before MAIL", k.data(""), "554 5.5.1 ")
	k.expect("null sender", k.mail(""), "250")
	for to, want := range map[string]string{
		"info@example.test":          "250",
		"INFO@EXAMPLE.test":          "250",
		"postmaster@mx.example.test": "250",
		"PostMaster@mx.example.test": "250",
		"postmaster@example.test":    "250",
		"postmaster@[192.0.2.1]":     "250", // the address that the peer reached
		"boss@example.test":          "250",
		"nobody@example.test":        "550 5.1.1 No such mailbox here",
		"a@remote.test":              "550 5.7.1 Relaying denied",
		"postmaster@[192.0.2.2]":     "550 5.7.1 Relaying denied",
		"a@sub.example.test":         "550 5.7.1 Relaying denied",
		"a@evilexample.test":         "550 5.7.1 Relaying denied",
		"a@example.test.evil.test":   "550 5.7.1 Relaying denied",
		"b\u00fc@example.test":       "553 5.6.7 Address is not ASCII",
		"noat":                       "501 5.1.3 Recipient is not a mail address",
		"":                           "501 5.1.3 Recipient is not a mail address",
		"a@-b.test":                  "501 5.1.3 Recipient is not a mail address",
		"a%remote.test@example.test": "550 5.1.1 No such mailbox here",
	} {
		if got := cut(k.rcpt(to)); got != want {
			t.Errorf("RCPT %s: %q, want %q", to, got, want)
		}
	}
	k.expect("DATA", k.data("Subject: x\r\n\r\nbody\r\n"), "250 2.6.0 queued as ")
	m := w.queue.messages()[0]
	if m.Identity != "" || !m.Sender.IsNull() || !m.EightBit || m.Helo != "peer.test" || m.Peer != "192.0.2.7" || !m.Arrived.Equal(start) {
		t.Errorf("envelope: %+v", m.Envelope)
	}
	for _, r := range m.Recipients {
		if strings.Contains(r.String(), "mx.example.test") {
			t.Errorf("mail for the postmaster of this host went to %s", r)
		}
	}
	if strings.Contains(m.body, "\tfor <") {
		t.Errorf("several recipients, and one of them in Received:\n%s", m.body)
	}
}

func TestMailSyntax(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	for from, want := range map[string]string{
		"noat":            "501 5.1.7 Sender is not a mail address",
		"b\u00fc@a.test":  "553 5.6.7 Address is not ASCII",
		"a\x01b@a.test":   "501 5.1.7 Sender is not a mail address",
		"a@xn--a.test":    "501 5.1.7 Sender is not a mail address",
		"a@[192.0.2.300]": "501 5.1.7 Sender is not a mail address",
	} {
		if got := cut(k.mail(from)); got != want {
			t.Errorf("MAIL %q: %q, want %q", from, got, want)
		}
	}
	if got := cut(text(k.Mail("a@b.test", &smtp.MailOptions{Size: 50<<20 + 1}))); got != "552 5.3.4 Message is too big" {
		t.Error(got)
	}
	k.expect("MAIL as large as allowed", text(k.Mail("a@b.test", &smtp.MailOptions{Size: 50 << 20})), "250")
	k.expect("a second MAIL", k.mail("c@d.test"), "503 5.5.1 ")
	k.Reset()
	k.expect("MAIL after RSET", k.mail("c@d.test"), "250")
}

func TestRecipientsCollapseAndAreCounted(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxRecipients = 3 })
	k := w.talk("mx", plainPeer())
	k.mail("a@b.test")
	k.expect("first", k.rcpt("info@example.test"), "250")
	k.expect("again", k.rcpt("info@example.test"), "250")
	k.expect("other case of the domain", k.rcpt("info@EXAMPLE.test"), "250")
	k.expect("one too many", k.rcpt("rick@example.test"), "452 4.5.3 ")
	k.expect("DATA", k.data("x\r\n"), "250 ")
	m := w.queue.messages()[0]
	if len(m.Recipients) != 1 || m.Recipients[0].String() != "info@example.test" {
		t.Errorf("recipients: %v", m.Recipients)
	}
	if !strings.Contains(m.body, "\r\n\tfor <info@example.test>;") {
		t.Errorf("no for clause with one recipient:\n%s", m.body)
	}
}

func TestData(t *testing.T) {
	message := "Subject: x\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name  string
		queue *fakeQueue
		body  string
		want  string
	}{
		{"kept", &fakeQueue{}, message, "250 2.6.0 queued as "},
		{"full", &fakeQueue{err: &queue.Error{Kind: queue.Full, Err: errors.New("secret")}}, message, "452 4.3.1 "},
		{"broken", &fakeQueue{err: &queue.Error{Kind: queue.Broken, Err: errors.New("secret")}}, message, "451 4.3.0 "},
		{"too big for the queue", &fakeQueue{err: &queue.Error{Kind: queue.TooBig}}, message, "552 5.3.4 "},
		{"unknown error", &fakeQueue{err: errors.New("secret")}, message, "451 4.3.0 "},
		{"another server's reply", &fakeQueue{err: &smtp.SMTPError{Code: 550, Message: "secret"}}, message, "451 4.3.0 "},
		{"panic", &fakeQueue{panics: true}, message, "451 4.3.0 "},
		{"100 hops", &fakeQueue{}, strings.Repeat("Received: x\r\n", 100) + "\r\n", "250 2.6.0 "},
		{"101 hops", &fakeQueue{}, strings.Repeat("Received: x\r\n", 101) + "\r\n", "554 5.4.6 "},
		{"as big as allowed", &fakeQueue{}, strings.Repeat("x", 4096), "250 2.6.0 "},
		{"bigger", &fakeQueue{}, strings.Repeat("x", 4097), "552 5.3.4 "},
	} {
		w := newWorld(t, func(o *Options) { o.Queue, o.MaxMessageBytes = c.queue, 4096 })
		k := w.talk("mx", plainPeer())
		k.mail("a@b.test")
		k.rcpt("info@example.test")
		got := k.data(c.body)
		k.expect(c.name, got, c.want)
		if strings.Contains(got, "secret") {
			t.Errorf("%s: the peer reads our inner words: %q", c.name, got)
		}
		if kept := len(c.queue.messages()) == 1; kept != strings.HasPrefix(c.want, "250") {
			t.Errorf("%s: kept %v", c.name, kept)
		}
		k.expect(c.name+", then MAIL", k.mail("a@b.test"), "250")
	}
}

// A message whose end never came is not kept, and the log says why.
func TestAbortedData(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	k.mail("a@b.test")
	k.rcpt("info@example.test")
	body := io.MultiReader(strings.NewReader("Subject: x\r\n"), iotest.ErrReader(smtp.ErrDataReset))
	k.expect("DATA", text(k.Data(body)), "451 4.3.0 ")
	if len(w.queue.messages()) > 0 || !strings.Contains(w.log.String(), "reason=aborted") {
		t.Errorf("kept %v, log:\n%s", w.queue.messages(), w.log)
	}
}
