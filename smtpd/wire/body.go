package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// body is a message, or a chunk of one, that the peer is sending.
type body struct {
	open    bool
	dots    bool   // DATA: it ends at a line with a single dot
	last    bool   // the message ends with it
	left    int64  // BDAT: octets still to come
	refusal string // what the peer will hear at the end; "": the octets go to go-smtp

	got    int64         // octets that came by our waiting
	waited time.Duration // how long we waited for them
}

// dataCommand answers DATA itself; go-smtp will see BDAT.
func (c *Conn) dataCommand(arg string) {
	switch {
	case arg != "":
		c.say(noArgument)
	case !c.tx.open || c.tx.chunked: // RFC 3030 2: DATA and BDAT do not mix
		c.say(badSequence)
	case c.tx.rcpts == 0:
		c.say(noRcpt)
	default:
		c.say("354 End data with <CR><LF>.<CR><LF>")
		c.body = body{open: true, dots: true, last: true}
	}
}

// maxChunkDigits keeps a chunk's size within int64.
const maxChunkDigits = 18

// bdatCommand reads "n [LAST]" and nothing else: who reads another number than
// the peer takes its octets for commands.
func (c *Conn) bdatCommand(arg string) {
	digits, word, two := strings.Cut(arg, " ")
	if !isDigits(digits) || len(digits) > maxChunkDigits || two && upper(word) != "LAST" {
		c.fail(BadChunkSize, fmt.Errorf("%.40q", arg), "501 5.5.4 Syntax: BDAT size [LAST], closing connection")
		return
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		c.broken()
		return
	}
	c.body = body{open: true, last: two, left: n}
	switch {
	case c.mustSecure():
		c.body.refusal = tlsFirst
	case !c.tx.open:
		c.body.refusal = badSequence
	case c.tx.rcpts == 0:
		c.body.refusal = noRcpt
	default:
		c.tx.chunked = true
	}
}

// readBody takes octets from the peer and hands them to go-smtp as a BDAT chunk
// of their own, or drops them when the end of it will be a refusal.
func (c *Conn) readBody() {
	octets, done, ok := c.gather()
	if !ok {
		return
	}
	b := &c.body
	b.open = !done
	if b.refusal == "" && c.maxBytes > 0 && c.tx.given+int64(len(octets)) > c.maxBytes {
		b.refusal = tooLarge // as soon as it is known, RFC 1870 6.3
		c.abort()
	}
	size := "BDAT " + strconv.Itoa(len(octets))
	switch {
	case b.refusal != "":
		if done {
			c.say(b.refusal)
		}
	case done && b.last:
		c.hand(last, size+" LAST", octets)
	case done && len(octets) == 0: // BDAT 0: go-smtp would begin a message that nobody waits for
		c.say("250 2.0.0 Chunk received")
	default:
		c.tx.running = true
		c.tx.given += int64(len(octets))
		a := more
		if done {
			a = chunk
		}
		c.hand(a, size, octets)
	}
}

// gather reads until the buffer is full or the body ends. The octets it returns
// lie in the buffer, checked, and without the dots of dot-stuffing.
func (c *Conn) gather() (octets []byte, done, ok bool) {
	in := &c.in
	in.grow()
	if in.r > len(in.buf)/2 {
		in.compact()
	}
	start, to, from := in.r, in.r, in.r
	for {
		w, n, end, err := c.scan(in.buf[to:], in.buf[from:in.w])
		to, from = to+w, from+n
		if err != nil {
			c.refuseBody(err)
			return nil, false, false
		}
		if end || in.w == len(in.buf) {
			in.r = from
			return in.buf[start:to], end, true
		}
		if err := c.waitBody(); err != nil {
			c.bodyFailed(err)
			return nil, false, false
		}
	}
}

// scan checks src, moves what belongs to the body to dst and says how much that
// was and how much of src is done with.
func (c *Conn) scan(dst, src []byte) (w, n int, end bool, err error) {
	b := &c.body
	if b.dots {
		return c.text.unstuff(dst, src)
	}
	src = src[:min(int64(len(src)), b.left)]
	b.left -= int64(len(src))
	if b.refusal == "" { // octets that are dropped may be what they like
		err = c.text.check(src, b.left == 0 && b.last)
	}
	return copy(dst, src), len(src), b.left == 0, err
}

// bodyReply takes go-smtp's reply to a piece of a body. A refusal is kept until
// the peer has sent all that it is going to send (RFC 3030 2).
func (c *Conn) bodyReply(a awaited, r reply) {
	ok := r.code == 250
	switch {
	case a == more && ok:
		return
	case a == more:
		c.body.refusal = r.String()
	default:
		c.say(r.String())
	}
	if a == last && ok {
		c.link.idling = 0
		if n := c.text.long; n > 0 {
			c.link.report(LongText, fmt.Errorf("%d lines over %d octets", n, textLine))
		}
	}
	if a == last || !ok {
		c.endTransaction()
	}
	if a == last {
		c.flush() // who waits for this one gives up or sends again, RFC 5321 6.1
	}
}

