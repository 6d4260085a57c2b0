package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/internal/lab"
)

const (
	crashSecondsEnv = "DANCEMTA_CRASH_SECONDS"
	crashDefault    = 4 * time.Second // in the ordinary suite
	stepsEnv        = "DANCEMTA_TEST_STEPS"
	stepWidth       = 32
	crashClients    = 8
	crashBigEvery   = 16        // every so manieth message is a spool file
	crashBigSize    = 100 << 10 // octets
)

// crash is a server that is killed again and again while clients send.
type crash struct {
	t      *testing.T
	sink   *lab.Sink
	config string
	steps  string

	mu      sync.Mutex
	address string        // of the running server
	up      chan struct{} // closed when the next server runs
	next    int
	acked   map[int]bool
}

// Kill at random moments under load: what got its 250 reaches the next hop.
func TestCrash(t *testing.T) {
	duration := crashDefault
	if s := os.Getenv(crashSecondsEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		duration = time.Duration(n) * time.Second
	}
	c := newCrash(t)
	ctx, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	var clients sync.WaitGroup
	for range crashClients {
		clients.Go(func() { c.client(ctx) })
	}
	hits := map[string]int{}
	var server *child
	for ctx.Err() == nil {
		server = c.start()
		select {
		case <-time.After(time.Duration(50+rand.IntN(500)) * time.Millisecond):
		case <-ctx.Done():
		}
		c.down()
		server.kill()
		hits[c.lastStep()]++
	}
	clients.Wait()
	c.start()
	c.drain()
	c.judge(hits)
}

func newCrash(t *testing.T) *crash {
	sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{NoTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	config := writeConfig(t, strings.Replace(jsonLog, "debug", "info", 1)+minimalConfig+fmt.Sprintf(`
[[relay_domain]]
domain     = "remote.test"
recipients = "any"
next_hop   = ["%s"]

[queue]
retry           = ["1s"]
per_destination = 20
`, sink.Addr()))
	c := &crash{t: t, sink: sink, config: config, steps: filepath.Join(t.TempDir(), "step"), up: make(chan struct{}), acked: map[int]bool{}}
	t.Setenv(stepsEnv, c.steps)
	return c
}

func (c *crash) start() *child {
	server := startServer(c.t, c.config)
	c.mu.Lock()
	c.address = server.addresses["relay"]
	close(c.up)
	c.mu.Unlock()
	return server
}

func (c *crash) down() {
	c.mu.Lock()
	c.up = make(chan struct{})
	c.mu.Unlock()
}

func (c *crash) lastStep() string {
	text, err := os.ReadFile(c.steps)
	if err != nil {
		return "before any step"
	}
	return strings.TrimSpace(string(text))
}

// client sends until ctx ends, over a new connection after each crash.
func (c *crash) client(ctx context.Context) {
	for ctx.Err() == nil {
		c.mu.Lock()
		up := c.up
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-up:
		}
		c.mu.Lock()
		address := c.address
		c.mu.Unlock()
		c.session(ctx, address) // ends with the server
	}
}

func (c *crash) session(ctx context.Context, address string) error {
	conn, err := net.DialTimeout("tcp", address, testTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	text := textproto.NewConn(conn)
	if err := exchange(text, "", 220); err != nil {
		return err
	}
	if err := exchange(text, "EHLO load.test", 250); err != nil {
		return err
	}
	for ctx.Err() == nil {
		n := c.number()
		if err := sendNumbered(text, n); err != nil {
			return err
		}
		c.mu.Lock()
		c.acked[n] = true
		c.mu.Unlock()
	}
	return nil
}

func (c *crash) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next
}

func exchange(text *textproto.Conn, line string, code int) error {
	if line != "" {
		if err := text.PrintfLine("%s", line); err != nil {
			return err
		}
	}
	_, _, err := text.ReadResponse(code)
	return err
}

// sendNumbered returns nil when the message got its 250.
func sendNumbered(text *textproto.Conn, n int) error {
	for _, step := range []struct {
		line string
		code int
	}{{"MAIL FROM:<load@load.test>", 250}, {"RCPT TO:<ann@remote.test>", 250}, {"DATA", 354}} {
		if err := exchange(text, step.line, step.code); err != nil {
			return err
		}
	}
	w := text.DotWriter()
	size := 0
	if n%crashBigEvery == 0 {
		size = crashBigSize
	}
	_, err := fmt.Fprintf(w, "Subject: %d\r\n\r\n%s\r\nend %d\r\n", n, bytes.Repeat([]byte("0123456789abcdef\r\n"), size/18+10), n)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	return exchange(text, "", 250)
}

// drain waits until the queue of the last server is empty.
func (c *crash) drain() {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	last := -1
	for {
		list, err := queueList(ctx, c.config)
		if err != nil {
			c.t.Fatalf("%v, with %d messages left", err, last)
		}
		if last = len(list); last == 0 {
			return
		}
	}
}

// judge compares what was promised with what the sink has.
func (c *crash) judge(hits map[string]int) {
	got := map[int]int{}
	for _, m := range c.sink.Messages() {
		n, err := numberOf(m.Data)
		if err != nil {
			c.t.Error(err)
			continue
		}
		got[n]++
	}
	kills, lost, twice := 0, 0, 0
	for n := range c.acked {
		if got[n] == 0 {
			lost++
		}
	}
	for _, times := range got {
		twice += times - 1
	}
	c.t.Log("kills by the last step that the store had begun:")
	for _, step := range slices.Sorted(maps.Keys(hits)) {
		kills += hits[step]
		c.t.Logf("  %4d  %s", hits[step], step)
	}
	c.t.Logf("%d kills; %d messages acknowledged, %d lost; %d came although their 250 was cut off; %d deliveries repeated",
		kills, len(c.acked), lost, len(got)-len(c.acked)+lost, twice)
	if lost > 0 || kills == 0 || len(c.acked) == 0 {
		c.t.Errorf("%d of %d acknowledged messages were lost", lost, len(c.acked))
	}
	// Each kill may cut off the outcomes of the deliveries then under way, not more.
	if most := kills * 20; twice > most {
		c.t.Errorf("%d deliveries were repeated, more than the %d under way at the kills", twice, most)
	}
}

// numberOf demands a whole message.
func numberOf(data []byte) (n int, err error) {
	_, rest, ok := bytes.Cut(data, []byte("\r\nSubject: "))
	if !ok {
		return 0, fmt.Errorf("a message without its header: %.200q", data)
	}
	if _, err := fmt.Fscanf(bytes.NewReader(rest), "%d", &n); err != nil {
		return 0, err
	}
	if !bytes.HasSuffix(data, fmt.Appendf(nil, "\r\nend %d\r\n", n)) {
		return 0, fmt.Errorf("message %d is not whole: %w", n, io.ErrUnexpectedEOF)
	}
	return n, nil
}
