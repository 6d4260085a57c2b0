package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dancemta/internal/lab"
)

const (
	figuresEnv   = "DANCEMTA_FIGURES" // how long each measurement takes, as "2s"; absent: none is made
	figureRounds = 3                  // of ours and Postfix's in turns
	queuedLong   = 50_000
	slowFlush    = 2 * time.Millisecond
)

// figures measures the whole server, as a process of its own, beside Postfix where that
// is installed and we are root. All runs of a line are made in turns, so that their
// ratio means something on a noisy machine.
type figures struct {
	t    *testing.T
	time time.Duration
	pki  string
	sink string
	slow string // library that slows Postfix's flushes; "": no compiler
}

// TestFigures prints what docs/performance.md shows: make figures.
func TestFigures(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv(figuresEnv))
	if err != nil {
		t.Skip("set " + figuresEnv + " to a duration")
	}
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	f := &figures{t: t, time: d, pki: t.TempDir(), sink: startNull(t)}
	if err := internet.WritePKI(f.pki); err != nil {
		t.Fatal(err)
	}
	f.buildSlow()
	fmt.Printf("%-44s %10s %9s %9s %10s %6s\n", "", "messages/s", "µs CPU", "flushes", "Postfix/s", "ratio")
	for _, conns := range []int{1, 10, 100} {
		f.line(fmt.Sprintf("4 KB, %d connections", conns), figure{conns: conns, size: 4 << 10})
	}
	for _, conns := range []int{1, 10, 100} {
		f.line(fmt.Sprintf("4 KB, flush of 2 ms, %d connections", conns), figure{conns: conns, size: 4 << 10, slow: true})
	}
	f.line("1 MiB, 10 connections", figure{conns: 10, size: 1 << 20})
	f.line("10 MiB, 10 connections", figure{conns: 10, size: 10 << 20})
	f.line("relayed through to a sink, 10 connections", figure{conns: 10, size: 4 << 10, relay: true})
	f.line("one per new mutual TLS connection, 50", figure{conns: 50, size: 4 << 10, tls: true})
	t.Run("queued", func(t *testing.T) { f.of(t).queued() })
}

func (f *figures) of(t *testing.T) *figures {
	one := *f
	one.t = t
	return &one
}

// line is a test of its own, so that go test can be asked for some.
func (f *figures) line(name string, l figure) {
	f.t.Run(name, func(t *testing.T) { f.of(t).compare(name, l) })
}

// figure is one line.
type figure struct {
	conns, size      int
	slow, relay, tls bool
}

// buildSlow compiles the library for Postfix.
func (f *figures) buildSlow() {
	out := filepath.Join(f.t.TempDir(), "slowsync.so")
	text, err := exec.Command("cc", "-shared", "-fPIC", "-O2", "-o", out, "../../testdata/figures/slowsync.c", "-ldl").CombinedOutput()
	if err != nil {
		fmt.Printf("no Postfix on a slow disk: %v %s\n", err, text)
		return
	}
	os.Chmod(filepath.Dir(out), 0o755)
	os.Chmod(filepath.Dir(filepath.Dir(out)), 0o755)
	f.slow = out
}

func (f *figures) config() string {
	text := strings.Replace(jsonLog, "debug", "info", 1) + fmt.Sprintf(unjudged+"limits = { connections = 200 }\ntls = { certificate = %q, key = %q }\n",
		filepath.Join(f.pki, "mx.pem"), filepath.Join(f.pki, "mx.key")) + minimalConfig +
		fmt.Sprintf("[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\nnext_hop = [%q]\n", f.sink)
	return writeConfig(f.t, text)
}

func (f *figures) postfix(l figure) *figureServer {
	more, preload := "relayhost = "+bracketed(f.sink)+"\n", ""
	if !l.relay {
		more += "smtpd_recipient_restrictions = check_client_access static:hold, permit_mynetworks, reject\n"
	}
	if l.tls {
		more += fmt.Sprintf("smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_cert_file = %s/mx.pem\nsmtpd_tls_key_file = %s/mx.key\n", f.pki, f.pki)
	}
	if l.slow {
		if preload = f.slow; preload == "" {
			return nil
		}
	}
	return startPostfix(f.t, more, preload)
}

func bracketed(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return "[" + host + "]:" + port
}

// compare measures one line of the table.
func (f *figures) compare(name string, l figure) {
	delay := time.Duration(0)
	if l.slow {
		delay = slowFlush
	}
	ours := startOurs(f.t, f.config(), delay, !l.relay)
	defer ours.stop()
	theirs := f.postfix(l)
	if theirs != nil {
		defer theirs.stop()
	}
	var mine, other rate
	for range figureRounds {
		mine.add(f.measure(ours, l))
		if theirs != nil {
			other.add(f.measure(theirs, l))
		}
	}
	text := fmt.Sprintf("%-44s %10.0f %9.0f %9.3f", name, mine.perSecond(), mine.cpu.Seconds()*1e6/float64(mine.n), float64(mine.flushes)/float64(mine.n))
	if theirs != nil {
		text += fmt.Sprintf(" %10.0f %6.2f", other.perSecond(), mine.perSecond()/other.perSecond())
	}
	fmt.Println(text)
}

