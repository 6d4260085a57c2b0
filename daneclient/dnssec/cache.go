package dnssec

import (
	"container/list"
	"sync"
	"time"
)

// memory is all that is remembered under one set of trust anchors. With new
// anchors it is dropped whole, so that nothing proved by the old ones is left,
// not even by a lookup still in flight.
type memory struct {
	anchors  []Anchor
	answers  *cache[Answer]
	cuts     *cache[*cut]
	failures *failures
	lookups  flights // of answers
	steps    flights // of cuts
}

func newMemory(anchors []Anchor, kib int) *memory {
	return &memory{
		anchors:  anchors,
		answers:  newCache(kib, sizeOfAnswer),
		cuts:     newCache(kib, sizeOfCut),
		failures: &failures{newCache(kib, func(failure) int { return 0 })},
		lookups:  flights{running: map[question]*flight{}},
		steps:    flights{running: map[question]*flight{}},
	}
}

// cache keeps values until they expire or until it is full; then the one that
// was not used for the longest time goes. An entry counts as 1 KiB and what its
// value needs beyond.
type cache[V any] struct {
	limit int // KiB
	size  func(V) int

	mu    sync.Mutex
	used  int
	order *list.List // of *entry[V], the last used first
	index map[question]*list.Element
}

type entry[V any] struct {
	key     question
	value   V
	expires time.Time
	cost    int
}

func newCache[V any](kib int, size func(V) int) *cache[V] {
	return &cache[V]{limit: kib, size: size, order: list.New(), index: map[question]*list.Element{}}
}

func (c *cache[V]) get(k question, now time.Time) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.index[k]
	if el == nil {
		return v, false
	}
	e := el.Value.(*entry[V])
	if !now.Before(e.expires) {
		c.remove(el)
		return v, false
	}
	c.order.MoveToFront(el)
	return e.value, true
}

func (c *cache[V]) put(k question, v V, expires, now time.Time) {
	cost := 1 + c.size(v)/1024
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.index[k]; el != nil {
		c.remove(el)
	}
	if !now.Before(expires) || cost > c.limit {
		return
	}
	c.index[k] = c.order.PushFront(&entry[V]{k, v, expires, cost})
	c.used += cost
	for c.used > c.limit {
		c.remove(c.order.Back())
	}
}

func (c *cache[V]) drop(k question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.index[k]; el != nil {
		c.remove(el)
	}
}

func (c *cache[V]) remove(el *list.Element) {
	e := c.order.Remove(el).(*entry[V])
	delete(c.index, e.key)
	c.used -= e.cost
}

// sizeOfAnswer is about what an answer takes, in octets.
func sizeOfAnswer(a Answer) int {
	n := len(a.Reason) + 64*(len(a.Names)+len(a.MX)+len(a.Enclosers)) + 32*len(a.Addrs)
	for _, t := range a.TLSA {
		n += 32 + len(t.Data)
	}
	for _, t := range a.TXT {
		n += 16 + len(t)
	}
	return n + sizeOfSteps(a.Steps)
}

func sizeOfCut(c *cut) int {
	n := sizeOfSteps(c.steps)
	if c.zone != nil {
		for _, k := range c.zone.keys {
			n += 256 + len(k.PublicKey)
		}
	}
	return n
}

func sizeOfSteps(steps []Step) int {
	n := 0
	for _, s := range steps {
		n += 80 + len(s.Zone) + len(s.Name) + len(s.Detail)
	}
	return n
}

// failures remembers what failed, so that dead zones do not cost a lookup at
// each try. RFC 9520 3.2
type failures struct{ kept *cache[failure] }

type failure struct {
	fault fault
	until time.Time
	delay time.Duration
}

// get returns the fault that is still to be believed, nil for none.
func (f *failures) get(k question, now time.Time) *fault {
	kept, ok := f.kept.get(k, now)
	if !ok || !now.Before(kept.until) {
		return nil
	}
	found := kept.fault
	found.until = kept.until
	return &found
}

// put remembers a fault and returns until when: for twice as long as the one
// before. A fault that came from this memory itself stays no longer than it
// did there, and what is ours is not remembered.
func (f *failures) put(k question, found *fault, now time.Time) time.Time {
	kept := failure{fault: *found, until: found.until}
	switch {
	case found.kind == ours:
		return now
	case found.until.IsZero():
		kept.delay = f.delay(k, found.kind, now)
		kept.until = now.Add(kept.delay)
	}
	// It is kept longer than it is believed, for the next delay to grow on.
	f.kept.put(k, kept, kept.until.Add(maxFailure), now)
	return kept.until
}

func (f *failures) delay(k question, kind faultKind, now time.Time) time.Duration {
	longest := maxFailure
	switch kind {
	case recordLimit, lookupLimit:
		return overLimit
	case silence, deadline:
		longest = maxSilence
	}
	before, _ := f.kept.get(k, now)
	return min(max(minFailure, 2*before.delay), longest)
}

func (f *failures) forget(k question) { f.kept.drop(k) }
