// Package limit bounds how much happens at once and how often. A Gate lets n
// callers in, a KeyedGate lets n in for each key (a peer address, a zone), so that
// one busy key cannot use up what all the others need. Buckets bound a rate for
// each key.
//
// All fail closed: a gate made for no one, a rate of none, and nil let nobody in.
// Whoever entered leaves exactly once; leaving without having entered panics,
// since from then on the bound would no longer hold.
package limit

import (
	"context"
	"errors"
	"sync"
)

// Gate lets at most n callers in at once.
type Gate struct{ slots chan struct{} }

// NewGate returns a gate for n callers; n below 1 lets nobody in.
func NewGate(n int) *Gate { return &Gate{slots: make(chan struct{}, max(n, 0))} }

// Enter waits for a free place. It returns the context's error when that ends
// first; the caller has then not entered and must not Leave.
func (g *Gate) Enter(ctx context.Context) error {
	if g.TryEnter() {
		return nil
	}
	var slots chan struct{} // nil: blocks for ever, so a nil gate waits for ctx
	if g != nil {
		slots = g.slots
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryEnter enters if there is a free place now.
func (g *Gate) TryEnter() bool {
	if g == nil {
		return false
	}
	select {
	case g.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// Leave gives the place back.
func (g *Gate) Leave() {
	select {
	case <-g.slots:
	default:
		panic("limit: Leave without Enter")
	}
}

// Len returns how many are inside now.
func (g *Gate) Len() int { return len(g.slots) }

// ErrTooManyKeys is what a KeyedGate answers to one key more than it knows.
var ErrTooManyKeys = errors.New("too many keys at once")

// KeyedGate lets at most n callers in at once for each key, and knows at most
// maxKeys keys at once: a stranger who invents keys cannot fill the memory. How
// many callers wait is for the caller to bound.
type KeyedGate[K comparable] struct {
	perKey, maxKeys int

	mu   sync.Mutex
	keys map[K]*keyed // only keys with somebody inside or waiting
}

type keyed struct {
	gate  *Gate
	users int // inside or waiting
}

// NewKeyedGate returns a gate for perKey callers per key and maxKeys keys at
// once. With either below 1 nobody gets in.
func NewKeyedGate[K comparable](perKey, maxKeys int) *KeyedGate[K] {
	return &KeyedGate[K]{perKey: perKey, maxKeys: maxKeys, keys: map[K]*keyed{}}
}

// Enter waits for a free place for key. It returns the context's error when
// that ends first, or ErrTooManyKeys at once; the caller has then not entered
// and must not Leave.
func (g *KeyedGate[K]) Enter(ctx context.Context, key K) error {
	gate := g.join(key)
	if gate == nil {
		return ErrTooManyKeys
	}
	err := gate.Enter(ctx)
	if err != nil {
		g.part(key)
	}
	return err
}

// TryEnter enters if there is a free place for key now.
func (g *KeyedGate[K]) TryEnter(key K) bool {
	gate := g.join(key)
	if gate == nil {
		return false
	}
	if gate.TryEnter() {
		return true
	}
	g.part(key)
	return false
}

// Leave gives the place of key back and forgets a key that nobody uses.
func (g *KeyedGate[K]) Leave(key K) {
	g.mu.Lock()
	k := g.keys[key]
	g.mu.Unlock()
	if k == nil {
		panic("limit: Leave without Enter")
	}
	k.gate.Leave()
	g.part(key)
}

// Keys returns how many keys have somebody inside or waiting now.
func (g *KeyedGate[K]) Keys() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.keys)
}

// join counts a user of key in and returns its gate; nil when there is no room
// for another key.
func (g *KeyedGate[K]) join(key K) *Gate {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.keys[key]
	if k == nil {
		if len(g.keys) >= g.maxKeys {
			return nil
		}
		k = &keyed{gate: NewGate(g.perKey)}
		g.keys[key] = k
	}
	k.users++
	return k.gate
}

// part counts a user of key out.
func (g *KeyedGate[K]) part(key K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.keys[key]
	if k.users--; k.users == 0 {
		delete(g.keys, key)
	}
}
