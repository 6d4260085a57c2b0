package limit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"dancemta/internal/limit"
)

func TestGateCounts(t *testing.T) {
	g := limit.NewGate(2)
	for i, want := range []bool{true, true, false} {
		if got := g.TryEnter(); got != want {
			t.Fatalf("entry %d: got %v, want %v", i, got, want)
		}
	}
	g.Leave()
	if !g.TryEnter() {
		t.Fatal("a place given back was not to be had")
	}
	if g.Len() != 2 {
		t.Fatalf("Len = %d, want 2", g.Len())
	}
}

func TestGateForNobody(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for name, g := range map[string]*limit.Gate{"zero": limit.NewGate(0), "negative": limit.NewGate(-1), "nil": nil} {
		if g.TryEnter() {
			t.Errorf("%s gate let someone in", name)
		}
		if err := g.Enter(done); !errors.Is(err, context.Canceled) {
			t.Errorf("%s gate: Enter = %v, want context.Canceled", name, err)
		}
	}
}

func TestGateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limit.NewGate(1)
		g.TryEnter()
		entered := make(chan error, 1)
		go func() { entered <- g.Enter(t.Context()) }()
		synctest.Wait()
		select {
		case <-entered:
			t.Fatal("two are inside a gate for one")
		default:
		}
		g.Leave()
		if err := <-entered; err != nil {
			t.Fatal(err)
		}
	})
}

func TestLeaveWithoutEnterPanics(t *testing.T) {
	for name, leave := range map[string]func(){
		"gate":  limit.NewGate(1).Leave,
		"keyed": func() { limit.NewKeyedGate[string](1, 1).Leave("a") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			leave()
		}()
	}
}

func TestKeyedGate(t *testing.T) {
	g := limit.NewKeyedGate[string](2, 2)
	steps := []struct {
		key  string
		want bool
	}{
		{"a", true}, {"a", true}, {"a", false}, // the third of one key
		{"b", true}, {"c", false}, // the third key
		{"b", true}, // a known key still gets in
	}
	for i, s := range steps {
		if got := g.TryEnter(s.key); got != s.want {
			t.Fatalf("step %d, %q: got %v, want %v", i, s.key, got, s.want)
		}
	}
	g.Leave("a")
	g.Leave("a")
	if g.Keys() != 1 {
		t.Fatalf("%d keys, want 1: a key with nobody inside must be forgotten", g.Keys())
	}
	if !g.TryEnter("c") {
		t.Fatal("the place of a forgotten key was not to be had")
	}
}

func TestKeyedGateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limit.NewKeyedGate[string](1, 2)
		g.TryEnter("a")
		entered := make(chan error, 1)
		go func() { entered <- g.Enter(t.Context(), "a") }()
		synctest.Wait()
		if err := g.Enter(t.Context(), "b"); err != nil {
			t.Fatalf("another key: %v", err)
		}
		if err := g.Enter(t.Context(), "c"); !errors.Is(err, limit.ErrTooManyKeys) {
			t.Fatalf("a third key: %v", err)
		}
		select {
		case <-entered:
			t.Fatal("two are inside a gate for one")
		default:
		}
		g.Leave("a")
		if err := <-entered; err != nil {
			t.Fatal(err)
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Enter(done, "a"); !errors.Is(err, context.Canceled) {
			t.Fatalf("a full key and a context that has ended: %v", err)
		}
		g.Leave("a")
		g.Leave("b")
		if g.Keys() != 0 {
			t.Fatalf("%d keys left behind", g.Keys())
		}
	})
}

func TestKeyedGateForNobody(t *testing.T) {
	var none *limit.KeyedGate[int]
	for name, g := range map[string]*limit.KeyedGate[int]{
		"no caller": limit.NewKeyedGate[int](0, 9), "no key": limit.NewKeyedGate[int](9, 0), "nil": none,
	} {
		if g.TryEnter(1) {
			t.Errorf("%s: let someone in", name)
		}
	}
}

func TestBoundHoldsUnderLoad(t *testing.T) {
	const n = 3
	g, k := limit.NewGate(n), limit.NewKeyedGate[int](n, 1)
	var inside, insideKey, worst atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if g.Enter(t.Context()) != nil {
				return
			}
			worst.Store(max(worst.Load(), inside.Add(1)))
			if k.TryEnter(7) {
				if insideKey.Add(1) > n {
					t.Error("too many inside the keyed gate")
				}
				insideKey.Add(-1)
				k.Leave(7)
			}
			inside.Add(-1)
			g.Leave()
		})
	}
	wg.Wait()
	if worst.Load() > n || g.Len() != 0 || k.Keys() != 0 {
		t.Fatalf("at most %d inside, %d and %d left behind; want <= %d, 0, 0", worst.Load(), g.Len(), k.Keys(), n)
	}
}
