package queue

import (
	"time"

	"dancemta/internal/maillog"
)

// Suspend keeps all mail for some destinations where it is, from now on: a visit under
// way ends with its message.
func (q *Queue) Suspend(s Suspension) error { return q.setSuspension(s.Pattern, &s) }

// Resume takes back the suspension of a pattern.
func (q *Queue) Resume(pattern string) error { return q.setSuspension(pattern, nil) }

func (q *Queue) setSuspension(pattern string, s *Suspension) error {
	if err := q.o.Store.SetSuspension(pattern, s); err != nil {
		return err
	}
	if err := q.loadSuspensions(); err != nil {
		return err
	}
	q.poke()
	return nil
}

// loadSuspensions reads what the store keeps, and has it look for destinations that
// are suspended no more.
func (q *Queue) loadSuspensions() error {
	all, err := q.o.Store.Suspensions()
	if err != nil {
		return err
	}
	q.suspensions.set(all)
	q.resume.Store(true)
	return nil
}

// suspended reports whether mail for a destination is to stay.
func (q *Queue) suspended(destination string) bool {
	_, ok := q.suspensions.find(destination, q.clock.now())
	return ok
}

// resuming says whether the store should look for destinations that are suspended no
// more.
func (r *run) resuming(now time.Time) bool {
	if !r.ends.IsZero() && !now.Before(r.ends) {
		r.q.resume.Store(true)
	}
	r.ends = r.q.suspensions.ends(now)
	return r.q.resume.Swap(false)
}

// Edit does what an operator wants with a message. EditRetry also ends the back-off of
// its destinations. ErrNotFound.
func (q *Queue) Edit(id ID, e Edit) (recipients int, err error) {
	if e.Now.IsZero() {
		e.Now = q.clock.now()
	}
	e.Reply = maillog.Clean(e.Reply)
	if e.Action == EditRetry {
		q.forgive(id, e)
	}
	recipients, err = q.o.Store.Edit(id, e)
	if recipients > 0 {
		maillog.Edited(q.log, string(id), e.Action.String(), e.Reply, recipients)
	}
	q.poke()
	return recipients, err
}

// Wake has Run look at the store again, after messages came into it beside Accept.
func (q *Queue) Wake() { q.poke() }

// forgive ends the back-off of the destinations that an edit is about.
func (q *Queue) forgive(id ID, e Edit) {
	sum, err := q.o.Store.Get(id)
	if err != nil {
		return // the edit meets the same error
	}
	for _, r := range sum.Recipients {
		if e.Applies(r.Address) {
			q.dests.forgive(r.Destination)
		}
	}
}
