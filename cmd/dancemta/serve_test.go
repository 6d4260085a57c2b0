package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/lab"
)

const testTimeout = 30 * time.Second

// withTimeout is the test's context with a bound for whatever it waits for.
func withTimeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// startServer runs "dancemta serve" as a process of its own until the test ends.
func startServer(t *testing.T, config string) *child {
	t.Helper()
	// Not the test's context: the child is ended by kill, after the cleanup of others.
	c, err := startChild(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// jsonLog is what startChild needs to find the ports.
const jsonLog = "log = { format = \"json\", level = \"debug\" }\n"

// mustFail runs "dancemta serve" and demands its end with a code and a word.
func mustFail(t *testing.T, config string, code int, word string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.CommandContext(withTimeout(t), self, "serve", "--config", config).CombinedOutput()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || exit.ExitCode() != code || !strings.Contains(string(text), word) {
		t.Errorf("%v, %s; want exit %d and %q", err, text, code, word)
	}
	if !strings.Contains(string(text), "error: ") {
		t.Errorf("%s has no line error:", text)
	}
}

func TestServeRefusesToStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	pki := t.TempDir()
	if err := internet.WritePKI(pki); err != nil {
		t.Fatal(err)
	}
	tlsOf := func(cert, key string) string {
		return fmt.Sprintf("tls = { certificate = %q, key = %q }\n", filepath.Join(pki, cert), filepath.Join(pki, key))
	}
	for _, c := range []struct {
		name, config string
		code         int
		word         string
	}{
		{"port in use", strings.Replace(minimalConfig, "127.0.0.1:0", busy.Addr().String(), 1), exitUnavailable, "another program has this port"},
		{"address of somebody else", strings.Replace(minimalConfig, "127.0.0.1:0", "192.0.2.1:0", 1), exitUnavailable, "this host has no such address"},
		{"no such key", tlsOf("mx.pem", "none.key") + minimalConfig, exitUnavailable, "none.key: no such file"},
		{"certificate without its key", tlsOf("mx.pem", "rick.key") + minimalConfig, exitUnavailable, "does not belong to the certificate"},
		{"no such anchors", strings.Replace(minimalConfig, `["127.0.0.1:1"]`, `["127.0.0.1:1"], trust_anchors = "none"`, 1), exitUnavailable, "none: no such file"},
		{"state_dir is a file", strings.Replace(minimalConfig, `"state"`, `"dancemta.toml"`, 1), exitUnavailable, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) { mustFail(t, writeConfig(t, c.config), c.code, c.word) })
	}
}

// A second server on the same queue, and a queue of another format.
func TestServeLeavesForeignQueuesAlone(t *testing.T) {
	config := writeConfig(t, jsonLog+minimalConfig)
	state := filepath.Join(filepath.Dir(config), "state")
	startServer(t, config)
	mustFail(t, config, exitUnavailable, "in use by another process")

	other := writeConfig(t, minimalConfig)
	dir := filepath.Join(filepath.Dir(other), "state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const foreign = "this is something else"
	if err := os.WriteFile(filepath.Join(dir, "queue.db"), []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	mustFail(t, other, exitUnavailable, "queue.db")
	if text, err := os.ReadFile(filepath.Join(dir, "queue.db")); err != nil || string(text) != foreign {
		t.Errorf("the foreign file was changed: %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(state, "queue.db")); err != nil {
		t.Error(err)
	}
}

// waitLog waits until the child's log has a text.
func waitLog(t *testing.T, c *child, text string) {
	t.Helper()
	ctx := withTimeout(t)
	for {
		more := c.moreLog() // before the look: a line between both wakes us
		if strings.Contains(c.text(), text) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%q did not appear in the log:\n%s", text, c.text())
		case <-c.done:
			t.Fatalf("the server ended without %q:\n%s", text, c.text())
		case <-more:
		}
	}
}

// rcpt asks the server for its reply to a recipient, from an anonymous peer.
func rcpt(t *testing.T, address, recipient string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	r := bufio.NewReader(conn)
	reply := ""
	for _, line := range []string{"", "HELO a.test", "MAIL FROM:<>", "RCPT TO:<" + recipient + ">"} {
		if line != "" {
			fmt.Fprintf(conn, "%s\r\n", line)
		}
		if reply, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return reply
}

func TestReloadAndStop(t *testing.T) {
	config := writeConfig(t, jsonLog+minimalConfig+`
[[relay_domain]]
domain          = "example.test"
recipients      = "file"
recipients_file = "recipients.txt"
`)
	list := filepath.Join(filepath.Dir(config), "recipients.txt")
	setRecipients := func(text string) {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	setRecipients("ann\n")
	c := startServer(t, config)
	if reply := rcpt(t, c.addresses["relay"], "ann@example.test"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("ann: %s", reply)
	}
	if reply := rcpt(t, c.addresses["relay"], "bob@example.test"); !strings.HasPrefix(reply, "550 5.1.1") {
		t.Errorf("bob: %s", reply)
	}
	setRecipients("not @ an @ address\n")
	c.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, c, "configuration not reloaded")
	if reply := rcpt(t, c.addresses["relay"], "ann@example.test"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("ann, after a reload that was refused: %s", reply)
	}
	setRecipients("bob\n")
	c.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, c, "configuration reloaded")
	if reply := rcpt(t, c.addresses["relay"], "bob@example.test"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("bob, after the reload: %s", reply)
	}
	stopWithOpenSession(t, c)
}

// stopWithOpenSession sends SIGTERM while a session idles: it is told so, and
// the exit is clean.
func stopWithOpenSession(t *testing.T, c *child) {
	conn, err := net.DialTimeout("tcp", c.addresses["relay"], testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "421 4.3.2") {
		t.Errorf("idle session: %q, %v", line, err)
	}
	<-c.done
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("exit after SIGTERM: %v\n%s", err, c.text())
	}
}

// The certificate is exchanged for new handshakes without a restart.
func TestReloadCertificate(t *testing.T) {
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	config := writeConfig(t, jsonLog+"tls = { certificate = \"mx.pem\", key = \"mx.key\" }\n"+strings.Replace(minimalConfig, `"relay"
address`, `"submissions"
address`, 1))
	dir := filepath.Dir(config)
	if err := internet.WritePKI(dir); err != nil {
		t.Fatal(err)
	}
	c := startServer(t, config)
	serial := func() string {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", c.addresses["relay"], &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	renewed := internet.ServerCA.Issue(lab.LeafOptions{Names: []string{lab.ServerName}})
	for name, text := range map[string][]byte{"mx.pem": renewed.CertPEM(), "mx.key": renewed.KeyPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, c, "configuration reloaded")
	if after := serial(); after == before {
		t.Error("the old certificate is still shown")
	}
}

// The demo is what README promises: it must hold, and be quick.
func TestDemo(t *testing.T) {
	if code, out, text := run(t, "demo"); code != exitOK {
		t.Errorf("demo: exit %d\n%s%s", code, out, text)
	}
}

// A demo whose reader goes away stops its server all the same.
func TestDemoWithoutAReader(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := exec.CommandContext(withTimeout(t), self, "demo")
	cmd.Stdout = w
	err = cmd.Run()
	w.Close()
	if exit, _ := errors.AsType[*exec.ExitError](err); exit == nil || !exit.Exited() {
		t.Errorf("%v: ended by a signal, which stops nothing", err)
	}
}