// waitBody reads more octets of a body. The deadline is where either the peer
// has been silent for too long, or its rate falls below the least one for good.
func (c *Conn) waitBody() error {
	lim, b := &c.link.srv.cfg.Limits, &c.body
	earned := time.Duration(min(float64(b.got)/float64(lim.MinRate)*float64(time.Second), float64(lim.Connection)))
	patience := min(lim.Body, lim.RateGrace+earned-b.waited)
	before, start := c.in.w, time.Now()
	err := c.wait(c.link.by(patience), false)
	b.waited += time.Since(start)
	b.got += int64(c.in.w - before)
	return err
}

func (c *Conn) bodyFailed(err error) {
	switch {
	case isTimeout(err) && c.link.expired():
		c.fail(ConnectionTimeout, nil, "421 4.4.2 Connection lasted too long, closing connection")
	case isTimeout(err):
		c.fail(SlowBody, nil, "421 4.4.2 Timeout in message, closing connection")
	default:
		c.fail(Truncated, err, "")
	}
}

func (c *Conn) refuseBody(err error) {
	switch {
	case errors.Is(err, errNUL):
		c.fail(NUL, nil, "550 5.5.2 NUL in message, closing connection")
	case errors.Is(err, errLong):
		c.fail(LongLine, fmt.Errorf("over %d octets", c.text.limit), "550 5.5.2 Line too long in message, closing connection")
	default:
		c.fail(BareLineEnd, nil, "550 5.5.2 CR or LF alone in message, closing connection")
	}
}

var (
	errBare = errors.New("a CR or LF alone")
	errNUL  = errors.New("a NUL")
	errLong = errors.New("line too long")
)

// scanner checks the octets of a message as they come, cut up anyhow.
type scanner struct {
	limit  int
	length int  // of the line so far; 0: at its start
	long   int  // lines over textLine so far; the dot of dot-stuffing counts, too
	cr     bool // check only: the last octet was a CR
}

func (s *scanner) reset() { s.length, s.cr, s.long = 0, false, 0 }

// textLine is how long a line may be at the most (RFC 5321 4.5.3.1.6). Longer ones are
// common, and whoever refuses them refuses real mail.
const textLine = 1000

// endLine begins the next line.
func (s *scanner) endLine() {
	if s.length > textLine {
		s.long++
	}
	s.length = 0
}

// unstuff copies lines from src to dst, which may overlap if it does not begin
// behind src, and takes a dot off their front (RFC 5321 4.5.2). It says how much
// it wrote, how much of src it used, and whether the lone dot was among it. What
// cannot be judged without the next octets is left over: at most two octets.
func (s *scanner) unstuff(dst, src []byte) (w, n int, end bool, err error) {
	for n < len(src) && !end {
		line := src[n:]
		if s.length == 0 && line[0] == '.' {
			switch {
			case len(line) < 3 && bytes.HasPrefix([]byte(".\r"), line):
				return w, n, false, containsNUL(dst[:w])
			case bytes.HasPrefix(line, []byte(".\r\n")):
				n, end = n+3, true
				continue
			}
			n, line, s.length = n+1, line[1:], 1
		}
		take, whole := cutLine(line)
		if take < 0 {
			return w, n, false, errBare
		}
		if s.length += take; s.length > s.limit {
			return w, n, false, errLong
		}
		copy(dst[w:], line[:take])
		w, n = w+take, n+take
		if whole {
			s.endLine()
		} else {
			break
		}
	}
	return w, n, end, containsNUL(dst[:w])
}

// cutLine returns how many octets at the front of p belong to its first line,
// and whether that is all of the line; a CR at the end of p is left over. -1: a
// CR or LF alone.
func cutLine(p []byte) (n int, whole bool) {
	i := bytes.IndexByte(p, '\n')
	switch {
	case i < 0:
		i = len(p)
		if i > 0 && p[i-1] == '\r' {
			i--
		}
		n = i
	case i == 0 || p[i-1] != '\r':
		return -1, false
	default:
		n, whole = i+1, true
		i--
	}
	if bytes.IndexByte(p[:i], '\r') >= 0 {
		return -1, false
	}
	return n, whole
}

// check looks at the next octets of a message sent by BDAT; end says that no
// more will come.
func (s *scanner) check(p []byte, end bool) error {
	if err := containsNUL(p); err != nil {
		return err
	}
	if s.cr && len(p) > 0 {
		switch {
		case p[0] != '\n':
			return errBare
		case s.length+2 > s.limit:
			return errLong
		}
		s.length += len("\r\n")
		s.endLine()
		s.cr, p = false, p[1:]
	}
	for len(p) > 0 {
		n, whole := cutLine(p)
		if n < 0 {
			return errBare
		}
		if s.length += n; s.length > s.limit {
			return errLong
		}
		p = p[n:]
		if whole {
			s.endLine()
			continue
		}
		s.cr = len(p) > 0 // all that can be left is a CR
		break
	}
	if end && s.cr {
		return errBare
	}
	return nil
}

func containsNUL(p []byte) error {
	if bytes.IndexByte(p, 0) >= 0 {
		return errNUL
	}
	return nil
}
