//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// counterparts is the folder of fetch.sh: mail servers of Debian that cannot be
// installed together.
const counterparts = "../../build/counterparts"

const counterpartLook = 20 * time.Millisecond // between two looks at what another program does

// needCounterparts skips a test without real servers, or fails it where a skip is a
// failure.
func needCounterparts(t *testing.T) {
	t.Helper()
	mode := os.Getenv(storiesEnv)
	if mode == "" {
		t.Skipf("needs real servers; set %s=1 to run it", storiesEnv)
	}
	missing := lab.Missing("bash", "unshare", "postfix", "smtp-sink", "openssl")
	if os.Getuid() != 0 {
		missing = append(missing, "root's rights")
	}
	if _, err := os.Stat(filepath.Join(counterparts, "complete")); err != nil {
		missing = append(missing, counterparts+" (testdata/e2e/counterparts/fetch.sh makes it)")
	}
	switch {
	case missing == nil:
		needMounts(t)
	case mode == "required":
		t.Fatalf("missing: %s", strings.Join(missing, ", "))
	default:
		t.Skipf("missing: %s", strings.Join(missing, ", "))
	}
}

// needMounts skips a test, always, where the kernel lets not even root mount: nothing
// that could be installed would help.
func needMounts(t *testing.T) {
	t.Helper()
	try := exec.Command("unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "overlay", "overlay", "-o", "lowerdir=/usr:/etc", "/mnt")
	if said, err := try.CombinedOutput(); err != nil {
		t.Skipf("needs to mount in a namespace of its own: %v: %s", err, said)
	}
}

// counterpart is a real server that runs until the test ends.
type counterpart struct {
	mu   sync.Mutex
	said bytes.Buffer
	done chan struct{}
}

// Write keeps what the server says.
func (c *counterpart) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.Write(p)
}

func (c *counterpart) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String()
}

// startCounterpart runs a bash script among the unpacked packages, until the test
// ends. It returns when the server listens there.
func startCounterpart(t *testing.T, work, script, address string) {
	t.Helper()
	folder, err := filepath.Abs(counterparts)
	must(t, err)
	cmd := exec.Command("bash", filepath.Join(storyFolder, "counterparts", "inside.sh"), folder, work, "bash", "-euc", script)
	cmd.Env = append(os.Environ(), "WORK="+work)
	runCounterpart(t, cmd, address)
}

// runCounterpart runs a program until the test ends, and returns when it listens.
func runCounterpart(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	c := &counterpart{done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = c, c
	cmd.WaitDelay = storyGrace
	must(t, cmd.Start())
	go func() { // ends with the process, for which the cleanup waits
		defer close(c.done)
		cmd.Wait() // its error is the kill
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() // a namespace ends with its first process
		<-c.done
	})
	eventually(t, func() error {
		select {
		case <-c.done:
			t.Fatalf("%s did not start:\n%s", address, c.text())
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, c.text())
		}
		return conn.Close()
	})
}

// eventually asks until the answer is nil.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	ctx := withTimeout(t)
	tick := time.NewTicker(counterpartLook)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// openDir makes folders below the test's own into which every user may write.
func openDir(t *testing.T, names ...string) string {
	t.Helper()
	dir := openFolder(t)
	for _, name := range names {
		sub := filepath.Join(dir, name)
		must(t, os.Mkdir(sub, 0o755))
		must(t, os.Chmod(sub, 0o777))
	}
	return dir
}

// fill puts words of a server's configuration in place of $NAME.
func fill(text string, words map[string]string) string {
	for name, word := range words {
		text = strings.ReplaceAll(text, "$"+name, word)
	}
	return text
}

// writeOpen writes a file that every user may read.
func writeOpen(t *testing.T, path string, text []byte) {
	t.Helper()
	must(t, errors.Join(os.WriteFile(path, text, 0o644), os.Chmod(path, 0o644)))
}
