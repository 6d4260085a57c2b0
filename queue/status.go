package queue

import (
	"cmp"
	"slices"
	"time"
)

const (
	// A status is read by a person.
	maxStatus = 100
	// Counting ends here: more says no more.
	maxCounted = 10_000
)

// DestinationStatus says why the mail for a destination waits.
type DestinationStatus struct {
	Destination string    `json:"destination"`
	Reason      string    `json:"reason"` // what its last visit found
	Since       time.Time `json:"since"`  // of the first failure in a row
	Failures    int       `json:"failures"`
	Next        time.Time `json:"next"` // the next probe, if there is mail for it then
	Active      int       `json:"active"`
	Waiting     int       `json:"waiting"` // messages; maxCounted: or more
}

// Destinations describes those that could not be reached, the longest first, at most a
// hundred of them.
func (q *Queue) Destinations() ([]DestinationStatus, error) {
	all := q.dests.troubles()
	slices.SortFunc(all, func(a, b DestinationStatus) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Destination, b.Destination))
	})
	all = all[:min(len(all), maxStatus)]
	for i := range all {
		n, err := q.o.Store.Waiting(all[i].Destination, maxCounted)
		if err != nil {
			return nil, err
		}
		all[i].Waiting = n
	}
	return all, nil
}

func (ds *destinations) troubles() (all []DestinationStatus) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for name, d := range ds.by {
		if d.failures == 0 {
			continue
		}
		all = append(all, DestinationStatus{
			Destination: name, Reason: d.reply, Since: d.since, Failures: d.failures, Next: d.until, Active: d.visits,
		})
	}
	return all
}
