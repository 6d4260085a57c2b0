// Package callout remembers what a backend says of mailboxes, so that mail for those
// that do not exist is refused at RCPT, where nobody else gets a bounce for it.
//
// One question at a time is asked about a mailbox, few at a time about all, and an
// answer holds for a while. Nobody knows what the backend means when it does not
// answer: that is an answer of its own, and for a moment it is not asked again.
package callout

import (
	"context"
	"time"

	"dancemta/internal/limit"
	"dancemta/internal/recall"
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
	ask    func(ctx context.Context, mailbox string) Answer
	gate   *limit.Gate
	memory *recall.Memory[Answer]
}

// New returns a Callout that knows nothing.
func New(o Options) *Callout {
	c := &Callout{ask: o.Ask, gate: limit.NewGate(maxAsked)}
	c.memory = recall.New(recall.Options[Answer]{Ask: c.question, Max: maxKnown, AfterPanic: lives[Unknown], Now: o.Now})
	return c
}

// Answer returns what is known of a mailbox, given in its normal form, and asks if it
// must. Whoever waits for the question of another gets its answer, or Unknown when ctx
// ends. A question goes on when the one who asked it leaves within askTime.
func (c *Callout) Answer(ctx context.Context, mailbox string) Answer {
	a, _, err := c.memory.Answer(ctx, mailbox)
	if err != nil {
		return Unknown
	}
	return a
}

// question asks the backend.
func (c *Callout) question(ctx context.Context, mailbox string) (Answer, time.Duration) {
	if !c.gate.TryEnter() {
		return Unknown, lives[Unknown]
	}
	defer c.gate.Leave()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	a := c.ask(ctx, mailbox)
	if a > Absent {
		a = Unknown
	}
	return a, lives[a]
}
