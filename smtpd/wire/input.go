package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	bufferSize = 64 << 10 // one write of a body to the session; also the longest command line that can be allowed
	smallSize  = 512      // what an idle connection keeps: most commands fit (RFC 5321 4.5.3.1.4)
	minLine    = 512      // RFC 5321 4.5.3.1.4: shorter limits would refuse lawful commands
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// input is what the peer sent and nobody has used yet: buf[r:w]. Connections
// that wait for a command have only the small array; a body or a long line
// borrows a buffer.
type input struct {
	buf      []byte
	r, w     int
	borrowed *[bufferSize]byte
	small    [smallSize]byte
}

// grow borrows a buffer, unless there is one.
func (in *input) grow() {
	if in.borrowed != nil {
		return
	}
	in.borrowed = buffers.Get().(*[bufferSize]byte)
	in.w = copy(in.borrowed[:], in.buf[in.r:in.w])
	in.r, in.buf = 0, in.borrowed[:]
}

// compact moves the unread octets to the front.
func (in *input) compact() {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
}

// release gives a borrowed buffer back, unread octets and all.
func (in *input) release() {
	in.r, in.w, in.buf = 0, 0, in.small[:]
	if in.borrowed != nil {
		buffers.Put(in.borrowed)
		in.borrowed = nil
	}
}

func (in *input) empty() bool { return in.r == in.w }

// fill reads more octets behind the unread ones. The replies collected so far
// go out first: the peer may be waiting for them.
func (c *Conn) fill() error {
	c.flush()
	if c.end != nil {
		return c.end
	}
	if c.in.w == len(c.in.buf) {
		if c.in.r == 0 {
			c.in.grow()
		}
		c.in.compact()
	}
	n, err := c.transport().Read(c.in.buf[c.in.w:])
	c.in.w += n
	c.link.octets += int64(n)
	if n > 0 {
		return nil // an error will come again
	}
	return err
}

// errDrain interrupts a read because the server goes down.
var errDrain = errors.New("server is draining")

// wait is fill with a deadline. Drain interrupts it when idle is set.
func (c *Conn) wait(deadline time.Time, idle bool) error {
	if !idle {
		_ = c.link.raw.SetDeadline(deadline)
		return c.fill()
	}
	if !c.link.enterIdle(deadline) {
		return errDrain
	}
	defer c.link.leaveIdle()
	err := c.fill()
	if isTimeout(err) && c.link.srv.isDraining() {
		return errDrain
	}
	return err
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// readLine returns the next line without its CRLF. When there is none to be had
// it has ended the connection; an over-long line is answered by tooLong.
func (c *Conn) readLine(limit int, tooLong string) (string, bool) {
	if c.in.empty() {
		c.in.release()
	}
	var deadline time.Time // for the whole line, from the first read that it needs
	for seen := 0; ; {
		p := c.in.buf[c.in.r:c.in.w]
		i := bytes.IndexByte(p[seen:], '\n')
		switch {
		case i >= 0 && seen+i < limit:
			return c.takeLine(p[:seen+i])
		case i >= 0 || len(p) >= limit:
			c.fail(LongLine, fmt.Errorf("over %d octets", limit), tooLong)
			return "", false
		case bytes.IndexByte(p[seen:], 0) >= 0:
			return c.takeLine(p) // it cannot get better any more
		}
		seen = len(p)
		if deadline.IsZero() {
			deadline = c.link.by(c.link.srv.cfg.Limits.Idle)
		}
		if err := c.wait(deadline, !c.tx.open); err != nil {
			c.lineFailed(err)
			return "", false
		}
	}
}

// takeLine takes the line p, which lay before an LF, off the input. A CR or LF
// alone is no end of a line and nothing else either (RFC 5321 2.3.8).
func (c *Conn) takeLine(p []byte) (string, bool) {
	c.in.r = min(c.in.r+len(p)+1, c.in.w)
	body, crlf := bytes.CutSuffix(p, []byte{'\r'})
	switch {
	case bytes.IndexByte(p, 0) >= 0:
		c.fail(NUL, nil, "500 5.5.2 NUL in a command, closing connection")
	case !crlf || bytes.IndexByte(body, '\r') >= 0:
		c.fail(BareLineEnd, nil, "500 5.5.2 Lines must end with CRLF, closing connection")
	default:
		return string(body), true
	}
	return "", false
}

// lineFailed ends a connection whose next line did not come.
func (c *Conn) lineFailed(err error) {
	switch {
	case errors.Is(err, errDrain):
		c.drained()
	case isTimeout(err) && c.link.expired():
		c.fail(ConnectionTimeout, nil, "421 4.4.2 Connection lasted too long, closing connection")
	case isTimeout(err):
		c.fail(IdleTimeout, nil, "421 4.4.2 Timeout, closing connection")
	default:
		c.end = net.ErrClosed
	}
}
