package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dancemta/internal/maillog"
)

// health is what is known of a server.
type health struct {
	failures int       // since it last took us
	retry    time.Time // it is left alone until then
}

func (h health) due(now time.Time) bool { return !now.Before(h.retry) }

// pause is how long a server is left alone after so many failures.
func pause(failures int) time.Duration {
	d := firstRetry
	for range failures - 1 {
		if d *= 2; d >= lastRetry {
			return lastRetry
		}
	}
	return d
}

// dial connects to the first server that takes us. One that failed is left alone for
// a while, and then tried by one client: the others need not wait for what may fail
// again.
func (p *Pool) dial(ctx context.Context) (*conn, error) {
	all := ErrUnavailable // and behind it, in one line, what each server did
	asked := false
	for i, s := range p.o.Servers {
		if !p.mayTry(i) {
			continue
		}
		c, err := p.connect(ctx, i)
		if err == nil {
			p.well(i)
			return c, nil
		}
		if ctx.Err() != nil { // our client has gone; that says nothing of the server
			p.untried(i)
			return nil, ctx.Err()
		}
		p.failed(i, err)
		all = fmt.Errorf("%w; %v: %w", all, s, err)
		asked = true
	}
	if !asked {
		return nil, fmt.Errorf("%w: all failed a moment ago", ErrUnavailable)
	}
	return nil, all
}

// mayTry reports whether a server is to be asked. Of one that failed before, only
// one client at a time finds out whether it is well.
func (p *Pool) mayTry(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, now := &p.health[i], time.Now()
	if !h.due(now) {
		return false
	}
	if h.failures > 0 {
		h.retry = now.Add(p.o.Connect)
	}
	return true
}

func (p *Pool) untried(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health[i].retry = time.Time{}
}

func (p *Pool) well(i int) {
	p.mu.Lock()
	p.health[i] = health{}
	p.mu.Unlock()
	p.o.Count(EventConnected)
}

func (p *Pool) failed(i int, err error) {
	p.mu.Lock()
	h := &p.health[i]
	h.failures++
	again := pause(h.failures)
	h.retry = time.Now().Add(again)
	p.mu.Unlock()
	p.o.Count(EventFailed)
	step, advice := "connect", adviceConnect
	if e, ok := errors.AsType[*stepError](err); ok {
		step, advice = e.step, e.advice
	}
	maillog.UpstreamFailed(p.o.Logger, maillog.Upstream{
		Server: p.o.Servers[i].String(), Step: step, Advice: advice, Again: again,
	}, err)
}

// Check connects to every server, for an operator who asks. The errors are in the
// order of Options.Servers; nil: it takes us.
func (p *Pool) Check(ctx context.Context) []error {
	faults := make([]error, len(p.o.Servers))
	for i := range p.o.Servers {
		c, err := p.connect(ctx, i)
		if err == nil {
			c.part(errClosed)
		} else if e, ok := errors.AsType[*stepError](err); ok {
			err = fmt.Errorf("%w: %s", err, e.advice)
		}
		faults[i] = err
	}
	return faults
}
