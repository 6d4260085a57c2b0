package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/internal/admin"
	"dancemta/queue"
	"dancemta/queue/boltstore"
)

func newQueue() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "See and change the mail in the queue", Args: noArgs, RunE: needsCommand}
	addGroup(c, "Look:", newQueueList(), newQueueShow(), newQueueCat(), newQueueStats())
	addGroup(c, "Change:", append(newQueueEdits(), newQueueSuspend(), newQueueResume())...)
	addGroup(c, "Look after the store:", newQueueExport(), newQueueImport(), newQueueVerify(), newQueueCompact())
	addFilterHelp(c)
	return c
}

// queueView is what the queue commands share.
type queueView struct {
	config string
	json   bool
}

func (v *queueView) flags(c *cobra.Command) {
	addConfigFlag(c, &v.config)
	c.Flags().BoolVar(&v.json, "json", false, "print JSON, one object on a line")
}

func storeOptions(cfg *config.Config) boltstore.Options {
	return boltstore.Options{History: cfg.Queue.History.Duration}
}

// call runs an operation of a running server, or without one on the store itself. The
// caller closes what comes.
func (v *queueView) call(ctx context.Context, op operation, in io.Reader, args ...string) (io.ReadCloser, error) {
	cfg, err := loadConfig(v.config)
	if err != nil {
		return nil, err
	}
	r, err := admin.Send(ctx, filepath.Join(string(cfg.StateDir), socketName), op.name, in, args...)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, admin.ErrNotFound):
		return nil, notInQueue(op, args)
	case !errors.Is(err, admin.ErrNotRunning):
		return nil, unavailable(err)
	}
	o := storeOptions(cfg)
	o.ReadOnly = !op.writes
	if _, err := os.Stat(string(cfg.StateDir)); op.writes && errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(err, `"dancemta serve" makes the queue at its first start`)
	}
	store, err := boltstore.Open(string(cfg.StateDir), o)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(fmt.Errorf("%s: no queue yet", cfg.StateDir), `"dancemta serve" makes it at its first start`)
	}
	if err != nil {
		return nil, storeError(err)
	}
	return runOffline(ctx, &desk{store: store}, op, in, args)
}

// runOffline runs an operation beside its reader. Closing the reader ends it.
func runOffline(ctx context.Context, d *desk, op operation, in io.Reader, args []string) (io.ReadCloser, error) {
	if in == nil {
		in = bytes.NewReader(nil)
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := op.run(d, ctx, args, in, w)
		if errors.Is(err, queue.ErrNotFound) {
			err = notInQueue(op, args)
		}
		w.CloseWithError(errors.Join(err, d.store.Close()))
	}()
	return &offline{r, done}, nil
}

// offline is the output of an operation of this process.
type offline struct {
	*io.PipeReader
	done chan struct{}
}

func (o *offline) Close() error {
	err := o.PipeReader.Close()
	<-o.done
	return err
}

// one runs an operation that answers one object.
func (v *queueView) one(ctx context.Context, op operation, into any, args ...string) error {
	r, err := v.call(ctx, op, nil, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(into); err != nil {
		return answerError(err)
	}
	return nil
}

// nothing runs an operation that answers nothing.
func (v *queueView) nothing(ctx context.Context, op operation, in io.Reader, args ...string) error {
	r, err := v.call(ctx, op, in, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return answerError(err)
	}
	return nil
}

// decodeEach calls f for each object of an answer.
func decodeEach[T any](r io.Reader, f func(T) error) error {
	for d := json.NewDecoder(r); ; {
		var one T
		if err := d.Decode(&one); err == io.EOF {
			return nil
		} else if err != nil {
			return answerError(err)
		}
		if err := f(one); err != nil {
			return err
		}
	}
}

// answerError keeps errors that say already what to do.
func answerError(err error) error {
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	return fmt.Errorf("answer of the queue: %w", err)
}

func notInQueue(op operation, args []string) error {
	what := strings.Join(args, " ")
	for _, a := range args { // a filter that is nothing but an id is the only one that may find nothing
		if id, err := queue.ParseID(strings.TrimPrefix(a, "id=")); err == nil {
			what = string(id)
			break
		}
	}
	hint := "it may have ended longer ago than [queue] history keeps: the log knows"
	if op.name != opShow.name {
		hint = fmt.Sprintf("if it has ended, %q says what became of it", "dancemta queue show "+what)
	}
	return &exitError{exitNotFound, fmt.Errorf("%s: %w", what, queue.ErrNotFound), []string{hint}}
}

// storeError adds what an operator can do about a store that does not open.
func storeError(err error) error {
	switch {
	case errors.Is(err, boltstore.ErrInUse):
		return unavailable(err, "another dancemta uses this state_dir: stop it, or give this one a folder of its own")
	case errors.Is(err, boltstore.ErrVersion):
		return unavailable(err, "it was written by another version of dancemta: start that one; nothing was changed")
	case errors.Is(err, boltstore.ErrBodies):
		return unavailable(err, "put the queue.db that belongs to them back; or, if it is lost, move queue.journal and the folder spool away")
	case errors.Is(err, boltstore.ErrDamaged):
		return unavailable(err, `"dancemta queue verify" names all that is wrong; nothing was changed`,
			`"dancemta queue export FILE" saves what can be read; then move queue.db, queue.journal and spool away, and "dancemta queue import FILE"`)
	}
	return unavailable(err)
}

// checkStateDir reports whether the folder of the queue can be made and written.
func checkStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return err
	}
	name := f.Name()
	return errors.Join(f.Close(), os.Remove(name))
}
