package main

import (
	"fmt"
	"strings"
	"testing"

	"dancemta/internal/lab"
)

// What a sender asks for by the flags of sendmail comes back to him in reports, from
// the server's own mouth: of success where the next server cannot say it, and of
// failure with as much of the message as he wants.
func TestReportsReachTheSender(t *testing.T) {
	s := newSendStage(t)
	s.net.World.Zone("partner.test").Add("@ MX 10 mx.remote.test.")
	s.net.Sink.Answer(func(c lab.Command) string {
		if c.Verb == "RCPT" && strings.Contains(c.Line, "<nobody@remote.test>") {
			return "550 5.1.1 no such user"
		}
		return ""
	})
	args := append(s.to("relay"), s.as(s.net.Device)...)
	args = append(args, "-f", "sensor7@partner.test", "-N", "success,failure", "-R", "hdrs", "-V", "order 4711", "--", "ann@remote.test", "nobody@remote.test")
	if code, _, text := runSend(t, fmt.Sprintf(plainMail, "ask"), args...); code != exitOK {
		t.Fatalf("exit %d, %s\n%s", code, text, s.relay.text())
	}
	m := s.mail(t, "report-type=delivery-status")
	report := string(m.Data)
	if m.From != "" || len(m.To) != 1 || m.To[0] != "sensor7@partner.test" {
		t.Errorf("from %q to %v", m.From, m.To)
	}
	for _, want := range []string{
		"Original-Envelope-Id: order 4711\r\nReporting-MTA: dns; mx.example.test\r\n",
		"Final-Recipient: rfc822; ann@remote.test\r\nAction: relayed\r\nStatus: 2.",
		"Final-Recipient: rfc822; nobody@remote.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.remote.test\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
		"text/rfc822-headers", "Subject: ask",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
	if strings.Contains(report, "..two") {
		t.Errorf("the body came back:\n%s", report)
	}
	waitLog(t, s.relay, `"msg":"bounced"`)
	waitLog(t, s.relay, `"msg":"reported"`)
}
