package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dancemta/internal/lab"
)

const (
	// One promise takes milliseconds; a machine under load may need seconds.
	promiseTimeout = 20 * time.Second
	demoTimeout    = 3 * time.Minute
)

func newDemo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on this machine alone, each line checked",
		Long: `Start a small Internet on loopback (a signed DNS tree, certificates, a mail server
behind an MX, a directory), start "dancemta serve" in it, log clients and users in through real
sockets, and check what became of each message: in the sink's bytes, in the store,
in the log of DNS queries. The exit code is 6 when a promise does not hold.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			// A reader that goes away ("demo | head") must not end us before the
			// server is stopped; the write then fails, and that is the end's error.
			signal.Ignore(syscall.SIGPIPE)
			ctx, cancel := context.WithTimeout(c.Context(), demoTimeout)
			defer cancel()
			return runDemo(ctx, c.OutOrStdout())
		},
	}
}

// demo is the world in which the chapters play.
type demo struct {
	net    *lab.Internet
	dir    string // configuration, keys and queue
	out    *transcript
	ldap   *lab.Directory
	server *child
	sent   int // messages that must reach the sink, in all
}

func runDemo(ctx context.Context, w io.Writer) (err error) {
	d := &demo{out: &transcript{w: w}}
	if d.dir, err = os.MkdirTemp("", "dancemta-demo-"); err != nil {
		return unavailable(err)
	}
	defer os.RemoveAll(d.dir)
	if d.net, err = lab.NewInternet(time.Now()); err != nil {
		return unavailable(err)
	}
	defer d.net.Close()
	if d.ldap, err = d.net.StartDirectory(); err != nil {
		return unavailable(err)
	}
	defer d.ldap.Close()
	if err := d.prepare(); err != nil {
		return err
	}
	d.out.say("A small Internet on 127.0.0.1: DNS under a signed root of its own, a mail server")
	d.out.say("behind the MX of remote.test, a directory, and dancemta itself. C: is what a client")
	d.out.say("says, S: what dancemta answers, ok: a promise that was checked.")
	if d.server, err = startChild(ctx, d.configPath()); err != nil {
		return err
	}
	defer func() { d.server.kill() }()
	d.chapters(ctx)
	return d.out.verdict()
}

// chapters plays all of them, also when a promise of one did not hold.
func (d *demo) chapters(ctx context.Context) {
	for i, c := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"A device relays with a key and one TLSA record", d.device},
		{"A device without a mail server uses \"dancemta send\": DANE in both directions", d.sensor},
		{"A mail server relays, known by its CA", d.mailServer},
		{"A user of another domain logs in with a certificate of that domain", d.user},
		{"The same certificate opens another domain's directory", d.crossover},
		{"Who cannot prove a name is refused", d.refusals},
		{"A name that no rule allows costs no DNS query", d.allowList},
		{"Nothing is lost when the server is killed", d.kill},
		{"Nothing else has left the house", d.nothingElse},
	} {
		d.out.say("\n%d. %s", i+1, c.title)
		ctx, cancel := context.WithTimeout(ctx, promiseTimeout)
		if err := c.play(ctx); err != nil {
			d.out.broken("%v", err)
		}
		cancel()
	}
}

func (d *demo) configPath() string { return filepath.Join(d.dir, "dancemta.toml") }

// prepare writes keys and configuration.
func (d *demo) prepare() error {
	if err := d.net.WritePKI(d.dir); err != nil {
		return unavailable(err)
	}
	_, port, err := splitPort(d.net.Sink.Addr())
	if err != nil {
		return err
	}
	text := fmt.Sprintf(demoConfig, d.net.DNS.Addr(), port) + fmt.Sprintf(demoBridge, d.ldap.Addr())
	if err := os.WriteFile(d.configPath(), []byte(text), 0o600); err != nil {
		return unavailable(err)
	}
	return nil
}

// demoConfig is what an operator would write, but for ports, trust anchor and
// the two settings of laboratories.
const demoConfig = `hostname   = "mx.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
log        = { format = "json", level = "debug" }
tls        = { certificate = "mx.pem", key = "mx.key" }
dns        = { upstreams = ["%s"], trust_anchors = "root.ds" }
delivery   = { mx_port = %d, allow_private_targets = true }
queue      = { retry = ["1s"] }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"

[[listener]]
name    = "submission"
kind    = "submission"
address = "127.0.0.1:0"

[[rule]]
who    = "*._device.partner.test"
action = "allow"
from   = ["@partner.test"]

[[rule]]
who    = "_smtp-client.mta.partner.test"
action = "allow"
from   = ["@partner.test"]

[[rule]]
who    = "_smtp-client.*.unsigned.test"
action = "allow"
from   = ["any"]

[[rule]]
who    = "_smtp-client.*.bogus.test"
action = "allow"
from   = ["any"]

[[rule]]
who    = "*@partner.test"
action = "allow"

[[rule]]
who    = "*@ee.test"
action = "allow"
`

// transcript prints what happens and counts the promises.
type transcript struct {
	w            io.Writer
	held, failed int
	err          error // of the writer
}

func (t *transcript) say(format string, args ...any) {
	if _, err := fmt.Fprintf(t.w, format+"\n", args...); err != nil {
		t.err = err
	}
}

// promise prints whether one held.
func (t *transcript) promise(held bool, format string, args ...any) {
	if !held {
		t.broken(format, args...)
		return
	}
	t.held++
	t.say("ok   "+format, args...)
}

func (t *transcript) broken(format string, args ...any) {
	t.failed++
	t.say("FAIL "+format, args...)
}

func (t *transcript) verdict() error {
	t.say("\n%d promises held, %d did not.", t.held, t.failed)
	switch {
	case t.err != nil:
		return t.err
	case t.failed > 0 || t.held == 0:
		return &exitError{code: exitBroken, err: errors.New("dancemta does not do what it promises")}
	}
	return nil
}
