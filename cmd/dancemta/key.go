package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dancemta/daneclient/rollover"
	"dancemta/internal/dnsname"
)

// keyTTL is that of the first record of a name: a rollover takes two waits of
// two TTLs, so with it half an hour each.
const keyTTL = 15 * time.Minute

// maxKeyTTL is the largest that there is. RFC 2181 8
const maxKeyTTL = math.MaxInt32 * time.Second

// keyEnv is what the key commands take from the world around.
type keyEnv struct {
	now  func() time.Time
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func newKey() *cobra.Command {
	return newKeyIn(keyEnv{now: time.Now, dial: new(net.Dialer).DialContext})
}

func newKeyIn(env keyEnv) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make the key of a client or device, and exchange it safely",
		Long: `Keep the key by which a mail server or a device logs in to others: make it, exchange
it for a new one step by step without a login that fails, say how far that is.`,
		Args: noArgs,
		RunE: needsCommand,
	}
	c.AddCommand(newKeyNew(env), newKeyRoll(env), newKeyStatus(env))
	return c
}

// keyFlags are what several of the commands take.
type keyFlags struct {
	env  keyEnv
	dir  string
	ttl  time.Duration
	json bool
	dns  keyDNS
}

func (f *keyFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "dir", "", "the `folder` of the key (required)")
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	if err := c.MarkFlagDirname("dir"); err != nil {
		panic(err) // the flag was defined two lines above
	}
}

func (f *keyFlags) registerTTL(c *cobra.Command) {
	c.Flags().DurationVar(&f.ttl, "ttl", keyTTL, "the TTL of a record that is the first of its name")
}

func (f *keyFlags) check() error {
	switch {
	case f.dir == "":
		return usage(errors.New("--dir is missing: the folder of the key"))
	case f.ttl < 0 || f.ttl > maxKeyTTL || f.ttl%time.Second != 0:
		return usage(fmt.Errorf("--ttl %s: whole seconds are wanted", f.ttl))
	}
	return nil
}

func newKeyNew(env keyEnv) *cobra.Command {
	f := keyFlags{env: env}
	var name string
	c := &cobra.Command{
		Use:   "new",
		Short: "Make the key and the certificate of a client or device",
		Long: `Make a key (ECDSA P-256) and a self-signed certificate for the owner name of a client
(_smtp-client.mx.example.org) or device (sensor7._device.example.org), and print the TLSA
record to publish. Programs that log in read current/cert.pem and current/key.pem in the
folder; these names stay when the key is exchanged.`,
		Example: "  dancemta key new --name sensor7._device.example.org --dir /etc/dancemta/sensor7",
		Args:    exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			err := f.check()
			if err != nil {
				return err
			}
			owner, err := typedOwner(name)
			if err != nil {
				return err
			}
			state, err := rollover.Create(rollover.Options{Dir: f.dir, Now: env.now}, owner)
			if err != nil {
				return keyError(err)
			}
			return f.print(c.OutOrStdout(), rollover.Report{State: state, TTL: f.ttl}, printCreated)
		},
	}
	f.register(c)
	f.registerTTL(c)
	c.Flags().StringVar(&name, "name", "", "the owner `name` of the TLSA records (required)")
	return c
}

// typedOwner wants a name with an underscore label; what else makes a name
// unfit is for the certificate to say.
func typedOwner(text string) (dnsname.Name, error) {
	if text == "" {
		return dnsname.Name{}, usage(errors.New("--name is missing: the owner name of the TLSA records"))
	}
	name, err := dnsname.ParseOwner(strings.TrimSuffix(text, "."))
	if err != nil {
		return name, usage(fmt.Errorf("--name: %w", err))
	}
	if !name.HasUnderscore() {
		return name, usage(fmt.Errorf("--name %s: the name of a client holds a label with an underscore", name),
			fmt.Sprintf("of a mail server it is _smtp-client.%s, of a device NAME._device.DOMAIN", name))
	}
	return name, nil
}

