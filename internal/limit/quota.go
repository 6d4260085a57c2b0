package limit

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Charge is what one event costs one account: so many tokens of a bucket as deep as
// the rate says.
type Charge struct {
	Account string // by which its bucket is known; with the rate in it, if that may change
	Rate    Rate
	Tokens  int
}

// Quotas are token buckets for accounts, each charge with its own rate, which a
// program can keep over its restarts. They know at most max accounts at once, and
// forget one only when its bucket is full again; with no place left a new account finds
// no token. The zero value and nil let nobody have any.
type Quotas struct {
	max int
	now func() time.Time

	mu      sync.Mutex
	byKey   map[string]*bucket[string]
	fuller  fullest[string]
	changed bool // since the last Snapshot
}

// NewQuotas returns full buckets for at most max accounts at once.
func NewQuotas(max int, now func() time.Time) *Quotas {
	return &Quotas{max: max, now: now, byKey: map[string]*bucket[string]{}}
}

// Take takes the tokens of all charges, or none and says which charge found too few
// (-1: all did find enough).
func (q *Quotas) Take(charges []Charge) (short int) {
	if len(charges) == 0 {
		return -1
	}
	if q == nil || q.byKey == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.forget(now)
	fresh := 0
	for i, c := range charges {
		b := q.byKey[c.Account]
		if b == nil {
			fresh++
		}
		if !c.affords(b, now) || len(q.byKey)+fresh > q.max {
			return i
		}
	}
	for _, c := range charges {
		q.take(c, now)
	}
	q.changed = true
	return -1
}

// affords reports whether the bucket, nil for a full one, has the tokens.
func (c Charge) affords(b *bucket[string], now time.Time) bool {
	if c.Rate.none() || c.Tokens < 0 || c.Tokens > c.Rate.N {
		return false
	}
	return c.full(b, now).Add(c.price()).Sub(now) <= c.depth()
}

// full is when the bucket will be, without this charge. One that would be full later
// than an empty one is of a clock that went wrong, or of a file that was edited: it
// is empty, and no more.
func (c Charge) full(b *bucket[string], now time.Time) time.Time {
	switch {
	case b == nil || b.full.Before(now):
		return now
	case b.full.Sub(now) > c.depth():
		return now.Add(c.depth())
	}
	return b.full
}

func (c Charge) depth() time.Duration { return c.token() * time.Duration(c.Rate.N) }

func (c Charge) token() time.Duration { return max(c.Rate.Per/time.Duration(c.Rate.N), 1) }
func (c Charge) price() time.Duration { return c.token() * time.Duration(c.Tokens) }

func (q *Quotas) take(c Charge, now time.Time) {
	b := q.byKey[c.Account]
	if b == nil {
		b = &bucket[string]{key: c.Account, full: now}
		q.byKey[c.Account] = b
		heap.Push(&q.fuller, b)
	}
	b.full = c.full(b, now).Add(c.price())
	heap.Fix(&q.fuller, b.index)
}

func (q *Quotas) forget(now time.Time) {
	for len(q.fuller) > 0 && !q.fuller[0].full.After(now) {
		delete(q.byKey, heap.Pop(&q.fuller).(*bucket[string]).key)
	}
}

// Accounts returns how many buckets are not full.
func (q *Quotas) Accounts() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(q.now())
	return len(q.byKey)
}

// snapshot is the form on disk.
type snapshot struct {
	Version int                  `json:"version"`
	Full    map[string]time.Time `json:"full"` // when each bucket will be
}

const snapshotVersion = 1

// ErrSnapshot is what Restore says of a text that is none of Snapshot's.
var ErrSnapshot = errors.New("no record of quotas")

// Snapshot returns what Restore reads; false when nothing has been taken since the
// last one.
func (q *Quotas) Snapshot() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.changed {
		return nil, false
	}
	q.forget(q.now())
	s := snapshot{Version: snapshotVersion, Full: make(map[string]time.Time, len(q.byKey))}
	for key, b := range q.byKey {
		s.Full[key] = b.full.Round(0).UTC()
	}
	text, err := json.Marshal(s)
	q.changed = err != nil
	return text, err == nil
}

// Restore replaces all buckets by those of a Snapshot; what was full since is left
// out, and so is what has no place. Errors wrap ErrSnapshot and change nothing.
func (q *Quotas) Restore(text []byte) error {
	var s snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%w: %v", ErrSnapshot, err)
	}
	if s.Version != snapshotVersion {
		return fmt.Errorf("%w: version %d is not known", ErrSnapshot, s.Version)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.byKey, q.fuller = map[string]*bucket[string]{}, nil
	for key, full := range s.Full {
		if full.After(now) && len(q.byKey) < q.max {
			b := &bucket[string]{key: key, full: full}
			q.byKey[key] = b
			heap.Push(&q.fuller, b)
		}
	}
	return nil
}
