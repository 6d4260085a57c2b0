package queue

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// Visits at once to a destination of which nothing is known. Each success earns a
	// part of a further one.
	initialVisits = 2
	// A destination that has answered lately will answer again.
	provenFor = 10 * time.Minute
	// One of so many places is for destinations that have answered lately alone, and
	// one of so many is all for those that failed: fifty silent hosts would hold all
	// fifty places for minutes.
	provenShare   = 4
	troubledShare = 5
	// The back-off of a destination: not longer than the waits of a message, so that a
	// single one sees nothing of it.
	firstBackoff = time.Minute
	maxBackoff   = time.Hour
	// Destinations that are remembered beside those with a visit. One that is
	// forgotten is a new one.
	maxRemembered = 4096
	// How many are compared to find one to forget.
	forgetSample = 16
)

// The groups of destinations. Each may hold the places of those after it.
const (
	proven   = iota // answered lately
	unproven        // nothing is known
	troubled        // the last attempt found nobody
	groups
)

// destinations is what the queue remembers of where its mail goes. It is bounded by
// the visits under way and by maxRemembered, never by the length of the queue.
type destinations struct {
	o   *Options
	now func() time.Time

	mu      sync.Mutex
	by      map[string]*destination
	rates   rates
	shares  map[string]int // visits, by Share.Key
	places  [groups]int    // taken, by group
	senders map[holder]int // places of those who are not proven
	plan    plan
}

// destination is one of them.
type destination struct {
	visits   int
	limit    int // of visits
	good     int // answers since the limit grew
	answered time.Time
	touched  time.Time

	failures int       // in a row
	failed   time.Time // the last of them
	since    time.Time // the first of them
	until    time.Time // no attempt before
	reply    string    // the last one
}

// plan counts what a transaction of the store has leased, which may be undone.
type plan struct {
	by      map[string]int
	places  [groups]int
	rates   map[string]int
	shares  map[string]int
	senders map[holder]int
	wake    time.Time // when a rate permits more; zero: none holds anything back
}

func newDestinations(o *Options, now func() time.Time) *destinations {
	return &destinations{o: o, now: now, by: map[string]*destination{}, rates: rates{by: map[string]time.Time{}}, shares: map[string]int{}, senders: map[holder]int{}}
}

// begin is DueRequest.Begin.
func (ds *destinations) begin() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.plan = plan{by: map[string]int{}, rates: map[string]int{}, shares: map[string]int{}, senders: map[holder]int{}}
}

// leased is DueRequest.Leased.
func (ds *destinations) leased(name string, sender uint64) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.plan.by[name]++
	group := ds.group(ds.by[name], ds.now())
	ds.plan.places[group]++
	ds.plan.senders[holder{group, sender}]++
	ds.plan.rates[ds.rate(name).Key]++
	ds.plan.shares[ds.share(name).Key]++
}

// wake is when a rate permits what it held back at the last request.
func (ds *destinations) wake() time.Time {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return ds.plan.wake
}

// limit is DueRequest.Limit: what is leased already, and what may be beyond.
func (ds *destinations) limit(name string) int {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := ds.now()
	d, here := ds.by[name], ds.plan.by[name]
	visits := here
	if d != nil {
		visits += d.visits
	}
	if visits >= ds.visits(d, now) || !ds.room(ds.group(d, now)) || ds.shareFull(name) {
		return here
	}
	if at := ds.rates.next(ds.rate(name), ds.plan.rates, now); at.After(now) {
		if ds.plan.wake.IsZero() || at.Before(ds.plan.wake) {
			ds.plan.wake = at
		}
		return here
	}
	return here + 1
}

// visits is how many visits a destination may have at once.
func (ds *destinations) visits(d *destination, now time.Time) int {
	most := min(initialVisits, ds.o.PerDestination)
	switch {
	case d == nil:
		return most
	case d.failures > 0:
		return 1 // a probe
	case now.Sub(d.answered) > provenFor:
		return min(most, d.limit)
	}
	return d.limit
}

func (ds *destinations) group(d *destination, now time.Time) int {
	switch {
	case d == nil:
		return unproven
	case d.failures > 0:
		return troubled
	case now.Sub(d.answered) > provenFor:
		return unproven
	}
	return proven
}

// away is DueRequest.Away.
func (ds *destinations) away(name string) (reply string, away bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d := ds.by[name]
	if d == nil || d.failures == 0 || !ds.now().Before(d.until) {
		return "", false
	}
	return d.reply, true
}

// arrive begins a visit for a message of a sender; it returns the place that it has.
func (ds *destinations) arrive(name string, sender uint64) (p place) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := ds.now()
	p = place{ds.group(ds.by[name], now), sender, ds.join(name)}
	d := ds.by[name]
	if d == nil {
		d = &destination{limit: min(initialVisits, ds.o.PerDestination)}
		ds.by[name] = d
	}
	d.visits++
	d.touched = now
	ds.takePlace(p)
	return p
}

// leave ends a visit.
func (ds *destinations) leave(name string, p place) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.leaveShare(p.share)
	ds.givePlace(p)
	d := ds.by[name]
	d.visits--
	d.touched = ds.now()
	if len(ds.by) > maxRemembered {
		ds.forget()
	}
}

// forget drops one of those without a visit: one without trouble before one with it,
// the one that was touched longest ago first, of a few.
func (ds *destinations) forget() {
	var name string
	var oldest *destination
	n := 0
	for k, d := range ds.by {
		if n++; n > forgetSample && oldest != nil {
			break
		}
		if d.visits > 0 {
			continue
		}
		if oldest == nil || (d.failures > 0) == (oldest.failures > 0) && d.touched.Before(oldest.touched) || d.failures == 0 && oldest.failures > 0 {
			name, oldest = k, d
		}
	}
	if oldest != nil {
		delete(ds.by, name)
	}
}

// answer notes that somebody spoke for the destination. The place of a visit becomes
// one of the proven. more: there may be room for further visits.
func (ds *destinations) answer(name string, p *place) (more bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := ds.now()
	d := ds.by[name]
	more = p.group != proven
	if d.failures > 0 {
		d.failures, d.good, d.limit = 0, 0, min(initialVisits, ds.o.PerDestination)
	}
	d.answered = now
	if d.good++; d.good >= d.limit && d.limit < ds.o.PerDestination {
		d.limit++
		d.good, more = 0, true
	}
	ds.givePlace(*p)
	p.group = proven
	ds.takePlace(*p)
	return more
}

// forgive ends the back-off of a destination: the next visit is made at once.
func (ds *destinations) forgive(name string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d := ds.by[name]; d != nil {
		d.until = time.Time{}
	}
}

// fail notes that a visit, which began at the time given, found nobody. Visits that
// went out together fail together, and count once.
func (ds *destinations) fail(name string, began time.Time, reply string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d := ds.by[name]
	d.reply = reply
	d.limit, d.good = max(1, d.limit/2), 0
	if d.answered.After(began) || d.failures > 0 && !began.After(d.failed) {
		return
	}
	now := ds.now()
	if d.failures++; d.failures == 1 {
		d.since = now
	}
	d.failed, d.until = now, now.Add(backoff(d.failures))
}

// backoff is the wait after so many failures in a row.
func backoff(failures int) time.Duration {
	d := maxBackoff
	if n := failures - 1; n < 6 { // 2^6 minutes are more than an hour
		d = min(d, firstBackoff<<n)
	}
	return d - d/jitter + rand.N(2*(d/jitter)+1)
}
