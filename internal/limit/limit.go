// Package limit bounds how much happens at once. A Gate lets n callers in, a
// KeyedGate lets n in for each key (a peer address, a zone), so that one busy
// key cannot use up what all the others need.
//
// Both fail closed: a gate made for no one, and a nil gate, let nobody in.
// Whoever entered leaves exactly once; leaving without having entered panics,
// since from then on the bound would no longer hold.
package limit

import (
	"context"
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

// KeyedGate lets at most n callers in at once for each key, and knows at most
// maxKeys keys at once: a stranger who invents keys cannot fill the memory.
type KeyedGate[K comparable] struct {
	perKey, maxKeys int

	mu     sync.Mutex
	inside map[K]int // only keys with somebody inside
}

// NewKeyedGate returns a gate for perKey callers per key and maxKeys keys at
// once. With either below 1 nobody gets in.
func NewKeyedGate[K comparable](perKey, maxKeys int) *KeyedGate[K] {
	return &KeyedGate[K]{perKey: perKey, maxKeys: maxKeys, inside: map[K]int{}}
}

// TryEnter enters if there is a free place for key now.
func (g *KeyedGate[K]) TryEnter(key K) bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.inside[key]
	if n >= g.perKey {
		return false
	}
	if n == 0 && len(g.inside) >= g.maxKeys {
		return false
	}
	g.inside[key] = n + 1
	return true
}

// Leave gives the place of key back and forgets a key with nobody inside.
func (g *KeyedGate[K]) Leave(key K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch n := g.inside[key]; n {
	case 0:
		panic("limit: Leave without Enter")
	case 1:
		delete(g.inside, key)
	default:
		g.inside[key] = n - 1
	}
}

// Keys returns how many keys have somebody inside now.
func (g *KeyedGate[K]) Keys() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.inside)
}
