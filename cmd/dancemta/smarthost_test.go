//go:build unix

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/internal/lab"
)

// loginConfig is a relay whose next hop, an Exim, wants a login.
const loginConfig = `
[[relay_domain]]
domain     = "plain.test"
recipients = "any"

[[relay_domain]]
domain     = "wrong.test"
recipients = "any"

[[relay_domain]]
domain     = "external.test"
recipients = "any"

[[relay_domain]]
domain     = "anybody.test"
recipients = "any"

[[route]]
domain        = "plain.test"
next_hop      = ["%[1]s"]
auth          = "plain"
user          = "relay@example.test"
password_file = "right"

[[route]]
domain        = "wrong.test"
next_hop      = ["%[1]s"]
auth          = "plain"
user          = "relay@example.test"
password_file = "wrong"

[[route]]
domain             = "external.test"
next_hop           = ["%[1]s"]
auth               = "external"
client_certificate = "mta.pem"
client_key         = "mta.key"

[[route]]
domain   = "anybody.test"
next_hop = ["%[1]s"]
`

// A smarthost that knows us by a password, and one that knows us by a certificate.
// What it thinks of a wrong password bounces nothing.
func TestStoriesSmarthost(t *testing.T) {
	s := newReceiverStage(t)
	exim := receivers[0]
	s.start(t, exim, "LOGIN", "true")
	hop := fmt.Sprintf("exim-mx.out.test:%d", s.port)
	config := writeConfig(t, fmt.Sprintf(demoConfig, s.net.DNS.Addr(), s.port)+fmt.Sprintf(loginConfig, hop))
	dir := filepath.Dir(config)
	must(t, s.net.WritePKI(dir))
	must(t, os.WriteFile(filepath.Join(dir, "right"), []byte("a secret\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "wrong"), []byte("no secret\n"), 0o600))
	s.relay = startServer(t, config)
	client := newDoor(t, s.relay.addresses["relay"])
	m := receiverMail{name: "login", text: "\r\nwho are you\r\n"}
	for _, domain := range []string{"plain.test", "wrong.test", "external.test", "anybody.test"} {
		client.hand(t, "sensor7@partner.test", "", []string{"ann@" + domain}, m.content())
	}
	waitLine(t, s.relay, `"msg":"delivered"`, `"rcpt":"ann@plain.test"`, `"tls":"dane: TLS1.3 verified 3 1 1"`)
	waitLine(t, s.relay, `"msg":"delivered"`, `"rcpt":"ann@external.test"`, `"tls":"dane: TLS1.3 verified 3 1 1"`)
	waitLine(t, s.relay, `"msg":"deferred"`, `"rcpt":"ann@wrong.test"`, "535")
	waitLine(t, s.relay, `"rcpt":"ann@anybody.test"`, "log in") // Exim says it at MAIL, of this message
	eventually(t, func() error {
		log, err := os.ReadFile(filepath.Join(s.work, "log", "exim.main"))
		if err == nil && (countLines(string(log), " <= ", "A=plain:relay@example.test") != 1 ||
			countLines(string(log), " <= ", "CV=yes A=cert:mta.partner.test") != 1) {
			err = fmt.Errorf("not the logins that were to be:\n%s", log)
		}
		return err
	})
	if strings.Contains(s.relay.text(), "secret") {
		t.Error("the password stands in the log")
	}
}

// requireConfig has a next hop that is our own server.
const requireConfig = `
[[relay_domain]]
domain     = "remote.test"
recipients = "any"

[[relay_domain]]
domain     = "exim.out.test"
recipients = "any"

[[route]]
domain   = "remote.test"
next_hop = ["mx.example.test:%d"]
`

// REQUIRETLS (RFC 8689) goes on to who offers it and is proved; Exim does
// not offer it, and the host behind our own second server is not proved.
func TestStoriesRequireTLS(t *testing.T) {
	s := newReceiverStage(t)
	s.start(t, receivers[0])
	second := startServer(t, s.ownConfig(t, "[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n"))
	_, port, err := splitPort(second.addresses["relay"])
	must(t, err)
	s.net.World.Zone("example.test").Add(fmt.Sprintf("_%d._tcp.mx %s", port, lab.TLSA(3, 1, 1, s.net.Server.Leaf())))
	s.relay = startServer(t, s.ownConfig(t, fmt.Sprintf(requireConfig, port)))
	client := newDoor(t, s.relay.addresses["relay"])
	must(t, client.ask("STARTTLS", "220"))
	secure := tls.Client(client.conn, &tls.Config{InsecureSkipVerify: true})
	must(t, secure.Handshake())
	client.conn = secure
	client.r.Reset(secure)
	must(t, client.ask("EHLO far.test", "250"))
	for _, rcpt := range []string{"ann@remote.test", "ann@exim.out.test"} {
		client.hand(t, "sensor7@partner.test", " REQUIRETLS", []string{rcpt}, "Subject: secret\r\n\r\nsecret\r\n")
	}
	waitLine(t, s.relay, `"msg":"delivered"`, `"rcpt":"ann@remote.test"`, `"tls":"dane: TLS1.3 verified 3 1 1"`)
	waitLine(t, s.relay, `"msg":"failed"`, `"rcpt":"ann@exim.out.test"`, `"status":"5.7.30"`)
	waitLine(t, second, `"msg":"deferred"`, `"rcpt":"ann@remote.test"`, `"tls":"requiretls: `, `"status":"4.7.5"`)
	for _, m := range s.net.Sink.Messages() {
		if bytes.Contains(m.Data, []byte("Subject: secret")) && m.From != "" {
			t.Errorf("the message has gone to who knows no REQUIRETLS:\n%s", m.Data)
		}
	}
}

// ownConfig writes a configuration of our own server with more tables.
func (s *receiverStage) ownConfig(t *testing.T, more string) string {
	t.Helper()
	path := writeConfig(t, fmt.Sprintf(demoConfig, s.net.DNS.Addr(), s.port)+more)
	must(t, s.net.WritePKI(filepath.Dir(path)))
	return path
}
