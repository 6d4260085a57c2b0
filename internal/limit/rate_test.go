package limit_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dancemta/internal/limit"
)

// clock is set by hand.
type clock struct{ now time.Time }

func newClock() *clock                { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }
func (c *clock) time() time.Time      { return c.now }
func (c *clock) wait(d time.Duration) { c.now = c.now.Add(d) }

// drain takes tokens until there is none.
func drain(b *limit.Buckets[string], key string, c limit.Class) (n int) {
	for b.Take(key, c) {
		n++
	}
	return n
}

// All at once, then one by one, evenly; what is not used does not pile up.
func TestBucketsRefill(t *testing.T) {
	c := newClock()
	b := limit.NewBuckets[string](limit.Rate{N: 60, Per: time.Minute}, 9, c.time)
	for _, step := range []struct {
		wait time.Duration
		want int
	}{
		{0, 60}, {0, 0}, {999 * time.Millisecond, 0}, {time.Millisecond, 1}, {0, 0},
		{10 * time.Second, 10}, {time.Hour, 60}, {30 * time.Second, 30},
	} {
		c.wait(step.wait)
		if got := drain(b, "a", limit.Known); got != step.want {
			t.Errorf("%v later: %d tokens, want %d", step.wait, got, step.want)
		}
	}
}

// One key that is spent leaves the others alone.
func TestBucketsOfOthers(t *testing.T) {
	b := limit.NewBuckets[string](limit.Rate{N: 3, Per: time.Minute}, 9, newClock().time)
	if n := drain(b, "a", limit.Known); n != 3 {
		t.Errorf("%d tokens, want 3", n)
	}
	if b.Has("a", limit.Known) || !b.Has("b", limit.Known) || drain(b, "b", limit.Known) != 3 {
		t.Error("the keys are not apart")
	}
}

// Has takes nothing and makes no key.
func TestBucketsHas(t *testing.T) {
	b := limit.NewBuckets[string](limit.Rate{N: 1, Per: time.Minute}, 9, newClock().time)
	for range 2 {
		if !b.Has("a", limit.Known) || b.Keys() != 0 {
			t.Error("Has took a token")
		}
	}
	if !b.Take("a", limit.Known) || b.Has("a", limit.Known) {
		t.Error("Take took none")
	}
}

// A quarter is kept for the known, also while strangers take each token that comes.
func TestBucketsKeepAShare(t *testing.T) {
	for n, strangers := range map[int]int{1: 1, 3: 3, 4: 3, 60: 45} {
		c := newClock()
		b := limit.NewBuckets[string](limit.Rate{N: n, Per: time.Minute}, 9, c.time)
		if got := drain(b, "a", limit.Stranger); got != strangers {
			t.Errorf("rate of %d: %d for strangers, want %d", n, got, strangers)
		}
		if got := drain(b, "a", limit.Known); got != n-strangers {
			t.Errorf("rate of %d: %d for the known, want %d", n, got, n-strangers)
		}
		c.wait(time.Minute / time.Duration(n))
		if n >= 4 && b.Has("a", limit.Stranger) || !b.Has("a", limit.Known) {
			t.Errorf("rate of %d: the share of the known fills last", n)
		}
	}
}

// Keys that somebody invents push out nobody, and hold their places only until
// they are full again.
func TestBucketsFullOfKeys(t *testing.T) {
	c := newClock()
	b := limit.NewBuckets[string](limit.Rate{N: 2, Per: time.Minute}, 4, c.time)
	drain(b, "busy", limit.Stranger)
	for i, want := range []bool{true, true, false, false} { // three of four places are for strangers
		if got := b.Take(fmt.Sprint("made up ", i), limit.Stranger); got != want {
			t.Errorf("key %d: %v", i, got)
		}
	}
	if b.Take("busy", limit.Known) {
		t.Error("a key was forgotten before its bucket was full")
	}
	if !b.Take("known", limit.Known) || b.Take("second known", limit.Known) || b.Keys() != 4 {
		t.Errorf("the last place is for the known; %d keys", b.Keys())
	}
	c.wait(30 * time.Second) // the keys used once are full again
	if b.Keys() != 1 || !b.Take("new", limit.Stranger) || !b.Take("busy", limit.Stranger) {
		t.Errorf("%d keys after half a minute, want the busy one", b.Keys())
	}
}

// Whoever gives as many places as the rate of all can use never refuses a key
// for its newness.
func TestBucketsWithPlacesForAll(t *testing.T) {
	c := newClock()
	one, all := limit.Rate{N: 4, Per: time.Minute}, limit.Rate{N: 50, Per: time.Second}
	keys := limit.NewBuckets[string](one, all.Within(one.Per), c.time)
	together := limit.NewBuckets[string](all, 1, c.time)
	made := 0
	for range 2 * 60 * 50 { // two minutes
		for together.Take("", limit.Known) {
			made++
			if !keys.Take(fmt.Sprint(made), limit.Stranger) {
				t.Fatalf("no place for key %d", made)
			}
		}
		c.wait(20 * time.Millisecond)
	}
	if most := all.Within(2 * time.Minute); made > most || made < most-2 {
		t.Errorf("%d in two minutes, want %d", made, most)
	}
}

func TestBucketsForNobody(t *testing.T) {
	var none *limit.Buckets[string]
	now := newClock().time
	for name, b := range map[string]*limit.Buckets[string]{
		"nil":           none,
		"no rate":       limit.NewBuckets[string](limit.Rate{}, 9, now),
		"no number":     limit.NewBuckets[string](limit.Rate{N: -1, Per: time.Second}, 9, now),
		"no time":       limit.NewBuckets[string](limit.Rate{N: 9}, 9, now),
		"negative time": limit.NewBuckets[string](limit.Rate{N: 9, Per: -time.Second}, 9, now),
		"no key":        limit.NewBuckets[string](limit.Rate{N: 9, Per: time.Second}, 0, now),
	} {
		if b.Has("a", limit.Known) || b.Take("a", limit.Known) || b.Take("a", limit.Stranger) {
			t.Errorf("%s: there was a token", name)
		}
	}
	if n := (limit.Rate{}).Within(time.Hour); n != 0 {
		t.Errorf("no rate within an hour: %d", n)
	}
}

// The rates hold in every span of time, and each key is as if it were alone:
// compared with counting what was taken.
func TestBucketsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		rate := limit.Rate{N: rapid.IntRange(1, 9).Draw(t, "n"), Per: time.Duration(rapid.IntRange(1, 60).Draw(t, "per")) * time.Second}
		b := limit.NewBuckets[string](rate, 4, c.time)
		tokens, seen := map[string]float64{}, map[string]time.Time{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			c.wait(time.Duration(rapid.IntRange(0, 2000).Draw(t, "wait")) * time.Millisecond)
			key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
			have := float64(rate.N)
			if last, ok := seen[key]; ok {
				have = min(have, tokens[key]+c.now.Sub(last).Seconds()*float64(rate.N)/rate.Per.Seconds())
			}
			took := b.Take(key, limit.Known)
			if took && have < 1-1e-6 || !took && have > 1+1e-6 {
				t.Fatalf("%s has %v tokens, Take says %v", key, have, took)
			}
			if took {
				have--
			}
			tokens[key], seen[key] = have, c.now
		}
	})
}
