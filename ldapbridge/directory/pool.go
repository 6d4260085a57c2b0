package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"dancemta/internal/limit"
)

// conn is a connection for one question at a time.
type conn struct {
	*ldap.Conn
	link   *link
	report func(err error) // what came of a question to this server
	reused bool            // it was idle, so that the server may have closed it meanwhile
}

// hangUp closes the socket first: the library's Close waits for what it still writes.
func (c *conn) hangUp() {
	c.link.Close()
	c.Conn.Close()
}

// pool lends connections, a bounded number at once, and opens them when they are needed.
type pool struct {
	open    func(ctx context.Context) (*conn, error) // within a time of its own
	gate    *limit.Gate
	timeout time.Duration // for a place, and then for an answer

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(o Options, open func(context.Context) (*conn, error)) *pool {
	return &pool{open: open, gate: limit.NewGate(o.Connections), timeout: o.Timeout}
}

// do runs ask with a connection. One that was idle may have been closed by the server
// meanwhile: the next is tried then. ask says by a brokenError that its connection is of
// no more use; all other errors are answers. The end of ctx ends nothing that has begun:
// whoever hangs up early must not look like a server that is late.
func (p *pool) do(ctx context.Context, ask func(*conn) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	if err := p.gate.Enter(ctx); err != nil {
		return fmt.Errorf("all connections are busy: %w", err)
	}
	defer p.gate.Leave()
	for {
		c, err := p.take(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		stale, err := p.use(c, ask)
		if !stale {
			return err
		}
	}
}

var errPanic = errors.New("a panic at what it answered")

// use asks by a connection, then keeps or closes it. stale: it was idle, and the server
// has closed it, which says nothing about the server's health.
func (p *pool) use(c *conn, ask func(*conn) error) (stale bool, err error) {
	kept, ended := false, false
	defer func() {
		if !ended { // a panic: else the one try that the breaker let through would never end
			c.report(errPanic)
		}
		if !kept {
			c.hangUp()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	c.link.renew()
	stop := c.link.until(ctx)
	err = ask(c)
	ended = true
	switch late := !stop(); {
	case late:
		err = &brokenError{fmt.Errorf("no answer in %v", p.timeout)}
	case isBroken(err) && c.reused:
		return true, err
	}
	if isBroken(err) {
		c.report(err)
		return false, err
	}
	c.report(nil)
	kept = p.give(c)
	return false, err
}

// take returns an idle connection, the one used last, or a new one.
func (p *pool) take(ctx context.Context) (*conn, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return p.open(ctx)
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if !c.IsClosing() {
			return c, nil
		}
		c.hangUp()
	}
}

// give keeps a connection for the next question.
func (p *pool) give(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	c.reused = true
	p.idle = append(p.idle, c)
	return true
}

// close closes what is idle; from now on each question has a connection of its own.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.hangUp()
	}
}
