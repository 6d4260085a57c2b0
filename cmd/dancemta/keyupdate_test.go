//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/lab"
)

const updaterKey = `key "updater" { algorithm hmac-sha256; secret "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"; };`

// newNamedBench serves dyn.test by BIND, which signs it and takes updates. The
// clock begins now and may be turned on by hours, which its signatures outlast.
func newNamedBench(t *testing.T) (*keyBench, *lab.Named) {
	t.Helper()
	b := &keyBench{t: t, now: time.Now()}
	w := lab.NewWorld(b.now)
	w.AddZone("test.", lab.ZoneOptions{})
	dir := t.TempDir()
	named, err := w.StartNamed(dir, lab.DynamicZone{Name: "dyn.test.", TTL: 900, Key: updaterKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := named.Close(); err != nil {
			t.Error(err)
		}
	})
	anchors := filepath.Join(dir, "root.ds")
	if err := os.WriteFile(anchors, []byte(w.Anchor()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(named.Addr)
	if err != nil {
		t.Fatal(err)
	}
	b.env = keyEnv{now: func() time.Time { return b.now }, dial: new(net.Dialer).DialContext}
	b.dns = []string{"--resolver", named.Addr, "--trust-anchors", anchors, "--dns-port", port}
	return b, named
}

// TestStoriesKeyUpdate is a rollover whose records are changed in BIND by
// signed updates, and what happens with a key that BIND does not know.
func TestStoriesKeyUpdate(t *testing.T) {
	needStories(t, lab.NamedPrograms...)
	b, named := newNamedBench(t)
	keys := map[string]string{
		"right":  updaterKey,
		"secret": strings.Replace(updaterKey, "c2Vj", "YWJj", 1),
		"name":   strings.Replace(updaterKey, "updater", "stranger", 1),
		"digest": strings.Replace(updaterKey, "sha256", "sha512", 1),
	}
	files := t.TempDir()
	for name, text := range keys {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "s7")
	roll := func(key string, more ...string) []string {
		args := append([]string{"roll", "--dir", dir, "--update-server", named.Addr, "--tsig-key", filepath.Join(files, key)}, b.dns...)
		return append(args, more...)
	}
	status := append([]string{"status", "--dir", dir}, b.dns...)
	b.want(exitOK, nil, "new", "--name", "sensor7._device.dyn.test", "--dir", dir)
	waitFor(t, "a signed zone", func() bool { code, _ := b.run(status...); return code == exitOK })

	for key, says := range map[string]string{"secret": "another secret for the key updater (BADSIG)", "name": "does not know the key stranger", "digest": "(BADKEY)"} {
		b.want(exitUnavailable, []string{"update at " + named.Addr, says}, roll(key, "--continue")...)
	}
	b.want(exitOK, []string{"nothing to do"}, roll("right", "--continue")...) // publishes the first record
	first := b.want(exitOK, []string{"current  3 1 1", "ns.dyn.test (127.0.0.1): there, TTL 15m0s"}, status...)

	b.want(exitOK, []string{"made the next key", "asked the primary for this record"}, roll("right")...)
	b.want(exitWait, []string{"not yet: waiting until nobody remembers a time before the next record"}, roll("right")...)
	b.now = b.now.Add(31 * time.Minute)
	b.want(exitOK, []string{"the next key is in use"}, roll("right")...)
	text := b.want(exitOK, []string{"switched"}, status...)
	if strings.Count(text, "there, TTL 15m0s") != 2 {
		t.Errorf("both records should stand:\n%s", text)
	}
	b.now = b.now.Add(91 * time.Minute)
	b.want(exitUnavailable, []string{"BADSIG"}, roll("secret")...)
	b.want(exitOK, []string{"asked the primary to remove this record"}, roll("right")...)
	b.want(exitOK, []string{"done: the old record is gone"}, roll("right")...)
	last := b.want(exitOK, []string{"steady", "there, TTL 15m0s"}, status...)
	if strings.Contains(last, "somebody else's record") || current(first) == current(last) {
		t.Errorf("at the end:\n%s", last)
	}
}

// current cuts the line of the current record out of a status.
func current(status string) string {
	_, after, _ := strings.Cut(status, "current ")
	line, _, _ := strings.Cut(after, "\n")
	return line
}

// waitFor asks again and again, for as long as a busy machine may need.
func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ready(); {
		if time.Now().After(end) {
			t.Fatalf("no %s in time", what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// needStories skips unless DANCEMTA_E2E is set; "required" forbids to skip.
func needStories(t *testing.T, programs ...string) {
	t.Helper()
	mode, missing := os.Getenv(storiesEnv), lab.Missing(programs...)
	switch {
	case mode == "":
		t.Skipf("needs real servers; set %s=1 to run it", storiesEnv)
	case missing != nil && mode == "required":
		t.Fatalf("not installed: %s", strings.Join(missing, " "))
	case missing != nil:
		t.Skipf("not installed: %s", strings.Join(missing, " "))
	}
}
