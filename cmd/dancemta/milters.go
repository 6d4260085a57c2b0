package main

import (
	"context"
	"fmt"
	"strings"

	"dancemta/config"
	"dancemta/smtpd/milter"
)

// milters are those that a listener asks, in the order of the configuration.
func milters(cfg *config.Config, listener string) (chain milter.Chain) {
	for _, m := range cfg.MiltersOf(listener) {
		chain = append(chain, newMilter(cfg, m))
	}
	return chain
}

func newMilter(cfg *config.Config, m config.Milter) *milter.Filter {
	o := milter.Options{
		Network: "tcp", Address: string(m.Address),
		Timeout: m.Timeout.Duration, MessageTime: m.MessageTimeout.Duration,
		MaxBytes: cfg.Limits.MessageSize.Bytes, AcceptOnFailure: m.OnFailure == config.FailureAccept,
		Dir: string(cfg.StateDir),
	}
	if path, ok := strings.CutPrefix(o.Address, "unix:"); ok {
		o.Network, o.Address = "unix", path
	}
	f, err := milter.New(o)
	if err != nil {
		panic(err) // config has checked the address
	}
	return f
}

// milters calls each milter once. One that is away now may be there later.
func (r *report) milters(ctx context.Context, cfg *config.Config) {
	for i, m := range cfg.Milters {
		f := newMilter(cfg, m)
		if err := f.Probe(ctx, cfg.Hostname.String()); err != nil {
			r.problem(fmt.Errorf("milter.address (line %d): %s: %w", cfg.Line(fmt.Sprintf("milter[%d]", i)), f.Name(), err))
			continue
		}
		r.ok("the milter %s answers", f.Name())
	}
}
