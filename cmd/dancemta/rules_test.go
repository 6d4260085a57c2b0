package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/explain"
	"dancemta/internal/lab"
	"dancemta/internal/limit"
	"dancemta/queue/boltstore"
)

const rulesConfig = minimalConfig + `
[[listener]]
name    = "submission"
kind    = "submission"
address = "127.0.0.1:0"

[[relay_domain]]
domain     = "example.test"
recipients = "file"
recipients_file = "mailboxes"

[[rule]]
who         = "*@partner.test"
group       = "staff"
action      = "allow"
from        = ["@partner.test"]
header_from = ["any"]
messages    = ["100/h"]
size        = "1MiB"

[[rule]]
who    = "*@partner.test"
action = "allow"

[[rule]]
who    = "*@partner.test"
action = "deny"
to     = ["@forbidden.test"]

[[rule]]
who    = "*._device.partner.test"
action = "allow"
proved = ["extension"]
from   = ["{label}@alerts.test"]

[[rule]]
who    = "_smtp-client.gw.partner.test"
action = "allow"
as     = "gateway@example.test"
from   = ["own"]
until  = "2199-12-31"

[[rule]]
who    = "_smtp-client.old.partner.test"
action = "allow"
from   = ["any"]
until  = "2020-12-31"

[[rule]]
network = ["10.0.0.0/8"]
action  = "allow"
from    = ["@printers.test"]

[[group]]
name         = "staff"
members_file = "staff.users"

[[subaddress]]
users     = "*@partner.test"
delimiter = "+"
`

