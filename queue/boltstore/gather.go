package boltstore

import "time"

const (
	// maxGather is longer than any healthy flush: a sick disk must not teach us to wait.
	maxGather = 20 * time.Millisecond
	// A body is on the way for one or two spans after it began: one that takes longer is
	// large, slow or stalled, and a thousand peers that begin one and say no more must
	// not make each group of all others wait.
	span = maxGather
)

// arrivals counts the puts that have begun to read their body of late.
type arrivals struct {
	at            int64 // the newest span
	newest, older int   // that began in it, and in the one before
}

// turn makes at the newest span.
func (a *arrivals) turn(at int64) {
	switch {
	case at == a.at:
		return
	case at == a.at+1:
		a.older = a.newest
	default:
		a.older = 0
	}
	a.at, a.newest = at, 0
}

// enter counts one, and returns what leave wants to know.
func (a *arrivals) enter(at int64) (began int64) {
	a.turn(at)
	a.newest++
	return a.at
}

// leave counts out one that has read its body, if it still counts.
func (a *arrivals) leave(began, at int64) {
	a.turn(at)
	switch began {
	case a.at:
		a.newest--
	case a.at - 1:
		a.older--
	}
}

// some reports whether any is on the way.
func (a *arrivals) some(at int64) bool {
	a.turn(at)
	return a.newest+a.older > 0
}

// span is the number of the present span.
func (s *Store) span() int64 { return int64(time.Since(s.born) / span) }

// enter says that a put begins to read its body, leave that it has ended so.
func (s *Store) enter() (began int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reading.enter(s.span())
}

func (s *Store) leave(began int64) {
	s.mu.Lock()
	at := s.span()
	s.reading.leave(began, at)
	quiet := !s.reading.some(at)
	s.mu.Unlock()
	if quiet {
		s.poke()
	}
}

// gather waits until the puts that are reading their bodies have arrived, at
// most for the time given; not at all when nobody is on the way or nothing
// waits. Without it each group would hold only half of the clients: the others
// send their next message while the first half is being flushed.
func (s *Store) gather(most time.Duration) {
	if most <= 0 || !s.gathering() {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for s.gathering() {
		select {
		case <-s.wake:
		case <-timer.C:
			return
		}
	}
}

func (s *Store) gathering() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && len(s.pending) > 0 && len(s.pending) < maxGroup && s.reading.some(s.span())
}
