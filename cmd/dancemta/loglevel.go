package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/internal/admin"
	"dancemta/internal/maillog"
)

const adminLogLevel = "log-level"

// logLevel is the answer of a server that was asked for its level, or told another.
type logLevel struct {
	Level config.Level `json:"level"`
	// Before is what it was; the same when it was only asked for.
	Before config.Level `json:"before"`
}

func slogLevel(l config.Level) (level slog.Level) {
	if err := level.UnmarshalText([]byte(l)); err != nil {
		panic(err) // config knows only words that slog knows
	}
	return level
}

func configLevel(l slog.Level) config.Level { return config.Level(strings.ToLower(l.String())) }

// setLogLevel changes what the log shows from now on, and says so where it can be
// read: before it falls silent, or once it speaks.
func (p *parts) setLogLevel(to config.Level) (before config.Level) {
	if p.level == nil {
		return to
	}
	old, level := p.level.Level(), slogLevel(to)
	before = configLevel(old)
	if level == old {
		return before
	}
	p.level.Set(min(level, old))
	maillog.Level(p.log, string(to), string(before))
	p.level.Set(level)
	return before
}

// serveLogLevel registers the command: no word asks, one sets.
func (p *parts) serveLogLevel() {
	p.admin.Handle(adminLogLevel, func(_ context.Context, args []string, w io.Writer) error {
		now := configLevel(p.level.Level())
		answer := logLevel{now, now}
		if len(args) > 0 {
			if err := answer.Level.UnmarshalText([]byte(args[0])); err != nil {
				return err
			}
			answer.Before = p.setLogLevel(answer.Level)
		}
		return json.NewEncoder(w).Encode(answer)
	})
}

func newLog() *cobra.Command {
	c := &cobra.Command{
		Use:   "log",
		Short: "Change what a running server writes to its log",
		Args:  noArgs,
		RunE:  needsCommand,
	}
	c.AddCommand(newLogLevel())
	return c
}

func newLogLevel() *cobra.Command {
	v := new(queueView)
	c := &cobra.Command{
		Use:   "level [debug|info|warn|error]",
		Short: "Show the level of the log, or set it until the next reload",
		Long: `Show the least weight of the lines that a running server writes to its log, or set it:
debug, info, warn or error. It holds until the next reload (SIGHUP) or start, which
take log.level from the configuration. The exit code is 4 when no server runs.`,
		Example: `  dancemta log level debug   # while you look for something
  dancemta log level info    # and back`,
		ValidArgs: []string{"debug", "info", "warn", "error"},
		Args: func(c *cobra.Command, args []string) error {
			var level config.Level
			switch {
			case len(args) > 1:
				return usage(fmt.Errorf("%q takes one level or none", c.CommandPath()), fmt.Sprintf("%q shows how", c.CommandPath()+" --help"))
			case len(args) == 1:
				if err := level.UnmarshalText([]byte(args[0])); err != nil {
					return usage(fmt.Errorf("level %.40q: %w", args[0], err), "debug, info, warn and error are")
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return v.logLevel(c, args) },
	}
	v.flags(c)
	return c
}

func (v *queueView) logLevel(c *cobra.Command, args []string) error {
	cfg, err := loadConfig(v.config)
	if err != nil {
		return err
	}
	r, err := admin.Call(c.Context(), filepath.Join(string(cfg.StateDir), socketName), adminLogLevel, args...)
	if errors.Is(err, admin.ErrNotRunning) {
		return unavailable(err, `"dancemta serve" starts one; one that runs reads the same state_dir, from the file that --config names`)
	}
	if err != nil {
		return unavailable(err)
	}
	defer r.Close()
	var answer logLevel
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return answerError(err)
	}
	if v.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(answer)
	}
	if answer.Level == answer.Before {
		fmt.Fprintln(c.OutOrStdout(), answer.Level)
	} else {
		fmt.Fprintf(c.OutOrStdout(), "%s, was %s\n", answer.Level, answer.Before)
	}
	return nil
}
