package ldapbridge

import (
	"errors"
	"time"
)

// Ends of a wait.
var (
	errIdle    = errors.New("no request in time")
	errExpired = errors.New("the connection lasted too long")
)

// await waits for the first octet of the next request. Meanwhile it gives back what
// an idle client need not keep.
func (c *conn) await() error {
	for c.in.Buffered() == 0 {
		if err := c.enterWait(); err != nil {
			return err
		}
		_, err := c.in.Peek(1)
		c.leaveWait()
		switch {
		case err == nil:
			return nil
		case !isTimeout(err):
			return err
		}
		if c.mayReturn(time.Now()) {
			c.detach()
		}
	}
	if c.conns.Draining() && c.outstanding() == 0 {
		return errDrain
	}
	return nil
}

// enterWait sets the deadline of a wait, or says why there is nothing to wait for.
func (c *conn) enterWait() error {
	keep := c.leaseTime()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.conns.Draining() && len(c.open) == 0 {
		return errDrain
	}
	until := c.expires
	if !now.Before(until) {
		return errExpired
	}
	if len(c.open) == 0 {
		idle := c.active.Add(c.idleTime())
		if !now.Before(idle) {
			return errIdle
		}
		until = earlier(until, idle)
		if keep > 0 {
			until = earlier(until, c.active.Add(keep))
		}
	} else {
		until = earlier(until, now.Add(c.opts.Limits.Idle)) // the server's silence ends an operation sooner
	}
	c.waiting = true
	_ = c.raw.SetReadDeadline(until)
	return nil
}

func (c *conn) leaveWait() {
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// leaseTime is how long this client may keep the lease that it has; 0: it has none.
func (c *conn) leaseTime() time.Duration {
	switch {
	case c.lease == nil:
		return 0
	case c.lease.Paging():
		return c.opts.Limits.Paging
	}
	return c.opts.Limits.LeaseIdle
}

// mayReturn reports whether the lease has been idle for as long as it may be.
func (c *conn) mayReturn(now time.Time) bool {
	keep := c.leaseTime()
	c.mu.Lock()
	defer c.mu.Unlock()
	return keep > 0 && len(c.open) == 0 && !now.Before(c.active.Add(keep))
}

// idleTime is how long this client may be silent. In a dense crowd those who have
// not bound lose their places soon; the others have shown who they are, and programs
// keep connections for later.
func (c *conn) idleTime() time.Duration {
	if c.user != nil {
		return c.opts.Limits.Idle
	}
	return c.patience(c.opts.Limits.Anonymous)
}

func (c *conn) patience(d time.Duration) time.Duration { return c.opts.Crowd.Patience(d) }

// hurry ends a wait that has begun already, because the crowd is dense now; it goes
// on with the time that is left then.
func (c *conn) hurry() { c.wake() }

// interrupt ends a wait because the server goes down.
func (c *conn) interrupt() { c.wake() }

func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}
