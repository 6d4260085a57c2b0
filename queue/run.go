package queue

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
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
	if err := q.loadSuspensions(); err != nil {
		return err
	}
	// Deliveries outlive ctx by the grace.
	deliveries, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &run{q: q, ctx: deliveries, stopping: ctx, done: make(chan error, q.o.Concurrency)}
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
	q        *Queue
	ctx      context.Context // of the deliveries
	stopping context.Context // ends when no further message is to be taken
	active   int
	ends     time.Time   // of the suspension that ends first
	crowded  atomic.Bool // somebody waits for a place
	done     chan error  // one for each visit that ended: nil, or the store is broken
}

// loop leases and starts work until ctx ends or the store is broken. Between
// two looks it sleeps until something changed: a message came, a visit
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

// lease starts as many visits as there is room for. next is when to look
// again; zero: at the next change only.
func (r *run) lease() (next time.Time, err error) {
	q := r.q
	free := q.o.Concurrency - r.active
	if free == 0 {
		r.crowded.Store(true)
		return time.Time{}, nil
	}
	now := q.clock.now()
	resume := r.resuming(now)
	jobs, next, err := q.o.Store.Due(DueRequest{
		Now: now, Max: free, Next: q.next, Horizon: q.o.horizon(),
		Limit: q.dests.limit, Begin: q.dests.begin, Leased: q.dests.leased, Fair: q.dests.fair,
		Away: q.dests.away, Speak: q.speaks,
		Suspended: q.suspended, Resume: resume,
	})
	if err != nil && resume {
		q.resume.Store(true)
	}
	if err := brokenOnly(err); err != nil {
		return time.Time{}, err
	}
	if err != nil {
		maillog.QueueFault(q.log, "", "lease", err)
		return now.Add(storePause), nil
	}
	r.crowded.Store(len(jobs) == free)
	for _, job := range jobs {
		r.start(job)
	}
	if err := r.giveUps(); err != nil {
		return time.Time{}, err
	}
	return earliest(earliest(next, r.ends), q.dests.wake()), nil
}

// start begins a visit, or settles a job that is not to be tried now.
func (r *run) start(job Job) {
	r.active++
	if job.Away {
		go func() { r.done <- r.pass(job) }()
		return
	}
	v := r.newVisit(job)
	go func() { r.done <- v.run() }()
}

// pass settles a job whose destination is away, since its sender has to hear of it.
func (r *run) pass(job Job) error {
	reply, _ := r.q.dests.away(job.Destination)
	var outcomes []Outcome
	for _, to := range job.Recipients {
		outcomes = append(outcomes, Outcome{Recipient: to.Address, Reply: reply, Unreachable: true})
	}
	return r.settle(job, r.q.complete(job, outcomes))
}

// giveUps ends what an operator gave up, as far as there is room for it.
func (r *run) giveUps() error {
	q := r.q
	all, err := q.o.Store.GiveUps(q.o.Concurrency - r.active)
	if err := brokenOnly(err); err != nil {
		return err
	}
	if err != nil {
		maillog.QueueFault(q.log, "", "lease of those given up", err)
	}
	for _, g := range all {
		r.active++
		go func() { r.done <- r.settleAt(g.Job, q.complete(g.Job, g.Outcomes), g.Next) }()
	}
	return nil
}

// earliest returns the earlier of two times; zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// brokenOnly returns err if it ends all delivery.
func brokenOnly(err error) error {
	if IsKind(err, Broken) {
		return err
	}
	return nil
}

// sleep returns at the next change or at the time next. The error says that the
// store is broken.
func (r *run) sleep(ctx context.Context, next time.Time) error {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(min(next.Sub(r.q.clock.now()), maxSleep))
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

// ended counts a visit that has ended, and all others that have by now: one
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

// settle writes down what came of the attempt.
func (r *run) settle(job Job, outcomes []Outcome) error {
	return r.settleAt(job, outcomes, r.q.next(job.Envelope, job.Tries))
}

// settleAt writes down what came of a job, of which the rest is due at next. As long as it cannot, for want
// of room, the unit stays leased: delivered mail must not go out again. Only
// when the deliveries are cancelled is it given up.
func (r *run) settleAt(job Job, outcomes []Outcome, next time.Time) error {
	q := r.q
	notice, err := q.notice(job, outcomes)
	if err != nil {
		maillog.QueueFault(q.log, string(job.ID), "bounce", err)
		outcomes = postponed(outcomes)
	}
	st := Settlement{ID: job.ID, Destination: job.Destination, Outcomes: outcomes, Next: next, Now: q.o.Now(),
		Bounce: notice.bounce, Told: notice.late}
	q.logOutcomes(job, st)
	for {
		err := q.o.Store.Settle(st)
		switch {
		case err == nil:
			q.logNotice(job, notice)
			return nil
		case IsKind(err, Broken):
			return err
		case errors.Is(err, ErrDeleted):
			if notice, err = q.noticeAgain(job, outcomes); err == nil {
				st.Bounce, st.Told = notice.bounce, notice.late
				continue
			}
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
