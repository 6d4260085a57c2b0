package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"dancemta/internal/admin"
	"dancemta/queue"
	"dancemta/queue/archive"
	"dancemta/queue/boltstore"
	"dancemta/queue/filter"
)

// desk is what the queue commands work on: the server's own queue, asked over the
// control socket, or the store itself when no server runs.
type desk struct {
	store *boltstore.Store
	queue *queue.Queue // nil: no server runs
}

// operation is a command of the control socket. What it is sent and what it writes
// are streams, so that no queue is too long.
type operation struct {
	name   string
	writes bool // needs more than reading
	run    runner
}

type runner func(d *desk, ctx context.Context, args []string, in io.Reader, w io.Writer) error

// The operations. All but cat and export write JSON, one object on a line; those with
// Text in their name write what a person reads.
var (
	opList         = operation{"queue-list", false, writeList((*desk).queued, false)} // filter → queue.Summary of each message
	opListText     = operation{"queue-list-text", false, writeList((*desk).queued, true)}
	opFinished     = operation{"queue-finished", false, writeList((*desk).finished, false)} // the same, of those that have ended
	opFinishedText = operation{"queue-finished-text", false, writeList((*desk).finished, true)}
	opShow         = operation{"queue-show", false, (*desk).show}      // id → queue.Summary
	opCat          = operation{"queue-cat", false, (*desk).cat}        // id → its octets
	opCount        = operation{"queue-count", false, (*desk).count}    // action, filter → touched
	opEdit         = operation{"queue-edit", true, (*desk).edit}       // action, filter, reason → touched
	opSuspend      = operation{"queue-suspend", true, (*desk).suspend} // queue.Suspension
	opResume       = operation{"queue-resume", true, (*desk).resume}   // pattern
	opSuspensions  = operation{"queue-suspensions", false, (*desk).suspensions}
	opStats        = operation{"queue-stats", false, (*desk).stats}   // key → queueStats
	opVerify       = operation{"queue-verify", false, (*desk).verify} // boltstore.Fault of each
	opExport       = operation{"queue-export", false, (*desk).export} // filter → package archive
	opImport       = operation{"queue-import", true, (*desk).imports} // "hold" or nothing; an archive → imported of each message
)

func operations() []operation {
	return []operation{opList, opListText, opFinished, opFinishedText, opShow, opCat, opCount, opEdit, opSuspend, opResume, opSuspensions, opStats, opVerify, opExport, opImport}
}

// serveQueue registers the operations at the control socket.
func serveQueue(a *admin.Server, d *desk) {
	for _, op := range operations() {
		a.HandleIntake(op.name, func(ctx context.Context, args []string, in io.Reader, w io.Writer) error {
			err := op.run(d, ctx, args, in, w)
			if errors.Is(err, queue.ErrNotFound) {
				err = fmt.Errorf("%w: %w", admin.ErrNotFound, err)
			}
			return err
		})
	}
}

var errArguments = errors.New("wrong number of arguments")

func parseFilter(args []string, at int) (*filter.Filter, error) {
	if len(args) <= at {
		return nil, errArguments
	}
	return filter.Parse(args[at])
}

// chosen calls f for each message that a filter chooses, with the recipients it means.
func (d *desk) chosen(ctx context.Context, flt *filter.Filter, f func(queue.Summary, []queue.RecipientSummary) error) error {
	each := func(s queue.Summary) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if rcpts := flt.Match(&s, time.Now()); len(rcpts) > 0 {
			return f(s, rcpts)
		}
		return nil
	}
	if flt.ID() == "" {
		return d.store.Each(each)
	}
	s, err := d.store.Get(flt.ID())
	if err != nil {
		return err
	}
	return each(s)
}

// queued calls f for the messages in the queue that a filter chooses, finished for
// those that have ended.
func (d *desk) queued(ctx context.Context, flt *filter.Filter, f func(queue.Summary) error) error {
	return d.chosen(ctx, flt, func(s queue.Summary, _ []queue.RecipientSummary) error { return f(s) })
}

func (d *desk) finished(ctx context.Context, flt *filter.Filter, f func(queue.Summary) error) error {
	return d.store.EachFinished(func(s queue.Summary) error {
		if err := ctx.Err(); err != nil || len(flt.Match(&s, time.Now())) == 0 {
			return err
		}
		return f(s)
	})
}

