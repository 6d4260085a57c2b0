// Package recall remembers answers for a while. One question at a time is asked about
// a key, however many want to know: the others wait for its answer. What is known is
// bounded, and an answer never outlives the time that came with it.
package recall

import (
	"context"
	"sync"
	"time"
)

// Options of New. Ask and Max are required.
type Options[V any] struct {
	// Ask finds out what is to be known of a key, and how long that holds. It returns
	// soon after ctx ends, which is no sooner than it chooses itself.
	Ask func(ctx context.Context, key string) (V, time.Duration)
	// Max is how many keys are known at once.
	Max int
	// AfterPanic is how long the zero V holds when Ask panicked.
	AfterPanic time.Duration
	Now        func() time.Time // nil: time.Now
}

// Memory remembers. It is safe for concurrent use.
type Memory[V any] struct {
	o Options[V]

	mu    sync.Mutex
	known map[string]*entry[V]
}

// entry is an answer, or a question under way; what follows done is valid once it is closed.
type entry[V any] struct {
	done   chan struct{}
	answer V
	until  time.Time
}

// New returns a Memory that knows nothing.
func New[V any](o Options[V]) *Memory[V] {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Memory[V]{o: o, known: map[string]*entry[V]{}}
}

// Answer returns what is known of a key, and asks if it must; known: it did not have to.
// Whoever waits for the question of another gets its answer, or ctx's error when that
// ends first. A question goes on when the one who asked it leaves.
func (m *Memory[V]) Answer(ctx context.Context, key string) (v V, known bool, err error) {
	e, mine := m.find(key)
	if mine {
		m.ask(context.WithoutCancel(ctx), key, e)
	}
	select {
	case <-e.done:
		return e.answer, !mine, nil
	case <-ctx.Done():
		return v, false, ctx.Err()
	}
}

// find returns the entry of a key; mine: a new one, for the caller to fill.
func (m *Memory[V]) find(key string) (e *entry[V], mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e = m.known[key]; e != nil {
		select {
		case <-e.done:
			if m.o.Now().Before(e.until) {
				return e, false
			}
		default:
			return e, false
		}
	}
	m.makeRoom()
	e = &entry[V]{done: make(chan struct{})}
	m.known[key] = e
	return e, true
}

// makeRoom forgets answers when there are too many: those that hold no more, else any.
func (m *Memory[V]) makeRoom() {
	if len(m.known) < m.o.Max {
		return
	}
	now := m.o.Now()
	for _, any := range []bool{false, true} {
		for key, e := range m.known {
			select {
			case <-e.done:
				if any || !now.Before(e.until) {
					delete(m.known, key)
				}
			default:
			}
			if any && len(m.known) < m.o.Max*9/10 {
				return
			}
		}
	}
}

// ask fills an entry. A panic of Ask leaves it zero, and those who wait are let go.
func (m *Memory[V]) ask(ctx context.Context, key string, e *entry[V]) {
	life := m.o.AfterPanic
	defer func() {
		e.until = m.o.Now().Add(life)
		close(e.done)
	}()
	e.answer, life = m.o.Ask(ctx, key)
}

// Len returns how many keys are known, or asked about.
func (m *Memory[V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known)
}
