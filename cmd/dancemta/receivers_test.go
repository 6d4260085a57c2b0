//go:build unix

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// receiver is a real mail server, and what its version can do.
type receiver struct {
	name   string // of its zone below out.test, and of its mailbox
	ip     string
	tls    string // as the log says it of mail to its domain
	utf8   bool
	asked  bool // its reports hold ENVID and ORCPT
	opens  bool // later@ is let in as soon as there is a file $WORK/open
	script string
}

// OpenSMTPD 6.8 of Debian 12 offers STARTTLS, but its handshakes fail in OpenSSL 3
// whatever the key: good enough for mail in clear, and for none under DANE.
var receivers = []receiver{
	{name: "exim", ip: "127.0.0.2", tls: "dane: TLS1.3 verified 3 1 1", utf8: true, asked: true, opens: true, script: eximScript},
	{name: "opensmtpd", ip: "127.0.0.3", tls: "may: none", script: opensmtpdScript},
	{name: "postfix", ip: "127.0.0.5", tls: "dane: TLS1.3 verified 3 1 1", utf8: true, asked: true, script: postfixScript},
}

// receiverStage is the lab, our relay, and real servers behind the MX records.
type receiverStage struct {
	net   *lab.Internet
	work  string
	port  int // of all of them
	relay *child
	sent  map[string]int // how many recipients of each had mail
}

// newReceiverStage starts all but the servers.
func newReceiverStage(t *testing.T) *receiverStage {
	t.Helper()
	needCounterparts(t)
	n, err := lab.NewInternet(time.Now())
	must(t, err)
	t.Cleanup(func() { n.Close() })
	_, port, err := splitPort(n.Sink.Addr())
	must(t, err)
	s := &receiverStage{net: n, port: port, sent: map[string]int{}, work: openDir(t, "log", "exim", "opensmtpd", "postfix", "dovecot")}
	own := n.ServerCA.Issue(lab.LeafOptions{Names: []string{"exim-mx.out.test", "opensmtpd-mx.out.test", "postfix-mx.out.test"}})
	writeOpen(t, filepath.Join(s.work, "mx.pem"), own.CertPEM())
	writeOpen(t, filepath.Join(s.work, "mx.key"), own.KeyPEM())
	writeOpen(t, filepath.Join(s.work, "clients.pem"), n.MTA.CertPEM())
	zone := n.World.AddZone("out.test.", lab.ZoneOptions{})
	zone.Add("dane MX 10 dane-mx", "dane-mx A 127.0.0.3", fmt.Sprintf("_%d._tcp.dane-mx %s", port, lab.TLSA(3, 1, 1, own.Leaf())))
	for _, r := range receivers {
		zone.Add(fmt.Sprintf("%s MX 10 %s-mx", r.name, r.name), fmt.Sprintf("%s-mx A %s", r.name, r.ip))
		if strings.HasPrefix(r.tls, "dane") {
			zone.Add(fmt.Sprintf("_%d._tcp.%s-mx %s", port, r.name, lab.TLSA(3, 1, 1, own.Leaf())))
		}
	}
	config := fmt.Sprintf(demoConfig, n.DNS.Addr(), port)
	for _, domain := range []string{"exim", "opensmtpd", "postfix", "dane"} {
		config += fmt.Sprintf("[[relay_domain]]\ndomain = \"%s.out.test\"\nrecipients = \"any\"\n", domain)
	}
	path := writeConfig(t, config)
	must(t, n.WritePKI(filepath.Dir(path)))
	s.relay = startServer(t, path)
	return s
}

