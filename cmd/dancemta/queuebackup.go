package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dancemta/internal/admin"
	"dancemta/queue"
	"dancemta/queue/archive"
	"dancemta/queue/boltstore"
	"dancemta/queue/filter"
)

// stdio is the name of standard input and output.
const stdio = "-"

func newQueueVerify() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read the whole store and name everything that is wrong",
		Long: `Read the whole store and name everything that is wrong, and what to do about it: pages
of the file (when no server runs), each record against the others, bodies and their
checksums. Nothing is changed. The exit code is 6 when something is wrong.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error { return v.verify(c) },
	}
	v.flags(c)
	return c
}

func (v *queueView) verify(c *cobra.Command) error {
	n, enc := 0, json.NewEncoder(c.OutOrStdout())
	report := func(f boltstore.Fault) error {
		n++
		if v.json {
			return enc.Encode(f)
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s\n    %s\n", f.Where, f.What, f.Do)
		return err
	}
	cfg, err := loadConfig(v.config)
	if err != nil {
		return err
	}
	r, err := admin.Call(c.Context(), filepath.Join(string(cfg.StateDir), socketName), opVerify.name)
	switch {
	case err == nil:
		defer r.Close()
		err = decodeEach(r, report)
	case errors.Is(err, admin.ErrNotRunning):
		err = v.verifyDir(string(cfg.StateDir), report)
	default:
		err = unavailable(err)
	}
	if err != nil {
		return err
	}
	if n > 0 {
		return &exitError{exitBroken, fmt.Errorf("%s: %s", cfg.StateDir, plural(n, "fault")), nil}
	}
	if !v.json {
		fmt.Fprintln(c.OutOrStdout(), "the store is sound")
	}
	return nil
}

func (v *queueView) verifyDir(dir string, report func(boltstore.Fault) error) error {
	var writing error
	err := boltstore.VerifyDir(dir, func(f boltstore.Fault) { writing = errors.Join(writing, report(f)) })
	if errors.Is(err, fs.ErrNotExist) {
		return unavailable(fmt.Errorf("%s: no queue yet", dir), `"dancemta serve" makes it at its first start`)
	}
	if err != nil {
		return storeError(err)
	}
	return writing
}

func newQueueExport() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "export FILE [FILTER...]",
		Short: "Write messages into a file: the backup",
		Long: `Write messages, whole, with envelope and state, into a new file; "-" is standard output.
Without a filter, all. The server may run: each message is as it was at one moment. The
file is a tar stream with a checksum of each entry; docs/queue.md describes it.

Of a damaged store, when no server runs, everything is written that can still be read;
what is lost is named, and the exit code is 6.

` + filterHelp,
		RunE: func(c *cobra.Command, words []string) error {
			if len(words) == 0 {
				return usage(errors.New("a file is needed"), `"-" is standard output`)
			}
			flt, err := readFilter(c, words[1:], filter.Everything)
			if err != nil {
				return err
			}
			return toFile(c, words[0], func(w io.Writer) error { return v.export(c, flt, w) })
		},
	}
	addConfigFlag(c, &v.config)
	return c
}

// toFile writes a new file, which gets its name when it is whole and on disk.
func toFile(c *cobra.Command, name string, write func(io.Writer) error) error {
	if name == stdio {
		return write(c.OutOrStdout())
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return unavailable(errors.Join(err, fmt.Errorf("%s: is there already", name)), "an export never takes the place of another file")
	}
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unavailable(err)
	}
	failure := write(f)
	err = errors.Join(f.Sync(), f.Close())
	if _, damaged := errors.AsType[*exitError](failure); err == nil && (failure == nil || damaged && exitCode(failure) == exitBroken) {
		err = os.Rename(tmp, name)
	} else {
		err = errors.Join(err, os.Remove(tmp))
	}
	if failure != nil {
		return failure
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

func (v *queueView) export(c *cobra.Command, flt *filter.Filter, w io.Writer) error {
	cfg, err := loadConfig(v.config)
	if err != nil {
		return err
	}
	dir := string(cfg.StateDir)
	r, err := admin.Call(c.Context(), filepath.Join(dir, socketName), opExport.name, flt.String())
	if errors.Is(err, admin.ErrNotRunning) {
		sound := true
		if err := v.verifyDir(dir, func(boltstore.Fault) error { sound = false; return nil }); err != nil {
			return err
		}
		if !sound {
			return rescue(c, dir, w)
		}
		r, err = v.call(c.Context(), opExport, nil, flt.String())
	}
	if err != nil {
		return unavailable(err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return answerError(err)
	}
	return nil
}

// rescue writes what can be read of a damaged store, all of it: what a filter would
// ask about may be lost.
func rescue(c *cobra.Command, dir string, w io.Writer) error {
	fmt.Fprintf(c.ErrOrStderr(), "%s is damaged: all that can be read is written\n", dir)
	a, err := archive.NewWriter(w, time.Now())
	if err != nil {
		return err
	}
	held := 0
	lost := func(id queue.ID, what string, open func() (io.ReadCloser, error)) error {
		fmt.Fprintf(c.ErrOrStderr(), "lost: %s: %s\n", id, what)
		err := a.Lost(id, what, open)
		if _, unreadable := errors.AsType[*archive.Unreadable](err); unreadable {
			return a.Lost(id, what, nil)
		}
		return err
	}
	err = boltstore.RescueDir(dir, boltstore.Rescue{
		Message: func(s queue.Saved, open func() (io.ReadCloser, error)) error {
			err := a.Add(s, open)
			if u, unreadable := errors.AsType[*archive.Unreadable](err); unreadable {
				return lost(s.Envelope.ID, u.Error(), nil)
			}
			if s.Doubt != "" {
				held++
			}
			return err
		},
		Lost:  lost,
		Fault: func(f boltstore.Fault) { fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", f.Where, f.What) },
	})
	if err != nil {
		return storeError(err)
	}
	if err := a.Close(); err != nil {
		return err
	}
	messages, gone := a.Counts()
	return &exitError{exitBroken, fmt.Errorf("%s: damaged: %s written, %d of them in doubt, %d lost", dir, plural(messages, "message"), held, gone),
		[]string{`move queue.db, queue.journal and spool away, then "dancemta queue import FILE"`,
			`those in doubt are held then: "dancemta queue list state=held" shows them, "dancemta queue release" sends them`}}
}

func newQueueImport() *cobra.Command {
	v, hold := new(queueView), false
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Bring exported messages into the queue",
		Long: `Bring the messages of an export into the queue, of a running server or a new one; "-"
