package queue

import "time"

// Rate bounds the messages to a destination in time, evenly spread: a burst is what
// makes a host complain. The zero value bounds nothing.
type Rate struct {
	Key      string        // destinations of one key share the rate
	Messages int           // at most so many
	Per      time.Duration // in this time
}

func (r Rate) interval() time.Duration {
	if r.Messages <= 0 || r.Per <= 0 {
		return 0
	}
	return r.Per / time.Duration(r.Messages)
}

// Beyond so many keys those whose time is over are dropped, and again when as many
// have come.
const maxRates = 4096

// rates knows when each key may have its next message.
type rates struct {
	by     map[string]time.Time
	tidied int // how many there were then
}

// next returns when a further message is permitted. planned are those that were leased
// and not taken yet, by key.
func (rs *rates) next(r Rate, planned map[string]int, now time.Time) time.Time {
	interval := r.interval()
	at := rs.by[r.Key]
	if interval == 0 || at.Sub(now) > interval { // the clock was set back
		at = now
	}
	if interval == 0 || planned[r.Key] == 0 {
		return at
	}
	if at.Before(now) {
		at = now
	}
	return at.Add(time.Duration(planned[r.Key]) * interval)
}

// take counts a message.
func (rs *rates) take(r Rate, now time.Time) {
	interval := r.interval()
	if interval == 0 {
		return
	}
	at := rs.by[r.Key]
	if at.Before(now) || at.Sub(now) > interval {
		at = now
	}
	rs.by[r.Key] = at.Add(interval)
	if len(rs.by) <= maxRates+rs.tidied {
		return
	}
	for key, at := range rs.by {
		if at.Before(now) {
			delete(rs.by, key)
		}
	}
	rs.tidied = len(rs.by)
}

// rate asks for the rate of a destination, at each message.
func (ds *destinations) rate(name string) Rate {
	if ds.o.Rate == nil {
		return Rate{}
	}
	r := ds.o.Rate(name)
	if r.Key == "" {
		r.Key = name
	}
	return r
}

// take counts a message that a visit begins with.
func (ds *destinations) take(name string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.rates.take(ds.rate(name), ds.now())
}

// tryTake counts a further message of a visit, if its rate permits one now.
func (ds *destinations) tryTake(name string) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	r, now := ds.rate(name), ds.now()
	if ds.rates.next(r, nil, now).After(now) {
		return false
	}
	ds.rates.take(r, now)
	return true
}
