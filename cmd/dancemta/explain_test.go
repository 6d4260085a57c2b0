package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

func TestExplain(t *testing.T) {
	_, config, pki := verifyWorld(t)
	pem := func(name string) string { return filepath.Join(pki, name+".pem") }
	const device = "sensor7._device.partner.test"
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		out    string // contained in standard output
		stderr string
	}{
		{"a device", []string{"client", pem("device")}, exitOK, "client on listener relay: accepted\n", ""},
		{"a device by name", []string{"client", device}, exitOK, "client on listener relay: open: ", ""},
		{"with a final dot", []string{"client", device + "."}, exitOK, "client on listener relay: open: ", ""},
		{"a wrong key", []string{"client", pem("wrong")}, exitRefused, "reply   550 5.7.1 Relaying denied [session id]", "error: refused: no-match"},
		{"unsigned", []string{"client", pem("unsigned")}, exitRefused, "sign the zone unsigned.test.", "error: refused: insecure"},
		{"bogus", []string{"client", pem("bogus")}, exitTemporary, "reply   451 4.7.5 ", "error: cannot be judged now: bogus-dns"},
		{"a client on a listener for users", []string{"client", device, "--listener", "submission"}, exitRefused, `listeners = ["submission"]`, "error: refused: not-allowed"},
		{"a user", []string{"user", pem("rick")}, exitOK, "user on listener submission: accepted\n", ""},
		{"a user by identity", []string{"user", "Rick@partner.test"}, exitOK, "user on listener submission: open: ", ""},
		{"a user where rules are for another listener", []string{"user", "rick@partner.test", "--listener", "relay"}, exitRefused, "no rule allows it", "error: refused: not-allowed"},
		{"usage 3 makes no user", []string{"user", pem("eve")}, exitRefused, "reply   535 5.7.8 ", "error: refused: unusable"},

		{"no word", []string{"client"}, exitUsage, "", "takes a name or a file"},
		{"two names", []string{"client", device, "x.example.org"}, exitUsage, "", "one name and one file"},
		{"no name", []string{"client", "a b"}, exitUsage, "", "a client is named by the owner name"},
		{"no identity", []string{"user", "rick"}, exitUsage, "", "an identity is rick@example.org"},
		{"no such listener", []string{"client", device, "--listener", "x"}, exitUsage, "", "it has relay, submission"},
		{"no such file", []string{"client", "/nowhere/x.pem"}, exitUnavailable, "", "no such file"},
		{"a file without a certificate", []string{"user", filepath.Join(pki, "rick.key")}, exitUnavailable, "", "no certificate"},
	} {
		code, out, text := run(t, append(append([]string{"explain"}, c.args...), "--config", config)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(text, c.stderr) || (text == "") != (c.code == exitOK) {
			t.Errorf("%s: exit %d, %s%s; want %d, %q, %q", c.name, code, out, text, c.code, c.out, c.stderr)
		}
	}
}

// A name with a certificate is one told by dane_clientid, where somebody asks.
func TestExplainTold(t *testing.T) {
	_, config, pki := verifyWorld(t)
	args := []string{"explain", "client", "_smtp-client.mta.partner.test", filepath.Join(pki, "mta.pem"), "--config", config}
	code, out, text := run(t, args...)
	if !clientid.Supported {
		if code != exitUsage || !strings.Contains(text, "this build has no dane_clientid") {
			t.Errorf("exit %d, %s", code, text)
		}
		return
	}
	if code != exitRefused || !strings.Contains(out, "reply   TLS alert 40 (handshake failure)") {
		t.Errorf("exit %d, %s%s", code, out, text)
	}
}

// The session and explain read one configuration: a rule that is turned round
// turns both, and the log names the command that explains.
func TestExplainSaysWhatTheSessionDoes(t *testing.T) {
	internet, config, pki := verifyWorld(t)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	denied := strings.Replace(string(text), "who    = \"*._device.partner.test\"\naction = \"allow\"\nfrom   = [\"any\"]", "who    = \"*._device.partner.test\"\naction = \"deny\"", 1)
	if denied == string(text) {
		t.Fatal("the rule is not where this test looks")
	}
	for _, rules := range []string{string(text), denied} {
		if err := os.WriteFile(config, []byte(jsonLog+rules), 0o600); err != nil {
			t.Fatal(err)
		}
		said, log := relayReply(t, internet, config)
		code, out, _ := run(t, "explain", "client", filepath.Join(pki, "device.pem"), "--json", "--config", config)
		var r struct{ Verdict, Reply string }
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		if rules == denied {
			id := said[strings.LastIndexByte(said, '[')+1 : len(said)-1]
			if code != exitRefused || r.Verdict != "refused" || strings.Replace(r.Reply, "session id", id, 1) != said {
				t.Errorf("denied: session %q, explain %d %+v", said, code, r)
			}
			explainFromLog(t, log, config)
		} else if code != exitOK || r.Verdict != "accepted" || !strings.HasPrefix(said, "250 ") {
			t.Errorf("allowed: session %q, explain %d %+v", said, code, r)
		}
	}
}

// relayReply is what a running server answers to the device's RCPT.
func relayReply(t *testing.T, internet *lab.Internet, config string) (reply, log string) {
	t.Helper()
	d := &demo{net: internet, out: &transcript{w: io.Discard}, server: startServer(t, config)}
	s, err := d.connect(withTimeout(t), "relay", &internet.Device)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.expect("MAIL FROM:<a@partner.test>", "250"); err != nil {
		t.Fatal(err)
	}
	if reply, err = s.quiet("RCPT TO:<a@remote.test>"); err != nil {
		t.Fatal(err)
	}
	d.server.kill() // then its log is whole: the line was written before the reply
	return reply, d.server.text()
}

// explainFromLog runs the command that a refusal's line in the log shows.
func explainFromLog(t *testing.T, log, config string) {
	t.Helper()
	var line struct {
		Explain    string
		WouldMatch string `json:"would_match"`
	}
	for text := range strings.SplitSeq(log, "\n") {
		if strings.Contains(text, "client not authenticated") && json.Unmarshal([]byte(text), &line) == nil {
			break
		}
	}
	words := strings.Fields(line.Explain)
	if len(words) == 0 || words[0] != "dancemta" || !strings.HasPrefix(line.WouldMatch, "sensor7._device.partner.test. 3600 IN TLSA 3 1 1 ") {
		t.Fatalf("no command in the log:\n%s", log)
	}
	if words[len(words)-1] != config {
		t.Errorf("%s: not by this server's configuration", line.Explain)
	}
	code, out, _ := run(t, words[1:]...)
	if code != exitRefused || !strings.Contains(out, "denied by rule") {
		t.Errorf("%s: exit %d\n%s", line.Explain, code, out)
	}
}

// The command in a log line works from any folder, and as a shell reads it.
func TestExplainFlagsFor(t *testing.T) {
	for path, want := range map[string]string{
		defaultConfig:    "",
		"/srv/mx-1.toml": " --config /srv/mx-1.toml",
		"/srv/a b.toml":  " --config '/srv/a b.toml'",
		"/srv/it's.toml": ` --config '/srv/it'\''s.toml'`,
		"/srv/$(x).toml": " --config '/srv/$(x).toml'",
	} {
		if got := explainFlagsFor(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := explainFlagsFor("x.toml"); !strings.HasPrefix(got, " --config /") || !strings.HasSuffix(got, "/cmd/dancemta/x.toml") {
		t.Errorf("a path from this folder: %q", got)
	}
}
