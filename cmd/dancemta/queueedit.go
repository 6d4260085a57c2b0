package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dancemta/queue"
	"dancemta/queue/filter"
)

// Edits at once: each waits for its flush, which all that wait together share.
const editors = 64

// actions by their commands.
var actions = map[string]queue.Action{
	"hold": queue.EditHold, "release": queue.EditRelease, "retry": queue.EditRetry, "delete": queue.EditDelete, "bounce": queue.EditBounce,
}

// edit does an action to the recipients that a filter chooses.
func (d *desk) edit(ctx context.Context, args []string, _ io.Reader, w io.Writer) error {
	if len(args) != 3 {
		return errArguments
	}
	e := &editing{d: d, reason: args[2], work: make(chan plannedEdit)}
	for range editors {
		e.wait.Go(e.worker)
	}
	err := d.planned(ctx, args, func(a queue.Action, s queue.Summary, rcpts []queue.RecipientSummary) error {
		e.work <- plannedEdit{a, s.ID, len(rcpts) == len(s.Recipients), rcpts}
		return e.failed()
	})
	close(e.work)
	e.wait.Wait()
	if err := errors.Join(err, e.failed()); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(e.n)
}

type plannedEdit struct {
	action queue.Action
	id     queue.ID
	whole  bool // all recipients
	rcpts  []queue.RecipientSummary
}

// editing is one edit of many messages.
type editing struct {
	d      *desk
	reason string
	work   chan plannedEdit
	wait   sync.WaitGroup

	mu  sync.Mutex
	n   touched
	err error
}

func (e *editing) failed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// worker ends with the work; after a failure it only empties the channel.
func (e *editing) worker() {
	for p := range e.work {
		if e.failed() != nil {
			continue
		}
		n, err := e.message(p)
		e.mu.Lock()
		if n > 0 {
			e.n.Messages++
			e.n.Recipients += n
		}
		if err != nil && !errors.Is(err, queue.ErrNotFound) && e.err == nil { // not there: it has ended meanwhile
			e.err = err
		}
		e.mu.Unlock()
	}
}

func (e *editing) message(p plannedEdit) (n int, err error) {
	do := e.d.store.Edit
	if e.d.queue != nil {
		do = e.d.queue.Edit
	}
	edit := queue.Edit{Action: p.action, Reply: e.reason}
	if p.whole {
		return do(p.id, edit)
	}
	for _, r := range p.rcpts {
		edit.Recipient = r.Address
		more, err := do(p.id, edit)
		if n += more; err != nil {
			return n, err
		}
	}
	return n, nil
}

// queueEdit is a command that changes what a filter chooses.
type queueEdit struct {
	queueView
	name   string
	dryRun bool
	yes    bool
	reason string
}

func newQueueEdits() []*cobra.Command {
	var all []*cobra.Command
	for _, c := range []struct{ name, short, long string }{
		{"hold", "Keep mail until it is released", "What is being delivered at this moment ends; what is left of it stays."},
		{"release", "End a hold", "The mail is due when it was before, or at once if that time has gone by."},
		{"retry", "Try mail now", "It is due at once, and a back-off of its destination ends. Held mail stays until it is\nreleased, and mail for a suspended destination until that is resumed."},
		{"delete", "Forget mail without a word to its sender", "A delivery under way may still succeed: the history says so then."},
		{"bounce", "Give mail up now", `The sender gets a bounce with the reason given. Without a running server that happens
at its next start.`},
	} {
		e := &queueEdit{name: c.name}
		cmd := &cobra.Command{
			Use:   c.name + " FILTER...",
			Short: c.short,
			Long:  c.long + "\n\n" + filterHelp,
			RunE:  e.run,
		}
		e.flags(cmd)
		cmd.Flags().BoolVarP(&e.dryRun, "dry-run", "n", false, "list what would be concerned, and change nothing")
		cmd.Flags().BoolVarP(&e.yes, "yes", "y", false, "do not ask, however many messages there are")
		if c.name != "release" && c.name != "retry" {
			cmd.Flags().StringVar(&e.reason, "reason", "", "why: the `text` stands in lists and bounces")
		}
		all = append(all, cmd)
	}
	return all
}

