package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dancemta/internal/admin"
	"dancemta/queue"
	"dancemta/queue/boltstore"
)

// Commands of the control socket; each writes one queue.Summary per line.
const (
	adminQueueList = "queue-list"
	adminQueueShow = "queue-show"
)

func newQueue() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "Look at the mail in the queue", Args: noArgs, RunE: needsCommand}
	c.AddCommand(newQueueList(), newQueueShow())
	return c
}

// queueView is what the list commands share.
type queueView struct {
	config string
	json   bool
}

func (v *queueView) flags(c *cobra.Command) {
	addConfigFlag(c, &v.config)
	c.Flags().BoolVar(&v.json, "json", false, "print one JSON object per message")
}

func newQueueList() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "list",
		Short: "List all messages in the queue",
		Long: `List all messages in the queue, oldest first. A running server is asked over its
control socket; without one the store is opened for reading.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error {
			out := newListPrinter(c.OutOrStdout(), v.json)
			if err := v.each(c.Context(), out.print, adminQueueList); err != nil {
				return err
			}
			return out.end()
		},
	}
	v.flags(c)
	return c
}

func newQueueShow() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one message: its envelope and the state of each recipient",
		Args:  exactArgs(1, "one queue id"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := queue.ParseID(args[0])
			if err != nil {
				return usage(err, `"dancemta queue list" prints the ids`)
			}
			return v.each(c.Context(), func(s queue.Summary) error {
				if v.json {
					return json.NewEncoder(c.OutOrStdout()).Encode(s)
				}
				return printMessage(c.OutOrStdout(), s)
			}, adminQueueShow, string(id))
		},
	}
	v.flags(c)
	return c
}

// each calls f for the messages that a command of the control socket gives,
// from the server if one runs, else from the store itself.
func (v *queueView) each(ctx context.Context, f func(queue.Summary) error, command string, args ...string) error {
	cfg, err := loadConfig(v.config)
	if err != nil {
		return err
	}
	r, err := admin.Call(ctx, filepath.Join(string(cfg.StateDir), socketName), command, args...)
	switch {
	case err == nil:
		defer r.Close()
		return decodeEach(r, f)
	case errors.Is(err, admin.ErrNotFound):
		return notInQueue(args)
	case !errors.Is(err, admin.ErrNotRunning):
		return unavailable(err)
	}
	store, err := boltstore.Open(string(cfg.StateDir), boltstore.Options{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return unavailable(fmt.Errorf("%s: no queue yet", cfg.StateDir), `"dancemta serve" makes it at its first start`)
	}
	if err != nil {
		return storeError(err)
	}
	defer store.Close()
	if command == adminQueueList {
		return store.Each(f)
	}
	sum, err := store.Get(queue.ID(args[0]))
	if errors.Is(err, queue.ErrNotFound) {
		return notInQueue(args)
	}
	if err != nil {
		return err
	}
	return f(sum)
}

func notInQueue(args []string) error {
	return &exitError{exitNotFound, fmt.Errorf("%s: %w", strings.Join(args, " "), queue.ErrNotFound), []string{"it may have been delivered or bounced: the log knows"}}
}

// storeError adds what an operator can do about a store that does not open.
func storeError(err error) error {
	switch {
	case errors.Is(err, boltstore.ErrInUse):
		return unavailable(err, "another dancemta uses this state_dir: stop it, or give this one a folder of its own")
	case errors.Is(err, boltstore.ErrVersion):
		return unavailable(err, "it was written by another version of dancemta: start that one; nothing was changed")
	case errors.Is(err, boltstore.ErrBodies):
		return unavailable(err, "put the queue.db that belongs to them back; or, if it is lost, move the folder spool away")
	}
	return unavailable(err)
}

func decodeEach(r io.Reader, f func(queue.Summary) error) error {
	for d := json.NewDecoder(r); ; {
		var s queue.Summary
		if err := d.Decode(&s); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("answer of the running server: %w", err)
		}
		if err := f(s); err != nil {
			return err
		}
	}
}

// serveQueue registers the commands that read the queue.
func serveQueue(a *admin.Server, store queue.Store) {
	a.Handle(adminQueueList, func(ctx context.Context, _ []string, w io.Writer) error {
		enc := json.NewEncoder(w)
		return store.Each(func(s queue.Summary) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return enc.Encode(s)
		})
	})
	a.Handle(adminQueueShow, func(_ context.Context, args []string, w io.Writer) error {
		if len(args) != 1 {
			return errors.New("one id is needed")
		}
		s, err := store.Get(queue.ID(args[0]))
		if errors.Is(err, queue.ErrNotFound) {
			return admin.ErrNotFound
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(s)
	})
}

// listPrinter prints a line per message as it comes, so that a long queue
// streams; columns have fixed widths for the same reason.
type listPrinter struct {
	w     io.Writer
	json  *json.Encoder
	count int
}

func newListPrinter(w io.Writer, asJSON bool) *listPrinter {
	p := &listPrinter{w: w}
	if asJSON {
		p.json = json.NewEncoder(w)
	}
	return p
}

func (p *listPrinter) print(s queue.Summary) error {
	p.count++
	if p.json != nil {
		return p.json.Encode(s)
	}
	if p.count == 1 {
		fmt.Fprintf(p.w, "%-20s  %-20s  %9s  %-30s  %s\n", "ID", "ARRIVED", "SIZE", "SENDER", "RECIPIENTS")
	}
	_, err := fmt.Fprintf(p.w, "%-20s  %-20s  %9d  %-30s  %s\n",
		s.ID, s.Arrived.UTC().Format("2006-01-02 15:04:05Z"), s.Size, "<"+s.Sender.String()+">", recipientsWord(s.Recipients))
	return err
}

func (p *listPrinter) end() error {
	if p.json != nil {
		return nil
	}
	_, err := fmt.Fprintf(p.w, "%d messages\n", p.count)
	return err
}

// recipientsWord shows the first recipient, its state and the number of others.
func recipientsWord(rs []queue.RecipientSummary) string {
	if len(rs) == 0 {
		return ""
	}
	word := fmt.Sprintf("<%s> %s", rs[0].Address, rs[0].State)
	if more := len(rs) - 1; more > 0 {
		word += fmt.Sprintf(" and %d more", more)
	}
	return word
}

func printMessage(w io.Writer, s queue.Summary) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "id\t%s\n", s.ID)
	fmt.Fprintf(t, "arrived\t%s\n", s.Arrived.UTC().Format(time.RFC3339))
	fmt.Fprintf(t, "size\t%d octets\n", s.Size)
	fmt.Fprintf(t, "sender\t<%s>\n", s.Sender)
	fmt.Fprintf(t, "identity\t%s\n", orNone(s.Identity))
	fmt.Fprintf(t, "session\t%s\n", orNone(s.Session))
	for _, r := range s.Recipients {
		fmt.Fprintf(t, "recipient\t<%s>\t%s\tattempts %d", r.Address, r.State, r.Attempts)
		if !r.Next.IsZero() {
			fmt.Fprintf(t, "\tnext %s", r.Next.UTC().Format(time.RFC3339))
		}
		fmt.Fprintf(t, "\t%s\n", r.LastReply)
	}
	return t.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// stateFile reports whether the folder of the queue can be made and written.
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
