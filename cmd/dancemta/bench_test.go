package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/internal/lab"
	"dancemta/queue/boltstore"
)

// BenchmarkAccept measures how many 4 KB messages a second get their 250, over
// connections in clear: dancemta with its store on disk, beside go-smtp alone
// with a backend that throws everything away. The two run in turns, so that
// their ratio means something on a noisy machine.
func BenchmarkAccept(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		for _, server := range []struct {
			name  string
			start func(testing.TB) string
		}{{"dancemta", startAccepting}, {"gosmtp-null", startNull}} {
			b.Run(fmt.Sprintf("conns=%d/%s", conns, server.name), func(b *testing.B) {
				benchmarkAccept(b, server.start(b), conns)
			})
		}
	}
}

func benchmarkAccept(b *testing.B, address string, conns int) {
	message := acceptMessage()
	var left atomic.Int64
	left.Store(int64(b.N))
	clients := make([]*benchClient, conns)
	for i := range clients {
		c, err := newBenchClient(address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.conn.Close()
		clients[i] = c
	}
	b.SetBytes(int64(len(message)))
	b.ResetTimer()
	var wait sync.WaitGroup
	for _, c := range clients {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.send(message); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func acceptMessage() []byte {
	line := strings.Repeat("x", 76) + "\r\n"
	return []byte("Subject: bench\r\n\r\n" + strings.Repeat(line, 4096/len(line)) + ".\r\n")
}

// benchClient pipelines a transaction as far as RFC 2920 allows.
type benchClient struct {
	conn net.Conn
	r    *bufio.Reader
}

func newBenchClient(address string) (*benchClient, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &benchClient{conn, bufio.NewReader(conn)}
	if err := c.reply("220"); err != nil {
		return nil, err
	}
	io.WriteString(conn, "EHLO bench.test\r\n")
	return c, c.reply("250")
}

func (c *benchClient) reply(code string) error {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return errors.New(line)
		}
		if line[3] == ' ' {
			return nil
		}
	}
}

func (c *benchClient) send(message []byte) error {
	io.WriteString(c.conn, "MAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\nDATA\r\n")
	for _, code := range []string{"250", "250", "354"} {
		if err := c.reply(code); err != nil {
			return err
		}
	}
	c.conn.Write(message)
	return c.reply("250")
}

// startParts starts the whole server but for deliveries.
func startParts(tb testing.TB, config string) (p *parts, addresses map[string]string) {
	tb.Helper()
	cfg, err := loadConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	ears, err := listenAll(ports(cfg))
	if err != nil {
		tb.Fatal(err)
	}
	if p, err = newParts(config, cfg, newLogger(cfg.Log, io.Discard), boltstore.Options{}); err != nil {
		tb.Fatal(err)
	}
	addresses = map[string]string{}
	var wait sync.WaitGroup
	for _, e := range ears {
		addresses[e.name] = e.Addr().String()
		wait.Go(func() { p.serveEar(e) }) // ends by Drain
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p.drain(ctx)
		wait.Wait()
		p.close()
	})
	return p, addresses
}

func startAccepting(tb testing.TB) string {
	config := filepath.Join(tb.TempDir(), "dancemta.toml")
	text := unjudged + minimalConfig + "[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	_, addresses := startParts(tb, config)
	return addresses["relay"]
}

type nullSession struct{}

func (nullSession) NewSession(*smtp.Conn) (smtp.Session, error) { return nullSession{}, nil }
func (nullSession) Mail(string, *smtp.MailOptions) error        { return nil }
func (nullSession) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (nullSession) Reset()                                      {}
func (nullSession) Logout() error                               { return nil }
func (nullSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	nullMessages.Add(1)
	return err
}

// nullMessages counts what the null server took.
var nullMessages atomic.Int64

func startNull(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := smtp.NewServer(nullSession{})
	s.Domain = "null.test"
	var wait sync.WaitGroup
	wait.Go(func() { s.Serve(l) })
	tb.Cleanup(func() {
		s.Close()
		wait.Wait()
	})
	return l.Addr().String()
}

const idleConnections = 2000

// BenchmarkIdleTLS holds 2,000 idle TLS connections with client certificates and
// reports what each costs the server. The clients are a process of their own.
func BenchmarkIdleTLS(b *testing.B) {
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
	text := fmt.Sprintf("limits = { connections = %d }\ntls = { certificate = \"mx.pem\", key = \"mx.key\" }\n", 2*idleConnections) + minimalConfig
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	_, addresses := startParts(b, config)
	for range b.N {
		heap, stack, rss := memory(b)
		release := startIdleClients(b, addresses["relay"], dir)
		heap2, stack2, rss2 := memory(b)
		b.ReportMetric((heap2-heap)/idleConnections/1024, "heap-KiB/conn")
		b.ReportMetric((stack2-stack)/idleConnections/1024, "stack-KiB/conn")
		b.ReportMetric((rss2-rss)/idleConnections/1024, "rss-KiB/conn")
		release()
	}
}

// memory returns heap, stack and resident set in octets, after the garbage.
func memory(b *testing.B) (heap, stack, rss float64) {
	runtime.GC()
	runtime.GC() // the second one frees what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.StackInuse), residentSet(b)
}

// startIdleClients returns when all connections idle, and how to end them.
func startIdleClients(b *testing.B, address, pki string) (release func()) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, idleClientsCommand, address, filepath.Join(pki, "device"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	return func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	}
}

const idleClientsCommand = "idle-clients"

// idleClients opens the connections, says so, and holds them until its standard
// input ends.
func idleClients(address, credential string) error {
	pair, err := tls.LoadX509KeyPair(credential+".pem", credential+".key")
	if err != nil {
		return err
	}
	for range idleConnections {
		conn, err := idleClient(address, pair)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// idleClient does STARTTLS and EHLO, then nothing.
func idleClient(address string, pair tls.Certificate) (net.Conn, error) {
	conn, _, err := tlsClient(address, pair)
	return conn, err
}

func tlsClient(address string, pair tls.Certificate) (net.Conn, *benchClient, error) {
	c, err := newBenchClient(address)
	if err != nil {
		return nil, nil, err
	}
	io.WriteString(c.conn, "STARTTLS\r\n")
	if err := c.reply("220"); err != nil {
		return nil, nil, err
	}
	// X25519 alone: OpenSSL 3.0, and so Postfix beside us, has no exchange that holds
	// against quantum computers, which costs both sides 0.2 ms more.
	conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}, CurvePreferences: []tls.CurveID{tls.X25519}})
	if err := conn.Handshake(); err != nil {
		return nil, nil, err
	}
	c.r.Reset(conn)
	io.WriteString(conn, "EHLO device.test\r\n")
	return conn, c, c.reply("250")
}

// residentSet reads this process's RSS in octets; 0 where the system has no /proc.
func residentSet(tb testing.TB) float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	pages, err := strconv.ParseFloat(string(fields[1]), 64)
	if err != nil {
		tb.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}
