// Package queue keeps mail between its acceptance and its end. The idea: a
// message that was accepted is on disk, and from then on it is delivered or a
// bounce says why not; no crash may lose it, deliver half of it, or make two
// bounces of one failure.
//
// Start with Queue: Accept takes a message in and returns when it is durable,
// Run plans and makes the attempts. Two interfaces stand at the borders: a
// Store keeps the messages (queue/boltstore), a Deliverer makes one attempt
// (queue/deliver). The unit of planning is one message to one destination
// domain, a Job: each has its own attempts and its own next time.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"dancemta/internal/mailaddr"
)

// Defaults of Options.
const (
	// RFC 5321 4.5.4.1: give up after at least 4 to 5 days.
	defaultExpire = 5 * 24 * time.Hour
	// A bounce that cannot be delivered interests nobody for so long.
	defaultBounceExpire = 2 * 24 * time.Hour
	// Enough to keep slow destinations from stopping quick ones; each costs
	// one connection and one goroutine.
	defaultConcurrency = 50
	// What a destination of ordinary size takes from one peer without protest, once it
	// has shown that it answers.
	defaultPerDestination = 20
	// A message may have been on its way to us for so long. One that has arrived at
	// another time was stamped by a clock that was set since, and would expire too
	// early or too late.
	maxArrival = 6 * time.Hour
	// A final dot may take minutes; what is cut off is tried again, perhaps
	// as a duplicate, so an orderly stop waits a little.
	defaultGrace = 20 * time.Second
)

// Options says what a Queue is made of. Store and Deliverer are required.
type Options struct {
	Store     Store
	Deliverer Deliverer
	Now       func() time.Time // default time.Now
	Logger    *slog.Logger     // default: silent

	Hostname   string           // our name in bounces
	Postmaster mailaddr.Address // sender of bounces' header, and who gets double bounces; zero: only logged

	// Sign returns a bounce with its DKIM signature, or as it is when there is no key
	// for its From; nil: none is signed.
	Sign func(message []byte) ([]byte, error)

	Retry          []time.Duration // waits between attempts, the last repeats; default DefaultRetry
	Expire         time.Duration   // age at which a deferred message bounces; default 5 days
	BounceExpire   time.Duration   // the same for mail from the null sender; default 2 days
	DelayNotice    time.Duration   // age at which a sender hears that his message waits; 0: never
	Concurrency    int             // deliveries at once; default 50
	PerDestination int             // deliveries at once to one domain that answers well; default 20
	// Rate bounds messages in time, and is asked for each; nil: nothing is bounded.
	Rate func(destination string) Rate
	// Share bounds the deliveries at once to several destinations; nil: none is bounded.
	Share           func(destination string) Share
	Grace           time.Duration // how long Run lets deliveries end when ctx ends; default 20 s
	MaxMessageBytes int64         // longer bodies are refused as TooBig; 0: no bound here
	// OnReport hears for each recipient what a sender is told: "failed", "delayed",
	// "relayed" or "delivered"; nil: nobody does.
	OnReport  func(action string)
	OnOutcome func(Outcome) // hears what came of each attempt for each recipient, from many goroutines; nil: nobody does
}

// Queue accepts messages and has them delivered. All methods may be called at
// once from many goroutines, Run from one.
type Queue struct {
	o     Options
	log   *slog.Logger
	wake  chan struct{} // capacity 1: something changed, look again
	clock *clock
	dests *destinations

	suspensions suspensions
	resume      atomic.Bool // the store should look through what it has set aside
}

// New checks the options and fills in the defaults. It reads nothing.
func New(o Options) (*Queue, error) {
	if o.Store == nil || o.Deliverer == nil {
		return nil, errors.New("queue: Store and Deliverer are required")
	}
	for _, d := range o.Retry {
		if d <= 0 {
			return nil, fmt.Errorf("queue: retry wait %v: must be above zero", d)
		}
	}
	o.setDefaults()
	q := &Queue{o: o, log: o.Logger, wake: make(chan struct{}, 1), clock: &clock{wall: o.Now}}
	q.dests = newDestinations(&q.o, q.clock.now)
	return q, nil
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Retry) == 0 {
		o.Retry = DefaultRetry()
	}
	orDefault(&o.Expire, defaultExpire)
	orDefault(&o.BounceExpire, defaultBounceExpire)
	orDefault(&o.Grace, defaultGrace)
	orDefault(&o.Concurrency, defaultConcurrency)
	orDefault(&o.PerDestination, defaultPerDestination)
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Accept reads body to its end and makes it durable with env. A nil error is
// the promise of RFC 5321 6.1: only after it may 250 be answered.
//
// Errors: *Error (Full, Broken, TooBig); the error of body itself, as it came;
// an invalid envelope. After an error nothing of the message is kept.
func (q *Queue) Accept(ctx context.Context, env Envelope, body io.Reader) error {
	if err := env.check(); err != nil {
		return err
	}
	if q.o.MaxMessageBytes > 0 {
		body = &boundedReader{r: body, left: q.o.MaxMessageBytes}
	}
	now := q.clock.now()
	if env.Arrived.IsZero() || env.Arrived.Sub(now).Abs() > maxArrival {
		env.Arrived = now
	}
	env.Recipients = distinct(env.Recipients)
	if err := q.o.Store.Put(ctx, env, now, body); err != nil {
		return err
	}
	q.poke()
	return nil
}

// distinct drops what was named before: nobody gets a message twice.
func distinct(all []Recipient) []Recipient {
	seen := make(map[mailaddr.Address]bool, len(all))
	var out []Recipient
	for _, r := range all {
		if !seen[r.Address] {
			seen[r.Address] = true
			out = append(out, r)
		}
	}
	return out
}

// poke tells Run that there may be something to do.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// boundedReader fails with TooBig when its reader gives more than left bytes.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &Error{Kind: TooBig}
	}
	return n, err
}