// start starts one of the servers, with changes to the words of its configuration.
func (s *receiverStage) start(t *testing.T, r receiver, changes ...string) {
	t.Helper()
	account, err := user.Lookup("postfix")
	must(t, err)
	words := map[string]string{
		"WORK": s.work, "IP": r.ip, "PORT": fmt.Sprint(s.port), "HOST": r.name + "-mx.out.test",
		"UID": account.Uid, "GID": account.Gid, "LOGIN": "false", "TLS": "*",
	}
	for i := 0; i < len(changes); i += 2 {
		words[changes[i]] = changes[i+1]
	}
	must(t, os.MkdirAll(filepath.Join(s.work, "conf"), 0o755))
	for name, text := range map[string]string{
		"exim.conf": eximConf, "smtpd.conf": opensmtpdConf, "conf/main.cf": receivingMain, "conf/master.cf": receivingMaster,
	} {
		writeOpen(t, filepath.Join(s.work, name), []byte(fill(text, words)))
	}
	startCounterpart(t, s.work, r.script, fmt.Sprintf("%s:%d", r.ip, s.port))
}

// receiverMail is a message that must arrive as it is.
type receiverMail struct {
	name, params string
	to           []string // local parts
	text         string   // behind the subject
	utf8         bool
}

func receiverMails() []receiverMail {
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("u%d", i)
	}
	return []receiverMail{
		{name: "dots", to: []string{"ann"}, text: "\r\n.\r\n..\r\n.x\r\n...\r\n\r\n.\r\n"},
		{name: "no end", to: []string{"ann"}, text: "\r\nFrom here\r\n>From there\r\n \r\n\r\n\r\n"},
		{name: "empty", to: []string{"ann"}, text: "\r\n"},
		{name: "folded", to: []string{"ann"}, text: "X-Odd: a\r\n\t b  \r\n  c\r\nx-odd:d\r\n\r\ntab\t \r\n"},
		{name: "eight bits", params: " BODY=8BITMIME", to: []string{"ann"}, text: "\r\ncaf\xe9 \xc3\xa9 \xff\x80\x01\x7f\r\n"},
		{name: "long lines", to: []string{"ann"}, text: "\r\n" + strings.Repeat(strings.Repeat("0123456789", 99)+"\r\n.\r\n", 20)},
		{name: "large", params: " SIZE=400000", to: []string{"ann", "bob"}, text: "\r\n" + strings.Repeat("."+strings.Repeat("y", 76)+"\r\n..\r\n", 4500)},
		{name: "many", params: " RET=HDRS ENVID=x+2By", to: many, text: "\r\nto many\r\n"},
		{name: "null sender", to: []string{"ann"}, text: "\r\na report\r\n"},
		{name: "utf-8", params: " SMTPUTF8", to: []string{"jörg", "ann"}, text: "From: Jörg <jörg@partner.test>\r\n\r\nGrüße\r\n", utf8: true},
	}
}

func (m receiverMail) content() string { return "Subject: case " + m.name + "\r\n" + m.text }

// Real servers get each message once, and as it was, but for the trace on top.
func TestStoriesReceivers(t *testing.T) {
	s := newReceiverStage(t)
	for _, r := range receivers {
		t.Run(r.name, func(t *testing.T) {
			s.start(t, r)
			s.takesAll(t, r)
			s.refuses(t, r)
			s.reports(t, r)
		})
	}
}

func (s *receiverStage) takesAll(t *testing.T, r receiver) {
	client := newDoor(t, s.relay.addresses["relay"])
	domain := "@" + r.name + ".out.test"
	want := map[string]string{} // recipient and subject, to content
	for _, m := range receiverMails() {
		from := "sensor7@partner.test"
		if m.name == "null sender" {
			from = ""
		}
		to := make([]string, len(m.to))
		for i, local := range m.to {
			to[i] = local + domain
			if !m.utf8 || r.utf8 {
				want[to[i]+" case "+m.name] = m.content()
			}
		}
		client.hand(t, from, m.params, to, m.content())
	}
	s.arrives(t, r, want)
	if line := fmt.Sprintf(`"tls":%q`, r.tls); !strings.Contains(s.relay.text(), line) {
		t.Errorf("no line has %s:\n%s", line, logEnd(s.relay))
	}
	if !r.utf8 { // RFC 6531 3.5: a server that cannot take it does not get it
		m, err := s.net.Sink.Wait(withTimeout(t), func(m lab.Message) bool { return bytes.Contains(m.Data, []byte("utf-8; j=C3=B6rg@")) })
		if err != nil || m.From != "" || !bytes.Contains(m.Data, []byte("Status: 5.6.7")) {
			t.Errorf("the report: %v\n%s", err, m.Data)
		}
	}
}

