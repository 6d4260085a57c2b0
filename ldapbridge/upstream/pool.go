package upstream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dancemta/internal/maillog"
)

// enter waits for a place among those that have a lease.
func (p *Pool) enter(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return fmt.Errorf("%w: %w", ErrUnavailable, errClosed)
	}
	select {
	case p.places <- struct{}{}:
		return nil
	default:
	}
	if !p.queue() {
		p.o.Count(EventBusy)
		return ErrBusy
	}
	defer p.unqueue()
	p.reclaim()
	patience := time.NewTimer(p.o.Wait)
	defer patience.Stop()
	select {
	case p.places <- struct{}{}:
		return nil
	case <-patience.C:
		p.o.Count(EventBusy)
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// queue takes a place among those that wait, of which there is a bound, too.
func (p *Pool) queue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting >= p.o.Waiters {
		return false
	}
	p.waiting++
	return true
}

func (p *Pool) unqueue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
}

// leave gives the place of a lease back.
func (p *Pool) leave() { <-p.places }

// takeIdle returns the connection that was used last; nil: there is none.
func (p *Pool) takeIdle() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	c := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return c
}

// put ends a lease whose connection may serve the next client.
func (p *Pool) put(c *conn) {
	defer p.leave()
	now := time.Now()
	c.mu.Lock()
	good := c.why == nil && c.last < lastID && now.Sub(c.made) < lifetime
	c.lease, c.active = nil, now
	c.gate.SetReadDeadline(now.Add(p.o.IdleTime))
	c.mu.Unlock()
	if !good || !p.keep(c, now) {
		c.part(errIdle)
	}
}

// keep puts a connection among those that wait for a client. One to a server that
// was second choice is not kept when the first may be well again.
func (p *Pool) keep(c *conn, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.generation != p.generation || len(p.idle) >= p.o.Idle {
		return false
	}
	for i := range c.server {
		if p.health[i].due(now) {
			return false
		}
	}
	if _, alive := p.all[c]; !alive {
		return false
	}
	p.idle = append(p.idle, c)
	return true
}

// add takes a new connection in, and starts its reader.
func (p *Pool) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.all[c] = struct{}{}
	p.wait.Go(c.read)
	return true
}

// drop takes an ended connection out.
func (p *Pool) drop(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, c)
	p.idle = slices.DeleteFunc(p.idle, func(other *conn) bool { return other == c })
}

func (p *Pool) lost(server, outstanding int, why error) {
	p.o.Count(EventLost)
	maillog.UpstreamLost(p.o.Logger, p.o.Servers[server].String(), outstanding, why)
}

// Renew is for a new certificate of our own: connections that show the old one take
// no further client.
func (p *Pool) Renew() {
	p.mu.Lock()
	p.generation++
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.part(errIdle)
	}
}

// Close ends all connections and waits for their readers. Leases that are left are
// lost.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	all := make([]*conn, 0, len(p.all))
	for c := range p.all {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		c.part(errClosed)
	}
	p.wait.Wait()
}

// Stats are the connections at this moment.
type Stats struct{ Leased, Idle, Waiting int }

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Leased: len(p.places), Idle: len(p.idle), Waiting: p.waiting}
}
