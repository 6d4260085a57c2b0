package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is what the backend has accepted.
type message struct {
	from string
	to   string // comma-separated
	body string
}

// recorder records calls and messages; hooks bend it.
type recorder struct {
	mu       sync.Mutex
	calls    []string
	messages []message

	maxBytes int64
	maxRcpts int
	mechs    []string
	newErr   error
	onMail   func(from string, o *smtp.MailOptions) error
	onRcpt   func(to string) error
	onData   func(c *Conn, r io.Reader) error // replaces reading
	onReset  func()
	onLogout func()
	onLogin  func(identity string) error
	lastConn *Conn
}

func (r *recorder) server(c *Conn) *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(sc *smtp.Conn) (smtp.Session, error) {
		if r.newErr != nil {
			return nil, r.newErr
		}
		conn := sc.Conn().(*Conn)
		r.note("session " + sc.Hostname())
		r.mu.Lock()
		r.lastConn = conn
		r.mu.Unlock()
		return &recording{r: r, conn: conn}, nil
	}))
	s.MaxMessageBytes, s.MaxRecipients = r.maxBytes, r.maxRcpts
	return s
}

func (r *recorder) note(call string) {
	r.mu.Lock()
	r.calls = append(r.calls, call)
	r.mu.Unlock()
}

func (r *recorder) accepted() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

func (r *recorder) called() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

type recording struct {
	r    *recorder
	conn *Conn
	from string
	to   []string
}

func (s *recording) Mail(from string, o *smtp.MailOptions) error {
	text := fmt.Sprintf("mail %s size=%d body=%s", from, o.Size, o.Body)
	if o.Auth != nil {
		text += " auth=" + *o.Auth
	}
	for _, w := range []struct {
		given bool
		text  string
	}{{o.UTF8, " smtputf8"}, {o.RequireTLS, " requiretls"}, {o.Return != "", " ret=" + string(o.Return)}, {o.EnvelopeID != "", " envid=" + o.EnvelopeID}} {
		if w.given {
			text += w.text
		}
	}
	s.r.note(text)
	if s.r.onMail != nil {
		if err := s.r.onMail(from, o); err != nil {
			return err
		}
	}
	s.from = from
	return nil
}

func (s *recording) Rcpt(to string, o *smtp.RcptOptions) error {
	text := "rcpt " + to
	if len(o.Notify) > 0 {
		text += fmt.Sprint(" notify=", o.Notify)
	}
	if o.OriginalRecipient != "" {
		text += fmt.Sprintf(" orcpt=%s;%s", o.OriginalRecipientType, o.OriginalRecipient)
	}
	s.r.note(text)
	if s.r.onRcpt != nil {
		if err := s.r.onRcpt(to); err != nil {
			return err
		}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *recording) Data(r io.Reader) error {
	s.r.note("data")
	if s.r.onData != nil {
		return s.r.onData(s.conn, r)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		s.r.note("cut: " + err.Error())
		return fmt.Errorf("reading: %w", err)
	}
	s.r.mu.Lock()
	s.r.messages = append(s.r.messages, message{s.from, strings.Join(s.to, ","), string(body)})
	s.r.mu.Unlock()
	return nil
}

func (s *recording) Reset() {
	s.from, s.to = "", nil
	s.r.note("reset")
	if s.r.onReset != nil {
		s.r.onReset()
	}
}

func (s *recording) Logout() error {
	s.r.note("logout")
	if s.r.onLogout != nil {
		s.r.onLogout()
	}
	return nil
}

func (s *recording) AuthMechanisms() []string { return s.r.mechs }

func (s *recording) Auth(mech string) (sasl.Server, error) {
	s.r.note("auth " + mech)
	return sasl.NewExternalServer(func(identity string) error {
		s.r.note("identity " + identity)
		if s.r.onLogin != nil {
			return s.r.onLogin(identity)
		}
		return nil
	}), nil
}

// world is a server with its backend, on connections in memory.
type world struct {
	t      *testing.T
	srv    *Server
	rec    *recorder
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	seen   []Event
}

func (w *world) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}
func (w *world) Close() error   { w.once.Do(func() { close(w.closed) }); return nil }
func (w *world) Addr() net.Addr { return nil }

func (w *world) events() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []string
	for _, e := range w.seen {
		kinds = append(kinds, e.Kind.String())
	}
	return strings.Join(kinds, ", ")
}

