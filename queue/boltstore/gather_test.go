package boltstore

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestStalledBodies: nobody waits for bodies that have begun and do not end, but for
// their first moments.
func TestStalledBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{born: time.Now(), wake: make(chan struct{}, 1), pending: []*op{{}}}
		var began []int64
		for range 1000 {
			began = append(began, s.enter())
		}
		start := time.Now()
		s.gather(maxGather / 2)
		if waited := time.Since(start); waited != maxGather/2 {
			t.Errorf("waited %v for bodies that may come", waited)
		}
		time.Sleep(2 * span)
		for range 3 {
			start = time.Now()
			s.gather(time.Hour)
			if waited := time.Since(start); waited > 0 {
				t.Errorf("waited %v for bodies that have stalled", waited)
			}
			time.Sleep(10 * span)
		}
		fresh := s.enter()
		if !s.gathering() {
			t.Error("a fresh body beside stalled ones is not waited for")
		}
		for _, b := range began { // they end at last
			s.leave(b)
		}
		if !s.gathering() {
			t.Error("the ends of old ones were counted for a fresh one")
		}
		s.leave(fresh)
		if s.gathering() {
			t.Error("nobody is on the way")
		}
	})
}

func TestArrivals(t *testing.T) {
	var a arrivals
	for i, step := range []struct {
		do   func()
		at   int64
		some bool
	}{
		{func() {}, 0, false},
		{func() { a.enter(5) }, 5, true},
		{func() {}, 6, true},
		{func() {}, 7, false},
		{func() { a.leave(5, 7) }, 7, false},
		{func() { a.enter(7); a.enter(8) }, 8, true},
		{func() { a.leave(7, 8) }, 8, true},
		{func() { a.leave(8, 9) }, 9, false},
		{func() { a.enter(9) }, 100, false},
	} {
		step.do()
		if got := a.some(step.at); got != step.some || a.newest < 0 || a.older < 0 {
			t.Errorf("step %d: %v, %+v", i, got, a)
		}
	}
}
