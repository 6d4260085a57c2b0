package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"sync/atomic"
	"testing"
	"time"

	"dancemta/internal/lab"
)

const (
	crashesEnv     = "DANCEMTA_CRASHES" // how many kills
	defaultCrashes = 15                 // a few seconds
	stepsEnv       = "DANCEMTA_TEST_STEPS"
	killEnv        = "DANCEMTA_TEST_KILL" // "n step": the server kills itself at the n-th step of this name
	stepWidth      = 32
	crashClients   = 8
	crashBigEvery  = 4       // every so manieth message is a spool file
	crashFailEvery = 7       // every so manieth is for a recipient whom the next hop refuses
	crashInline    = 2 << 10 // octets of a body in the store
	crashJournal   = 100 << 10
	// A kill at random falls so soon after the start of the load.
	crashRandom = 60 * time.Millisecond
	// A server that has not come to its step by then is killed all the same.
	crashLimit = 5 * time.Second
	// From so many kills on each step must have had its share, and the dialog its own.
	crashProof   = 1000
	crashPerStep = 20
	crashInBody  = 300
)

// serverSteps are the steps at which the server kills itself: all that the store has.
var serverSteps = []string{
	"body read", "spool create", "spool write", "spool fsync", "spool rename", "spool folder fsync", "spool remove",
	"journal write", "journal fsync", "journal written", "before commit", "after commit", "settle", "settled",
}

// crash is a server that is killed again and again while clients send.
type crash struct {
	t      *testing.T
	sink   *lab.Sink
	config string
	steps  string
	inBody atomic.Int64 // sessions that were cut off between the first octet of a body and its reply

	mu      sync.Mutex
	address string        // of the running server
	up      chan struct{} // closed when the next server runs
	next    int

	ledger crashLedger
}

// Kill at random moments, and at each step of durable work, under load: what got its
// 250 reaches the next hop, or a bounce says that it did not.
func TestCrash(t *testing.T) {
	crashes := defaultCrashes
	if s := os.Getenv(crashesEnv); s != "" {
		var err error
		if crashes, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	c := newCrash(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for range crashClients {
		clients.Go(func() { c.client(ctx) })
	}
	hits, inBody := map[string]int{}, 0
	for i := range crashes {
		step := "" // every third kill comes from outside
		if i%3 > 0 {
			step = serverSteps[(i/3*2+i%3)%len(serverSteps)]
		}
		c.inBody.Store(0)
		hits[c.kill(step)]++
		if c.inBody.Load() > 0 {
			inBody++
		}
		if c.ledger.check(t, c.sink, filepath.Join(filepath.Dir(c.config), "state")); t.Failed() {
			t.Fatalf("after kill %d, asked for at %q", i+1, step)
		}
	}
	stop()
	clients.Wait()
	t.Setenv(killEnv, "")
	c.start(false)
	c.drain()
	c.ledger.checkEnd(t, c.sink)
	c.report(crashes, hits, inBody)
}

func newCrash(t *testing.T) *crash {
	sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{NoTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	sink.Answer(func(cmd lab.Command) string {
		if cmd.Verb == "RCPT" && strings.Contains(cmd.Line, "nobody@") {
			return "550 5.1.1 no such user"
		}
		return ""
	})
	text := strings.Replace(jsonLog, "debug", "info", 1) + unjudged + minimalConfig
	for _, domain := range []string{"remote.test", "load.test"} {
		text += fmt.Sprintf("[[relay_domain]]\ndomain = %q\nrecipients = \"any\"\nnext_hop = [%q]\n", domain, sink.Addr())
	}
	config := writeConfig(t, text+"[queue]\nretry = [\"1s\"]\nper_destination = 20\n")
	c := &crash{t: t, sink: sink, config: config, steps: filepath.Join(t.TempDir(), "step"), up: make(chan struct{}), ledger: newCrashLedger()}
	t.Setenv(stepsEnv, c.steps)
	return c
}

// kill lets a server work until it is killed, and returns the step at which.
func (c *crash) kill(step string) string {
	c.t.Setenv(killEnv, "")
	if step != "" {
		c.t.Setenv(killEnv, fmt.Sprintf("%d %s", 2+rand.IntN(4), step))
	}
	limit := crashLimit
	if step == "" {
		limit = time.Duration(rand.Int64N(int64(crashRandom)))
	}
	if server := c.start(step != ""); server != nil {
		select {
		case <-time.After(limit):
		case <-server.done:
		}
		c.down()
		server.kill()
	}
	text, err := os.ReadFile(c.steps)
	if err != nil {
		return "before any step"
	}
	last := strings.TrimSpace(string(text))
	if step == "" {
		return "at random, after " + last
	}
	return last
}

// start returns nil when the server was killed before it was ready, by the steps of
// what an earlier one had left, and it may be so.
func (c *crash) start(mayDie bool) *child {
	server, err := startChild(context.Background(), c.config)
	if err != nil {
		if !mayDie || strings.Contains(err.Error(), "error: ") {
			c.t.Fatal(err)
		}
		return nil
	}
	c.t.Cleanup(server.kill)
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
		if err := c.send(text, n); err != nil {
			return err
		}
		c.ledger.acknowledged(n)
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

// send returns nil when the message got its 250.
func (c *crash) send(text *textproto.Conn, n int) error {
	to := "ann"
	if fails(n) {
		to = "nobody"
	}
	for _, step := range []struct {
		line string
		code int
	}{{"MAIL FROM:<load@load.test>", 250}, {"RCPT TO:<" + to + "@remote.test>", 250}, {"DATA", 354}} {
		if err := exchange(text, step.line, step.code); err != nil {
			return err
		}
	}
	err := sendNumbered(text, n)
	if err != nil {
		c.inBody.Add(1)
	}
	return err
}

// fails says whether a message is for the recipient who is refused.
func fails(n int) bool { return n%crashFailEvery == 0 }

func sendNumbered(text *textproto.Conn, n int) error {
	w := text.DotWriter()
	lines := 10
	if n%crashBigEvery == 0 {
		lines = 2 * crashInline / 18
	}
	_, err := fmt.Fprintf(w, "Subject: %d\r\n\r\n%s\r\nend %d\r\n", n, bytes.Repeat([]byte("0123456789abcdef\r\n"), lines), n)
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

// report shows where the kills fell, and demands their spread.
func (c *crash) report(crashes int, hits map[string]int, inBody int) {
	c.t.Log("kills by the step that the store had begun last:")
	for _, step := range slices.Sorted(maps.Keys(hits)) {
		c.t.Logf("  %4d  %s", hits[step], step)
	}
	c.t.Logf("%d kills, %d between the first octet of a body and its reply; %s", crashes, inBody, c.ledger.summary())
	if crashes < crashProof {
		return
	}
	if inBody < crashInBody {
		c.t.Errorf("%d kills fell between a body and its reply, want %d", inBody, crashInBody)
	}
	for _, step := range serverSteps {
		if hits[step] < crashPerStep {
			c.t.Errorf("%d kills at %q, want %d", hits[step], step, crashPerStep)
		}
	}
}
