package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"context"

	"github.com/spf13/cobra"

	"dancemta/internal/maillog"
	"dancemta/queue"
)

func newQueueSuspend() *cobra.Command {
	v, reason, span := new(queueView), "", time.Duration(0)
	c := &cobra.Command{
		Use:   "suspend DESTINATION",
		Short: "Keep all mail for a destination where it is",
		Long: `Keep all mail for a destination where it is, also what comes later: a domain,
"*.example.org" (all names below it), an address literal, or "*" (all mail). It is
accepted and waits; what is too old when the suspension ends is tried once more, and
bounces then. A message that is being delivered ends; no other is
begun. "dancemta status" lists suspensions.`,
		Args: exactArgs(1, "one destination"),
		RunE: func(c *cobra.Command, args []string) error {
			pattern, err := queue.ParseDestinations(args[0])
			if err != nil {
				return usage(err)
			}
			s := queue.Suspension{Pattern: pattern, Reason: maillog.Clean(reason), Since: time.Now()}
			if span < 0 {
				return usage(errors.New("--for: a time is needed that has not gone by"))
			}
			if span > 0 {
				s.Until = s.Since.Add(span)
			}
			text, err := json.Marshal(s)
			if err != nil {
				return err
			}
			return v.nothing(c.Context(), opSuspend, bytes.NewReader(text))
		},
	}
	addConfigFlag(c, &v.config)
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look later: a `text`")
	c.Flags().DurationVar(&span, "for", 0, "end it by itself after this `time`, as 90m or 12h")
	return c
}

func newQueueResume() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "resume DESTINATION",
		Short: "End a suspension",
		Long:  `End a suspension, named as it was made. "dancemta status" lists them.`,
		Args:  exactArgs(1, "one destination"),
		RunE: func(c *cobra.Command, args []string) error {
			pattern, err := queue.ParseDestinations(args[0])
			if err != nil {
				return usage(err)
			}
			err = v.nothing(c.Context(), opResume, nil, pattern)
			if exitCode(err) == exitNotFound {
				return &exitError{exitNotFound, fmt.Errorf("%s: not suspended", pattern), []string{`"dancemta status" lists suspensions`}}
			}
			return err
		},
	}
	addConfigFlag(c, &v.config)
	return c
}

// queueStats is a line of `queue stats`: recipients that have one key in common.
type queueStats struct {
	Key        string         `json:"key"`
	Recipients int            `json:"recipients"`
	States     map[string]int `json:"states"`
	Oldest     time.Time      `json:"oldest"`
}

// Keys that are counted apart; the rest is one line. It bounds the memory that a queue
// full of forged senders costs.
const maxStatsKeys = 10_000

// otherKeys is the line of the rest. No key looks like it.
const otherKeys = "(others)"

var statsKeys = map[string]func(*queue.Summary, *queue.RecipientSummary) string{
	"domain":   func(_ *queue.Summary, r *queue.RecipientSummary) string { return r.Destination },
	"sender":   func(s *queue.Summary, _ *queue.RecipientSummary) string { return "<" + s.Sender.String() + ">" },
	"identity": func(s *queue.Summary, _ *queue.RecipientSummary) string { return orNone(s.Identity) },
	"state":    func(_ *queue.Summary, r *queue.RecipientSummary) string { return r.State },
	"reply":    func(_ *queue.Summary, r *queue.RecipientSummary) string { return orNone(r.LastReply) },
}

func (d *desk) stats(ctx context.Context, args []string, _ io.Reader, w io.Writer) error {
	flt, err := parseFilter(args, 1)
	if err != nil {
		return err
	}
	key := statsKeys[args[0]]
	if key == nil {
		return fmt.Errorf("unknown key %q", args[0])
	}
	all := map[string]*queueStats{}
	err = d.chosen(ctx, flt, func(s queue.Summary, rcpts []queue.RecipientSummary) error {
		for i := range rcpts {
			k := key(&s, &rcpts[i])
			if all[k] == nil && len(all) >= maxStatsKeys {
				k = otherKeys
			}
			if all[k] == nil {
				all[k] = &queueStats{Key: k, States: map[string]int{}, Oldest: s.Arrived} // they come oldest first
			}
			all[k].Recipients++
			all[k].States[rcpts[i].State]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	for _, one := range sortedStats(all) {
		if err := enc.Encode(one); err != nil {
			return err
		}
	}
	return nil
}

// sortedStats lists the longest first.
func sortedStats(all map[string]*queueStats) []*queueStats {
	var list []*queueStats
	for _, one := range all {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *queueStats) int {
		if a.Recipients != b.Recipients {
			return b.Recipients - a.Recipients
		}
		return strings.Compare(a.Key, b.Key)
	})
	return list
}

func newQueueStats() *cobra.Command {
	v, by, top := new(queueView), "domain", 20
	c := &cobra.Command{
		Use:   "stats [FILTER...]",
		Short: "Count what waits, by domain, sender, identity, state or reply",
		Long:  "Count recipients that have something in common, the most first; of all messages\nwithout a filter.\n\n" + filterHelp,
		RunE: func(c *cobra.Command, words []string) error {
			if statsKeys[by] == nil {
				return usage(fmt.Errorf("--by %s: there are domain, identity, reply, sender, state", by))
			}
			flt, err := readFilter(c, words, "all")
			if err != nil {
				return err
			}
			r, err := v.call(c.Context(), opStats, nil, by, flt.String())
			if err != nil {
				return err
			}
			defer r.Close()
			return v.printStats(c.OutOrStdout(), r, by, top)
		},
	}
	v.flags(c)
	c.Flags().StringVar(&by, "by", by, "what to count by: `key` is domain, sender, identity, state or reply")
	c.Flags().IntVar(&top, "top", top, "print the first `n` lines; 0: all")
	return c
}

func (v *queueView) printStats(w io.Writer, r io.Reader, by string, top int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	enc, n := json.NewEncoder(w), 0
	err := decodeEach(r, func(one queueStats) error {
		n++
		switch {
		case top > 0 && n > top:
			return nil
		case v.json:
			return enc.Encode(one)
		case n == 1:
			fmt.Fprintf(t, "%s\tRECIPIENTS\tSTATES\tOLDEST\n", strings.ToUpper(by))
		}
		var states []string
		for _, s := range queue.States() {
			if one.States[s] > 0 {
				states = append(states, fmt.Sprintf("%s %d", s, one.States[s]))
			}
		}
		_, err := fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", one.Key, one.Recipients, strings.Join(states, ", "), one.Oldest.UTC().Format(time.RFC3339))
		return err
	})
	if err == nil && !v.json && top > 0 && n > top {
		fmt.Fprintf(t, "and %d more\n", n-top)
	}
	if err != nil {
		return err
	}
	return t.Flush()
}
