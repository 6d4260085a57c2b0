package dnssec

import "sync"

// flights lets equal questions share the work: the first one does it, the
// others wait for its end.
type flights struct {
	mu      sync.Mutex
	running map[question]*flight
}

type flight struct {
	done   chan struct{} // closed at the end
	answer Answer        // of a whole lookup, set before the end
}

// join returns the flight for a question; first is true for the caller who has
// to do the work and then to call finish.
func (f *flights) join(k question) (fl *flight, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl = f.running[k]; fl != nil {
		return fl, false
	}
	fl = &flight{done: make(chan struct{})}
	f.running[k] = fl
	return fl, true
}

// find returns the flight for a question, nil when there is none.
func (f *flights) find(k question) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[k]
}

func (f *flights) finish(k question, fl *flight) {
	f.mu.Lock()
	delete(f.running, k)
	f.mu.Unlock()
	close(fl.done)
}
