package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"dancemta/internal/crowd"
)

// Conn is one phase, plaintext or TLS, of one connection: the net.Conn that
// go-smtp reads commands from and writes replies to. Sessions get it by
//
//	c.Conn().(*wire.Conn)
//
// All of it runs in go-smtp's goroutine of this connection; only TLS, Session,
// Context and the addresses may be asked from anywhere.
type Conn struct {
	link   *link
	tls    *tls.Conn // nil in the plaintext phase
	ctx    context.Context
	cancel context.CancelFunc

	in  input
	out []byte // replies that the peer has not been sent yet

	line   string  // what go-smtp has still to read: a command,
	octets []byte  // and the octets of the chunk behind it
	said   []byte  // what go-smtp has written since its last Read
	awaits awaited // what that will answer

	greet      bool // this phase begins with a greeting
	hello      awaited
	tx         transaction
	asked      asked  // by the MAIL or RCPT that go-smtp has still to answer
	maxBytes   int64  // of a message; 0: no limit
	poisoned   bool   // what Data reads as the end of the message is none
	then       string // EHLO or HELO to hand on after an abort
	thenAwaits awaited
	authed     bool
	exchange   bool   // the next line belongs to SASL
	override   string // replaces go-smtp's reply to a cancelled exchange
	body       body
	text       scanner
	errors     int // replies 5xx
	authFails  int // replies 535

	end     error // what Read returns from now on
	linger  bool  // there may be unread input: see link.linger
	upgrade bool  // STARTTLS: Close goes on to the handshake
	closing sync.Once
}

func newConn(k *link, t *tls.Conn, greet bool) *Conn {
	c := &Conn{link: k, tls: t, greet: greet, awaits: greeting}
	c.ctx, c.cancel = context.WithCancel(k.ctx)
	c.in.buf = c.in.small[:]
	c.text.limit = k.srv.cfg.Limits.BodyLine
	return c
}

// TLS returns the state of the TLS connection; false in clear.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	if c.tls == nil {
		return tls.ConnectionState{}, false
	}
	return c.tls.ConnectionState(), true
}

// Session returns the session id, the same before and after STARTTLS.
func (c *Conn) Session() string { return c.link.session }

// Extended reports whether the peer said EHLO, not HELO: the trace field tells
// the two apart (RFC 5321 4.4). It is for the methods of sessions only.
func (c *Conn) Extended() bool { return c.hello == ehlo }

// Context ends when this phase of the connection ends, before Logout is called,
// or when Drain cuts the connection off.
func (c *Conn) Context() context.Context { return c.ctx }

// LocalAddr and RemoteAddr are those of the socket.
func (c *Conn) LocalAddr() net.Addr  { return c.link.raw.LocalAddr() }
func (c *Conn) RemoteAddr() net.Addr { return c.link.raw.RemoteAddr() }

// SetDeadline does nothing, like its siblings: time is the wire's own affair.
func (c *Conn) SetDeadline(time.Time) error      { return nil }
func (c *Conn) SetReadDeadline(time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Read gives go-smtp one command, or the octets of one chunk. It works through
// the peer's input until there is something for go-smtp to do.
func (c *Conn) Read(b []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil { // one connection may die of our mistake, the others must not
			c.link.report(InternalError, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			c.line, c.octets, c.end = "", nil, net.ErrClosed
			n, err = 0, c.end
		}
	}()
	for {
		switch {
		case c.line != "":
			n = copy(b, c.line)
			c.line = c.line[n:]
			return n, nil
		case len(c.octets) > 0:
			n = copy(b, c.octets)
			c.octets = c.octets[n:]
			return n, nil
		case c.end != nil:
			return 0, c.end // never io.EOF inside a chunk: its octets are all above
		}
		c.step()
	}
}

// step does the next thing on the peer's side.
func (c *Conn) step() {
	c.settle()
	switch {
	case c.end != nil || c.line != "":
	case c.body.open:
		c.readBody()
	case c.exchange:
		c.readExchange()
	default:
		c.readCommand()
	}
}

// maxSaid bounds a reply of a session; nobody writes that much on purpose.
const maxSaid = 64 << 10

// Write collects what go-smtp says; settle makes of it what the peer hears.
func (c *Conn) Write(b []byte) (int, error) {
	if len(c.said)+len(b) <= maxSaid {
		c.said = append(c.said, b...)
	}
	return len(b), nil
}

// Close ends the phase: with the handshake after STARTTLS, or with the connection.
func (c *Conn) Close() error {
	c.closing.Do(c.shut)
	return nil
}

func (c *Conn) shut() {
	defer c.link.rescue()
	c.cancel()
	c.settle() // go-smtp closes by itself after a panic; its reply is still here
	if c.end == nil {
		c.end = net.ErrClosed
	}
	c.in.release()
	if c.upgrade {
		c.link.secure(false)
		return
	}
	if c.tls != nil {
		_ = c.link.raw.SetWriteDeadline(time.Now().Add(lastWords))
		_ = c.tls.CloseWrite() // close_notify, so that the peer can tell an end from a cut
	}
	if c.linger {
		crowd.Linger(c.link.raw)
	}
	c.link.close()
}

// flush sends the replies collected so far.
func (c *Conn) flush() {
	if len(c.out) == 0 {
		return
	}
	_ = c.link.raw.SetWriteDeadline(c.link.writeBy())
	_, err := c.transport().Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > smallSize {
		c.out = nil
	}
	if err != nil && c.end == nil {
		c.end = net.ErrClosed
	}
}

func (c *Conn) transport() net.Conn {
	if c.tls != nil {
		return c.tls
	}
	return c.link.raw
}
