package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	stalledConnections = 5000
	honestClients      = 50
	// What other programs do on the machine changes from second to second: so the two
	// servers are measured in turns, and what counts is the middle of many pairs.
	honestPairs = 24
	honestTime  = 250 * time.Millisecond // of one turn
)

// stalls are the ways to begin something and say no more.
var stalls = []string{
	"",                             // the greeting is not answered
	"EHLO st",                      // within a command
	"EHLO stalled.test\r\n",        // between commands
	"STARTTLS\r\n",                 // no ClientHello follows
	"STARTTLS\r\n\x16\x03\x01\x02", // nor all of it
	"EHLO stalled.test\r\nMAIL FROM:<a@b.test>\r\n",
	"EHLO stalled.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\nDATA\r\n",
	"EHLO stalled.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\nDATA\r\nSubject: never",
	"EHLO stalled.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\nDATA\r\nSubject: x\r\n\r\nA body without an end",
	"EHLO stalled.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\nBDAT 1000\r\nSubject: never",
}

// BenchmarkStalled measures honest clients at two servers, one of which has peers that
// stall in every phase, and come again when they are cut off. The places are so many
// that its crowd does not get dense; in a dense one the stalled would lose theirs.
func BenchmarkStalled(b *testing.B) {
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer internet.Close()
	quiet, crowded := newHonest(b, internet), newHonest(b, internet)
	stop := crowded.stall(b)
	defer stop()
	for range b.N {
		quiet.turn(b, 4*honestTime) // the stores grow at first
		crowded.turn(b, 4*honestTime)
		quiet.reset(b)
		crowded.reset(b)
		var rates, ratios []float64
		for i := range honestPairs {
			order := []*honest{quiet, crowded}
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, h := range order {
				h.last = h.turn(b, honestTime)
			}
			rates, ratios = append(rates, crowded.last), append(ratios, crowded.last/quiet.last)
		}
		b.ReportMetric(median(rates), "msg/s")
		b.ReportMetric(median(ratios), "of-alone")
		b.ReportMetric(crowded.cpu(b)/quiet.cpu(b), "cpu-of-alone")
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// honest is a server in a process of its own, and its honest clients.
type honest struct {
	server  *child
	clients []*benchClient
	last    float64 // messages per second of the last turn
	sent    atomic.Int64
	ticks   int64 // of processor time that the server had used at the last reset
}

func newHonest(b *testing.B, internet *lab.Internet) *honest {
	b.Helper()
	dir := b.TempDir()
	if err := internet.WritePKI(dir); err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(dir, "dancemta.toml")
	text := fmt.Sprintf("log = { format = \"json\" }\nlimits = { connections = %d }\ntls = { certificate = \"mx.pem\", key = \"mx.key\" }\n", 2*stalledConnections) + minimalConfig +
		"[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	server, err := startChild(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.kill)
	// Nothing is delivered, and nothing written to a log that we would have to read.
	for _, args := range [][]string{{"queue", "suspend", "*"}, {"log", "level", "error"}} {
		if code := execute(b.Context(), append(args, "--config", config), io.Discard, os.Stderr); code != exitOK {
			b.Fatalf("%v: exit %d", args, code)
		}
	}
	h := &honest{server: server}
	for range honestClients {
		c, err := newBenchClient(server.addresses["relay"])
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.conn.Close() })
		h.clients = append(h.clients, c)
	}
	return h
}

// turn is the messages per second of all clients together, for a time.
func (h *honest) turn(b *testing.B, d time.Duration) float64 {
	b.Helper()
	message := acceptMessage()
	var sent atomic.Int64
	var wait sync.WaitGroup
	begin := time.Now()
	for _, c := range h.clients {
		wait.Go(func() {
			for time.Since(begin) < d {
				if err := c.send(message); err != nil {
					b.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wait.Wait()
	h.sent.Add(sent.Load())
	return float64(sent.Load()) / time.Since(begin).Seconds()
}

func (h *honest) reset(b *testing.B) {
	h.sent.Store(0)
	h.ticks = h.used(b)
}

// cpu is the processor time of the server for one message since the reset. What it did
// for those who stall, between the turns too, is in it.
func (h *honest) cpu(b *testing.B) float64 {
	return float64(h.used(b)-h.ticks) / float64(h.sent.Load())
}

// used is the processor time of the server so far, in ticks (proc(5), stat: 14 and 15).
func (h *honest) used(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.server.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	return user + system
}

// stall opens the connections, takes each to where it stays, and opens another one for
// each that the server closes.
func (h *honest) stall(b *testing.B) (stop func()) {
	b.Helper()
	address := h.server.addresses["relay"]
	ctx, cancel := context.WithCancel(b.Context())
	dialing := make(chan struct{}, 50) // fewer than the kernel keeps waiting
	var placed, all sync.WaitGroup
	placed.Add(stalledConnections)
	for i := range stalledConnections {
		all.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				dialing <- struct{}{}
				conn, err := newStalled(address, stalls[i%len(stalls)])
				<-dialing
				if first {
					placed.Done()
				}
				if err != nil {
					if ctx.Err() == nil {
						b.Errorf("stalled peer %d: %v", i, err)
					}
					return
				}
				release := context.AfterFunc(ctx, func() { conn.Close() })
				io.Copy(io.Discard, conn)
				release()
				conn.Close()
			}
		})
	}
	placed.Wait()
	return func() { cancel(); all.Wait() }
}

// newStalled is a connection that stays in the middle of words. What is said behind
// STARTTLS waits for its 220, else it would be an injection.
func newStalled(address, words string) (net.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 512)
	if _, err := conn.Read(buf); err != nil {
		return nil, err
	}
	first, then, _ := strings.Cut(words, "\x16")
	io.WriteString(conn, first)
	if then != "" {
		if _, err := conn.Read(buf); err != nil {
			return nil, err
		}
		io.WriteString(conn, "\x16"+then)
	}
	return conn, nil
}