func (e *queueEdit) run(c *cobra.Command, words []string) error {
	flt, err := readFilter(c, words, "")
	if err != nil {
		return err
	}
	ctx := c.Context()
	if e.dryRun {
		if err := e.list(c, opList, opListText, flt); err != nil {
			return err
		}
	}
	if e.dryRun || flt.ID() == "" && !e.yes {
		var n touched
		if err := e.one(ctx, opCount, &n, e.name, flt.String()); err != nil {
			return err
		}
		if e.dryRun {
			return e.say(c, "would "+e.name, n)
		}
		if n.Messages == 0 {
			return e.say(c, e.name, n)
		}
		if err := confirm(c, fmt.Sprintf("%s %s", e.name, n)); err != nil {
			return err
		}
	}
	var n touched
	if err := e.one(ctx, opEdit, &n, e.name, flt.String(), e.reason); err != nil {
		return err
	}
	return e.say(c, e.name, n)
}

func (n touched) String() string {
	return fmt.Sprintf("%s in %s", plural(n.Recipients, "recipient"), plural(n.Messages, "message"))
}

// untouched says why an action may find nothing to do.
var untouched = map[string]string{
	"hold":    "whoever the filter chooses is held already, or there is nobody",
	"release": "nobody whom the filter chooses is held",
	"retry":   `whoever the filter chooses is held, see "dancemta queue release", or there is nobody`,
	"delete":  "the filter chooses nobody who waits",
	"bounce":  "the filter chooses nobody who waits, and who is not given up already",
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func (e *queueEdit) say(c *cobra.Command, what string, n touched) error {
	if e.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(n)
	}
	if _, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", what, n); err != nil {
		return err
	}
	if n.Recipients == 0 {
		fmt.Fprintf(c.ErrOrStderr(), "hint: %s\n", untouched[e.name])
	}
	return nil
}

// confirm asks a person; where there is none, only --yes will do.
func confirm(c *cobra.Command, what string) error {
	in, ok := c.InOrStdin().(*os.File)
	if ok {
		_, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
		ok = err == nil
	}
	if !ok {
		return usage(fmt.Errorf("%s: not without --yes, since nobody can be asked", what), "--dry-run shows what would be concerned")
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s? [y/N] ", what)
	answer := make([]byte, 16)
	n, err := in.Read(answer)
	if err != nil && err != io.EOF {
		return err
	}
	if word := strings.ToLower(strings.TrimSpace(string(answer[:n]))); word != "y" && word != "yes" {
		return usage(errors.New("nothing was changed"))
	}
	return nil
}

const filterHelp = `FILTER is a queue id, "all", or conditions that must all hold, for example

  sender=@example.org age>2h state=deferred reply~"4.7.5"

with a shell's quotes around it. Conditions:

` // filter.Help follows, see addFilterHelp

// addFilterHelp appends the words of filters to the long texts that announce them.
func addFilterHelp(c *cobra.Command) {
	if strings.HasSuffix(c.Long, filterHelp) {
		c.Long += strings.TrimRight(filter.Help(), "\n")
	}
	for _, sub := range c.Commands() {
		addFilterHelp(sub)
	}
}

// readFilter makes one filter of the words. other is what no words mean; empty: an
// error.
func readFilter(c *cobra.Command, words []string, other string) (*filter.Filter, error) {
	text := strings.Join(words, " ")
	if len(words) == 0 {
		if other == "" {
			return nil, usage(fmt.Errorf("%q needs a filter", c.CommandPath()), `"all" means all messages`, fmt.Sprintf("%q shows how", c.CommandPath()+" --help"))
		}
		text = other
	}
	f, err := filter.Parse(text)
	if err != nil {
		return nil, usage(err, fmt.Sprintf("%q lists the words", c.CommandPath()+" --help"))
	}
	return f, nil
}