// rate is what came of measurements.
type rate struct {
	n       int64
	time    time.Duration
	cpu     time.Duration
	flushes int64
}

func (r *rate) add(o rate) {
	r.n, r.time, r.cpu, r.flushes = r.n+o.n, r.time+o.time, r.cpu+o.cpu, r.flushes+o.flushes
}

func (r *rate) perSecond() float64 { return float64(r.n) / r.time.Seconds() }

// measure sends for a time; for a relay it counts what is accepted, since a queue that
// grows would be no relaying: the sessions wait for the queue then.
func (f *figures) measure(s *figureServer, l figure) rate {
	message := figureMessage(l.size)
	pair, err := tls.LoadX509KeyPair(filepath.Join(f.pki, "device.pem"), filepath.Join(f.pki, "device.key"))
	if err != nil {
		f.t.Fatal(err)
	}
	cpu, flushes := s.cpu(f.t), s.flushCount()
	relayed := nullMessages.Load()
	var n atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	end := begin.Add(f.time)
	for range l.conns {
		all.Go(func() {
			send := f.sendMany
			if l.tls {
				send = func(s *figureServer, message []byte, end time.Time, n *atomic.Int64) error {
					return f.sendTLS(s, message, pair, end, n)
				}
			}
			if err := send(s, message, end, &n); err != nil {
				f.t.Error(err)
			}
		})
	}
	all.Wait()
	if l.relay { // until all have gone
		for limit := time.Now().Add(time.Minute); nullMessages.Load()-relayed < n.Load() && time.Now().Before(limit); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return rate{n: n.Load(), time: time.Since(begin), cpu: s.cpu(f.t) - cpu, flushes: s.flushCount() - flushes}
}

func figureMessage(size int) []byte {
	line := strings.Repeat("x", 76) + "\r\n"
	return []byte("Subject: figures\r\n\r\n" + strings.Repeat(line, size/len(line)) + ".\r\n")
}

func (f *figures) sendMany(s *figureServer, message []byte, end time.Time, n *atomic.Int64) error {
	c, err := newBenchClient(s.address)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for time.Now().Before(end) {
		if err := c.send(message); err != nil {
			return err
		}
		n.Add(1)
	}
	return nil
}

func (f *figures) sendTLS(s *figureServer, message []byte, pair tls.Certificate, end time.Time, n *atomic.Int64) error {
	for time.Now().Before(end) {
		conn, c, err := tlsClient(s.address, pair)
		if err == nil {
			c.conn = conn
			err = c.send(message)
			io.WriteString(conn, "QUIT\r\n")
			c.reply("221")
			conn.Close()
		}
		if err != nil {
			return err
		}
		n.Add(1)
	}
	return nil
}

// queued measures a server with a long queue beside an empty one.
func (f *figures) queued() {
	l := figure{conns: 10, size: 4 << 10}
	config := f.config()
	s, short := f.greeting(config)
	f.measure(s, l) // both have worked
	f.idle()
	empty := s.memory(f.t)
	long := f.config()
	full := startOurs(f.t, long, 0, true)
	for left := queuedLong; left > 0; {
		r := f.measure(full, figure{conns: 100, size: 4 << 10})
		left -= int(r.n)
	}
	full.stop()
	full, greeting := f.greeting(long)
	var mine, other rate
	for range figureRounds {
		mine.add(f.measure(full, l))
		other.add(f.measure(s, l))
	}
	f.idle()
	memory := full.memory(f.t) - empty
	before := full.cpu(f.t)
	begin := time.Now()
	n := f.list(long)
	took := time.Since(begin)
	fmt.Printf("%d queued: greeting after %v (an empty one %v), list in %v (%v CPU of the server), %.1f MiB above the empty one, acceptance %.2f of it\n",
		n, greeting.Round(time.Millisecond), short.Round(time.Millisecond), took.Round(time.Millisecond), full.cpu(f.t)-before,
		memory/(1<<20), mine.perSecond()/other.perSecond())
}

// greeting starts a server and waits for its 220.
func (f *figures) greeting(config string) (*figureServer, time.Duration) {
	begin := time.Now()
	s := startOurs(f.t, config, 0, true)
	c, err := newBenchClient(s.address)
	if err != nil {
		f.t.Fatal(err)
	}
	took := time.Since(begin)
	c.conn.Close()
	return s, took
}

// list has the queue listed as a person does, and returns the number of messages.
func (f *figures) list(config string) int {
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := exec.CommandContext(f.t.Context(), self, "queue", "list", "--config", config).Output()
	if err != nil {
		f.t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n")) - 2 // names of the columns, number
}

// idle lets the servers make their checkpoint, and give memory back.
func (f *figures) idle() { <-time.After(3 * time.Second) }
