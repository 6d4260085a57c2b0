package upstream

import "time"

// pageRest is how long a paged search may rest while other clients wait: its next page
// fails when the connection is gone.
const pageRest = 30 * time.Second

// reclaim ends a lease that rests, for a client who waits for a place: the one that has
// rested for the longest time. So leases may be long while there are enough, and no
// client is refused for the sake of those who ask for nothing.
func (p *Pool) reclaim() {
	p.mu.Lock()
	all := make([]*conn, 0, len(p.all))
	for c := range p.all {
		all = append(all, c)
	}
	p.mu.Unlock()
	var longest *conn
	var since time.Time
	for _, c := range all {
		c.mu.Lock()
		at, rests := c.active, c.rests()
		c.mu.Unlock()
		if rests && (longest == nil || at.Before(since)) {
			longest, since = c, at
		}
	}
	if longest != nil {
		longest.takeBack()
	}
}

// isWaitedFor reports whether some client has no place.
func (p *Pool) isWaitedFor() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting > 0
}

// rests reports whether the client of this connection needs nothing of it now; the
// caller holds the lock.
func (c *conn) rests() bool {
	l := c.lease
	switch {
	case c.why != nil || l == nil || l.over || !l.used || len(c.ops) > 0 || c.delivering:
		return false
	case l.clean():
		return true
	}
	return time.Since(c.active) >= pageRest
}

// takeBack ends the lease if it rests. Its client gets ErrGone, and another lease, when
// he sends his next operation.
func (c *conn) takeBack() {
	c.mu.Lock()
	if !c.rests() {
		c.mu.Unlock()
		return
	}
	c.lease.over = true
	clean := c.lease.clean()
	c.mu.Unlock()
	if clean {
		c.pool.put(c)
		return
	}
	c.fail(errClosed)
	c.pool.leave()
}

// clean reports whether the server keeps nothing for this client; the caller holds the
// lock.
func (l *Lease) clean() bool { return len(l.cookies) == 0 && !l.unsure }
