package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dancemta/internal/admin"
	"dancemta/queue"
)

const adminStatus = "status"

// status is what a running server says of itself.
type status struct {
	Version      string                    `json:"version"`
	Since        time.Time                 `json:"since"`
	Listeners    []listening               `json:"listeners"`
	Store        string                    `json:"store"` // "sound", or "broken": no mail is taken or delivered
	New          int                       `json:"new"`
	Active       int                       `json:"active"`
	Deferred     int                       `json:"deferred"`
	Held         int                       `json:"held"`
	Oldest       time.Time                 `json:"oldest,omitzero"`
	Destinations []queue.DestinationStatus `json:"destinations"` // those in trouble
	Suspensions  []queue.Suspension        `json:"suspensions"`
}

type listening struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// serveStatus registers the command, as soon as the ports are open.
func (p *parts) serveStatus(ears ears) {
	since := time.Now()
	p.admin.Handle(adminStatus, func(_ context.Context, _ []string, w io.Writer) error {
		g := p.store.Gauges()
		s := status{Version: version, Since: since, Store: "sound", New: g.New, Active: g.Active, Deferred: g.Deferred, Held: g.Held, Oldest: g.Oldest}
		if g.Broken {
			s.Store = "broken"
		}
		for _, e := range ears {
			s.Listeners = append(s.Listeners, listening{e.name, e.Addr().String()})
		}
		var err error
		if s.Destinations, err = p.queue.Destinations(); err != nil {
			return err
		}
		all, err := p.store.Suspensions()
		if err != nil {
			return err
		}
		for _, one := range all {
			if !one.Ended(time.Now()) {
				s.Suspensions = append(s.Suspensions, one)
			}
		}
		return json.NewEncoder(w).Encode(s)
	})
}

func newStatus() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how a running server is, and which destinations are in trouble",
		Long: `Say how a running server is: since when, on which ports, what waits; a line for each
destination in trouble, with the reason, and for each suspension. The exit code is 4
when no server runs, and 6 when its store is broken.`,
		Args: exactArgs(0, "no words"),
		RunE: func(c *cobra.Command, _ []string) error { return v.status(c) },
	}
	v.flags(c)
	return c
}

func (v *queueView) status(c *cobra.Command) error {
	cfg, err := loadConfig(v.config)
	if err != nil {
		return err
	}
	r, err := admin.Call(c.Context(), filepath.Join(string(cfg.StateDir), socketName), adminStatus)
	if errors.Is(err, admin.ErrNotRunning) {
		return unavailable(err, `"dancemta serve" starts one; one that runs reads the same state_dir, from the file that --config names`)
	}
	if err != nil {
		return unavailable(err)
	}
	defer r.Close()
	var s status
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return answerError(err)
	}
	if v.json {
		err = json.NewEncoder(c.OutOrStdout()).Encode(s)
	} else {
		err = s.print(c.OutOrStdout(), time.Now())
	}
	if err == nil && s.Store != "sound" {
		err = &exitError{exitBroken, fmt.Errorf("the store is broken: no mail is taken or delivered"), []string{"the log says why; mend the disk, then restart"}}
	}
	return err
}

func (s *status) print(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "version\t%s\n", s.Version)
	fmt.Fprintf(t, "up\t%s\n", now.Sub(s.Since).Round(time.Second))
	for _, l := range s.Listeners {
		fmt.Fprintf(t, "listener\t%s\t%s\n", l.Name, l.Address)
	}
	fmt.Fprintf(t, "store\t%s\n", s.Store)
	fmt.Fprintf(t, "queue\tnew %d, active %d, deferred %d, held %d\n", s.New, s.Active, s.Deferred, s.Held)
	if !s.Oldest.IsZero() {
		fmt.Fprintf(t, "oldest\t%s\n", now.Sub(s.Oldest).Round(time.Second))
	}
	for _, d := range s.Destinations {
		fmt.Fprintf(t, "trouble\t%s\t%d waiting, since %s, next %s: %s\n", d.Destination, d.Waiting,
			d.Since.UTC().Format(time.RFC3339), d.Next.UTC().Format(time.RFC3339), d.Reason)
	}
	for _, one := range s.Suspensions {
		until := "until it is resumed"
		if !one.Until.IsZero() {
			until = "until " + one.Until.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(t, "suspended\t%s\t%s: %s\n", one.Pattern, until, orNone(one.Reason))
	}
	return t.Flush()
}
