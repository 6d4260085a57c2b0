package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/internal/crowd"
)

func TestConfig(t *testing.T) {
	smtpServer := (&recorder{}).server
	tickets := serverTLS()
	tickets.SessionTicketsDisabled = false
	perClient := serverTLS()
	perClient.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
	noClients := &tls.Config{Certificates: tickets.Certificates}
	for _, tt := range []struct {
		cfg  Config
		want error
	}{
		{Config{SMTP: smtpServer}, ErrIncomplete},
		{Config{Hostname: "x"}, ErrIncomplete},
		{Config{Hostname: "x", SMTP: smtpServer}, nil},
		{Config{Hostname: "x", SMTP: smtpServer, Implicit: true}, ErrNoTLS},
		{Config{Hostname: "x", SMTP: smtpServer, RequireTLS: true}, ErrNoTLS},
		{Config{Hostname: "x", SMTP: smtpServer, TLS: tickets}, ErrTickets},
		{Config{Hostname: "x", SMTP: smtpServer, TLS: noClients}, nil},
		{Config{Hostname: "x", SMTP: smtpServer, TLS: perClient}, ErrPerClient},
		{Config{Hostname: "x", SMTP: smtpServer, Limits: Limits{Line: 511}}, ErrLine},
		{Config{Hostname: "x", SMTP: smtpServer, Limits: Limits{AuthLine: bufferSize + 1}}, ErrLine},
		{Config{Hostname: "x", SMTP: smtpServer, Limits: Limits{Line: bufferSize}}, nil},
	} {
		if _, err := New(tt.cfg); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.cfg, err, tt.want)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := crowd.New(crowd.Options{Connections: 2})
		w := newWorld(t, func(c *Config, _ *recorder) { c.Crowd = gate })
		a, b, c := w.dial(), w.dial(), w.dial()
		synctest.Wait()
		if got := c.take(); !strings.HasPrefix(got, "421 4.3.2 ") || !c.isClosed() {
			t.Errorf("third %q", got)
		}
		w.wantEvents("dense crowd, too many connections")
		a.send("QUIT\r\n")
		a.close()
		d := w.dial()
		synctest.Wait()
		if got := d.codes(); got != "220" {
			t.Errorf("after one has left %q", got)
		}
		b.close()
		c.close()
		d.close()
		w.shut()
		if gate.Len() != 0 {
			t.Errorf("%d places are still taken", gate.Len())
		}
	})
}

// brokenListener fails for a while.
type brokenListener struct {
	*world
	failures int
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	return l.world.Accept()
}

func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		second := &world{t: t, conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error)
		go func() { served <- w.srv.Serve(&brokenListener{second, 3}) }()
		ours, theirs := net.Pipe()
		second.conns <- theirs
		p := newPeer(t, ours)
		synctest.Wait()
		if got := p.codes(); got != "220" {
			t.Errorf("%q", got)
		}
		w.wantEvents("accept failed, accept failed, accept failed")
		second.Close() // by someone else
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		p.close()
		w.shut()
		if err := w.srv.Serve(w); err != nil { // drained already
			t.Errorf("Serve after Drain: %v", err)
		}
	})
}

// onTCP serves on loopback.
func onTCP(tb testing.TB, bend func(*Config, *recorder)) (addr string, rec *recorder, stop func()) {
	rec = &recorder{}
	cfg := Config{Hostname: "mx.example.test", SMTP: rec.server, TLS: serverTLS()}
	if bend != nil {
		bend(&cfg, rec)
	}
	srv, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	return l.Addr().String(), rec, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Drain(ctx); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Error(err)
		}
	}
}

// TestLinger: the reply to a bad message arrives although much input is unread.
func TestLinger(t *testing.T) {
	addr, rec, stop := onTCP(t, nil)
	defer stop()
	for range 5 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "EHLO x\r\n"+envelope+"DATA\r\nx\ny"+strings.Repeat("z", 200_000)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(codes(string(got)), "354, 550 5.5.2") {
			t.Errorf("%s, %v", codes(string(got)), err)
		}
		c.Close()
	}
	if len(rec.accepted()) != 0 {
		t.Error("accepted")
	}
}

// TestClients lets many of go-smtp's own clients send at once.
func TestClients(t *testing.T) {
	addr, rec, stop := onTCP(t, nil)
	var clients sync.WaitGroup
	const n, each = 20, 5
	for i := range n {
		clients.Go(func() {
			c, err := smtp.DialStartTLS(addr, clientTLS())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range each {
				body := fmt.Sprintf("Subject: %d/%d\r\n\r\n.%s\r\n", i, j, strings.Repeat(".x\r\n", 100*j))
				if err := c.SendMail("a@b.example", []string{"c@d.example"}, strings.NewReader(body)); err != nil {
					t.Error(err)
				}
			}
			if err := c.Quit(); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	stop()
	seen := map[string]bool{}
	for _, m := range rec.accepted() {
		subject, err := bufio.NewReader(strings.NewReader(m.body)).ReadString('\n')
		if err != nil || !strings.Contains(m.body, "\r\n\r\n.") {
			t.Errorf("%.60q", m.body)
		}
		seen[subject] = true
	}
	if len(seen) != n*each {
		t.Errorf("%d different messages, want %d", len(seen), n*each)
	}
}

// TestCutUnderLoad drains without patience while clients are sending.
func TestCutUnderLoad(t *testing.T) {
	rec := &recorder{}
	srv, err := New(Config{Hostname: "x", SMTP: rec.server, TLS: serverTLS()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { _ = srv.Serve(l) })
	started := make(chan struct{}, 1000)
	for range 20 {
		all.Go(func() {
			c, err := smtp.DialStartTLS(l.Addr().String(), clientTLS())
			if err != nil {
				return
			}
			defer c.Close()
			for c.SendMail("a@b.example", []string{"c@d.example"}, strings.NewReader("x\r\n")) == nil {
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	<-started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = srv.Drain(ctx)
	all.Wait()
}
