package queue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"dancemta/internal/maillog"
)

// What one visit takes before others have their turn; the smaller ones count as long
// as somebody waits for a place.
const (
	maxVisitMessages     = 100
	maxVisitTime         = time.Minute
	crowdedVisitMessages = 10
	crowdedVisitTime     = 10 * time.Second
)

// visit is a Visit, of one goroutine. Its settlements run beside the next message,
// one at a time, so that the store writes both down together.
type visit struct {
	r        *run
	name     string
	first    *Job // leased with the visit; nil: it was taken
	place    place
	began    time.Time
	messages int
	open     map[ID]Job // taken and not reported
	settling chan error // has a value when the last settlement ends; nil: none runs
	err      error      // the store is broken
}

func (r *run) newVisit(job Job) *visit {
	q := r.q
	q.dests.take(job.Destination)
	return &visit{
		r: r, name: job.Destination, first: &job, place: q.dests.arrive(job.Destination, job.Lane),
		began: q.clock.now(), open: map[ID]Job{},
	}
}

// Destination implements Visit.
func (v *visit) Destination() string { return v.name }

// Next implements Visit.
func (v *visit) Next() (Job, bool) {
	job, ok := v.lease()
	if !ok {
		return Job{}, false
	}
	v.messages++
	v.open[job.ID] = job
	maillog.Attempt(v.r.q.log, maillog.Try{QueueID: string(job.ID), Session: job.Envelope.Session, Identity: job.Envelope.Identity,
		Destination: job.Destination, Attempt: job.Attempt, Rcpts: len(job.Recipients)})
	return job, true
}

func (v *visit) lease() (Job, bool) {
	if v.first != nil {
		job := *v.first
		v.first = nil
		return job, true
	}
	q := v.r.q
	messages, span := maxVisitMessages, maxVisitTime
	if v.r.crowded.Load() {
		messages, span = crowdedVisitMessages, crowdedVisitTime
	}
	now := q.clock.now()
	if v.err != nil || v.r.stopping.Err() != nil || v.messages >= messages || now.Sub(v.began) >= span {
		return Job{}, false
	}
	if _, away := q.dests.away(v.name); away || !q.dests.tryTake(v.name) {
		return Job{}, false
	}
	jobs, _, err := q.o.Store.Due(DueRequest{
		Now: now, Max: 1, Destination: v.name, Next: q.next, Suspended: q.suspended, Horizon: q.o.horizon(),
	})
	if err != nil {
		v.err = brokenOnly(err)
		maillog.QueueFault(q.log, "", "lease", err)
	}
	if len(jobs) == 0 {
		return Job{}, false
	}
	return jobs[0], true
}

// Report implements Visit.
func (v *visit) Report(job Job, outcomes []Outcome) {
	job, ok := v.open[job.ID]
	if !ok {
		return // it was not taken, or is reported already
	}
	delete(v.open, job.ID)
	v.judge(outcomes)
	v.settle(job, outcomes)
}

// judge tells the destination's fortune by what came of a message.
func (v *visit) judge(outcomes []Outcome) {
	if len(outcomes) == 0 {
		return
	}
	nobody, spoke := true, false
	for _, o := range outcomes {
		nobody = nobody && o.Unreachable
		spoke = spoke || o.Result.Final() || o.RemoteMTA != ""
	}
	switch {
	case nobody:
		v.r.q.dests.fail(v.name, v.began, maillog.Clean(outcomes[0].Reply))
	case spoke:
		if v.r.q.dests.answer(v.name, &v.place) {
			v.r.q.poke()
		}
	}
}

// settle begins a settlement, after the last one has ended.
func (v *visit) settle(job Job, outcomes []Outcome) {
	v.wait()
	v.settling = make(chan error, 1)
	all := v.r.q.complete(job, outcomes)
	go func() { v.settling <- v.r.settle(job, all) }()
}

func (v *visit) wait() {
	if v.settling != nil {
		v.err = cmp.Or(v.err, <-v.settling)
		v.settling = nil
	}
}

// run makes the visit. What the deliverer took and did not report is settled as
// deferred, after a panic too: one message that kills the program would kill it again
// at each start.
func (v *visit) run() error {
	q := v.r.q
	func() {
		defer func() {
			if p := recover(); p != nil {
				for _, id := range v.unreported() {
					maillog.QueueFault(q.log, string(id), "delivery", fmt.Errorf("panic: %v", p))
				}
			}
		}()
		q.o.Deliverer.Deliver(v.r.ctx, v)
	}()
	if v.first != nil {
		v.Next() // it was leased, and so it was an attempt
	}
	for _, id := range v.unreported() {
		v.Report(v.open[id], nil)
	}
	v.wait()
	q.dests.leave(v.name, v.place)
	return v.err
}

func (v *visit) unreported() []ID { return slices.Sorted(maps.Keys(v.open)) }
