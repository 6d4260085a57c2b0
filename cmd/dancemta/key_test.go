package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"dancemta/internal/lab"
)

// keyBench runs the key commands with a clock to turn.
type keyBench struct {
	t   *testing.T
	now time.Time
	env keyEnv
	dns []string // flags that say whom to ask
}

// run returns the exit code and all that was printed, standard output first.
func (b *keyBench) run(args ...string) (code int, text string) {
	b.t.Helper()
	var out, errs bytes.Buffer
	root := &cobra.Command{Use: "dancemta", SilenceErrors: true, SilenceUsage: true}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(newKeyIn(b.env))
	root.SetArgs(append([]string{"key"}, args...))
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(b.t.Context()); err != nil {
		printError(&errs, err)
		code = exitCode(err)
	}
	return code, out.String() + errs.String()
}

// want runs a command and compares the exit code and the words.
func (b *keyBench) want(code int, words []string, args ...string) string {
	b.t.Helper()
	got, text := b.run(args...)
	ok := got == code
	for _, w := range words {
		ok = ok && strings.Contains(text, w)
	}
	if !ok {
		b.t.Fatalf("key %v: exit %d\n%swant exit %d and %q", args, got, text, code, words)
	}
	return text
}

var tlsaLine = regexp.MustCompile(`(?m)^  (\S+ \d+ IN TLSA 3 1 1 [0-9a-f]{64})$`)

// record returns the one record that a text tells to publish or to remove.
func record(t *testing.T, text string) string {
	t.Helper()
	found := tlsaLine.FindAllStringSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("not one record in:\n%s", text)
	}
	return found[0][1]
}