// refuses has one recipient who does not exist, and one who does later.
func (s *receiverStage) refuses(t *testing.T, r receiver) {
	domain := "@" + r.name + ".out.test"
	client := newDoor(t, s.relay.addresses["relay"])
	m := receiverMail{name: "refused", text: "\r\nto whom\r\n"}
	client.hand(t, "sensor7@partner.test", "", []string{"ann" + domain, "nobody" + domain, "later" + domain}, m.content())
	report, err := s.net.Sink.Wait(withTimeout(t), func(m lab.Message) bool {
		return bytes.Contains(m.Data, []byte("Final-Recipient: rfc822; nobody"+domain))
	})
	must(t, err)
	for _, line := range []string{"Action: failed", "Status: 5.1.1", "Remote-MTA: dns; " + r.name + "-mx.out.test", "no such user"} {
		if !bytes.Contains(report.Data, []byte(line)) {
			t.Errorf("the report lacks %q:\n%s", line, report.Data)
		}
	}
	waitLine(t, s.relay, `"msg":"deferred"`, `"rcpt":"later`+domain, "4.2.1")
	want := map[string]string{"ann" + domain + " case refused": m.content()}
	if r.opens {
		writeOpen(t, filepath.Join(s.work, "open"), nil)
		want["later"+domain+" case refused"] = m.content()
	}
	s.arrives(t, r, want)
	if r.name == "opensmtpd" { // what DANE demands, and this server cannot do
		client.hand(t, "sensor7@partner.test", "", []string{"ann@dane.out.test"}, m.content())
		waitLine(t, s.relay, `"msg":"deferred"`, `"rcpt":"ann@dane.out.test"`, `"tls":"dane: `)
	}
}

// reports asks for a word of success: the server gives it, since it offers DSN, so
// that we do not.
func (s *receiverStage) reports(t *testing.T, r receiver) {
	domain := "@" + r.name + ".out.test"
	client := newDoor(t, s.relay.addresses["relay"])
	client.hand(t, "asker@partner.test", " RET=HDRS ENVID=order+2B1", []string{"ann" + domain + " NOTIFY=SUCCESS ORCPT=rfc822;a+2Bn@partner.test"},
		"Subject: case reported\r\n\r\nhello\r\n")
	eventually(t, func() error {
		files, err := filepath.Glob(filepath.Join(s.work, r.name, "new", "*"))
		must(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			report := strings.ReplaceAll(strings.ToLower(string(text)), "+2b", "+") // Exim shows xtext as it came
			if !strings.Contains(report, "\naction: deliver") {
				continue
			}
			for _, want := range []string{"original-envelope-id: order+1", "original-recipient: rfc822;a+n@partner.test"} {
				if r.asked && !strings.Contains(report, want) {
					t.Errorf("the report lacks %q:\n%s", want, report)
				}
			}
			return os.Remove(file)
		}
		return fmt.Errorf("no report in %d files", len(files))
	})
}