is standard input. A message that is in the queue already, or was and has ended as long
as the history knows, is passed by. What was delivered after the export was made, and is
forgotten, would be delivered again: --hold keeps everything until you have looked.`,
		Args: exactArgs(1, "one file"),
		RunE: func(c *cobra.Command, args []string) error { return v.imports(c, args[0], hold) },
	}
	v.flags(c)
	c.Flags().BoolVar(&hold, "hold", false, "hold all messages")
	return c
}

func (v *queueView) imports(c *cobra.Command, name string, hold bool) error {
	in := c.InOrStdin()
	if name != stdio {
		f, err := os.Open(name)
		if err != nil {
			return unavailable(err)
		}
		defer f.Close()
		in = f
	}
	var args []string
	if hold {
		args = []string{"imported with --hold"}
	}
	r, err := v.call(c.Context(), opImport, in, args...)
	if err != nil {
		return importError(name, err)
	}
	defer r.Close()
	taken, skipped, held := 0, 0, 0
	enc := json.NewEncoder(c.OutOrStdout())
	err = decodeEach(r, func(one imported) error {
		switch {
		case one.Skipped != "":
			skipped++
		case one.Doubt != "":
			held++
			fallthrough
		default:
			taken++
		}
		if v.json {
			return enc.Encode(one)
		}
		if one.Skipped != "" {
			fmt.Fprintln(c.ErrOrStderr(), "passed by:", one.Skipped)
		}
		return nil
	})
	if !v.json {
		fmt.Fprintf(c.OutOrStdout(), "%s taken in, %d of them held, %d passed by\n", plural(taken, "message"), held, skipped)
	}
	return importError(name, err)
}

// importError names the file where that is what is wrong. A running server tells its
// errors as text.
func importError(name string, err error) error {
	if err == nil || !strings.Contains(err.Error(), archive.ErrFormat.Error()) {
		return err
	}
	return unavailable(fmt.Errorf("%s: %w", name, archive.ErrFormat), `"dancemta queue export" writes what can be imported`)
}

// compacted is what "queue compact" prints: the size of the queue file in octets.
type compacted struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

func newQueueCompact() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "compact",
		Short: "Give the free space of the queue file back",
		Long: `Copy what is in the queue file into a new one that takes its place. No server may run; a
server does so itself at its start when more than three quarters of a large file are
free.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(v.config)
			if err != nil {
				return err
			}
			before, after, err := boltstore.Compact(string(cfg.StateDir), storeOptions(cfg))
			if errors.Is(err, fs.ErrNotExist) {
				return unavailable(fmt.Errorf("%s: no queue yet", cfg.StateDir))
			}
			if errors.Is(err, boltstore.ErrInUse) {
				return unavailable(err, "a server runs: stop it first, or leave it alone; it does so itself at its start when there is much to give back")
			}
			if err != nil {
				return storeError(err)
			}
			if v.json {
				return json.NewEncoder(c.OutOrStdout()).Encode(compacted{before, after})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d octets before, %d now\n", before, after)
			return err
		},
	}
	v.flags(c)
	return c
}
