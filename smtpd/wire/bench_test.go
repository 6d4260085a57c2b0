package wire

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"dancemta/internal/crowd"
)

// null is a backend that takes everything.
type null struct{}

func (null) NewSession(*smtp.Conn) (smtp.Session, error) { return null{}, nil }
func (null) Reset()                                      {}
func (null) Logout() error                               { return nil }
func (null) Mail(string, *smtp.MailOptions) error        { return nil }
func (null) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (null) Data(r io.Reader) error                      { _, err := io.Copy(io.Discard, r); return err }

// serveNull returns the address of a server under the wire, or of go-smtp alone.
func serveNull(b *testing.B, kind string) (addr string) {
	if kind == "wire" {
		addr, _, stop := onTCP(b, func(c *Config, _ *recorder) {
			c.SMTP = func(*Conn) *smtp.Server { return smtp.NewServer(null{}) }
			c.Crowd = nil
		})
		b.Cleanup(stop)
		return addr
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := smtp.NewServer(null{})
	s.Domain = "mx.example.test"
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	b.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// sender speaks on one connection: everything up to DATA in one write, as a
// client that knows PIPELINING does.
type sender struct {
	c net.Conn
	r *bufio.Reader
}

func newSender(b *testing.B, addr string) *sender {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	s := &sender{c, bufio.NewReader(c)}
	s.replies(b, 1)
	s.say(b, "EHLO x\r\n", 1)
	return s
}

func (s *sender) say(b *testing.B, text string, n int) {
	if _, err := io.WriteString(s.c, text); err != nil {
		b.Fatal(err)
	}
	s.replies(b, n)
}

func (s *sender) replies(b *testing.B, n int) {
	for n > 0 {
		line, err := s.r.ReadSlice('\n')
		if err != nil || line[0] > '3' {
			b.Fatalf("%q, %v", line, err)
		}
		if line[3] == ' ' {
			n--
		}
	}
}

func benchmarkBodies(b *testing.B, send func(*testing.B, *sender), size int64, conns []int) {
	for _, n := range conns {
		for _, kind := range []string{"native", "wire"} {
			b.Run(fmt.Sprintf("%s/conns=%d", kind, n), func(b *testing.B) {
				addr := serveNull(b, kind)
				senders := make([]*sender, n)
				for i := range senders {
					senders[i] = newSender(b, addr)
				}
				work := make(chan struct{}, b.N)
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				b.SetBytes(size)
				b.ResetTimer()
				var all sync.WaitGroup
				for _, s := range senders {
					all.Go(func() {
						for range work {
							send(b, s)
						}
					})
				}
				all.Wait()
				b.StopTimer()
				for _, s := range senders {
					s.c.Close()
				}
			})
		}
	}
}

func lines(n int) string { return strings.Repeat(strings.Repeat("x", 76)+"\r\n", n) }

func BenchmarkData4K(b *testing.B) {
	body := lines(52) + ".\r\n"
	benchmarkBodies(b, func(b *testing.B, s *sender) {
		s.say(b, envelope+"DATA\r\n", 3)
		s.say(b, body, 1)
	}, int64(len(body)), []int{1, 10, 100})
}

func BenchmarkBDAT4K(b *testing.B) {
	body := lines(52)
	all := fmt.Sprintf("%sBDAT %d LAST\r\n%s", envelope, len(body), body)
	benchmarkBodies(b, func(b *testing.B, s *sender) { s.say(b, all, 3) }, int64(len(body)), []int{1, 10, 100})
}

func BenchmarkData1M(b *testing.B) {
	body := lines(13_000) + ".\r\n"
	benchmarkBodies(b, func(b *testing.B, s *sender) {
		s.say(b, envelope+"DATA\r\n", 3)
		s.say(b, body, 1)
	}, int64(len(body)), []int{1, 10})
}

func BenchmarkUnstuff(b *testing.B) {
	p := []byte(lines(800))
	b.SetBytes(int64(len(p)))
	s := scanner{limit: 1000}
	for b.Loop() {
		s.reset()
		if _, _, _, err := s.unstuff(p, p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdleTLS says what an idle TLS connection with a client certificate
// costs. The clients are another process.
func BenchmarkIdleTLS(b *testing.B) {
	const n = 2000
	addr, _, stop := onTCP(b, func(c *Config, _ *recorder) {
		c.SMTP = func(*Conn) *smtp.Server { return smtp.NewServer(null{}) }
		c.Implicit, c.Crowd = true, crowd.New(crowd.Options{Connections: 4 * n, Handshakes: n})
	})
	defer stop()
	before := memory()
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), "WIRE_IDLE="+addr, "WIRE_IDLE_N="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		b.Fatalf("%q, %v", line, err)
	}
	after := memory()
	for b.Loop() {
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-B/conn")
	b.ReportMetric(float64(after.StackInuse-before.StackInuse)/float64(n), "stack-B/conn")
	in.Close()
	_ = cmd.Wait()
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// TestIdleClients is the other process of BenchmarkIdleTLS.
func TestIdleClients(t *testing.T) {
	addr := os.Getenv("WIRE_IDLE")
	if addr == "" {
		t.Skip("only for BenchmarkIdleTLS")
	}
	n, _ := strconv.Atoi(os.Getenv("WIRE_IDLE_N"))
	for range n {
		c, err := tls.Dial("tcp", addr, clientTLS())
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		r := bufio.NewReader(c)
		_, _ = io.WriteString(c, "EHLO x\r\n")
		for line := ""; !strings.HasPrefix(line, "250 "); {
			if line, err = r.ReadString('\n'); err != nil {
				log.Fatal(err)
			}
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