func (d *desk) show(_ context.Context, args []string, _ io.Reader, w io.Writer) error {
	if len(args) != 1 {
		return errArguments
	}
	s, err := d.store.Get(queue.ID(args[0]))
	if errors.Is(err, queue.ErrNotFound) {
		s, err = d.store.Finished(queue.ID(args[0]))
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(s)
}

func (d *desk) cat(_ context.Context, args []string, _ io.Reader, w io.Writer) error {
	if len(args) != 1 {
		return errArguments
	}
	body, err := d.store.Body(queue.ID(args[0]))
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// touched says how many messages and recipients an action concerned.
type touched struct {
	Messages   int `json:"messages"`
	Recipients int `json:"recipients"`
}

// concerns says whether an action would do anything to a recipient of a state.
func concerns(a queue.Action, state string) bool {
	switch state {
	case queue.StateDelivered, queue.StateFailed, queue.StateDeleted:
		return false
	case queue.StateHeld:
		return a != queue.EditHold && a != queue.EditRetry
	case queue.StateBouncing:
		return a == queue.EditDelete
	}
	return a != queue.EditRelease
}

// planned calls f for each message that an action would touch, with the recipients.
func (d *desk) planned(ctx context.Context, args []string, f func(queue.Action, queue.Summary, []queue.RecipientSummary) error) error {
	flt, err := parseFilter(args, 1)
	if err != nil {
		return err
	}
	action, ok := actions[args[0]]
	if !ok {
		return fmt.Errorf("unknown action %q", args[0])
	}
	return d.chosen(ctx, flt, func(s queue.Summary, rcpts []queue.RecipientSummary) error {
		var meant []queue.RecipientSummary
		for _, r := range rcpts {
			if concerns(action, r.State) {
				meant = append(meant, r)
			}
		}
		if len(meant) == 0 {
			return nil
		}
		return f(action, s, meant)
	})
}

func (d *desk) count(ctx context.Context, args []string, _ io.Reader, w io.Writer) error {
	var n touched
	err := d.planned(ctx, args, func(_ queue.Action, _ queue.Summary, rcpts []queue.RecipientSummary) error {
		n.Messages++
		n.Recipients += len(rcpts)
		return nil
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(n)
}

func (d *desk) suspend(_ context.Context, args []string, in io.Reader, _ io.Writer) error {
	var s queue.Suspension
	if err := json.NewDecoder(io.LimitReader(in, maxSuspension)).Decode(&s); err != nil {
		return err
	}
	pattern, err := queue.ParseDestinations(s.Pattern)
	if err != nil {
		return err
	}
	s.Pattern = pattern
	if d.queue != nil {
		return d.queue.Suspend(s)
	}
	return d.store.SetSuspension(s.Pattern, &s)
}

// maxSuspension bounds a suspension on its way: a pattern and a reason.
const maxSuspension = 64 << 10

func (d *desk) resume(_ context.Context, args []string, _ io.Reader, _ io.Writer) error {
	if len(args) != 1 {
		return errArguments
	}
	all, err := d.store.Suspensions()
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Pattern != args[0] {
			continue
		}
		if d.queue != nil {
			return d.queue.Resume(args[0])
		}
		return d.store.SetSuspension(args[0], nil)
	}
	return queue.ErrNotFound
}

func (d *desk) suspensions(_ context.Context, _ []string, _ io.Reader, w io.Writer) error {
	all, err := d.store.Suspensions()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	for _, s := range all {
		if s.Ended(time.Now()) {
			continue
		}
		if err := enc.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

func (d *desk) verify(ctx context.Context, _ []string, _ io.Reader, w io.Writer) error {
	enc := json.NewEncoder(w)
	var writing error
	err := d.store.Verify(func(f boltstore.Fault) { writing = errors.Join(writing, enc.Encode(f)) })
	return errors.Join(err, writing, ctx.Err())
}

// export writes those messages of which a filter chooses a recipient, whole.
func (d *desk) export(ctx context.Context, args []string, _ io.Reader, w io.Writer) error {
	flt, err := parseFilter(args, 0)
	if err != nil {
		return err
	}
	a, err := archive.NewWriter(w, time.Now())
	if err != nil {
		return err
	}
	err = d.store.EachSaved(func(s queue.Saved) error {
		id := s.Envelope.ID
		if err := ctx.Err(); err != nil {
			return err
		}
		sum, err := d.store.Get(id)
		if errors.Is(err, queue.ErrNotFound) {
			return nil // it has ended meanwhile
		}
		if err != nil || len(flt.Match(&sum, time.Now())) == 0 {
			return err
		}
		err = a.Add(s, func() (io.ReadCloser, error) { return d.store.Body(id) })
		var bad *archive.Unreadable
		if !errors.As(err, &bad) {
			return err
		}
		if _, gone := d.store.Get(id); errors.Is(gone, queue.ErrNotFound) {
			return nil
		}
		return a.Lost(id, err.Error(), nil)
	})
	if err != nil {
		return err
	}
	return a.Close()
}

// imported says what became of a message of an archive.
type imported struct {
	ID      queue.ID `json:"id,omitempty"`
	Skipped string   `json:"skipped,omitempty"` // why; empty: it is in the queue
	Doubt   string   `json:"doubt,omitempty"`   // why it is held
}

// imports takes messages in, until the archive ends or the store can take no more.
func (d *desk) imports(ctx context.Context, args []string, in io.Reader, w io.Writer) error {
	a, err := archive.NewReader(in)
	if err != nil {
		return err
	}
	if d.queue != nil {
		defer d.queue.Wake()
	}
	enc := json.NewEncoder(w)
	for {
		s, body, err := a.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && s.Doubt == "" && len(args) > 0 {
			s.Doubt = args[0]
		}
		if now := time.Now(); s.Envelope.Arrived.After(now) || s.Envelope.Arrived.Unix() < 0 {
			s.Envelope.Arrived = now // what came from the future would never be too old
		}
		if err == nil {
			err = d.store.Restore(ctx, s, body)
		}
		var broken *queue.Error
		if errors.As(err, &broken) || err != nil && endsImport(err) {
			return err
		}
		line := imported{ID: s.Envelope.ID, Doubt: s.Doubt}
		if err != nil {
			line.Skipped = err.Error()
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
}

// endsImport says whether nothing further can come after an error.
func endsImport(err error) bool {
	return !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, queue.ErrExists) && !errors.Is(err, queue.ErrEnded)
}
