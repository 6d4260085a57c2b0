package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The log's reader goes away: the server goes on without it, and still stops cleanly.
func TestServeOutlivesItsLogReader(t *testing.T) {
	cmd := exec.Command(os.Args[0], "serve", "--config", writeConfig(t, jsonLog+minimalConfig))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	address := ""
	for s := bufio.NewScanner(stderr); s.Scan() && !strings.Contains(s.Text(), `"ready"`); {
		if _, rest, ok := strings.Cut(s.Text(), `"address":"`); ok {
			address, _, _ = strings.Cut(rest, `"`)
		}
	}
	stderr.Close()
	for range 3 { // each of them is a line of the log
		if reply := rcpt(t, address, "ann@remote.test"); !strings.HasPrefix(reply, "550 5.7.1") {
			t.Errorf("without a log: %q", reply)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit after SIGTERM: %v", err)
	}
}

// A reload may be asked of a server that has not yet come up: here it waits for the
// queue of another one, which it never gets.
func TestHangupDuringTheStart(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := writeConfig(t, jsonLog+minimalConfig)
	startServer(t, config)
	address := free.Addr().String()
	text := strings.Replace(minimalConfig, "127.0.0.1:0", address, 1)
	second := config + ".second"
	if err := os.WriteFile(second, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	free.Close()
	var log bytes.Buffer
	cmd := exec.Command(os.Args[0], "serve", "--config", second)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	ctx := withTimeout(t)
	for { // the ports are opened before the queue
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	cmd.Process.Signal(syscall.SIGHUP)
	err = cmd.Wait()
	if exit, _ := errors.AsType[*exec.ExitError](err); exit == nil || exit.ExitCode() != exitUnavailable {
		t.Errorf("exit: %v\n%s", err, &log)
	}
}
