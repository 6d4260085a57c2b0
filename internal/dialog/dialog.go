// Package dialog plays the server's side of written conversations over real
// sockets, for tests of clients. A script is a text of lines:
//
//	S: 220 mx.test ESMTP      the server says this line
//	C: EHLO mx.example.test   the client must say exactly this line
//	S! "250 ok\r\n250 "       the server sends these bytes, as a Go string
//	TLS                       the server begins TLS
//	BYTE                      the client must send something, anything
//	HANG                      the server says nothing until the client leaves
//	DROP                      the server closes; so it does at the end
//
// Start with Serve. Every script must be played to its end, else the test fails.
package dialog

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience ends a script whose client does not come or does not go on.
const patience = 20 * time.Second

// Server plays scripts, one per connection, in order.
type Server struct {
	listener net.Listener
	tls      *tls.Config
	scripts  []string
	wg       sync.WaitGroup

	mu     sync.Mutex
	faults []error
}

// Serve listens on loopback and plays the scripts. When the test ends it waits
// for them, and fails the test if one was not played as written.
func Serve(t testing.TB, scripts ...string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{listener: l, scripts: scripts, tls: &tls.Config{Certificates: []tls.Certificate{Certificate(t)}}}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		s.wg.Wait()
		for _, err := range s.faults {
			t.Error(err)
		}
	})
	return s
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort {
	return netip.MustParseAddrPort(s.listener.Addr().String())
}

func (s *Server) accept() {
	defer s.listener.Close()
	s.listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	for n, script := range s.scripts {
		conn, err := s.listener.Accept()
		if err != nil {
			s.fault(fmt.Errorf("script %d: nobody connected: %w", n, err))
			return
		}
		s.wg.Go(func() {
			if err := Play(conn, s.tls, script); err != nil {
				s.fault(fmt.Errorf("script %d: %w", n, err))
			}
		})
	}
}

func (s *Server) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, err)
}

// Play plays one script on conn and closes it. config is for TLS lines.
func Play(conn net.Conn, config *tls.Config, script string) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	p := &player{raw: conn, conn: conn, r: bufio.NewReader(conn), config: config}
	n := 0
	for line := range strings.Lines(script) {
		n++
		line = strings.Trim(line, "\t\n")
		if line == "" {
			continue
		}
		if err := p.line(line); err != nil {
			return fmt.Errorf("line %d, %s: %w", n, line, err)
		}
	}
	return nil
}

type player struct {
	raw, conn net.Conn
	r         *bufio.Reader
	config    *tls.Config
}

func (p *player) line(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "S:":
		_, err := io.WriteString(p.conn, arg+"\r\n")
		return err
	case "S!":
		raw, err := strconv.Unquote(arg)
		if err == nil {
			_, err = io.WriteString(p.conn, raw)
		}
		return err
	case "C:":
		return p.expect(arg)
	case "TLS":
		tc := tls.Server(p.raw, p.config)
		p.conn, p.r = tc, bufio.NewReader(tc)
		return tc.Handshake()
	case "BYTE":
		_, err := p.r.ReadByte()
		return err
	case "HANG":
		_, err := p.r.ReadByte()
		if err == nil {
			return errors.New("the client went on")
		}
		return nil
	case "DROP":
		return p.raw.Close()
	}
	return errors.New("no such instruction")
}

// expect reads one line of the client's. Only CRLF ends it.
func (p *player) expect(want string) error {
	var got strings.Builder
	for !strings.HasSuffix(got.String(), "\r\n") {
		b, err := p.r.ReadByte()
		if err != nil {
			return fmt.Errorf("got %q: %w", got.String(), err)
		}
		got.WriteByte(b)
	}
	if got.String() != want+"\r\n" {
		return fmt.Errorf("got %q", got.String())
	}
	return nil
}

// Certificate makes one that nobody has a reason to trust.
func Certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"unknown.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
