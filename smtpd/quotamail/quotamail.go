// Package quotamail tells the postmaster by mail whose quotas are used up. The idea:
// an operator wants to hear once that a user is stuck, or that a stolen key sends what
// it can; and a thousand stuck accounts must not become a thousand mails. So accounts
// are gathered, one mail tells of all of them, an account is told of once in the
// window of its quota, and there is a pause between two mails whatever happens.
//
// Start with Notifier: Note gathers, Run sends.
package quotamail

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
)

const (
	// gather: what runs into its quota together is told together.
	gather = time.Minute
	// pause is the least time between two mails: 96 a day, if quotas are always used up.
	pause = 15 * time.Minute
	// minWindow: a quota per minute is used up again each minute, and that is no news.
	minWindow = time.Hour
	// maxNamed bounds the accounts that one mail names; the log names all.
	maxNamed = 100
	// maxTold bounds the accounts of which it is remembered that they were told, at some
	// 200 octets each: 4 MB. Beyond it they are counted, and not named.
	maxTold = 20_000
)

// Used is an account of a quota that had not enough left.
type Used struct {
	Account string        // "user rick@example.org"
	Quota   string        // "100/h messages of one identity"
	Rule    string        // where it stands
	Window  time.Duration // of the quota
}

// Options say what a Notifier is made of. Hostname, Postmaster and Submit are required.
type Options struct {
	Hostname   string // who tells
	Postmaster mailaddr.Address
	// Submit takes responsibility for a message; its id in the queue is for the log.
	Submit func(ctx context.Context, message []byte) (id string, err error)
	Count  func(result string) // hears of each mail: "queued" or "failed"; nil: nobody does
	Now    func() time.Time    // nil: time.Now
	Logger *slog.Logger        // nil: silent
}

// Notifier gathers accounts and tells of them. Its methods may be called at once.
type Notifier struct {
	o    Options
	wake chan struct{} // capacity 1: there is something to tell

	mu    sync.Mutex
	told  map[key]time.Time // until when an account is not told again
	named []event           // what the next mail names
	more  int               // what it only counts
}

type key struct{ account, quota string }

// event is an account on its way into a mail.
type event struct {
	Used
	at time.Time
}

// New checks the options.
func New(o Options) (*Notifier, error) {
	if o.Hostname == "" || o.Postmaster.IsNull() || o.Submit == nil {
		return nil, errors.New("quotamail: Hostname, Postmaster and Submit are required")
	}
	if o.Count == nil {
		o.Count = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Notifier{o: o, wake: make(chan struct{}, 1), told: map[key]time.Time{}}, nil
}

// Note says that a quota is used up. It costs a look into a map, as often as it may be
// called.
func (n *Notifier) Note(u Used) {
	k, now := key{u.Account, u.Quota}, n.o.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if until, known := n.told[k]; known && now.Before(until) {
		return
	}
	if _, known := n.told[k]; !known && len(n.told) >= maxTold {
		n.more++
	} else {
		n.told[k] = now.Add(max(u.Window, minWindow))
		if len(n.named) < maxNamed {
			n.named = append(n.named, event{u, now})
		} else {
			n.more++
		}
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run sends mails until ctx ends, and once more then: an account is not told again.
func (n *Notifier) Run(ctx context.Context) {
	for {
		select {
		case <-n.wake:
		case <-ctx.Done():
			n.tell(context.WithoutCancel(ctx))
			return
		}
		sleep(ctx, gather)
		n.tell(ctx)
		sleep(ctx, pause-gather)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// tell sends one mail about all that was gathered. What cannot be sent is told with
// the next one.
func (n *Notifier) tell(ctx context.Context) {
	if ctx.Err() != nil {
		return // Run tells it at its end
	}
	named, more := n.take()
	if len(named)+more == 0 {
		return
	}
	id, err := n.o.Submit(ctx, n.message(named, more))
	maillog.QuotaNotice(n.o.Logger, id, len(named)+more, err)
	if err == nil {
		n.o.Count("queued")
		return
	}
	n.o.Count("failed")
	n.putBack(named, more)
}

// take empties what was gathered, and forgets whom to be silent about no longer.
func (n *Notifier) take() (named []event, more int) {
	now := n.o.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	named, more, n.named, n.more = n.named, n.more, nil, 0
	for k, until := range n.told {
		if !now.Before(until) {
			delete(n.told, k)
		}
	}
	return named, more
}

func (n *Notifier) putBack(named []event, more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.named, n.more = slices.Concat(named, n.named), n.more+more
	if over := len(n.named) - maxNamed; over > 0 {
		n.named, n.more = n.named[:maxNamed], n.more+over
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
