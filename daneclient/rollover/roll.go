package rollover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// Publisher changes the records of the owner. Nil where the administrator does it.
// Both succeed when the change is there already. Neither waits until all
// servers know.
type Publisher interface {
	Add(ctx context.Context, r tlsa.Record, ttl time.Duration) error
	Remove(ctx context.Context, r tlsa.Record) error
}

// Options of Roll and Inspect.
type Options struct {
	Dir       string
	Look      func(ctx context.Context, owner dnsname.Name) (Look, error) // asks every server of the zone; required by Roll
	Publisher func(zone string, owner dnsname.Name) (Publisher, error)    // nil: by hand
	TTL       time.Duration                                               // of a record that is the first of its name
	Continue  bool                                                        // begin no new rollover
	Now       func() time.Time                                            // nil: time.Now
	Step      func(name string)                                           // nil; told each durable change as it begins
}

func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Report is where a rollover stands.
type Report struct {
	State    State
	Look     *Look         // nil when nobody was asked
	Did      []Do          // the steps of this call, in order
	Pending  Decision      // what it waits for; the zero Decision when the rollover is over, or none is under way
	Warnings []string      // a sentence each
	TTL      time.Duration // for the records to publish
}

// Progressed reports whether a step was done.
func (r Report) Progressed() bool { return len(r.Did) > 0 }

// Certificate and Key return the paths of the pair in use. They never change.
func Certificate(dir string) string { return filepath.Join(dir, currentLink, certFile) }

// KeyFile returns the path of the key in use. It never changes.
func KeyFile(dir string) string { return filepath.Join(dir, currentLink, keyFile) }

// Create makes the folder, the first key and its state. It fails with
// ErrExists when there is a key already.
func Create(o Options, owner dnsname.Name) (State, error) {
	pair, err := NewPair(owner, o.now())
	if err != nil {
		return State{}, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return State{}, err
	}
	s, err := openStore(o.Dir, o.Step)
	if err != nil {
		return State{}, err
	}
	defer s.close()
	for _, name := range []string{stateFile, currentLink} {
		if _, err := os.Lstat(s.path(name)); !errors.Is(err, fs.ErrNotExist) {
			return State{}, errors.Join(fmt.Errorf("%s: %w", o.Dir, ErrExists), err)
		}
	}
	state := State{Owner: Owner{owner}, Phase: Steady, Current: Key{pair.SPKI, o.now().UTC()}}
	if err := s.addKey(pair); err != nil {
		return State{}, err
	}
	if err := s.save(state); err != nil {
		return State{}, err
	}
	return s.settle(state, o.now())
}

// Roll goes on as far as it can without waiting: it begins a rollover when none
// is under way, unless Continue is set. Each change is durable before the next
// one begins, and whatever was cut off is begun again.
func Roll(ctx context.Context, o Options) (Report, error) {
	if _, err := (&store{dir: o.Dir}).load(); err != nil {
		return Report{}, err // before anything is written into a folder that is not ours
	}
	s, err := openStore(o.Dir, o.Step)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	state, err := s.load()
	if err != nil {
		return Report{}, err
	}
	if state, err = s.settle(state, o.now()); err != nil {
		return Report{}, err
	}
	look, err := o.Look(ctx, state.Owner.Name)
	if err != nil {
		return Report{State: state}, err
	}
	r := &roller{o: o, store: s, look: look, report: Report{State: state, Look: &look}}
	err = r.run(ctx)
	r.report.judge()
	return r.report, err
}

// roller is one call of Roll.
type roller struct {
	o      Options
	store  *store
	look   Look
	report Report
}

// run does steps until one has to wait. A rollover has five; the records are
// put in order once, before anything that relies on them.
func (r *roller) run(ctx context.Context) error {
	before := r.report.State
	r.report.State = before.Observe(r.look, r.o.now())
	r.report.TTL = r.ttl()
	if r.report.State != before {
		if err := r.store.save(r.report.State); err != nil {
			return err
		}
	}
	if err := r.mend(ctx); err != nil {
		return err
	}
	for {
		if r.report.State.Phase == Steady && (r.o.Continue || r.report.Progressed()) {
			return nil
		}
		d := r.report.State.Decide(r.look, r.o.now())
		if d.Do == Wait {
			r.report.Pending = d
			return nil
		}
		if err := r.do(ctx, d.Do); err != nil {
			return err
		}
		r.report.Did = append(r.report.Did, d.Do)
	}
}