// writeRules writes the configuration with all that it names.
func writeRules(t *testing.T, more string) string {
	t.Helper()
	path := writeConfig(t, strings.Replace(more+rulesConfig, "hostname ", "tls = { certificate = \"mx.pem\", key = \"mx.key\" }\nhostname ", 1))
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	if err := internet.WritePKI(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"mailboxes": "info\n", "staff.users": "# who works here\nrick@partner.test\n"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestExplainSender(t *testing.T) {
	config := writeRules(t, "")
	for _, c := range []struct {
		args               string
		code               int
		step, rule, reason string
		reply              string
	}{
		{"rick@partner.test ceo@partner.test x@remote.test", exitOK, "", `"*@partner.test" (line `, "", ""},
		{"eve@partner.test ceo@partner.test x@remote.test", exitRefused, "MAIL", `"*@partner.test" (line `, "sender-refused", "553 5.7.1 This sender address is not for eve@partner.test [session id]"},
		{"eve@partner.test eve+x@partner.test x@remote.test", exitOK, "", `"*@partner.test" (line `, "", ""},
		{"eve@partner.test eve@partner.test x@remote.test --header-from rick@partner.test", exitRefused, "DATA", `"*@partner.test" (line `, "author-refused", "550 5.7.1 This address in the From field is not for eve@partner.test [session id]"},
		{"rick@partner.test rick@partner.test x@remote.test --header-from x@y.test", exitOK, "", `"*@partner.test" (line `, "", ""},
		{"rick@partner.test rick@partner.test x@forbidden.test", exitRefused, "RCPT", `"*@partner.test" (line `, "denied", "550 5.7.1 Relaying denied [session id]"},
		{"eve@stranger.test eve@stranger.test x@remote.test", exitRefused, "login", "", "no-rule", "535 5.7.8 Authentication failed [session id]"},
		{"s7._device.partner.test s7@alerts.test x@remote.test --proved extension", exitOK, "", `"*._device.partner.test" (line `, "", ""},
		{"s7._device.partner.test s8@alerts.test x@remote.test --proved extension", exitRefused, "MAIL", `"*._device.partner.test" (line `, "sender-refused", "553 5.7.1 This sender address is not for s7._device.partner.test [session id]"},
		{"s7._device.partner.test s7@alerts.test x@remote.test", exitRefused, "login", "", "no-rule", "550 5.7.1 Relaying denied [session id]"},
		{"_smtp-client.gw.partner.test gateway@example.test x@remote.test", exitOK, "", `"_smtp-client.gw.partner.test" (line `, "", ""},
		{"_smtp-client.gw.partner.test x@partner.test x@remote.test", exitRefused, "MAIL", `"_smtp-client.gw.partner.test" (line `, "sender-refused", "553 5.7.1 This sender address is not for gateway@example.test [session id]"},
		{"_smtp-client.old.partner.test <> x@remote.test", exitRefused, "login", "", "no-rule", "550 5.7.1 Relaying denied [session id]"},
		{"10.1.2.3 a@printers.test x@remote.test", exitOK, "", `"10.0.0.0/8" (line `, "", ""},
		{"192.0.2.1 a@printers.test x@remote.test", exitRefused, "login", "", "no-rule", "550 5.7.1 Relaying denied [session id]"},
		{"192.0.2.1 a@b.test info@example.test", exitOK, "", "", "", ""},
		{"192.0.2.1 a@b.test nobody@example.test", exitRefused, "RCPT", "", "unknown-mailbox", "550 5.1.1 No such mailbox here [session id]"},
	} {
		code, out, text := run(t, append(append([]string{"explain", "sender"}, strings.Fields(c.args)...), "--json", "--config", config)...)
		r := &explain.Sender{}
		if err := json.Unmarshal([]byte(out), r); err != nil {
			t.Fatalf("%s: %v: %s %s", c.args, err, out, text)
		}
		if code != c.code || r.Step != c.step || !strings.HasPrefix(r.Rule, c.rule) || (c.rule == "") != (r.Rule == "") || r.Reason != c.reason || r.Reply != c.reply {
			t.Errorf("%s: code %d, %+v", c.args, code, r)
		}
	}
	_, out, _ := run(t, "explain", "sender", "rick@partner.test", "ceo@partner.test", "x@remote.test", "--config", config)
	for _, want := range []string{"rick@partner.test sends as <ceo@partner.test> to <x@remote.test>: accepted\n", "listener    submission\n", "group       staff\n", "quota       100/h messages of one identity\n", "size        1048576 octets\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, args := range []string{"rick@partner.test x y", "rick@ x@y.test a@b.test", "rick@partner.test x@y.test <>", "10.0.0.1 x@y.test a@b.test --peer 10.0.0.2",
		"rick@partner.test x@y.test a@b.test --proved guess", "rick@partner.test x@y.test a@b.test --peer here", "rick@partner.test x@y.test a@b.test --header-from x"} {
		if code, _, text := run(t, append(append([]string{"explain", "sender"}, strings.Fields(args)...), "--config", config)...); code != exitUsage {
			t.Errorf("%s: code %d, %s", args, code, text)
		}
	}
}

// TestExplainSenderByPassword: who has a password is taken to have told it.
func TestExplainSenderByPassword(t *testing.T) {
	config := writeRules(t, "")
	text, err := os.ReadFile(config)
	must(t, err)
	more := `
[[rule]]
who    = "*@staff.test"
action = "allow"
proved = ["password"]

[directory]
servers          = ["unix:/nowhere/ldapi"]
base             = "dc=staff,dc=test"
filter           = "(mail={address})"
password_domains = ["staff.test"]
`
	must(t, os.WriteFile(config, append(text, more...), 0o600))
	for word, want := range map[string]int{"": exitOK, "--proved=password": exitOK, "--proved=certificate": exitRefused} {
		args := []string{"explain", "sender", "sue@staff.test", "sue@staff.test", "x@remote.test", "--config", config}
		if word != "" {
			args = append(args, word)
		}
		if code, out, text := run(t, args...); code != want {
			t.Errorf("%s: code %d: %s%s", word, code, out, text)
		}
	}
}

// Files of groups that say something wrong stop the start, and the file has its line.
func TestBadGroupFile(t *testing.T) {
	config := writeRules(t, "")
	file := filepath.Join(filepath.Dir(config), "staff.users")
	if err := os.WriteFile(file, []byte("rick@partner.test\nsensor._device.partner.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, text := run(t, "explain", "sender", "rick@partner.test", "<>", "x@remote.test", "--config", config)
	if code != exitConfig || !strings.Contains(text, "staff.users: line 2: ") {
		t.Errorf("code %d, %s", code, text)
	}
	os.Remove(file)
	if code, _, text := run(t, "explain", "sender", "rick@partner.test", "<>", "x@remote.test", "--config", config); code != exitUnavailable || !strings.Contains(text, "group.members_file") {
		t.Errorf("code %d, %s", code, text)
	}
}

// TestQuotasKept: what was taken in one life of the server is gone in the next, and a
// file that nobody can read costs a log line and no mail.
func TestQuotasKept(t *testing.T) {
	cfg, err := loadConfig(writeRules(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(string(cfg.StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	start := func() *parts {
		p, err := newParts("x", cfg, newLogger(cfg.Log, &strings.Builder{}), boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := []limit.Charge{{Account: "user rick@partner.test", Rate: limit.Rate{N: 3, Per: time.Hour}, Tokens: 3}}
	p := start()
	if p.quotas.Take(all) != -1 {
		t.Error("nothing to take at the start")
	}
	p.quotas.save()
	p.close()
	p = start()
	if p.quotas.Take(all) != 0 {
		t.Error("all was given back by a restart")
	}
	path := p.quotas.path
	p.close()
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	p = start()
	defer p.close()
	if p.quotas.Take(all) != -1 {
		t.Error("a broken file shuts people out")
	}
}
