package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/deliver/submit"
)

// sendStage is the lab, with a relay that is published in its DNS.
type sendStage struct {
	net   *lab.Internet
	relay *child
	dir   string
	ports map[string]string
}

func newSendStage(t *testing.T) *sendStage {
	t.Helper()
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	_, port, err := splitPort(n.Sink.Addr())
	if err != nil {
		t.Fatal(err)
	}
	config := writeConfig(t, fmt.Sprintf(demoConfig, n.DNS.Addr(), port)+`
[[listener]]
name    = "submissions"
kind    = "submissions"
address = "127.0.0.1:0"

[[listener]]
name                = "deaf"
kind                = "relay"
address             = "127.0.0.1:0"
client_names        = ["certificate"]
`)
	s := &sendStage{net: n, dir: filepath.Dir(config), ports: map[string]string{}}
	if err := n.WritePKI(s.dir); err != nil {
		t.Fatal(err)
	}
	s.relay = startServer(t, config)
	zone := n.World.Zone("example.test")
	zone.Add("other A 127.0.0.1")
	n.World.AddZone("loose.test.", lab.ZoneOptions{Unsigned: true}).Add("@ MX 10 mx.example.test.", "mx A 127.0.0.1")
	for name, address := range s.relay.addresses {
		_, port, err := splitPort(address)
		if err != nil {
			t.Fatal(err)
		}
		s.ports[name] = fmt.Sprint(port)
		zone.Add(fmt.Sprintf("_%d._tcp.mx %s", port, lab.TLSA(3, 1, 1, n.Server.Leaf())))
		zone.Add(fmt.Sprintf("_%d._tcp.other %s", port, lab.TLSA(3, 1, 1, n.Device.Leaf())))
	}
	return s
}

// to are the flags that reach a listener.
func (s *sendStage) to(listener string, more ...string) []string {
	return append([]string{"send", "--dns", s.net.DNS.Addr(), "--trust-anchors", filepath.Join(s.dir, "root.ds"),
		"--relay", "mx.example.test:" + s.ports[listener]}, more...)
}

func (s *sendStage) as(c lab.Client) []string {
	return []string{"--cert", filepath.Join(s.dir, c.File+".pem"), "--key", filepath.Join(s.dir, c.File+".key")}
}

// runSend runs a command with a text on standard input.
func runSend(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var out, complaints bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&complaints)
	if err := root.ExecuteContext(ctx); err != nil {
		printError(&complaints, err)
		code = exitCode(err)
	}
	return code, out.String(), complaints.String()
}

const plainMail = "From: sensor7@partner.test\nSubject: %s\n\n.\n..two\nfrom \xe4\xc3\xa4\n.\nend\n"

// A device's message reaches the sink unharmed, by the name that it told where
// the build can tell one.
func TestSend(t *testing.T) {
	s := newSendStage(t)
	source := "certificate"
	args := append(s.to("relay"), s.as(s.net.Device)...)
	if clientid.Supported {
		source = "extension"
		args = append(args, "--client-name", s.net.Device.Owner)
	}
	code, out, text := runSend(t, fmt.Sprintf(plainMail, "whole"), append(args, "-oi", "-f", "sensor7@partner.test", "--", "ann@remote.test")...)
	if code != exitOK || out != "" || text != "" {
		t.Fatalf("exit %d, %s%s\n%s", code, out, text, s.relay.text())
	}
	m := s.mail(t, "Subject: whole")
	want := strings.ReplaceAll(fmt.Sprintf(plainMail, "whole"), "\n", "\r\n")
	_, body, _ := strings.Cut(want, "\r\n\r\n")
	if m.From != "sensor7@partner.test" || !strings.HasSuffix(string(m.Data), "\r\n\r\n"+body) {
		t.Errorf("%q", m.Data)
	}
	for _, part := range []string{"(client dane " + s.net.Device.Owner + ")", "\r\nDate: ", "\r\nMessage-ID: <"} {
		if !strings.Contains(string(m.Data), part) {
			t.Errorf("no %q in %q", part, m.Data)
		}
	}
	waitLog(t, s.relay, fmt.Sprintf(`"source":%q`, source))
}

