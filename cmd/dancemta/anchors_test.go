package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/metrics"
)

// The list is there before the first look; trouble changes nothing and is tried
// again soon; new anchors are looked at at once.
func TestAnchorWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := dnssec.Anchor{KeyTag: 1}, dnssec.Anchor{KeyTag: 2}
		var mu sync.Mutex // guards what follows
		down, looks := true, 0
		live := []dnssec.AnchorStatus{{Anchor: one, Matches: true}, {Anchor: two}}
		w := newAnchorWatch(func(context.Context) ([]dnssec.AnchorStatus, error) {
			mu.Lock()
			defer mu.Unlock()
			looks++
			if down {
				return nil, errors.New("no answer")
			}
			return live, nil
		}, []dnssec.Anchor{one, two})
		expect := func(what string, n int, want ...metrics.Anchor) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(w.list(), want) || looks != n {
				t.Errorf("%s: %v after %d looks, want %v after %d", what, w.list(), looks, want, n)
			}
		}
		expect("before", 0, metrics.Anchor{KeyTag: 1}, metrics.Anchor{KeyTag: 2})
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { w.run(ctx) })
		expect("no DNS", 1, metrics.Anchor{KeyTag: 1}, metrics.Anchor{KeyTag: 2})
		set := func(isDown bool, now ...dnssec.AnchorStatus) {
			mu.Lock()
			defer mu.Unlock()
			down, live = isDown, now
		}
		set(false, live...)
		time.Sleep(time.Minute)
		expect("DNS is there", 2, metrics.Anchor{KeyTag: 1, Matched: true}, metrics.Anchor{KeyTag: 2})
		set(true)
		time.Sleep(time.Hour)
		expect("DNS is gone", 3, metrics.Anchor{KeyTag: 1, Matched: true}, metrics.Anchor{KeyTag: 2})
		set(false, dnssec.AnchorStatus{Anchor: one, Matches: true})
		w.set([]dnssec.Anchor{one})
		expect("other anchors", 4, metrics.Anchor{KeyTag: 1, Matched: true})
		cancel()
		wait.Wait()
	})
}
