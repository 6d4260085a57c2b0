package queue

import (
	"sync"
	"time"
)

const (
	// A clock that is off by less is followed at once: nobody notices.
	clockTolerance = time.Minute
	// How fast the schedule follows a clock that was set forward: a day is caught up
	// in a day, and nothing that was to come over the day comes at once.
	clockHaste = 2
)

// clock is the time of the schedule. It follows the wall clock, but not its jumps: a
// clock that is set forward would make all waiting mail due, or too old, at once; one
// that is set back would let it wait.
type clock struct {
	wall func() time.Time

	mu   sync.Mutex
	last time.Time // by the monotonic clock, which nobody sets
	time time.Time // of the schedule then
}

func (c *clock) now() time.Time {
	wall := c.wall().Round(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.last
	c.last = time.Now()
	if last.IsZero() {
		c.time = wall
		return wall
	}
	passed := c.last.Sub(last)
	switch off := wall.Sub(c.time.Add(passed)); {
	case off > clockTolerance:
		c.time = c.time.Add(clockHaste * passed)
	case off < -clockTolerance:
		c.time = c.time.Add(passed - passed/clockHaste) // never nothing, or a short sleep would have no end
	default:
		c.time = wall
	}
	return c.time
}
