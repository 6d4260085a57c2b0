package smtpd

import (
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// What MAIL and RCPT asked for is in the queue, and nothing of it in the next
// message.
func TestAskedIsKept(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	k.expect("MAIL", text(k.Mail("jürgen@partner.test", &smtp.MailOptions{UTF8: true, RequireTLS: true, Return: smtp.DSNReturnHeaders, EnvelopeID: "a b"})), "250")
	k.expect("RCPT", text(k.Rcpt("info@example.test", &smtp.RcptOptions{Notify: []smtp.DSNNotify{"SUCCESS", "DELAY", "FAILURE"},
		OriginalRecipientType: "rfc822", OriginalRecipient: "x@y.test"})), "250")
	k.expect("RCPT", text(k.Rcpt("boss@example.test", &smtp.RcptOptions{Notify: []smtp.DSNNotify{"NEVER"}})), "250")
	k.expect("RCPT again", text(k.Rcpt("boss@example.test", &smtp.RcptOptions{Notify: []smtp.DSNNotify{"SUCCESS"}})), "250")
	k.expect("DATA", k.data("Subject: x\r\nTLS-Required: No\r\n\r\n"), "250 ")
	k.expect("MAIL", text(k.Mail("a@partner.test", &smtp.MailOptions{Return: smtp.DSNReturnFull})), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("DATA", k.data("Subject: x\r\nTLS-Required: No\r\n\r\n"), "250 ")

	m := w.queue.messages()
	e := m[0].Envelope
	if !e.SMTPUTF8 || !e.RequireTLS || e.TLSOptional || e.Return != queue.ReturnHeaders || e.EnvelopeID != "a b" || e.EightBit ||
		e.Sender != mailaddr.MustParse("jürgen@partner.test") {
		t.Errorf("first: %+v", e)
	}
	want := []queue.Recipient{
		{Address: mailaddr.MustParse("info@example.test"), Notify: queue.NotifySuccess | queue.NotifyDelay | queue.NotifyFailure, Original: "rfc822;x@y.test"},
		{Address: mailaddr.MustParse("boss@example.test"), Notify: queue.NotifyNever},
	}
	if !reflect.DeepEqual(e.Recipients, want) {
		t.Errorf("recipients %+v, want %+v", e.Recipients, want)
	}
	if !strings.Contains(m[0].body, " with UTF8SMTP id ") || !strings.Contains(m[1].body, " with ESMTP id ") {
		t.Errorf("trace fields:\n%s\n%s", m[0].body, m[1].body)
	}
	e = m[1].Envelope
	if e.SMTPUTF8 || e.RequireTLS || !e.TLSOptional || e.Return != queue.ReturnFull || e.EnvelopeID != "" || e.Recipients[0].Notify != 0 {
		t.Errorf("second: %+v", e)
	}
}

// A header in UTF-8 passes without SMTPUTF8: refusing it would refuse much real
// mail, and whoever can carry 8 bits can carry it on.
func TestUTF8HeaderPasses(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	k.expect("MAIL", k.mail("a@partner.test"), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("DATA", k.data("Subject: grüße\r\n\r\n"), "250 ")
	if m := w.queue.messages(); len(m) != 1 || m[0].SMTPUTF8 || !strings.Contains(m[0].body, "grüße") {
		t.Errorf("%+v", m)
	}
}

// The same over sockets: each keyword where it is offered, each contradiction
// refused, and what was taken is in the queue.
func TestExtensionsOnTheWire(t *testing.T) {
	w := newWorld(t)
	d := open(t, w.serve()["mx"])
	if got := d.cmd("EHLO peer.test"); strings.Contains(got, "REQUIRETLS") || !strings.Contains(got, "\n250-SMTPUTF8\n250-DSN\n250-LIMITS RCPTMAX=100\n") ||
		strings.Contains(got, "BINARYMIME") {
		t.Error(got)
	}
	d.expect("MAIL FROM:<a@b.test> REQUIRETLS", "530 5.7.0 ")
	d.expect("MAIL FROM:<jürgen@b.test>", "553 5.6.7 ")
	d.expect("MAIL FROM:<j\xfcrgen@b.test> SMTPUTF8", "501 5.1.7 ")
	d.expect("MAIL FROM:<jürgen@bücher.example> SMTPUTF8 BODY=8BITMIME", "250 2.1.0 ")
	d.expect("RCPT TO:<info@example.test> NOTIFY=NEVER,DELAY", "501 5.5.4 ")
	d.expect("RCPT TO:<info@example.test> NOTIFY=DELAY ORCPT=utf-8;jürgen@y.test", "250 2.1.5 ")
	d.expect("DATA", "354 ")
	d.expect("Subject: grüße\r\n\r\n.", "250 2.6.0 ")

	d = openTLS(t, w.serve()["mx"], nil)
	if got := d.cmd("EHLO peer.test"); !strings.Contains(got, "REQUIRETLS") {
		t.Error(got)
	}
	d.expect("MAIL FROM:<a@b.test> REQUIRETLS RET=HDRS ENVID=x+2By", "250 2.1.0 ")
	d.expect("RCPT TO:<info@example.test>", "250 2.1.5 ")
	d.expect("DATA", "354 ")
	d.expect("TLS-Required: No\r\n\r\n.", "250 2.6.0 ")

	m := w.queue.messages()
	if e := m[0].Envelope; e.Sender.String() != "jürgen@xn--bcher-kva.example" || !e.SMTPUTF8 || e.RequireTLS ||
		e.Recipients[0].Original != "utf-8;jürgen@y.test" || e.Recipients[0].Notify != queue.NotifyDelay {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(m[0].body, " with UTF8SMTP id ") {
		t.Error(m[0].body)
	}
	if e := m[1].Envelope; e.SMTPUTF8 || !e.RequireTLS || e.TLSOptional || e.Return != queue.ReturnHeaders || e.EnvelopeID != "x+y" {
		t.Errorf("%+v", e)
	}
}
