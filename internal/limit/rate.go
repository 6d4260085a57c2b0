package limit

import (
	"container/heap"
	"sync"
	"time"
)

// Rate allows N events at once, and from then on N in each Per, evenly. One that
// is not above zero in both allows none.
type Rate struct {
	N   int
	Per time.Duration
}

func (r Rate) none() bool { return r.N < 1 || r.Per <= 0 }

// Within returns the most events that any span of time can see.
func (r Rate) Within(span time.Duration) int {
	if r.none() {
		return 0
	}
	return r.N + int(float64(r.N)*span.Seconds()/r.Per.Seconds()) + 1
}

// Class says how much of a bucket somebody may use.
type Class uint8

// The classes. A quarter of each bucket, and of the places for keys, is kept for
// Known: else whoever empties a bucket that many share shuts all of them out.
const (
	Stranger Class = iota
	Known
)

// share returns what a class may use of n; never nothing.
func (c Class) share(n int) int {
	if c == Known {
		return n
	}
	return n - n/4
}

// Buckets is a token bucket for each key, a Rate's N tokens deep. It knows at
// most maxKeys keys at once, and it never forgets one before its bucket is full
// again, when it is as good as new: keys that a stranger invents push out nobody.
// With no place left a new key finds no token, until the first of the others is
// full. Whoever bounds all keys together by a rate r, and gives Buckets places for
// r.Within of the time that a bucket takes to fill, never sees that.
type Buckets[K comparable] struct {
	rate    Rate
	maxKeys int
	now     func() time.Time

	mu     sync.Mutex
	byKey  map[K]*bucket[K]
	fuller fullest[K]
}

// bucket is one that is not full.
type bucket[K comparable] struct {
	key   K
	full  time.Time // when it will be: each token taken puts it off by Per/N
	index int       // in the heap
}

// NewBuckets returns full buckets. With a rate of none, or maxKeys below 1, there
// is never a token. The clock must not go back; time.Now does not.
func NewBuckets[K comparable](r Rate, maxKeys int, now func() time.Time) *Buckets[K] {
	return &Buckets[K]{rate: r, maxKeys: maxKeys, now: now, byKey: map[K]*bucket[K]{}}
}

// Take takes a token of key and reports whether there was one for this class.
// Whoever finds none has changed nothing.
func (b *Buckets[K]) Take(key K, c Class) bool { return b.take(key, c, true) }

// Has reports whether Take would find a token now.
func (b *Buckets[K]) Has(key K, c Class) bool { return b.take(key, c, false) }

// Keys returns how many buckets are not full.
func (b *Buckets[K]) Keys() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(b.now())
	return len(b.byKey)
}

func (b *Buckets[K]) take(key K, c Class, really bool) bool {
	if b == nil || b.rate.none() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.forget(now)
	full := now
	known := b.byKey[key]
	if known != nil {
		full = known.full
	} else if b.maxKeys < 1 || len(b.byKey) >= c.share(b.maxKeys) {
		return false
	}
	full = full.Add(b.token())
	if full.Sub(now) > b.token()*time.Duration(c.share(b.rate.N)) {
		return false
	}
	switch {
	case !really:
	case known != nil:
		known.full = full
		heap.Fix(&b.fuller, known.index)
	default:
		known = &bucket[K]{key: key, full: full}
		b.byKey[key] = known
		heap.Push(&b.fuller, known)
	}
	return true
}

// token is the time that one token takes to come back.
func (b *Buckets[K]) token() time.Duration { return max(b.rate.Per/time.Duration(b.rate.N), 1) }

// forget drops what is full.
func (b *Buckets[K]) forget(now time.Time) {
	for len(b.fuller) > 0 && !b.fuller[0].full.After(now) {
		delete(b.byKey, heap.Pop(&b.fuller).(*bucket[K]).key)
	}
}

// fullest is a heap of buckets, that which will be full first at its top.
type fullest[K comparable] []*bucket[K]

func (f fullest[K]) Len() int           { return len(f) }
func (f fullest[K]) Less(i, j int) bool { return f[i].full.Before(f[j].full) }
func (f fullest[K]) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].index, f[j].index = i, j
}

func (f *fullest[K]) Push(x any) {
	b := x.(*bucket[K])
	b.index = len(*f)
	*f = append(*f, b)
}

func (f *fullest[K]) Pop() any {
	old := *f
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*f = old[:len(old)-1]
	return last
}
