package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestQuotaMail: who is over his quota is told to postmaster, once, by a mail that
// stands in the queue as a bounce does: from the null sender, and signed.
func TestQuotaMail(t *testing.T) {
	config := writeConfig(t, jsonLog+minimalConfig+`
[limits]
quota_mail = true

[[rule]]
network  = ["127.0.0.0/8"]
action   = "allow"
from     = ["any"]
messages = ["1/h"]

[[dkim]]
domain   = "example.test"
selector = "s"
key      = "s._domainkey.example.test.pem"
`)
	newKeyFile(t, filepath.Dir(config), "example.test", "s", "ed25519")
	c := startServer(t, config)
	for i, want := range []string{"250 ", "450 4.7.1 Over quota", "450 4.7.1 Over quota"} {
		if reply := rcpt(t, c.addresses["relay"], "ann@elsewhere.test"); !strings.HasPrefix(reply, want) {
			t.Fatalf("message %d: %s", i, reply)
		}
	}
	c.cmd.Process.Signal(syscall.SIGTERM) // what is gathered goes out then
	<-c.done
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err, c.text())
	}
	if log := c.text(); strings.Count(log, `"msg":"quota notice"`) != 1 || !strings.Contains(log, `"accounts":1`) {
		t.Error(log)
	}
	all, err := queueList(withTimeout(t), config)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	m := all[0]
	if !m.Sender.IsNull() || m.Identity != noticesIdentity || len(m.Recipients) != 1 || m.Recipients[0].Address.String() != "postmaster@example.test" {
		t.Errorf("%+v", m)
	}
	code, text, _ := run(t, "queue", "cat", string(m.ID), "--config", config)
	if code != exitOK || !strings.HasPrefix(text, "DKIM-Signature: ") {
		t.Errorf("exit %d: %s", code, text)
	}
	for _, want := range []string{"Subject: Quota used up: 1 account at mx.example.test\r\n", "\r\naddress 127.0.0.1/32\r\n", "quota  1/h messages of one identity\r\n", `rule   "127.0.0.0/8" (line 15)`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nhas no %q", text, want)
		}
	}
}
