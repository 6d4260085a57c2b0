package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

// sensor is a device with nothing but this program, a key pair and the DNS.
func (d *demo) sensor(ctx context.Context) error {
	_, port, err := splitPort(d.server.addresses["relay"])
	if err != nil {
		return err
	}
	record, other := lab.TLSA(3, 1, 1, d.net.Server.Leaf()), lab.TLSA(3, 1, 1, d.net.Device.Leaf())
	// Under a second name the relay would have to show another certificate.
	d.net.World.Zone("example.test").Add(
		fmt.Sprintf("_%d._tcp.mx %s", port, record),
		"false A 127.0.0.1", fmt.Sprintf("_%d._tcp.false %s", port, other),
	)
	d.out.say("     DNS: _%d._tcp.%s. IN %.40s…, by which the device knows the relay", port, lab.ServerName, record)
	source := "certificate"
	flags := []string{"-f", "sensor7@partner.test"}
	if clientid.Supported {
		source = "extension"
		flags = append(flags, "--client-name", d.net.Device.Owner)
	}
	const from = "sensor7@partner.test"
	text := "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@partner.test>\r\n" + message(from, "what the device sends")
	before := len(d.server.text())
	code, complaint, err := d.send(ctx, fmt.Sprintf("%s:%d", lab.ServerName, port), flags, text)
	if err != nil {
		return err
	}
	d.out.promise(code == exitOK && complaint == "", "the relay proved itself, and took the message")
	if err := d.delivered(ctx, from, text, "(client dane "+d.net.Device.Owner+")", " with ESMTPS "); err != nil {
		return err
	}
	held, err := d.logged(ctx, before, `"msg":"client authenticated"`, fmt.Sprintf("%q:%q", "source", source))
	d.out.promise(held, "the relay's log: client authenticated, source=%s", source)
	if err != nil {
		return err
	}
	code, complaint, err = d.send(ctx, fmt.Sprintf("false.example.test:%d", port), flags, text)
	if err != nil {
		return err
	}
	d.out.promise(code == exitTemporary && strings.Contains(complaint, "no-match"), "a server without the key that DNS has is told nothing; exit code %d: try again later", code)
	return nil
}

// send runs "dancemta send" as the device would.
func (d *demo) send(ctx context.Context, relay string, flags []string, text string) (code int, complaint string, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, "", err
	}
	shown := append([]string{"send", "--relay", relay, "--cert", "device.pem", "--key", "device.key"}, flags...)
	d.out.say("     $ dancemta %s %s < message", strings.Join(shown, " "), recipient)
	cmd := exec.CommandContext(ctx, self, append(shown, "--dns", d.net.DNS.Addr(), "--trust-anchors", "root.ds", recipient)...)
	var words strings.Builder
	cmd.Dir, cmd.Stdin, cmd.Stderr = d.dir, strings.NewReader(text), &words
	err = cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
		code = e.ExitCode()
	}
	for line := range strings.Lines(words.String()) {
		d.out.say("     %s", strings.TrimSpace(line))
	}
	return code, words.String(), err
}

// logged waits for a line of the server's log, behind a place in it, that holds
// all of these words.
func (d *demo) logged(ctx context.Context, behind int, words ...string) (bool, error) {
	for {
		more := d.server.moreLog() // before the look: a line between both wakes us
		for line := range strings.Lines(d.server.text()[behind:]) {
			held := true
			for _, w := range words {
				held = held && strings.Contains(line, w)
			}
			if held {
				return true, nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