// newWorld must be called within a synctest bubble.
func newWorld(t *testing.T, bend func(*Config, *recorder)) *world {
	t.Helper()
	w := &world{t: t, rec: &recorder{}, conns: make(chan net.Conn), closed: make(chan struct{})}
	cfg := Config{Hostname: "mx.example.test", SMTP: w.rec.server, TLS: serverTLS(), OnEvent: func(e Event) {
		w.mu.Lock()
		w.seen = append(w.seen, e)
		w.mu.Unlock()
	}}
	if bend != nil {
		bend(&cfg, w.rec)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.srv = srv
	go srv.Serve(w)
	return w
}

// dial connects, in clear.
func (w *world) dial() *peer {
	ours, theirs := net.Pipe()
	w.conns <- theirs
	p := newPeer(w.t, ours)
	synctest.Wait()
	return p
}

// dialTLS connects and goes through EHLO and STARTTLS; what was said until then
// is forgotten.
func (w *world) dialTLS() *peer {
	p := w.dial()
	p.send("EHLO before.example\r\n")
	p.send("STARTTLS\r\n")
	p.secure()
	return p
}

// peer is the client's end.
type peer struct {
	t    *testing.T
	raw  net.Conn
	conn net.Conn

	mu    sync.Mutex
	got   bytes.Buffer
	ended bool
	done  chan struct{}
}

func newPeer(t *testing.T, c net.Conn) *peer {
	p := &peer{t: t, raw: c, conn: c}
	p.listen()
	return p
}

func (p *peer) listen() {
	done := make(chan struct{})
	p.done = done
	conn := p.conn
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			p.mu.Lock()
			p.got.Write(buf[:n])
			if err != nil {
				p.ended = p.ended || !isTimeout(err)
				p.mu.Unlock()
				return
			}
			p.mu.Unlock()
		}
	}()
}

// send writes all at once, and waits until nothing moves any more.
func (p *peer) send(s string) {
	_, _ = io.WriteString(p.conn, s) // the server may have closed: that is what tests look at
	synctest.Wait()
}

// drip writes octet by octet.
func (p *peer) drip(s string) {
	for i := range len(s) {
		_, _ = io.WriteString(p.conn, s[i:i+1])
	}
	synctest.Wait()
}

// secure stops the plaintext reader and does the handshake as a client.
func (p *peer) secure() {
	p.t.Helper()
	_ = p.raw.SetReadDeadline(time.Unix(1, 0))
	<-p.done
	_ = p.raw.SetReadDeadline(time.Time{})
	c := tls.Client(p.raw, clientTLS())
	if err := c.Handshake(); err != nil {
		p.t.Fatal("handshake: ", err)
	}
	p.conn = c
	p.take()
	p.listen()
	synctest.Wait()
}

// sessionID is what refusals end with.
var sessionID = regexp.MustCompile(`(?m) \[[A-Z2-7]{10}\]\r$`)

// take returns what has come but for session ids, and forgets it.
func (p *peer) take() string {
	return sessionID.ReplaceAllString(p.takeWhole(), "\r")
}

// takeWhole returns it with them.
func (p *peer) takeWhole() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.got.String()
	p.got.Reset()
	return s
}

// codes returns the replies that have come, each as "250 2.1.0".
func (p *peer) codes() string { return codes(p.take()) }

func codes(text string) string {
	var list []string
	for _, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) < 4 || line[3] != ' ' {
			continue
		}
		code, _ := cutEnhanced(line[4:])
		list = append(list, strings.TrimSpace(line[:4]+code))
	}
	return strings.Join(list, ", ")
}

// isClosed reports whether the server has ended the connection.
func (p *peer) isClosed() bool {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func (p *peer) close() {
	_ = p.raw.Close()
	<-p.done
	synctest.Wait()
}

// shut ends the world; all connections must have been closed.
func (w *world) shut() {
	w.t.Helper()
	if err := w.srv.Drain(w.t.Context()); err != nil {
		w.t.Error("drain: ", err)
	}
	if n := w.srv.links.Len(); n != 0 {
		w.t.Errorf("%d links are left", n)
	}
}

var keys = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{keys()}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true}
}

func clientTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{keys()}, InsecureSkipVerify: true, ServerName: "mx.example.test"}
}