// do takes one step: what it needs first, then the state that says that it is done.
func (r *roller) do(ctx context.Context, step Do) error {
	state, now := r.report.State, r.o.now()
	switch step {
	case Prepare:
		pair, err := NewPair(state.Owner.Name, now)
		if err == nil {
			err = r.store.addKey(pair)
		}
		if err != nil {
			return err
		}
		state = state.prepared(Key{pair.SPKI, now.UTC()})
	case Publish:
		if err := r.publish(ctx, state.Next.Record()); err != nil {
			return err
		}
		state = state.published()
	case Switch:
		if err := r.store.use(*state.Next); err != nil {
			return err
		}
		state = state.switched(r.o.now())
	case Withdraw:
		if err := r.withdraw(ctx, state.Old.Record()); err != nil {
			return err
		}
		state = state.withdrawing()
	case Finish:
		state = state.steady(r.look)
	}
	if err := r.store.save(state); err != nil {
		return err
	}
	r.report.State = state
	if step == Finish {
		return r.store.sweep(state)
	}
	return nil
}

// mend asks once more for what the servers do not show or still show: an
// update may have been lost, or undone by somebody.
func (r *roller) mend(ctx context.Context) error {
	state := r.report.State
	if r.o.Publisher == nil {
		return nil
	}
	for _, k := range state.wanted() {
		unasked := state.Phase == Prepared && k == *state.Next
		if unasked || r.look.Shown(k.Record()) {
			continue
		}
		if err := r.publish(ctx, k.Record()); err != nil {
			return err
		}
	}
	if state.Phase == Withdrawing && r.look.Shown(state.Current.Record()) && !r.look.Gone(state.Old.Record()) {
		return r.withdraw(ctx, state.Old.Record())
	}
	return nil
}

func (r *roller) publish(ctx context.Context, record tlsa.Record) error {
	p, err := r.publisher()
	if p == nil || err != nil {
		return err
	}
	return p.Add(ctx, record, r.report.TTL)
}

func (r *roller) withdraw(ctx context.Context, record tlsa.Record) error {
	p, err := r.publisher()
	if p == nil || err != nil {
		return err
	}
	return p.Remove(ctx, record)
}

func (r *roller) publisher() (Publisher, error) {
	if r.o.Publisher == nil {
		return nil, nil
	}
	return r.o.Publisher(r.look.Zone, r.report.State.Owner.Name)
}

// ttl is that of the records which stand: a set has one. RFC 2181 5.2
func (r *roller) ttl() time.Duration {
	for _, s := range r.look.Servers {
		if s.Fault == "" && len(s.Records) > 0 {
			return s.TTL
		}
	}
	return r.o.TTL
}

// Inspect reports and changes nothing. Without Look nobody is asked.
func Inspect(ctx context.Context, o Options) (Report, error) {
	s := &store{dir: o.Dir}
	state, err := s.load()
	if err != nil {
		return Report{}, err
	}
	r := Report{State: state, TTL: o.TTL}
	if err := s.checkPair(state.Current); err != nil {
		r.Warnings = append(r.Warnings, err.Error())
	}
	switch id, err := s.inUse(); {
	case err != nil:
		r.Warnings = append(r.Warnings, err.Error())
	case id != state.Current.SPKI.id():
		r.Warnings = append(r.Warnings, `a step was cut off; "key roll --continue" ends it`)
	}
	if o.Look == nil {
		return r, nil
	}
	look, err := o.Look(ctx, state.Owner.Name)
	if err != nil {
		return r, err
	}
	r.Look = &look
	if now := o.now(); state.Phase != Steady {
		// As Roll would see it; only Roll may begin the wait.
		if d := state.Observe(look, now).Decide(look, now); d.Do == Wait {
			r.Pending = d
		}
	}
	r.judge()
	return r, nil
}
