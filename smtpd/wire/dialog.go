package wire

import (
	"errors"
	"net"
	"strings"
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

// transaction is what the wire knows of the mail transaction; its zero value is none.
type transaction struct {
	open    bool
	utf8    bool  // MAIL had SMTPUTF8
	rcpts   int   // accepted recipients
	chunked bool  // there was a BDAT
	running bool  // a session's Data is waiting for more
	given   int64 // octets of the message that go-smtp has got
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
		c.tx.open, c.tx.utf8 = r.code == 250, c.asked.utf8
		c.say(r.String())
	case rcpt:
		if r.code == 250 {
			c.tx.rcpts++
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
	c.tx = transaction{}
	c.text.reset()
}

// abort ends the transaction in go-smtp. A message that has begun is ended by an
// empty last chunk, and session.Data is told that this is no end. RSET would do
// for the peer, but go-smtp then leaves Data's goroutine behind, whose result may
// become that of the next message.
func (c *Conn) abort() {
	command := "RSET"
	if c.tx.running {
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
	c.put(text)
	switch {
	case text[:3] == "421":
		c.hangUp()
	case text[0] == '5':
		c.countError(text[:3])
	case len(c.out) > maxOut:
		c.flush()
	}
}

// put collects a reply for the peer. A refusal ends with the session id, so that the
// far postmaster and ours can speak of the same one; those of sessions have it already.
func (c *Conn) put(text string) {
	if id := " [" + c.link.session + "]"; (text[0] == '4' || text[0] == '5') && !strings.HasSuffix(text, id) {
		text += id
	}
	c.link.srv.replied(text)
	c.out = append(append(c.out, text...), "\r\n"...)
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
		c.put(text)
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
