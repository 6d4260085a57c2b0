package queue

import (
	"fmt"
	"testing"
	"time"
)

// TestBackoff: one minute, doubled up to an hour, and never all at the same moment.
func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 1000: time.Hour,
	} {
		seen := map[time.Duration]bool{}
		for range 20 {
			d := backoff(failures)
			seen[d] = true
			if d < want-want/8 || d > want+want/8 {
				t.Errorf("after %d failures: %v, want %v by one eighth", failures, d, want)
			}
		}
		if len(seen) < 2 {
			t.Errorf("after %d failures it is always the same", failures)
		}
	}
}

// TestForget: what is remembered is bounded, and trouble is remembered longest.
func TestForget(t *testing.T) {
	ds := newDestinations(&Options{PerDestination: 20, Concurrency: 50}, time.Now)
	visit := func(name string, fail bool) {
		p := ds.arrive(name, 7)
		if fail {
			ds.fail(name, time.Now(), "no answer")
		}
		ds.leave(name, p)
	}
	for i := range 10 {
		visit(fmt.Sprintf("silent%d.test", i), true)
	}
	for i := range 3 * maxRemembered {
		visit(fmt.Sprintf("d%d.test", i), false)
	}
	if len(ds.by) > maxRemembered {
		t.Errorf("%d destinations are remembered", len(ds.by))
	}
	if n := len(ds.troubles()); n != 10 {
		t.Errorf("%d of 10 in trouble are remembered", n)
	}
	if ds.places != [groups]int{} || len(ds.senders) > 0 {
		t.Errorf("places taken: %v, %v", ds.places, ds.senders)
	}
}
