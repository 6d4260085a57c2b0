//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	sinkMessages = 1000
	sinkClients  = 10
)

// startSmtpSink starts Postfix's smtp-sink at a port of its own, for a domain.
func (s *receiverStage) startSmtpSink(t *testing.T, ip, flags string) (address string) {
	t.Helper()
	address = fmt.Sprintf("%s:%d", ip, s.port)
	runCounterpart(t, exec.Command("smtp-sink", append(strings.Fields(flags), "-u", "nobody", address, "256")...), address)
	return address
}

// hopTo makes a domain whose mail goes to an address.
func hopTo(domain, address string) string {
	return fmt.Sprintf("[[relay_domain]]\ndomain = %q\nrecipients = \"any\"\nnext_hop = [%q]\n", domain, address)
}

// A thousand messages go through, each once.
func TestStoriesLoad(t *testing.T) {
	s := newReceiverStage(t)
	file := filepath.Join(s.work, "log", "sink.")
	address := s.startSmtpSink(t, "127.0.0.7", "-D "+file)
	s.relay = startServer(t, s.ownConfig(t, hopTo("load.test", address)))
	var clients sync.WaitGroup
	for i := range sinkClients {
		d := newDoor(t, s.relay.addresses["relay"])
		clients.Go(func() {
			for n := i; n < sinkMessages; n += sinkClients {
				d.hand(t, "sensor7@partner.test", "", []string{"ann@load.test"}, fmt.Sprintf("Subject: load %04d\r\n\r\n%s", n, strings.Repeat("text\r\n", 600)))
			}
		})
	}
	clients.Wait()
	count := func() map[string]int {
		text, err := os.ReadFile(file)
		must(t, err)
		seen := map[string]int{}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "Subject: load ") {
				seen[line]++
			}
		}
		return seen
	}
	eventually(t, func() error {
		if n := len(count()); n != sinkMessages {
			return fmt.Errorf("%d messages of %d", n, sinkMessages)
		}
		left, err := queueList(t.Context(), s.relay.cmd.Args[3])
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d messages are still queued", len(left))
		}
		return err
	})
	for subject, n := range count() {
		if n != 1 {
			t.Errorf("%d times %s", n, subject)
		}
	}
}

// hostileSinks are servers that refuse, say 421, or break off, at each step.
var hostileSinks = []struct {
	flags        string
	outcome      string // of the first attempt
	status, said string
}{
	{"-f connect", "deferred", "4.", "500 5.3.0"}, // of the session, not of the message
	{"-f ehlo", "delivered", "2.", "250"},         // HELO will do
	{"-f mail", "failed", "5.3.0", "500 5.3.0"},
	{"-f rcpt", "failed", "5.3.0", "500 5.3.0"},
	{"-f data", "failed", "5.3.0", "500 5.3.0"},
	{"-f .", "failed", "5.3.0", "500 5.3.0"},
	{"-f quit", "delivered", "2.", "250"},
	{"-r connect", "deferred", "4.3.0", "450 4.3.0"},
	{"-r mail", "deferred", "4.3.0", "450 4.3.0"},
	{"-r rcpt", "deferred", "4.3.0", "450 4.3.0"},
	{"-r data", "deferred", "4.3.0", "450 4.3.0"},
	{"-r .", "deferred", "4.3.0", "450 4.3.0"},
	{"-q connect", "deferred", "4.4.2", ""},
	{"-q ehlo", "deferred", "4.4.2", ""},
	{"-q mail", "deferred", "4.4.2", ""},
	{"-q rcpt", "deferred", "4.4.2", ""},
	{"-q data", "deferred", "4.4.2", ""},
	{"-q .", "deferred", "4.4.2", ""},
	{"-q quit", "delivered", "2.", "250"},
	{"-Q mail", "deferred", "4.", "421"},
	{"-Q rcpt", "deferred", "4.", "421"},
	{"-Q data", "deferred", "4.", "421"},
	{"-Q .", "deferred", "4.", "421"},
	{"-A 1", "failed", "5.", "550"}, // it reads no more
	{"-N -p -E -8", "delivered", "2.", "250"},
	{"-e", "delivered", "2.", "250"}, // HELO alone
}

// What a server does wrong, or does not want, has the outcome that it must have.
func TestStoriesHostileSink(t *testing.T) {
	s := newReceiverStage(t)
	tables := ""
	for i, h := range hostileSinks {
		tables += hopTo(fmt.Sprintf("d%d.test", i), s.startSmtpSink(t, fmt.Sprintf("127.0.1.%d", i+1), h.flags))
	}
	s.relay = startServer(t, s.ownConfig(t, tables))
	client := newDoor(t, s.relay.addresses["relay"])
	for i := range hostileSinks {
		client.hand(t, "", "", []string{fmt.Sprintf("ann@d%d.test", i)}, "Subject: hostile\r\n\r\n"+strings.Repeat("text\r\n", 1000))
	}
	for i, h := range hostileSinks {
		t.Run(h.flags, func(t *testing.T) {
			rcpt := fmt.Sprintf(`"rcpt":"ann@d%d.test"`, i)
			waitLine(t, s.relay, rcpt, `"status":`)
			if countLines(s.relay.text(), `"msg":"`+h.outcome+`"`, rcpt, `"status":"`+h.status, h.said) == 0 {
				for line := range strings.Lines(s.relay.text()) {
					if strings.Contains(line, rcpt) {
						t.Fatalf("want %s %s %s\n%s", h.outcome, h.status, h.said, line)
					}
				}
			}
		})
	}
}
