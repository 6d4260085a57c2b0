package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// chunkSize is what one BDAT carries. It is held in memory, since its size is
	// told before it.
	chunkSize = 128 << 10
	// minChunked is the least body for BDAT: a smaller one leaves by DATA in one
	// write, too. Round trips are the same.
	minChunked = 64 << 10
)

func (t *transaction) chunked() bool { return t.offers(extChunking) && t.m.Size >= minChunked }

// chunks sends the body by BDAT (RFC 3030 2), once somebody wants it. Where the
// server pipelines, one chunk leaves while the answer to the one before is on its
// way (RFC 3030 4.2). The session ends with any trouble, but not with a refusal
// after which nothing is on its way: a body without its end is none.
func (t *transaction) chunks(ctx context.Context, body io.Reader) *Error {
	if more, e := t.envelope(ctx, ""); e != nil || !more {
		return e
	}
	c, pace := newChunker(body), newPace()
	for pending := false; ; pending = true {
		last, err := c.fill()
		if err != nil {
			t.abort()
			return bodyFault(err)
		}
		if pending && !t.pipelined {
			if e := t.chunkReply(ctx); e != nil {
				return e
			}
			pending = false
		}
		if !pending {
			if e := t.unasked(stepBody); e != nil {
				t.abort()
				return e
			}
		}
		_, err = blockWriter{t.conn, t.limits.Block, pace}.Write(c.command(last))
		t.until = pace.until(0)
		if err != nil {
			e := t.cut(ctx, err)
			if last && e.Reply.Code == 0 {
				unanswered(e) // it may have left
			}
			return e
		}
		if pending {
			if e := t.chunkReply(ctx); e != nil {
				t.abort()
				if last && e.Reply.Code == 0 {
					unanswered(e) // the end may have arrived
				}
				return e
			}
		}
		if last {
			t.until = time.Time{}
			return t.verdicts(ctx)
		}
	}
}

// bodyFault is why a body could not be read to its end.
func bodyFault(err error) *Error {
	if errors.Is(err, errLines) {
		return &Error{Step: stepBody, Err: err, Permanent: true, Status: "5.6.0"}
	}
	return ownFault(err)
}

// chunkReply reads the answer to a chunk that was not the last.
func (t *transaction) chunkReply(ctx context.Context) *Error {
	r, e := t.read(ctx, stepBody, t.limits.Dot)
	if e != nil {
		return e
	}
	if e = t.refusal(stepBody, r, 2); e != nil && !t.broken {
		e.OtherHost = false // it judged the message, not itself
	}
	return e
}

// room is kept before a chunk for its command.
const room = len("BDAT 4294967295 LAST\r\n")

// chunker cuts a body into chunks, and makes sure of its line ends before
// anything of a chunk leaves.
type chunker struct {
	body  *bufio.Reader
	lines *lineWriter
	out   bytes.Buffer // room, then the chunk
	piece []byte
}

func newChunker(body io.Reader) *chunker {
	c := &chunker{body: bufio.NewReaderSize(body, blockSize), piece: make([]byte, blockSize)}
	c.lines = &lineWriter{w: &c.out, asIs: true}
	c.out.Grow(room + chunkSize + blockSize)
	return c
}

// fill makes the next chunk and reports whether it is the last.
func (c *chunker) fill() (last bool, err error) {
	c.out.Reset()
	c.out.Write(make([]byte, room))
	for c.out.Len() < room+chunkSize {
		n, err := c.body.Read(c.piece)
		if _, err := c.lines.Write(c.piece[:n]); err != nil {
			return false, err
		}
		if err == io.EOF {
			return true, c.lines.finish()
		}
		if err != nil {
			return false, err
		}
	}
	switch _, err := c.body.Peek(1); {
	case err == io.EOF: // so that none is empty
		return true, c.lines.finish()
	case err != nil:
		return false, err
	}
	return false, nil
}

// command puts BDAT and its size before the chunk.
func (c *chunker) command(last bool) []byte {
	chunk := c.out.Bytes()
	command := fmt.Sprintf("BDAT %d", len(chunk)-room)
	if last {
		command += " LAST"
	}
	command += "\r\n"
	chunk = chunk[room-len(command):]
	copy(chunk, command)
	return chunk
}