// A relay that does not ask is told no name.
func TestSendTellsNoNameUnasked(t *testing.T) {
	if !clientid.Supported {
		t.Skip("a build without the extension has no name to tell")
	}
	s := newSendStage(t)
	args := append(s.to("deaf", "-v", "--client-name", s.net.Device.Owner), s.as(s.net.Device)...)
	code, _, text := runSend(t, fmt.Sprintf(plainMail, "deaf"), append(args, "ann@remote.test")...)
	if code != exitOK || strings.Contains(text, "is told") || !strings.Contains(text, "the relay asks for a certificate\n") {
		t.Errorf("exit %d, %s", code, text)
	}
	waitLog(t, s.relay, `"source":"certificate"`)
}

// mail waits for a message in the sink.
func (s *sendStage) mail(t *testing.T, text string) lab.Message {
	t.Helper()
	m, err := s.net.Sink.Wait(withTimeout(t), func(m lab.Message) bool { return strings.Contains(string(m.Data), text) })
	if err != nil {
		t.Fatalf("%v\n%s", err, s.relay.text())
	}
	return m
}

// A user logs in with his certificate, over both kinds of TLS, and takes the
// recipients of the message.
func TestSendAsUser(t *testing.T) {
	s := newSendStage(t)
	const text = "From: Rick <rick@partner.test>\nTo: ann@remote.test, Us: bob@remote.test;\nBcc: carl@remote.test,\n dora@remote.test\nSubject: user %d\n\nBcc: in the body\n"
	for n, args := range [][]string{s.to("submission"), s.to("submissions", "--tls", "implicit", "--auth", "external")} {
		code, _, complaint := runSend(t, fmt.Sprintf(text, n), append(append(args, "-t"), s.as(s.net.Rick)...)...)
		if code != exitOK {
			t.Fatalf("exit %d, %s", code, complaint)
		}
		m := s.mail(t, fmt.Sprintf("Subject: user %d", n))
		to := slices.Sorted(slices.Values(m.To))
		if m.From != "rick@partner.test" || !slices.Equal(to, []string{"ann@remote.test", "bob@remote.test", "carl@remote.test", "dora@remote.test"}) {
			t.Errorf("from %s to %v", m.From, to)
		}
		header, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
		if strings.Contains(header, "carl@") || strings.Contains(header, "dora@") || body != "Bcc: in the body\r\n" || !strings.Contains(header, "ESMTPSA") {
			t.Errorf("%s", m.Data)
		}
	}
}

