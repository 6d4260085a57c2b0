package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// awaited says which command of ours go-smtp has still to answer.
type awaited uint8

const (
	nothing awaited = iota
	greeting
	helo
	ehlo
	mail
	rcpt
	more  // a piece of a body, with others behind it; the peer does not know of it
	chunk // the last piece of a chunk of the peer
	last  // the last piece of a message
	abort // the end of a message that the peer has given up, or must give up
	auth
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
	mail       bool   // a transaction is open
	rcpts      int    // accepted recipients
	chunked    bool   // the transaction has had a BDAT
	running    bool   // a session's Data is waiting for more
	given      int64  // octets of the message that go-smtp has got
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
	c.flush()
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
		c.link.linger()
	}
	c.link.close()
}

// hand gives go-smtp a command and the octets behind it.
func (c *Conn) hand(a awaited, command string, octets []byte) {
	c.line, c.octets, c.awaits = command+"\r\n", octets, a
}

// settle takes go-smtp's reply to what it was handed, moves the state of the
// dialog on and tells the peer.
func (c *Conn) settle() {
	a := c.awaits
	if a == nothing {
		return
	}
	c.awaits = nothing
	r, ok := parseReply(c.said)
	c.said = c.said[:0]
	if cap(c.said) > smallSize {
		c.said = nil
	}
	if !ok {
		if c.end == nil {
			c.broken()
		}
		return
	}
	r = r.fixed(a)
	switch a {
	case greeting:
		c.sendGreeting()
	case helo, ehlo:
		c.greeted(a, r)
	case mail:
		c.mail = r.code == 250
		c.say(r.String())
	case rcpt:
		if r.code == 250 {
			c.rcpts++
		}
		c.say(r.String())
	case auth:
		c.authReply(r)
	case abort:
		c.aborted(r)
	default:
		c.bodyReply(a, r)
	}
}

// broken ends a connection on which the wire and go-smtp do not agree any more.
func (c *Conn) broken() {
	c.fail(InternalError, errors.New("no reply where one was due"), "421 4.3.0 Internal error, closing connection")
}

func (c *Conn) sendGreeting() {
	switch {
	case c.link.srv.isDraining():
		c.drained()
	case c.greet:
		c.say("220 " + c.link.srv.cfg.Hostname + " ESMTP")
	}
}

// greeted answers HELO and EHLO: without enhanced codes (RFC 2034 4), with our
// own name first, and with the wire's own list of extensions.
func (c *Conn) greeted(a awaited, r reply) {
	if r.code != 250 {
		c.say(r.String())
		return
	}
	c.hello = a
	c.endTransaction() // RFC 5321 4.1.4: as if by RSET
	if a == helo {
		c.say("250 " + c.link.srv.cfg.Hostname)
		return
	}
	c.say(c.extensions(r))
}

func (c *Conn) endTransaction() {
	c.mail, c.rcpts, c.chunked, c.running, c.given = false, 0, false, false, 0
	c.text.reset()
}

// abort ends the transaction in go-smtp. A message that has begun is ended by an
// empty last chunk, and session.Data is told that this is no end. RSET would do
// for the peer, but go-smtp then leaves Data's goroutine behind, whose result may
// become that of the next message.
func (c *Conn) abort() {
	command := "RSET"
	if c.running {
		c.poisoned, command = true, "BDAT 0 LAST"
	}
	c.endTransaction()
	c.hand(abort, command, nil)
}

func (c *Conn) aborted(r reply) {
	c.poisoned = false
	if r.code == 421 {
		c.say(r.String())
	}
	if c.then != "" {
		c.hand(c.thenAwaits, c.then, nil)
		c.then = ""
	}
}

// say answers the peer with a whole reply: code, enhanced code, text; lines of a
// longer one are parted by CRLF. It counts errors, and ends the connection after
// a 421 (RFC 5321 3.8).
func (c *Conn) say(text string) {
	if c.end != nil {
		return
	}
	c.out = append(c.out, text...)
	c.out = append(c.out, "\r\n"...)
	switch {
	case text[:3] == "421":
		c.hangUp()
	case text[0] == '5':
		c.countError(text[:3])
	case len(c.out) > maxOut:
		c.flush()
	}
}

// maxOut is how much is collected before it is sent although input is waiting.
const maxOut = 4 << 10

func (c *Conn) countError(code string) {
	lim := &c.link.srv.cfg.Limits
	c.errors++
	if code == "535" {
		c.authFails++
	}
	if c.errors >= lim.Errors || c.authFails >= lim.AuthFails {
		c.fail(TooManyErrors, nil, "421 4.7.0 Too many errors, closing connection")
	}
}

// fail reports k, answers (unless text is empty) and ends the connection.
func (c *Conn) fail(k Kind, err error, text string) {
	c.link.report(k, err)
	switch {
	case c.end != nil:
	case text == "":
		c.end = net.ErrClosed
	default:
		c.out = append(append(c.out, text...), "\r\n"...)
		c.hangUp()
	}
}

// drained tells the peer that the server goes down.
func (c *Conn) drained() { c.say("421 4.3.2 Service going down, try again later") }

// hangUp sends what is left to say; go-smtp then hears that the connection is
// closed, and closes it.
func (c *Conn) hangUp() {
	c.flush()
	c.linger = true
	c.end = net.ErrClosed
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
