package wire

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/internal/crowd"
	"dancemta/internal/limit"
)

// link is one socket from accept to close. It carries one Conn, and after
// STARTTLS a second one; nothing of the first is known to the second but the
// socket, the session id and the age.
type link struct {
	srv     *Server
	raw     net.Conn
	session string
	place   *crowd.Place
	expires time.Time // the connection's last moment
	spent             // by both phases
	ctx     context.Context
	stop    context.CancelFunc

	closing sync.Once
	mu      sync.Mutex
	idle    bool // waits for a command, outside a transaction
}

func newLink(s *Server, raw net.Conn, p *crowd.Place) *link {
	k := &link{srv: s, raw: raw, place: p, session: newSession(), expires: time.Now().Add(s.cfg.Limits.Connection)}
	k.ctx, k.stop = context.WithCancel(context.Background()) // a connection has no caller to inherit one from
	return k
}

// newSession returns 10 random characters: 50 bits, enough to find one line in a log.
func newSession() string { return rand.Text()[:10] }

func (k *link) start() {
	defer k.rescue()
	if !k.introduce() {
		k.close()
		return
	}
	switch {
	case !k.srv.cfg.Implicit:
	case k.place.BeginHandshake():
		k.secure(true)
		return
	default: // nothing can be said before it
		k.report(TooManyHandshakes, nil)
		k.close()
		return
	}
	k.serve(newConn(k, nil, true))
}

// secure does the handshake and begins the TLS phase. When it fails the
// connection is over: never a plaintext reply, never a way back (RFC 3207 4.1).
func (k *link) secure(greet bool) {
	socket := limit.NewHandshake(k.raw)
	conn := tls.Server(socket, k.srv.cfg.TLS)
	_ = k.raw.SetDeadline(time.Time{}) // the last one was for a command
	// Callbacks of the configuration get ctx, too.
	ctx, cancel := context.WithDeadline(withSession(k.ctx, k), k.by(k.srv.cfg.Limits.Handshake))
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		k.report(HandshakeFailed, err)
		crowd.Linger(k.raw) // a client of TLS 1.3 may have said EHLO before our alert reaches it
		k.close()
		return
	}
	socket.Done()
	k.place.EndHandshake()
	k.serve(newConn(k, conn, greet))
}

// serve lets a go-smtp server of its own run on c. It returns as soon as
// go-smtp's goroutine has begun; that goroutine ends with Conn.Close, and from
// there the link goes on to TLS or is closed.
func (k *link) serve(c *Conn) {
	s := k.srv.cfg.SMTP(c)
	s.Backend = &backend{inner: s.Backend, conn: c}
	c.maxBytes, s.MaxMessageBytes = s.MaxMessageBytes, 0 // go-smtp's own check takes the way that abort avoids
	s.Domain, s.LMTP = k.srv.cfg.Hostname, false
	s.TLSConfig, s.AllowInsecureAuth = nil, true // TLS is the wire's; it also decides where AUTH is offered
	s.MaxLineLength, s.ReadTimeout, s.WriteTimeout = 0, 0, 0
	s.EnableSMTPUTF8, s.EnableREQUIRETLS, s.EnableBINARYMIME, s.EnableDSN = false, false, false, false
	s.EnableRRVS, s.EnableDELIVERBY, s.EnableMTPRIORITY = false, false, false
	s.ErrorLog, s.Debug = errorLog{k}, nil
	_ = s.Serve(&oneConn{conn: c}) // always io.EOF, after the only connection
}

// rescue ends only this connection when something below the sessions panics.
func (k *link) rescue() {
	if p := recover(); p != nil {
		k.report(InternalError, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		k.close()
	}
}

func (k *link) close() {
	k.closing.Do(func() {
		k.stop()
		k.raw.Close()
		k.srv.forget(k)
	})
}

// cut ends the socket under a connection that still runs.
func (k *link) cut() {
	k.stop()
	k.raw.Close()
}

// hurry shortens a wait that has begun already, because the crowd is dense now. One
// that begins later is short from the start.
func (k *link) hurry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.srv.isDraining() {
		_ = k.raw.SetReadDeadline(k.by(crowd.DenseWait))
	}
}

// by returns the moment d from now, sooner in a dense crowd, or the connection's
// last one if that is sooner still.
func (k *link) by(d time.Duration) time.Time {
	t := time.Now().Add(k.srv.crowd.Patience(d))
	if t.After(k.expires) {
		return k.expires
	}
	return t
}

// lastWords is how long close_notify, or the reply that ends a connection whose
// time is up, may take: either fits an empty socket buffer.
const lastWords = time.Second

// writeBy returns when the peer must have taken a reply.
func (k *link) writeBy() time.Time {
	if k.expired() {
		return time.Now().Add(lastWords)
	}
	return k.by(k.srv.cfg.Limits.Write)
}

// expired reports whether the connection's last moment is over.
func (k *link) expired() bool { return !time.Now().Before(k.expires) }

// enterIdle sets the deadline for a read that Drain may interrupt; false: the
// server drains already.
func (k *link) enterIdle(deadline time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.srv.isDraining() {
		return false
	}
	k.idle = true
	_ = k.raw.SetDeadline(deadline) // for writes too: TLS may have to answer a KeyUpdate
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