func TestSendExitCodes(t *testing.T) {
	s := newSendStage(t)
	device := s.as(s.net.Device)
	relay := func(words ...string) []string { return append(s.to("relay", words...), device...) }
	at := func(host string, more ...string) []string { // the last --relay counts
		return relay(append([]string{"--relay", host + ":" + s.ports["relay"], "ann@remote.test"}, more...)...)
	}
	domain := func(name string) []string {
		return append([]string{"send", "--dns", s.net.DNS.Addr(), "--trust-anchors", filepath.Join(s.dir, "root.ds"),
			"--domain", name + ":" + s.ports["relay"], "ann@remote.test"}, device...)
	}
	ca := filepath.Join(s.dir, "server-ca.pem")
	const text = "From: sensor7@partner.test\n\nx\n"
	for _, c := range []struct {
		name, text string
		args       []string
		code       int
		says       string
	}{
		{"sent", text, relay("ann@remote.test"), exitOK, ""},
		{"MX of a signed domain", text, domain("example.test"), exitOK, ""},
		{"refused for good", text, relay("ann@remote.test", "-fsomebody@example.test"), exitRefused, "553 5.7.1"},
		{"a stranger", text, s.to("relay", "ann@remote.test"), exitRefused, "ann@remote.test: mx.example.test: RCPT: 550 5.7.1"},
		{"a user that is none", text, append(s.to("submission", "ann@remote.test"), s.as(s.net.Eve)...), exitRefused, "AUTH: 535 5.7.8"},
		{"an identity that cannot be judged now", text, append(s.to("relay", "ann@remote.test"), s.as(s.net.Bogus)...), exitTemporary, "451 4.7.5"},
		{"a lone CR", "a\rb", relay("ann@remote.test"), exitRefused, "CR without LF"},

		{"another certificate than DNS says", text, at("other.example.test"), exitTemporary, "it was told nothing"},
		{"another one, though a CA is trusted", text, at("other.example.test", "--tls-ca", ca), exitTemporary, "it was told nothing"},
		{"no TLSA", text, at("mx.remote.test"), exitTemporary, `"dancemta tlsa server"`},
		{"no TLSA, and a CA that is not its own", text, at("mx.remote.test", "--tls-ca", ca), exitTemporary, "no-match"},
		{"not signed", text, at("mx.loose.test"), exitTemporary, "insecure"},
		{"MX not signed", text, domain("loose.test"), exitTemporary, "not signed by DNSSEC"},
		{"wrong signatures", text, at("mx.bogus.test"), exitTemporary, "--dns"},
		{"nobody listens", text, relay("--relay", "mx.example.test:1", "ann@remote.test"), exitTemporary, "no-record"},
		{"login not offered", text, relay("--auth", "external", "ann@remote.test"), exitTemporary, "no AUTH EXTERNAL"},

		{"no relay", text, append([]string{"send", "ann@remote.test"}, device...), exitUsage, "one of --relay and --domain"},
		{"an address as relay", text, relay("--relay", "[::1]:25", "ann@remote.test"), exitUsage, "addresses have no TLSA records"},
		{"an IPv4 address", text, relay("--relay", "192.0.2.1", "ann@remote.test"), exitUsage, "addresses have no TLSA records"},
		{"a local name", text, relay("--relay", "localhost", "ann@remote.test"), exitUsage, "two labels"},
		{"no such port", text, relay("--relay", "mx.test:0", "ann@remote.test"), exitUsage, "is no port"},
		{"no recipient", text, relay(), exitUsage, "no recipients"},
		{"nobody in the message", text, relay("-t"), exitUsage, "nobody stands in"},
		{"a local recipient", text, relay("root"), exitUsage, "no local users"},
		{"a broken To", "From: a@partner.test\nTo: root\n\n", relay("-t"), exitUsage, "-t: to:"},
		{"no sender", "\nx", relay("ann@remote.test"), exitUsage, "-f"},
		{"null sender and no From", "\nx", relay("-f", "<>", "ann@remote.test"), exitUsage, "no From field"},
		{"a flag of queues", text, relay("-q30m", "ann@remote.test"), exitUsage, "there is no queue"},
		{"without reports", text, relay("-N", "never", "-R", "hdrs", "-V", "a b", "ann@remote.test"), exitOK, ""},
		{"reports that are none", text, relay("-N", "never,delay", "ann@remote.test"), exitUsage, "stands alone"},
		{"headers that are none", text, relay("-R", "some", "ann@remote.test"), exitUsage, "-R"},
		{"a server", text, relay("-bs", "ann@remote.test"), exitUsage, "only -bm"},
		{"an option", text, relay("-oQ/tmp", "ann@remote.test"), exitUsage, "only -oi"},
		{"kind of TLS", text, relay("--tls", "none", "ann@remote.test"), exitUsage, "--tls none"},
		{"key alone", text, s.to("relay", "--key", "x", "ann@remote.test"), exitUsage, "belong together"},
		{"name alone", text, s.to("relay", "--client-name", "a.test", "ann@remote.test"), exitUsage, "the name alone proves nothing"},
		{"login alone", text, s.to("relay", "--auth", "external", "ann@remote.test"), exitUsage, "needs --cert"},
		{"no such key", text, s.to("relay", "--cert", "/nowhere", "--key", "/nowhere", "ann@remote.test"), exitUnavailable, "no such file"},
		{"no such CA", text, relay("--tls-ca", "/nowhere", "ann@remote.test"), exitUnavailable, "no such file"},
		{"no resolver", text, relay("--dns", "here", "ann@remote.test"), exitUsage, "--dns"},
	} {
		code, out, complaint := runSend(t, c.text, c.args...)
		if code != c.code || !strings.Contains(complaint, c.says) || out != "" {
			t.Errorf("%s: exit %d, %q; want %d, %q", c.name, code, complaint, c.code, c.says)
		}
	}
	if clientid.Supported {
		return
	}
	if code, _, complaint := runSend(t, text, relay("--client-name", s.net.Device.Owner, "ann@remote.test")...); code != exitUsage || !strings.Contains(complaint, "make build") {
		t.Errorf("a build without the extension: exit %d, %q", code, complaint)
	}
}

