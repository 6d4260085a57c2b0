package wire

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// link is one socket from accept to close. It carries one Conn, and after
// STARTTLS a second one; nothing of the first is known to the second but the
// socket, the session id and the age.
type link struct {
	srv     *Server
	raw     net.Conn
	session string
	expires time.Time // the connection's last moment

	closing sync.Once
	mu      sync.Mutex
	idle    bool // waits for a command, outside a transaction
}

func newLink(s *Server, raw net.Conn) *link {
	return &link{srv: s, raw: raw, session: newSession(), expires: time.Now().Add(s.cfg.Limits.Connection)}
}

// newSession returns 10 random characters: 50 bits, enough to find one line in a log.
func newSession() string { return rand.Text()[:10] }

func (k *link) start() {
	if k.srv.cfg.Implicit {
		k.secure(true)
		return
	}
	k.serve(newConn(k, nil, true))
}

// secure does the handshake and begins the TLS phase. When it fails the
// connection is over: never a plaintext reply, never a way back (RFC 3207 4.1).
func (k *link) secure(greet bool) {
	conn := tls.Server(k.raw, k.srv.cfg.TLS)
	_ = k.raw.SetDeadline(k.by(k.srv.cfg.Limits.Handshake))
	if err := conn.Handshake(); err != nil {
		k.report(HandshakeFailed, err)
		k.close()
		return
	}
	_ = k.raw.SetDeadline(time.Time{})
	k.serve(newConn(k, conn, greet))
}

// serve lets a go-smtp server of its own run on c. It returns as soon as
// go-smtp's goroutine has begun; that goroutine ends with Conn.Close, and from
// there the link goes on to TLS or is closed.
func (k *link) serve(c *Conn) {
	s := k.srv.cfg.SMTP(c)
	s.Backend = &backend{inner: s.Backend, link: k}
	s.Domain, s.LMTP = k.srv.cfg.Hostname, false
	s.TLSConfig, s.AllowInsecureAuth = nil, true // TLS is the wire's; it also decides where AUTH is offered
	s.MaxLineLength, s.ReadTimeout, s.WriteTimeout = 0, 0, 0
	s.EnableSMTPUTF8, s.EnableREQUIRETLS, s.EnableBINARYMIME, s.EnableDSN = false, false, false, false
	s.EnableRRVS, s.EnableDELIVERBY, s.EnableMTPRIORITY = false, false, false
	s.ErrorLog, s.Debug = errorLog{k}, nil
	_ = s.Serve(&oneConn{conn: c}) // always io.EOF, after the only connection
}

func (k *link) close() {
	k.closing.Do(func() {
		k.raw.Close()
		k.srv.forget(k)
	})
}

// cut ends the socket under a connection that still runs.
func (k *link) cut() { k.raw.Close() }

// by returns the moment d from now, or the connection's last one if that is sooner.
func (k *link) by(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if t.After(k.expires) {
		return k.expires
	}
	return t
}

// enterIdle sets the deadline for a read that Drain may interrupt; false: the
// server drains already.
func (k *link) enterIdle(deadline time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.srv.isDraining() {
		return false
	}
	k.idle = true
	_ = k.raw.SetReadDeadline(deadline)
	return true
}

func (k *link) leaveIdle() {
	k.mu.Lock()
	k.idle = false
	k.mu.Unlock()
}

// interrupt wakes an idle connection, which then sees that the server drains.
func (k *link) interrupt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.idle {
		_ = k.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

func (k *link) report(kind Kind, err error) {
	k.srv.report(Event{Kind: kind, Session: k.session, Peer: k.raw.RemoteAddr(), Err: err})
}

// oneConn is a listener with a single connection, for go-smtp.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	c := l.conn
	if c == nil {
		return nil, io.EOF
	}
	l.conn = nil
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return nil }

// errorLog turns what go-smtp logs (panics of sessions) into events.
type errorLog struct{ link *link }

var _ smtp.Logger = errorLog{}

func (l errorLog) Printf(format string, v ...any) {
	l.link.report(InternalError, fmt.Errorf(format, v...))
}
func (l errorLog) Println(v ...any) { l.link.report(InternalError, fmt.Errorf("%s", fmt.Sprint(v...))) }
