package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
	honestTime         = 5 * time.Second // of each measurement
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
	"EHLO stalled.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\nBDAT 1000\r\nSubject: never",
}

// BenchmarkStalled measures the rate of honest clients alone, and beside peers that
// stall in every phase. The places are so many that the crowd does not get dense;
// in a dense one the stalled would lose theirs.
func BenchmarkStalled(b *testing.B) {
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer internet.Close()
	dir := b.TempDir()
	if err := internet.WritePKI(dir); err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(dir, "dancemta.toml")
	text := fmt.Sprintf("limits = { connections = %d }\ntls = { certificate = \"mx.pem\", key = \"mx.key\" }\n", 2*stalledConnections) + minimalConfig +
		"[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	_, addresses := startParts(b, config)
	address := addresses["relay"]
	for range b.N {
		honestRate(b, address) // the store grows at first
		alone := honestRate(b, address)
		conns := stall(b, address)
		beside := honestRate(b, address)
		for _, c := range conns {
			c.Close()
		}
		again := honestRate(b, address)
		b.ReportMetric(beside, "msg/s")
		b.ReportMetric(beside/((alone+again)/2), "of-alone")
	}
}

// honestRate is the messages per second of the honest clients together.
func honestRate(b *testing.B, address string) float64 {
	message := acceptMessage()
	var sent atomic.Int64
	var wait sync.WaitGroup
	begin := time.Now()
	for range honestClients {
		wait.Go(func() {
			c, err := newBenchClient(address)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.conn.Close()
			for time.Since(begin) < honestTime {
				if err := c.send(message); err != nil {
					b.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wait.Wait()
	return float64(sent.Load()) / time.Since(begin).Seconds()
}

// stall opens the connections and takes each to where it stays. What is said behind
// STARTTLS waits for its 220, else it would be an injection.
func stall(b *testing.B, address string) []net.Conn {
	conns := make([]net.Conn, stalledConnections)
	for i := range conns {
		c, err := newStalled(address, stalls[i%len(stalls)])
		if err != nil {
			b.Fatal(err)
		}
		conns[i] = c
	}
	return conns
}

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