// What sendmail's callers say, by that name: cron, mail programs, git, PHP.
func TestSendmail(t *testing.T) {
	s := newSendStage(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "sendmail")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	flags := append(s.to("relay")[1:], s.as(s.net.Device)...)
	for n, c := range []struct {
		args []string
		to   string
	}{
		{[]string{"-FCronDaemon", "-i", "-B8BITMIME", "-oem", "-fsensor7@partner.test", "ann@remote.test"}, "ann@remote.test"},
		{[]string{"-t", "-i"}, "to@remote.test"},
		{[]string{"-ti", "-f", "sensor7@partner.test"}, "to@remote.test"},
		{[]string{"-bm", "-odi", "-oi", "-r", "sensor7@partner.test", "--", "<ann@remote.test>"}, "ann@remote.test"},
	} {
		cmd := exec.CommandContext(withTimeout(t), program, append(slices.Clone(flags), c.args...)...)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("From: sensor7@partner.test\nTo: to@remote.test\nSubject: by name %d\n\n.\n", n))
		if text, err := cmd.CombinedOutput(); err != nil || len(text) != 0 {
			t.Fatalf("%v: %v, %s", c.args, err, text)
		}
		if m := s.mail(t, fmt.Sprintf("Subject: by name %d\r\n", n)); m.To[0] != c.to || !strings.HasSuffix(string(m.Data), "\r\n\r\n.\r\n") {
			t.Errorf("%v: to %v, %q", c.args, m.To, m.Data)
		}
	}
}

// Whoever may still get it decides: who gives up loses their mail.
func TestSendReport(t *testing.T) {
	no := error(&smtpclient.Error{Step: "RCPT", Reply: smtpclient.Reply{Code: 550, Text: "no"}, Permanent: true})
	later := error(&smtpclient.Error{Step: "RCPT", Reply: smtpclient.Reply{Code: 450, Text: "later"}})
	for _, c := range []struct {
		name string
		errs []error
		code int
		says string
	}{
		{"all taken", []error{nil, nil}, exitOK, ""},
		{"one refused", []error{nil, no}, exitRefused, "error: b@b.test: RCPT: 550 no\nhint: it was sent to the other 1 of 2 recipients\n"},
		{"one refused, one later", []error{no, later}, exitTemporary, "error: a@b.test: RCPT: 550 no\nerror: b@b.test: RCPT: 450 later\nhint: nothing is queued"},
		{"one later, one refused", []error{later, no}, exitTemporary, "error: a@b.test: RCPT: 450 later\nerror: b@b.test: RCPT: 550 no\n"},
		{"the same for all", []error{later, later, later}, exitTemporary, "error: a@b.test, b@b.test, c@b.test: RCPT: 450 later\nhint: nothing"},
		{"the same for two", []error{later, nil, later}, exitTemporary, "error: a@b.test: RCPT: 450 later\nerror: c@b.test: RCPT: 450 later\n"},
		{"nobody knows", []error{errors.New("who\nknows")}, exitTemporary, "error: a@b.test: who knows\n"},
	} {
		var results []submit.Result
		for i, err := range c.errs {
			results = append(results, submit.Result{Recipient: mailaddr.MustParse(string(rune('a'+i)) + "@b.test"), Err: err})
		}
		var text bytes.Buffer
		code := exitOK
		if err := (&sendFlags{}).report(results); err != nil {
			code = exitCode(err)
			printError(&text, err)
		}
		if code != c.code || !strings.HasPrefix(text.String(), c.says) {
			t.Errorf("%s: %d, %q; want %d, %q", c.name, code, text.String(), c.code, c.says)
		}
	}
}