// arrives waits for these messages, and empties the mailbox: nothing else may lie there.
func (s *receiverStage) arrives(t *testing.T, r receiver, want map[string]string) {
	t.Helper()
	s.sent[r.name] += len(want)
	waitCount(t, s.relay, s.sent[r.name], `"msg":"delivered"`, fmt.Sprintf(`"destination":"%s.out.test"`, r.name))
	eventually(t, func() error { // it is the server's turn
		files, err := filepath.Glob(filepath.Join(s.work, r.name, "new", "*"))
		if err == nil && len(files) < len(want) {
			err = fmt.Errorf("%d of %d messages", len(files), len(want))
		}
		return err
	})
	seen := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(s.work, r.name, "new", "*"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		key := arrivedKey(string(text))
		content, ok := want[key]
		if !ok || seen[key] {
			t.Errorf("%q was not to arrive, or not again", key)
			continue
		}
		seen[key] = true
		if err := sameButTrace(string(text), content); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		must(t, os.Remove(file))
	}
	for key := range want {
		if !seen[key] {
			t.Errorf("%q did not arrive", key)
		}
	}
}

// arrivedKey is the recipient and the subject.
func arrivedKey(text string) (key string) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch strings.ToLower(name) {
		case "envelope-to", "delivered-to":
			key = value
		case "subject":
			return key + " " + value
		}
	}
	return key
}

// sameButTrace compares what arrived, with the line ends of Unix, to what was sent:
// only fields of trace may stand before it.
func sameButTrace(text, want string) error {
	want = strings.ReplaceAll(want, "\r\n", "\n")
	trace, ok := strings.CutSuffix(text, want)
	if !ok {
		return fmt.Errorf("another message:\n%.900q\nwant\n%.900q", text, want)
	}
	for line := range strings.Lines(trace) {
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		name, _, _ := strings.Cut(strings.ToLower(line), ":")
		switch name {
		case "return-path", "envelope-to", "delivered-to", "x-original-to", "received", "authentication-results":
		default:
			return fmt.Errorf("%q was added", line)
		}
	}
	return nil
}

// waitLine waits for a line of the log that has all these texts.
func waitLine(t *testing.T, c *child, texts ...string) {
	t.Helper()
	waitCount(t, c, 1, texts...)
}

// waitCount waits for so many such lines.
func waitCount(t *testing.T, c *child, n int, texts ...string) {
	t.Helper()
	ctx := withTimeout(t)
	for {
		more := c.moreLog() // before the look: a line between both wakes us
		found := countLines(c.text(), texts...)
		if found >= n {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d lines of %d have %q:\n%s", found, n, texts, logEnd(c))
		case <-more:
		}
	}
}

// countLines counts the lines that have all these texts.
func countLines(text string, wanted ...string) (n int) {
lines:
	for line := range strings.Lines(text) {
		for _, word := range wanted {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		n++
	}
	return n
}

// logEnd is what a server said last.
func logEnd(c *child) string {
	text := c.text()
	return text[max(0, len(text)-2000):]
}

// door is a client of our own server that sends what it is told.
type door struct {
	conn net.Conn
	r    *bufio.Reader
}

func newDoor(t *testing.T, address string) *door {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, testTimeout)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	d := &door{conn, bufio.NewReader(conn)}
	must(t, d.reply("220"))
	must(t, d.ask("EHLO far.test", "250"))
	return d
}

func (d *door) ask(line, code string) error {
	if _, err := d.conn.Write([]byte(line + "\r\n")); err != nil {
		return err
	}
	return d.reply(code)
}

func (d *door) reply(code string) error {
	d.conn.SetReadDeadline(time.Now().Add(testTimeout))
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) || len(line) < 4 {
			return errors.New(line)
		}
		if line[3] == ' ' {
			return nil
		}
	}
}

// hand queues a message.
func (d *door) hand(t *testing.T, from, params string, to []string, content string) {
	t.Helper()
	must(t, d.ask("MAIL FROM:<"+from+">"+params, "250"))
	for _, rcpt := range to { // parameters may follow the address
		rcpt, params, _ := strings.Cut(rcpt, " ")
		must(t, d.ask(strings.TrimSpace("RCPT TO:<"+rcpt+"> "+params), "250"))
	}
	must(t, d.ask("DATA", "354"))
	stuffed := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]
	must(t, d.ask(stuffed+".", "250"))
}
