package main

import (
	"strings"

	"dancemta/config"
	"dancemta/smtpd/milter"
)

// milters are those that a listener asks, in the order of the configuration.
func milters(cfg *config.Config, listener string) (chain milter.Chain) {
	for _, m := range cfg.MiltersOf(listener) {
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
		chain = append(chain, f)
	}
	return chain
}