func newKeyRoll(env keyEnv) *cobra.Command {
	f := keyFlags{env: env}
	var u keyUpdate
	var goOn bool
	c := &cobra.Command{
		Use:   "roll",
		Short: "Exchange the key for a new one: do the next step that is possible",
		Long: `Do the next steps of an exchange of keys, as far as they can go without waiting: make the
next key and publish its record beside the current one; take it into use when all name
servers of the zone have shown its record for more than two TTLs; have the old record
removed another two TTLs and an hour later. Run it again until it says that it is done,
every few minutes if you like: it may be cut off at any time.

Records to publish and to remove are printed, or, with --update-server, sent to the zone's
primary as a signed update (RFC 2136). The exit code is 0 when a step was done or nothing
is left to do, and 7 when it has to wait.`,
		Example: `  dancemta key roll --dir /etc/dancemta/sensor7
  dancemta key roll --dir /etc/dancemta/sensor7 --continue --update-server ns1.example.org:53 --tsig-key update.key`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			o := rollover.Options{Dir: f.dir, TTL: f.ttl, Continue: goOn, Now: env.now}
			err := f.check()
			if err == nil {
				o.Publisher, err = u.publisher(env)
			}
			if err != nil {
				return err
			}
			return f.roll(c.Context(), c.OutOrStdout(), o)
		},
	}
	f.register(c)
	f.registerTTL(c)
	f.dns.register(c)
	u.register(c)
	c.Flags().BoolVar(&goOn, "continue", false, "only go on with an exchange under way; begin none")
	return c
}

func (f *keyFlags) roll(ctx context.Context, w io.Writer, o rollover.Options) error {
	look, done, err := f.dns.look(f.env)
	if err != nil {
		return err
	}
	defer done()
	o.Look = look
	r, err := rollover.Roll(ctx, o)
	if err != nil && !r.Progressed() {
		return keyError(err)
	}
	byHand := o.Publisher == nil
	if printErr := f.print(w, r, func(w io.Writer, r rollover.Report, dir string) { printRolled(w, r, dir, byHand) }); err == nil {
		err = printErr
	}
	switch {
	case err != nil:
		return keyError(err)
	case !r.Progressed() && r.Pending.Why != "":
		return &exitError{code: exitWait, err: fmt.Errorf("not yet: waiting %s", r.Pending.Why), hints: whenAgain(r)}
	}
	return nil
}

func newKeyStatus(env keyEnv) *cobra.Command {
	f := keyFlags{env: env}
	var offline bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how far an exchange of keys is, and which server shows which record",
		Long: `Ask every name server of the zone for the records, and print them, how far an exchange of
keys is, what it waits for, and what deserves attention. Nothing is changed.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			o := rollover.Options{Dir: f.dir, TTL: keyTTL, Now: env.now}
			if !offline {
				look, done, err := f.dns.look(env)
				if err != nil {
					return err
				}
				defer done()
				o.Look = look
			}
			r, err := rollover.Inspect(c.Context(), o)
			if err != nil && r.State.Phase == "" {
				return keyError(err)
			}
			if printErr := f.print(c.OutOrStdout(), r, printStatus); err == nil {
				err = printErr
			}
			return keyError(err)
		},
	}
	f.register(c)
	f.dns.register(c)
	c.Flags().BoolVar(&offline, "offline", false, "ask no server")
	return c
}

// keyError gives an error of the folder or of DNS its exit code and advice.
func keyError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, rollover.ErrName) {
		return usage(err, "users and servers are named otherwise; see docs/dns-records.md")
	}
	for _, known := range []struct {
		is   error
		hint string
	}{
		{rollover.ErrExists, `"dancemta key roll" exchanges a key; for another name, take another folder`},
		{rollover.ErrNoState, `"dancemta key new" makes a key`},
		{rollover.ErrBusy, "try again in a moment"},
	} {
		if errors.Is(err, known.is) {
			return unavailable(err, known.hint)
		}
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e
	}
	return unavailable(err)
}

// did reports whether a step was among those of this call.
func did(r rollover.Report, step rollover.Do) bool { return slices.Contains(r.Did, step) }
