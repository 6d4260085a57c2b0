package upstream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"dancemta/ldapbridge/message"
)

// Sink takes what a server says to a lease. The reader of the connection calls it,
// one call at a time, and none after Close or a Return that found nothing left.
type Sink interface {
	// Replies takes one or several whole LDAPMessages, with the client's message IDs;
	// the octets are good until it returns. It may take its time: the server is not
	// read meanwhile. done are the operations that end with these octets. An error
	// means that the client has gone: the connection is closed unless nothing is
	// outstanding.
	Replies(octets []byte, done []Done) error
	// Lost says that the connection has ended and the lease is over, and which
	// operations that Send took have no final reply. why is ErrTooLarge, or wraps
	// ErrUnavailable.
	Lost(open []Operation, why error)
}

// Operation is one that the client began.
type Operation struct {
	ID int32 // the client's
	Op message.Op
}

// Done is an operation with its result.
type Done struct {
	Operation
	Code message.Code
}

// Lease is one connection while it belongs to one client. Its methods may be called
// at once.
type Lease struct {
	c    *conn
	sink Sink
	last atomic.Pointer[identity] // of an operation without controls of the client's

	// Under the lock of the connection:
	cookies map[string]struct{} // of paged searches that may go on
	used    bool                // an operation was sent, or refused
	unsure  bool                // nobody knows what the server still keeps for this client
	over    bool                // given back, closed or lost
}

// maxCookies of one lease: whoever opens more pages gets no more than a connection
// that nobody takes over.
const maxCookies = 16

// Lease waits for a connection that nobody has, and makes one if there is none. The
// caller ends it by Return or Close; after Lost both do nothing.
func (p *Pool) Lease(ctx context.Context, sink Sink) (*Lease, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	l := &Lease{sink: sink}
	for {
		c := p.takeIdle()
		if c == nil {
			break
		}
		if c.begin(l) {
			return l, nil
		}
	}
	c, err := p.dial(ctx)
	if err == nil && !c.begin(l) {
		err = fmt.Errorf("%w: it closed the connection at once", ErrUnavailable)
	}
	if err != nil {
		p.leave()
		p.o.Count(EventUnavailable)
		return nil, err
	}
	return l, nil
}

// Send writes a client's operation upstream, under the rights of as. It is the only
// function that does. Everything it refuses has not been written; after ErrGone
// another lease may be tried. What it takes is answered by the sink.
func (l *Lease) Send(ctx context.Context, m message.Message, as Authzid) error {
	defer l.use()
	r, err := inspect(m)
	if err != nil {
		return err
	}
	controls, err := l.proxied(r.controls, as)
	if err != nil {
		return err
	}
	return l.send(ctx, m, controls, r)
}

// use notes that the client has had his turn.
func (l *Lease) use() {
	l.c.mu.Lock()
	l.used = true
	l.c.mu.Unlock()
}

// proxied adds the control that says under whose rights an operation runs. A client
// sends most of his operations with no controls and as one identity.
func (l *Lease) proxied(list []message.Control, as Authzid) ([]byte, error) {
	if len(list) > 0 {
		return withProxied(list, as)
	}
	if last := l.last.Load(); last != nil && last.as == as {
		return last.controls, nil
	}
	controls, err := withProxied(nil, as)
	if err == nil {
		l.last.Store(&identity{as, controls})
	}
	return controls, err
}

// identity is one with its controls, as they are sent.
type identity struct {
	as       Authzid
	controls []byte
}

// Cancel asks for the end of an operation (RFC 3909), by the client's message ID.
// The request has the ID id; both are answered by the sink.
//
// It carries no proxied authorization: it names nothing but an operation of this
// very lease, and slapd takes that control for a few extended operations only.
func (l *Lease) Cancel(ctx context.Context, id, target int32) error {
	ours, ok := l.c.find(l, target)
	if !ok {
		return ErrUnknown
	}
	op := message.ExtendedOp(message.OIDCancel, message.CancelValue(ours))
	return l.send(ctx, message.Message{ID: id, Op: op}, nil, request{})
}

func (l *Lease) send(ctx context.Context, m message.Message, controls []byte, r request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := l.c
	c.writing.Lock() // IDs go up in the order of the writes
	defer c.writing.Unlock()
	id, err := c.enter(l, m, r)
	if err != nil {
		return err
	}
	c.out = message.AppendMessage(c.out[:0], id, m.Op, controls)
	if err := c.write(); err != nil {
		c.fail(err)
		if c.forget(id) {
			return ErrGone
		}
		return nil // the sink has been told, or will be
	}
	return nil
}

// Abandon gives an operation up, by the client's message ID. When it returns, nothing
// of it comes to the sink any more: from the next reply of anything on the client may
// use the ID again (RFC 4511 4.1.1.1). Of what is not outstanding there is nothing to do (RFC 4511 4.11).
func (l *Lease) Abandon(ctx context.Context, id int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := l.c
	c.writing.Lock()
	defer c.writing.Unlock()
	ours, target, ok := c.abandon(l, id)
	if !ok {
		return nil
	}
	c.out = message.AppendMessage(c.out[:0], ours, message.AbandonOp(target), nil)
	if err := c.write(); err != nil {
		c.fail(err)
		return ErrGone
	}
	c.settle()
	return nil
}

// settle waits until what was collected has been delivered.
func (c *conn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.delivering && c.settled == nil {
		c.settled = sync.NewCond(&c.mu)
	}
	for c.delivering {
		c.settled.Wait()
	}
}

// Outstanding is how many operations have no final reply.
func (l *Lease) Outstanding() int {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.over {
		return 0
	}
	return len(l.c.ops)
}

// Paging reports whether a paged search may go on: its cookie is good on this
// connection only.
func (l *Lease) Paging() bool {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return len(l.cookies) > 0
}

// Return ends the lease. The connection goes to the next client, unless something is
// outstanding or the server keeps something for this one: then it is closed.
func (l *Lease) Return() {
	c := l.c
	c.mu.Lock()
	if l.over {
		c.mu.Unlock()
		return
	}
	if len(c.ops) > 0 || len(l.cookies) > 0 || l.unsure {
		c.mu.Unlock()
		l.Close()
		return
	}
	l.over = true
	if c.delivering { // the reader does it when the client has what was said to him
		c.returned = true
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.pool.put(c)
}

// Close ends the lease and the connection: the server drops all that is outstanding.
func (l *Lease) Close() {
	c := l.c
	c.mu.Lock()
	was := l.over
	l.over = true
	c.mu.Unlock()
	if !was {
		c.fail(errClosed)
		c.pool.leave()
	}
}

// turn notes where a paged search has come to; the caller holds the lock.
func (l *Lease) turn(cookie string) {
	if cookie == "" {
		return
	}
	if l.cookies == nil {
		l.cookies = map[string]struct{}{}
	}
	if len(l.cookies) >= maxCookies {
		l.unsure = true
		clear(l.cookies)
	}
	l.cookies[cookie] = struct{}{}
}
