package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"dancemta/internal/maillog"
)

const (
	// A disk that is full, and a store's error that says nothing of its
	// permanence, may be gone after so long.
	storePause = 10 * time.Second
	// The longest sleep: the wall clock may be set meanwhile, which timers do
	// not see.
	maxSleep = 15 * time.Minute
)

// Run makes the attempts until ctx ends. It then leases nothing more, lets
// the deliveries under way end for Options.Grace, cancels the rest and returns
// when all have settled. The error is that of a store that is Broken, after
// which nothing can be delivered; nil at an orderly stop.
func (q *Queue) Run(ctx context.Context) error {
	// Deliveries outlive ctx by the grace.
	deliveries, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &run{q: q, ctx: deliveries, done: make(chan error, q.o.Concurrency)}
	err := r.loop(ctx)
	grace := time.AfterFunc(q.o.Grace, cancel)
	defer grace.Stop()
	for r.active > 0 {
		err = cmp.Or(err, r.ended(<-r.done))
	}
	return err
}

// run is what one call of Run knows.
type run struct {
	q      *Queue
	ctx    context.Context // of the deliveries
	active int
	done   chan error // one for each delivery that ended: nil, or the store is broken
}

// loop leases and starts work until ctx ends or the store is broken. Between
// two looks it sleeps until something changed: a message came, a delivery
// ended, a unit's time has come.
func (r *run) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		next, err := r.lease()
		if err != nil {
			return err
		}
		if err := r.sleep(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// lease starts as many deliveries as there is room for. next is when to look
// again; zero: at the next change only.
func (r *run) lease() (next time.Time, err error) {
	q := r.q
	free := q.o.Concurrency - r.active
	if free == 0 {
		return time.Time{}, nil
	}
	now := q.o.Now()
	jobs, next, err := q.o.Store.Due(DueRequest{Now: now, Max: free, Limit: func(string) int { return q.o.PerDestination }, Next: q.o.next})
	if IsKind(err, Broken) {
		return time.Time{}, err
	}
	if err != nil {
		maillog.QueueFault(q.log, "", "lease", err)
		return now.Add(storePause), nil
	}
	for _, job := range jobs {
		r.active++
		go r.deliver(job)
	}
	return next, nil
}

// sleep returns at the next change or at the time next. The error says that the
// store is broken.
func (r *run) sleep(ctx context.Context, next time.Time) error {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(min(next.Sub(r.q.o.Now()), maxSleep))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-r.q.wake:
	case err := <-r.done:
		return r.ended(err)
	}
	return nil
}

// ended counts a delivery that has ended, and all others that have by now: one
// lease then serves all their places.
func (r *run) ended(err error) error {
	r.active--
	for {
		select {
		case more := <-r.done:
			r.active--
			err = cmp.Or(err, more)
		default:
			return err
		}
	}
}

// deliver makes one attempt and settles it.
func (r *run) deliver(job Job) {
	var err error
	defer func() { r.done <- err }()
	maillog.Attempt(r.q.log, string(job.ID), job.Destination, job.Attempt, len(job.Recipients))
	outcomes := r.q.complete(job, r.attempt(job))
	err = r.settle(job, outcomes)
}

// attempt calls the deliverer. A panic of its is an attempt without outcomes:
// one message that kills the program would kill it again at each start.
func (r *run) attempt(job Job) (outcomes []Outcome) {
	defer func() {
		if v := recover(); v != nil {
			outcomes = nil
			maillog.QueueFault(r.q.log, string(job.ID), "delivery", fmt.Errorf("panic: %v", v))
		}
	}()
	v := &visit{job: &job, destination: job.Destination}
	r.q.o.Deliverer.Deliver(r.ctx, v)
	return v.outcomes
}

// visit hands out one job.
type visit struct {
	job         *Job
	destination string
	outcomes    []Outcome
}

func (v *visit) Destination() string { return v.destination }

func (v *visit) Next() (Job, bool) {
	if v.job == nil {
		return Job{}, false
	}
	job := *v.job
	v.job = nil
	return job, true
}

func (v *visit) Report(_ Job, outcomes []Outcome) { v.outcomes = outcomes }

// settle writes down what came of the attempt. As long as it cannot, for want
// of room, the unit stays leased: delivered mail must not go out again. Only
// when the deliveries are cancelled is it given up.
func (r *run) settle(job Job, outcomes []Outcome) error {
	q := r.q
	st := Settlement{ID: job.ID, Destination: job.Destination, Outcomes: outcomes, Next: q.o.next(job.Envelope, job.Attempt)}
	q.logOutcomes(job, st)
	notice := q.notice(job, outcomes)
	st.Bounce = notice.bounce
	for {
		err := q.o.Store.Settle(st)
		switch {
		case err == nil:
			q.logNotice(job, notice)
			return nil
		case IsKind(err, Broken):
			return err
		}
		maillog.QueueFault(q.log, string(job.ID), "settle", err)
		if errors.Is(err, ErrNotFound) || r.ctx.Err() != nil {
			return nil
		}
		pause := time.NewTimer(storePause)
		select {
		case <-pause.C:
		case <-r.ctx.Done():
			pause.Stop()
		}
	}
}
