package boltstore

import "dancemta/queue"

// unit names one message at one destination.
type unit struct {
	id          queue.ID
	destination string
}

// leases are the units under delivery. They live in memory alone: after a
// crash each unit is due at the time that was written when it was leased.
type leases struct {
	active  map[unit]struct{}
	perDest map[string]int
}

func newLeases() leases {
	return leases{active: map[unit]struct{}{}, perDest: map[string]int{}}
}

func (l *leases) has(u unit) bool {
	_, ok := l.active[u]
	return ok
}

func (l *leases) add(u unit) {
	l.active[u] = struct{}{}
	l.perDest[u.destination]++
}

func (l *leases) release(units []unit) {
	for _, u := range units {
		if !l.has(u) {
			continue
		}
		delete(l.active, u)
		if l.perDest[u.destination]--; l.perDest[u.destination] == 0 {
			delete(l.perDest, u.destination)
		}
	}
}
