//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/internal/lab"
)

// storeConfig is a relay in front of Dovecot: one domain by Unix socket, one by TCP.
func storeConfig(s *receiverStage, address string) string {
	return fmt.Sprintf(demoConfig, s.net.DNS.Addr(), s.port) + fmt.Sprintf(`
[[relay_domain]]
domain     = "unix.test"
recipients = "any"

[[relay_domain]]
domain     = "tcp.test"
recipients = "any"

[[route]]
domain   = "unix.test"
next_hop = [%q]
protocol = "lmtp"

[[route]]
domain   = "tcp.test"
next_hop = [%q]
protocol = "lmtp"
`, "unix:"+filepath.Join(s.work, "lmtp"), address)
}

// Dovecot answers for each recipient, before and after the message; who has mail is
// told so, if the sender asked, and nobody has it twice.
func TestStoriesLMTP(t *testing.T) {
	s := newReceiverStage(t)
	address := fmt.Sprintf("127.0.0.6:%d", s.port)
	words := map[string]string{"WORK": s.work, "IP": "127.0.0.6", "PORT": fmt.Sprint(s.port)}
	writeOpen(t, filepath.Join(s.work, "dovecot.conf"), []byte(fill(dovecotConf, words)))
	writeOpen(t, filepath.Join(s.work, "users"), []byte("ann:x::::::\nbob:x::::::\nbroken:x::::::\n"))
	startCounterpart(t, s.work, dovecotScript, address)
	config := writeConfig(t, storeConfig(s, address))
	must(t, s.net.WritePKI(filepath.Dir(config)))
	s.relay = startServer(t, config)
	for _, domain := range []string{"unix.test", "tcp.test"} {
		t.Run(domain, func(t *testing.T) { s.stores(t, domain) })
	}
}

func (s *receiverStage) stores(t *testing.T, domain string) {
	client := newDoor(t, s.relay.addresses["relay"])
	content := "Subject: store " + domain + "\r\n\r\n.\r\n..\r\ncaf\xe9\r\n" + strings.Repeat(".long\r\n", 20000)
	client.hand(t, "sensor7@partner.test", " BODY=8BITMIME ENVID=order", []string{
		"ann@" + domain + " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bn@" + domain, "bob@" + domain,
		"nobody@" + domain, "broken@" + domain,
	}, content)
	waitLine(t, s.relay, `"msg":"delivered"`, `"rcpt":"ann@`+domain, `"status":"2.0.0"`, "Saved")
	waitLine(t, s.relay, `"msg":"delivered"`, `"rcpt":"bob@`+domain, "Saved")
	waitLine(t, s.relay, `"msg":"failed"`, `"rcpt":"nobody@`+domain, `"status":"5.1.1"`)
	waitLine(t, s.relay, `"msg":"deferred"`, `"rcpt":"broken@`+domain, `"status":"4.`)
	waitCount(t, s.relay, 2, `"msg":"deferred"`, `"rcpt":"broken@`+domain) // the others have theirs already
	for _, lines := range [][]string{
		{"Final-Recipient: rfc822; ann@" + domain, "Action: delivered", "Original-Recipient: rfc822; a+n@" + domain, "Original-Envelope-Id: order"},
		{"Final-Recipient: rfc822; nobody@" + domain, "Action: failed", "Status: 5.1.1"},
	} {
		report, err := s.net.Sink.Wait(withTimeout(t), func(m lab.Message) bool {
			return bytes.Contains(m.Data, []byte(lines[0]))
		})
		must(t, err)
		for _, line := range lines {
			if !bytes.Contains(report.Data, []byte(line)) {
				t.Errorf("the report lacks %q:\n%.6000s", line, report.Data)
			}
		}
		if bytes.Contains(report.Data, []byte("bob@")) {
			t.Errorf("bob's mail was reported, for which nobody asked:\n%.3000s", report.Data)
		}
	}
	for _, name := range []string{"ann", "bob"} {
		files, err := filepath.Glob(filepath.Join(s.work, "dovecot", name, "new", "*"))
		must(t, err)
		if len(files) != 1 {
			t.Fatalf("%s has %d messages", name, len(files))
		}
		text, err := os.ReadFile(files[0])
		must(t, err)
		if err := sameButTrace(strings.ReplaceAll(string(text), "\r\n", "\n"), content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		must(t, os.Remove(files[0]))
	}
}