// newKeyBench serves z.test by the lab; its name server is where port 53 is dialled.
func newKeyBench(t *testing.T) (*keyBench, *lab.Zone) {
	t.Helper()
	b := &keyBench{t: t, now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	w := lab.NewWorld(b.now)
	w.AddZone("test.", lab.ZoneOptions{})
	z := w.AddZone("z.test.", lab.ZoneOptions{TTL: 900})
	w.AddZone("un.test.", lab.ZoneOptions{Unsigned: true})
	server, err := w.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	b.env = keyEnv{now: func() time.Time { return b.now }, dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "127.0.0.1:53" {
			t.Errorf("dialled %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, server.Addr())
	}}
	anchors := filepath.Join(t.TempDir(), "root.ds")
	if err := os.WriteFile(anchors, []byte(w.Anchor()), 0o600); err != nil {
		t.Fatal(err)
	}
	b.dns = []string{"--resolver", server.Addr(), "--trust-anchors", anchors}
	return b, z
}

// TestKeyByHand is a rollover by an administrator who changes the zone by hand.
func TestKeyByHand(t *testing.T) {
	b, z := newKeyBench(t)
	dir := filepath.Join(t.TempDir(), "s7")
	roll := append([]string{"roll", "--dir", dir}, b.dns...)
	status := append([]string{"status", "--dir", dir}, b.dns...)

	first := record(t, b.want(exitOK, []string{"made the key of sensor7._device.z.test"}, "new", "--name", "Sensor7._device.z.test.", "--dir", dir))
	if !strings.HasPrefix(first, "sensor7._device.z.test. 900 IN TLSA") {
		t.Errorf("record %s", first)
	}
	b.want(exitOK, []string{"steady", "the key in use has no live record: ns.z.test (127.0.0.1): not there", "z.test. denies by NSEC"}, status...)
	z.Add(first)
	b.want(exitOK, []string{"nothing to do"}, append(roll, "--continue")...)

	next := record(t, b.want(exitOK, []string{"made the next key", "publish this record beside", "until all servers show the next record"}, roll...))
	b.want(exitWait, []string{next, "error: not yet: waiting until all servers show the next record"}, roll...)
	b.want(exitOK, []string{"published", "ns.z.test (127.0.0.1): there, TTL 15m0s", "ns.z.test (127.0.0.1): not there"}, status...)
	z.Add(next)
	b.want(exitWait, []string{"hint: run it again after " + b.now.Add(30*time.Minute).Local().Format(time.RFC3339)}, roll...)
	b.now = b.now.Add(31 * time.Minute)
	b.want(exitOK, []string{"the next key is in use", filepath.Join(dir, "current", "key.pem"), "until the last login by the old key is over"}, roll...)
	b.want(exitWait, []string{"not yet"}, roll...)
	b.now = b.now.Add(91 * time.Minute)
	if old := record(t, b.want(exitOK, []string{"remove this record"}, roll...)); old != first {
		t.Errorf("to be removed: %s", old)
	}
	b.want(exitWait, []string{"until no server shows the old record", first}, roll...)
	z.Remove("sensor7._device", 52)
	b.want(exitWait, []string{"until all servers show the record of the key in use", "no live record"}, roll...)
	z.Add(next)
	b.want(exitOK, []string{"done: the old record is gone"}, roll...)
	b.want(exitOK, []string{"nothing to do"}, append(roll, "--continue")...)
}

func TestKeyJSON(t *testing.T) {
	b, z := newKeyBench(t)
	dir := filepath.Join(t.TempDir(), "s7")
	read := func(args ...string) (doc keyJSON) {
		t.Helper()
		code, text := b.run(append(args, "--dir", dir, "--json")...)
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&doc); err != nil || code != exitOK {
			t.Fatalf("%v: exit %d, %v\n%s", args, code, err, text)
		}
		return doc
	}
	made := read("new", "--name", "_smtp-client.mta.z.test")
	if made.Owner != "_smtp-client.mta.z.test" || made.Phase != "steady" || len(made.Records) != 1 || made.Key != filepath.Join(dir, "current", "key.pem") {
		t.Errorf("new: %+v", made)
	}
	z.Add(made.Records[0].Line)
	rolled := read(append([]string{"roll"}, b.dns...)...)
	if strings.Join(rolled.Did, " ") != "prepare publish" || rolled.Phase != "published" || rolled.WaitingFor == "" || !rolled.NotBefore.IsZero() {
		t.Errorf("roll: %+v", rolled)
	}
	z.Add(rolled.Records[1].Line)
	status := read(append([]string{"status"}, b.dns...)...)
	if len(status.Records) != 2 || len(status.Warnings) != 1 || status.NotBefore.IsZero() {
		t.Fatalf("status: %+v", status)
	}
	for i, role := range []string{"current", "next"} {
		r := status.Records[i]
		if r.Role != role || len(r.Servers) != 1 || r.Servers[0] != (keyJSONServer{"ns.z.test (127.0.0.1)", true, 900, ""}) {
			t.Errorf("status: %+v", r)
		}
	}
	if offline := read("status", "--offline"); offline.Phase != "published" || offline.Records[0].Servers != nil {
		t.Errorf("offline: %+v", offline)
	}
}

func TestKeyRefuses(t *testing.T) {
	b, _ := newKeyBench(t)
	dir, key := filepath.Join(t.TempDir(), "s7"), filepath.Join(t.TempDir(), "update.key")
	if err := os.WriteFile(key, []byte("hmac-md5:x:c2VjcmV0c2VjcmV0c2VjcmV0"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.want(exitOK, nil, "new", "--name", "x._device.un.test", "--dir", dir)
	with := func(args ...string) []string { return append(append([]string{}, args...), "--dir", dir) }
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "--dir is missing", []string{"new", "--name", "x._device.z.test"}},
		{exitUsage, "--dir is missing", []string{"status"}},
		{exitUsage, "--name is missing", with("new")},
		{exitUsage, "character not allowed", with("new", "--name", "a b")},
		{exitUsage, "it is _smtp-client.mta.z.test", with("new", "--name", "mta.z.test")},
		{exitUsage, "no client's certificate can claim this name", with("new", "--name", "_user.z.test")},
		{exitUsage, "whole seconds", with("new", "--name", "_x.z.test", "--ttl", "1500ms")},
		{exitUsage, "whole seconds", with("roll", "--ttl", "-1s")},
		{exitUnavailable, "holds keys already", with("new", "--name", "x._device.z.test")},
		{exitUnavailable, "holds no keys of ours", []string{"roll", "--dir", t.TempDir(), b.dns[0], b.dns[1]}},
		{exitConfig, "or name a resolver by --resolver", with("roll", "--config", "/nowhere/x.toml")},
		{exitUsage, "--trust-anchors goes with --resolver", with("roll", "--trust-anchors", "x")},
		{exitUsage, "is no address of a resolver", with("status", "--resolver", "localhost")},
		{exitUsage, "go together", with("roll", "--update-server", "ns:53")},
		{exitUnavailable, `algorithm "hmac-md5"`, with("roll", "--update-server", "ns:53", "--tsig-key", key)},
		{exitUnavailable, "no such file", with("roll", "--update-server", "ns:53", "--tsig-key", "/nowhere/x")},
		{exitUnavailable, "not signed, so nobody can log in by its records", append(with("status"), b.dns...)},
	} {
		if code, text := b.run(c.args...); code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("key %v: exit %d\n%swant exit %d and %q", c.args, code, text, c.code, c.says)
		}
	}
}
