package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dancemta/queue"
	"dancemta/queue/filter"
)

func newQueueList() *cobra.Command {
	v, finished := new(queueView), false
	c := &cobra.Command{
		Use:   "list [FILTER...]",
		Short: "List messages in the queue",
		Long: `List messages, oldest first; without a filter, all. A running server is asked over
its control socket; without one the store is opened for reading.

` + filterHelp,
		RunE: func(c *cobra.Command, words []string) error {
			flt, err := readFilter(c, words, filter.Everything)
			if err != nil {
				return err
			}
			if finished {
				return v.list(c, opFinished, opFinishedText, flt)
			}
			return v.list(c, opList, opListText, flt)
		},
	}
	v.flags(c)
	c.Flags().BoolVar(&finished, "finished", false, "list those that have ended, in the order of their end")
	return c
}

// list prints what an operation lists, which writes all of it as it is to be seen: so a
// long list is not read and written once more.
func (v *queueView) list(c *cobra.Command, asJSON, asText operation, flt *filter.Filter) error {
	op := asText
	if v.json {
		op = asJSON
	}
	r, err := v.call(c.Context(), op, nil, flt.String())
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(c.OutOrStdout(), r); err != nil {
		return answerError(err)
	}
	return nil
}

// each calls f for the messages that a filter chooses.
func (v *queueView) each(ctx context.Context, flt string, f func(queue.Summary) error) error {
	r, err := v.call(ctx, opList, nil, flt)
	if err != nil {
		return err
	}
	defer r.Close()
	return decodeEach(r, f)
}

func newQueueShow() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one message: its envelope and the state of each recipient",
		Long: `Show one message: its envelope and the state of each recipient; also one that has
ended, as long as [queue] history remembers it.`,
		Args: exactArgs(1, "one queue id"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			var s queue.Summary
			if err := v.one(c.Context(), opShow, &s, string(id)); err != nil {
				return err
			}
			if v.json {
				return json.NewEncoder(c.OutOrStdout()).Encode(s)
			}
			return printMessage(c.OutOrStdout(), s)
		},
	}
	v.flags(c)
	return c
}

func newQueueCat() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "cat ID",
		Short: "Print a message as it was accepted",
		Long:  "Print a message as it was accepted, octet by octet: headers, body, CRLF line ends.",
		Args:  exactArgs(1, "one queue id"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			r, err := v.call(c.Context(), opCat, nil, string(id))
			if err != nil {
				return err
			}
			defer r.Close()
			if _, err := io.Copy(c.OutOrStdout(), r); err != nil {
				return answerError(err)
			}
			return nil
		},
	}
	addConfigFlag(c, &v.config)
	return c
}

func parseID(s string) (queue.ID, error) {
	id, err := queue.ParseID(s)
	if err != nil {
		return "", usage(err, `"dancemta queue list" prints the ids`)
	}
	return id, nil
}

// listBuffer is what of a list is sent in one piece.
const listBuffer = 64 << 10

// writeList is an operation that writes what each calls its function with.
func writeList(each func(*desk, context.Context, *filter.Filter, func(queue.Summary) error) error, asText bool) runner {
	return func(d *desk, ctx context.Context, args []string, _ io.Reader, w io.Writer) error {
		flt, err := parseFilter(args, 0)
		if err != nil {
			return err
		}
		out := newListPrinter(w, !asText)
		if err := each(d, ctx, flt, out.print); err != nil {
			_ = out.w.Flush() // what came before is true all the same
			return err
		}
		return out.end()
	}
}

// listPrinter prints a line per message as it comes, so that a long queue
// streams; columns have fixed widths for the same reason.
type listPrinter struct {
	w     *bufio.Writer
	json  *json.Encoder // nil: for a person
	count int
}

func newListPrinter(w io.Writer, asJSON bool) *listPrinter {
	p := &listPrinter{w: bufio.NewWriterSize(w, listBuffer)}
	if asJSON {
		p.json = json.NewEncoder(p.w)
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
	if p.json == nil {
		fmt.Fprintln(p.w, plural(p.count, "message"))
	}
	return p.w.Flush()
}

// recipientsWord shows the first recipient for whom something is still to be done, or
// of a message that has ended the first one; its state, and the number of others.
func recipientsWord(rs []queue.RecipientSummary) string {
	if len(rs) == 0 {
		return ""
	}
	first := max(0, slices.IndexFunc(rs, func(r queue.RecipientSummary) bool { return concerns(queue.EditDelete, r.State) }))
	word := fmt.Sprintf("<%s> %s", rs[first].Address, rs[first].State)
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
	if !s.Finished.IsZero() {
		fmt.Fprintf(t, "finished\t%s\n", s.Finished.UTC().Format(time.RFC3339))
	}
	for _, r := range s.Recipients {
		fmt.Fprintf(t, "recipient\t<%s>\t%s\tattempts %d", r.Address, r.State, r.Attempts)
		if !r.Next.IsZero() {
			fmt.Fprintf(t, "\tnext %s", r.Next.UTC().Format(time.RFC3339))
		}
		fmt.Fprintf(t, "\t%s", r.LastReply)
		if r.HoldReason != "" {
			fmt.Fprintf(t, "\t%s", r.HoldReason)
		}
		if r.LastTLS != "" {
			fmt.Fprintf(t, "\ttls %s", r.LastTLS)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
