package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/lab"
	"dancemta/queue/boltstore"
)

const flushFailsEnv = "DANCEMTA_TEST_FLUSH_FAILS" // file: once it is there, no flush of the journal succeeds

// serveToBreak is a server whose disk fails when a test says so: a pipe, which cannot
// be flushed, takes the place of the journal.
func serveToBreak(ctx context.Context, config string) error {
	var failed atomic.Bool
	return serve(ctx, config, os.Stderr, boltstore.Options{Step: func(name string) {
		if _, err := os.Stat(os.Getenv(flushFailsEnv)); name == "journal fsync" && err == nil && failed.CompareAndSwap(false, true) {
			if err := breakJournal(); err != nil {
				panic(err)
			}
		}
	}})
}

func breakJournal() error {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range fds {
		var fd int
		fmt.Sscan(e.Name(), &fd)
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || filepath.Base(target) != "queue.journal" {
			continue
		}
		var pipe [2]int
		if err := syscall.Pipe(pipe[:]); err != nil {
			return err
		}
		return syscall.Dup3(pipe[1], fd, 0)
	}
	return errors.New("the journal is not open")
}

// A flush that fails ends all promises: 451, no delivery, and everybody is told.
func TestFlushFails(t *testing.T) {
	sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{NoTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	fails := filepath.Join(t.TempDir(), "fails")
	t.Setenv(flushFailsEnv, fails)
	config := writeConfig(t, strings.Replace(jsonLog, "debug", "info", 1)+minimalConfig+
		fmt.Sprintf("[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\nnext_hop = [%q]\n", sink.Addr())+
		"[metrics]\naddress = \"127.0.0.1:0\"\n")
	server := startServer(t, config)
	conn, err := net.DialTimeout("tcp", server.addresses["relay"], testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	text := textproto.NewConn(conn)
	if err := errors.Join(exchange(text, "", 220), exchange(text, "EHLO load.test", 250)); err != nil {
		t.Fatal(err)
	}
	c := &crash{}
	if err := c.send(text, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Wait(withTimeout(t), func(lab.Message) bool { return true }); err != nil {
		t.Fatal(err)
	}
	waitEmpty(t, config) // its settlement needs a flush, too
	if err := os.WriteFile(fails, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for n := 2; n < 4; n++ {
		err := c.send(text, n)
		reply, ok := errors.AsType[*textproto.Error](err)
		if !ok || reply.Code != 451 || !strings.HasPrefix(reply.Msg, "4.3.0 ") {
			t.Errorf("message %d: %v, want 451 4.3.0", n, err)
		}
		exchange(text, "RSET", 250)
	}
	if got := scrape(t, server.addresses[metricsEar])["dancemta_store_broken"]; got != "1" {
		t.Errorf("dancemta_store_broken %s, want 1", got)
	}
	if !strings.Contains(server.text(), "queue store is broken") {
		t.Errorf("the log does not say it:\n%s", server.text())
	}
	if _, out, stderr := run(t, "status", "--config", config); !strings.Contains(out+stderr, "broken") {
		t.Errorf("status does not say it: %s%s", out, stderr)
	}
	if n := len(sink.Messages()); n != 1 {
		t.Errorf("%d messages were delivered, want 1", n)
	}
}

// waitEmpty waits until the queue of a server is empty.
func waitEmpty(t *testing.T, config string) {
	t.Helper()
	ctx := withTimeout(t)
	for {
		list, err := queueList(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
	}
}
