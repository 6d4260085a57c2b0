// Package callout remembers what a backend says of mailboxes, so that mail for those
// that do not exist is refused at RCPT, where nobody else gets a bounce for it.
//
// One question at a time is asked about a mailbox, few at a time about all, and an
// answer holds for a while. Nobody knows what the backend means when it does not
// answer: that is an answer of its own, and for a moment it is not asked again.
package callout

import (
	"context"
	"sync"
	"time"

	"dancemta/internal/limit"
)

// Answer is what is known of a mailbox.
type Answer uint8

// The answers. The zero Answer is that nothing is known now.
const (
	Unknown Answer = iota
	Exists
	Absent
)

// Options of New.
type Options struct {
	// Ask asks the backend about a mailbox. Required. It returns soon after ctx ends.
	Ask func(ctx context.Context, mailbox string) Answer
	Now func() time.Time // nil: time.Now
}

const (
	// maxKnown bounds the memory: at some 150 octets each 8 MB.
	maxKnown = 50_000
	// maxAsked keeps a backend usable while strangers guess names; each is a session there.
	maxAsked = 20
	// askTime is less than the five minutes that a client waits at RCPT.
	askTime = 30 * time.Second
)

// lives says how long an answer holds. A new mailbox should get mail soon, and one
// that is gone makes bounces until we notice; silence is asked about again once a
// backend may have come back.
var lives = [...]time.Duration{Unknown: 10 * time.Second, Exists: time.Hour, Absent: 5 * time.Minute}

// Callout remembers. It is safe for concurrent use.
type Callout struct {
	o    Options
	gate *limit.Gate

	mu    sync.Mutex
	known map[string]*entry
}

// entry is an answer, or a question under way; what follows done is valid once it is closed.
type entry struct {
	done   chan struct{}
	answer Answer
	until  time.Time
}

// New returns a Callout that knows nothing.
func New(o Options) *Callout {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Callout{o: o, gate: limit.NewGate(maxAsked), known: map[string]*entry{}}
}

// Answer returns what is known of a mailbox, given in its normal form, and asks if it
// must. Whoever waits for the question of another gets its answer, or Unknown when ctx
// ends. A question goes on when the one who asked it leaves within askTime.
func (c *Callout) Answer(ctx context.Context, mailbox string) Answer {
	e, mine := c.find(mailbox)
	if mine {
		c.ask(context.WithoutCancel(ctx), mailbox, e)
	}
	select {
	case <-e.done:
		return e.answer
	case <-ctx.Done():
		return Unknown
	}
}

// find returns the entry of a mailbox; mine: a new one, for the caller to fill.
func (c *Callout) find(mailbox string) (e *entry, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e = c.known[mailbox]; e != nil {
		select {
		case <-e.done:
			if c.o.Now().Before(e.until) {
				return e, false
			}
		default:
			return e, false
		}
	}
	c.makeRoom()
	e = &entry{done: make(chan struct{})}
	c.known[mailbox] = e
	return e, true
}

// makeRoom forgets answers when there are too many: those that hold no more, else any.
func (c *Callout) makeRoom() {
	if len(c.known) < maxKnown {
		return
	}
	now := c.o.Now()
	for _, any := range []bool{false, true} {
		for name, e := range c.known {
			select {
			case <-e.done:
				if any || !now.Before(e.until) {
					delete(c.known, name)
				}
			default:
			}
			if any && len(c.known) < maxKnown*9/10 {
				return
			}
		}
	}
}

// ask fills an entry. A panic of Ask leaves it Unknown, and those who wait are let go.
func (c *Callout) ask(ctx context.Context, mailbox string, e *entry) {
	defer func() {
		e.until = c.o.Now().Add(lives[e.answer])
		close(e.done)
	}()
	if !c.gate.TryEnter() {
		return
	}
	defer c.gate.Leave()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if a := c.o.Ask(ctx, mailbox); a <= Absent {
		e.answer = a
	}
}
