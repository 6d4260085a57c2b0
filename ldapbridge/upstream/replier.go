package upstream

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dancemta/ldapbridge/message"
)

// replier turns the server's messages into the client's.
type replier struct {
	c      *conn
	limits message.Limits
	*buffers
	done []Done
}

// buffers are what a connection has only while something comes.
type buffers struct {
	message []byte // the one that is read
	out     []byte
}

var spare = sync.Pool{New: func() any { return new(buffers) }}

// maxSpare is what buffers may have grown to and be used again: a batch, and the
// entry beyond it.
const maxSpare = 4 * batch

func (r *replier) release() {
	if cap(r.message) <= maxSpare && cap(r.out) <= maxSpare {
		spare.Put(r.buffers)
	}
	r.buffers = nil
}

// collect reads messages while there are any without waiting. out may hold good ones
// when it fails.
func (r *replier) collect() error {
	r.buffers = spare.Get().(*buffers)
	r.out, r.done = r.out[:0], r.done[:0]
	// The deadline that await had may come in the middle of a message. Of a connection
	// that has ended the rest is read all the same.
	r.c.gate.SetReadDeadline(time.Now().Add(r.c.pool.o.Silence))
	for {
		m, err := message.ReadInto(r.message, r.c.in, r.limits)
		if errors.Is(err, message.ErrTooBig) {
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		if err != nil {
			return err
		}
		r.message = m.Buffer()
		if err := r.take(m); err != nil {
			return err
		}
		if len(r.out) >= batch || !r.more() {
			return nil
		}
	}
}

// more reports whether a further message has begun to come. Waiting a moment for the
// end of a search behind its entry was tried: the timer costs more than it saves.
func (r *replier) more() bool {
	if r.c.in.Buffered() > 0 {
		return true
	}
	r.c.gate.hasty = true
	_, err := r.c.in.Peek(1)
	r.c.gate.hasty = false
	return err == nil
}

// take puts one message among those that go to the client, under his ID.
func (r *replier) take(m message.Message) error {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.ID == 0 {
		return notice(m)
	}
	i := slices.IndexFunc(c.ops, func(o operation) bool { return o.id == m.ID })
	if i < 0 {
		return c.strayed(m.ID)
	}
	o := c.ops[i]
	final, err := kind(o.Op, m.Tag())
	if err != nil {
		return err
	}
	if final {
		code, err := message.ResultCode(m.Op)
		if err != nil {
			return err
		}
		if o.paged {
			if err := c.turned(m.Controls); err != nil {
				return err
			}
		}
		c.ops = slices.Delete(c.ops, i, i+1)
		r.done = append(r.done, Done{o.Operation, code})
	}
	c.delivering = true
	r.out = message.AppendMessage(r.out, o.ID, m.Op, m.Controls)
	return nil
}

// kind tells the last reply of an operation from those before.
func kind(op, reply message.Op) (final bool, err error) {
	switch {
	case reply == op.Reply():
		return true, nil
	case reply == message.IntermediateResponse,
		op == message.SearchRequest && (reply == message.SearchEntry || reply == message.SearchReference):
		return false, nil
	}
	return false, fmt.Errorf("%w: %#02x", errKind, byte(reply))
}

// notice reads an unsolicited notification, of which one is known (RFC 4511 4.4).
func notice(m message.Message) error {
	if m.Tag() != message.ExtendedResponse {
		return errForeign
	}
	result, err := message.ParseResult(m.Op)
	if err != nil {
		return err
	}
	if result.OID == message.OIDDisconnection {
		return fmt.Errorf("%w: %v %q", errNotice, result.Code, result.Diagnostic)
	}
	return nil
}

// strayed judges a reply to nothing that is outstanding; the caller holds the lock.
func (c *conn) strayed(id int32) error {
	if id > c.last || c.stray == 0 {
		return errForeign
	}
	if c.stray--; c.stray == 0 {
		return errBabble
	}
	return nil
}

// turned notes the cookie of a page; the caller holds the lock.
func (c *conn) turned(controls []byte) error {
	list, err := message.ParseControls(controls)
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.OID != message.OIDPagedResults {
			continue
		}
		cookie, err := message.PagedCookie(one.Value)
		if err != nil {
			return err
		}
		c.lease.turn(string(cookie))
	}
	return nil
}

// deliver hands over what was collected. The lock is not held: a client may be slow.
func (r *replier) deliver() error {
	c := r.c
	c.mu.Lock()
	l := c.lease
	wanted := !l.over || c.returned
	c.mu.Unlock()
	var err error
	if wanted {
		err = l.sink.Replies(r.out, r.done)
	}
	return c.delivered(err)
}

// delivered ends what take began. A client that has gone takes the connection with
// him only if it owes him something.
func (c *conn) delivered(err error) error {
	c.mu.Lock()
	c.delivering, c.active = false, time.Now()
	if c.settled != nil {
		c.settled.Broadcast()
	}
	if err != nil && len(c.ops) > 0 {
		c.mu.Unlock()
		return err
	}
	returned := c.returned
	c.returned = false
	c.mu.Unlock()
	switch {
	case returned:
		c.pool.put(c)
	case c.pool.isWaitedFor():
		c.takeBack()
	}
	return nil
}
