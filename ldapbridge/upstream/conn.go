package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"dancemta/ldapbridge/message"
)

const (
	// lastID: a connection whose IDs are used up is not leased again (RFC 4511 4.1.1.1).
	lastID = math.MaxInt32 - 1<<20
	// maxStray replies to what was abandoned may be under way, in the buffers of both
	// sides; a server that sends more does not listen.
	maxStray = 100_000
	// batch is how many octets of replies go to a client at once.
	batch = 64 << 10
)

var (
	errClosed  = errors.New("closed by the bridge")
	errEnded   = errors.New("the server closed the connection")
	errIdle    = errors.New("nobody needs the connection")
	errSilent  = errors.New("the server is silent")
	errForeign = errors.New("a reply to what was never asked")
	errKind    = errors.New("a reply of the wrong kind")
	errBabble  = errors.New("replies to operations that were abandoned do not end")
	errNotice  = errors.New("the server takes leave")
)

// operation is one that is outstanding.
type operation struct {
	id    int32 // ours
	paged bool
	Operation
}

// conn is one bound connection, with the goroutine that reads it.
type conn struct {
	pool       *Pool
	server     int // which of Options.Servers
	generation int
	made       time.Time
	net        net.Conn
	gate       *gate
	in         *bufio.Reader

	writing sync.Mutex
	out     []byte

	mu         sync.Mutex
	lease      *Lease
	ops        []operation // in the order of their IDs
	last       int32       // ID
	stray      int         // how many replies to abandoned operations may still come
	delivering bool        // the reader is with the sink
	settled    *sync.Cond  // it has come back; nil: nobody waits for that
	returned   bool        // … and puts the connection back afterwards
	active     time.Time
	why        error // set: closed
}

// begin gives the connection to a lease; false: it has ended.
func (c *conn) begin(l *Lease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return false
	}
	l.c, c.lease, c.active = c, l, time.Now()
	return true
}

// enter puts an operation into the table and gives it an ID.
func (c *conn) enter(l *Lease, m message.Message, r request) (int32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.why != nil || l.over:
		return 0, ErrGone
	case len(c.ops) >= c.pool.o.Outstanding:
		return 0, ErrCrowded
	case m.ID <= 0:
		return 0, ErrOperation
	}
	for _, o := range c.ops {
		if o.ID == m.ID {
			return 0, ErrDuplicate
		}
	}
	c.last++
	c.active = time.Now()
	c.ops = append(c.ops, operation{id: c.last, paged: r.paged, Operation: Operation{ID: m.ID, Op: m.Tag()}})
	delete(l.cookies, r.cookie) // the reply says how it goes on
	return c.last, nil
}

// forget takes back what was not written; false: the reader has it already.
func (c *conn) forget(id int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.ops)
	c.ops = slices.DeleteFunc(c.ops, func(o operation) bool { return o.id == id })
	return len(c.ops) < before
}

// find returns our ID of a client's operation.
func (c *conn) find(l *Lease, id int32) (int32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.ops {
		if o.ID == id && !l.over {
			return o.id, true
		}
	}
	return 0, false
}

// abandon takes a client's operation out of the table, and gives the request that
// says so an ID of its own.
func (c *conn) abandon(l *Lease, id int32) (ours, target int32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.ops, func(o operation) bool { return o.ID == id })
	if i < 0 || l.over || c.why != nil {
		return 0, 0, false
	}
	target = c.ops[i].id
	l.unsure = l.unsure || c.ops[i].paged // its page may be open, or not
	c.ops = slices.Delete(c.ops, i, i+1)
	c.stray = maxStray
	c.last++
	return c.last, target, true
}

// write sends what is in out. After a failure the connection is of no use. The deadline
// stays: should TLS have to answer a KeyUpdate behind it, the next write fails before
// anything of it is sent, and its client takes another connection.
func (c *conn) write() error {
	c.gate.SetWriteDeadline(time.Now().Add(c.pool.o.Write))
	_, err := c.net.Write(c.out)
	return err
}

// fail ends the connection; the reader sees it and says the rest.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.why == nil {
		c.why = err
	}
	c.mu.Unlock()
	c.gate.Close() // not TLS's own: it would wait for a peer that does not read
}

// read passes replies on until the connection ends.
func (c *conn) read() {
	c.fail(c.replies())
	c.pool.drop(c)
	c.mu.Lock()
	why, l, open := c.why, c.lease, c.ops
	c.ops = nil
	told := l != nil && !l.over
	if told {
		l.over = true
	}
	c.mu.Unlock()
	if !told {
		return
	}
	c.pool.lost(c.server, len(open), why)
	c.pool.leave()
	if !errors.Is(why, ErrTooLarge) {
		why = fmt.Errorf("%w: %w", ErrUnavailable, why)
	}
	list := make([]Operation, len(open))
	for i, o := range open {
		list[i] = o.Operation
	}
	l.sink.Lost(list, why)
}

// replies reads messages, and passes those on that are there already in one piece.
func (c *conn) replies() error {
	r := replier{c: c, limits: message.Limits{Bytes: c.pool.o.Reply, Elements: -1}}
	for {
		if err := c.await(); err != nil {
			return err
		}
		err := r.collect()
		if len(r.out) > 0 {
			if e := r.deliver(); err == nil {
				err = e
			}
		}
		r.release()
		if err != nil {
			return err
		}
	}
}

// await waits for the first octet of a message.
func (c *conn) await() error {
	for {
		_, err := c.in.Peek(1)
		if err == nil {
			return nil
		}
		if err == io.EOF {
			return errEnded
		}
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			return err
		}
		if err := c.tick(); err != nil {
			return err
		}
	}
}

// tick is what the clock says when nothing came: it ends connections that nobody
// needs, and those on which the server owes a reply for too long.
func (c *conn) tick() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.pool.o
	next := time.Now().Add(min(o.Silence, o.IdleTime))
	switch {
	case c.lease == nil:
		if next = c.active.Add(o.IdleTime); !time.Now().Before(next) {
			return errIdle
		}
	case len(c.ops) > 0:
		if next = c.active.Add(o.Silence); !time.Now().Before(next) {
			return errSilent
		}
	}
	c.gate.SetReadDeadline(next)
	return nil
}
