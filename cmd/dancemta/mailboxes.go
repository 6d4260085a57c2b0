package main

import (
	"context"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/smtpd/callout"
)

// mailboxes asks the directory, or the hosts that mail for relay domains goes to.
func (p *parts) mailboxes() func(context.Context, mailaddr.Address) callout.Answer {
	c := callout.New(callout.Options{Ask: func(ctx context.Context, key string) callout.Answer {
		to, err := mailaddr.Parse(key)
		if err != nil {
			return callout.Unknown
		}
		return answerOf(p.delivers.Ask(ctx, to))
	}})
	return func(ctx context.Context, to mailaddr.Address) callout.Answer {
		if l := p.live.Load(); l.listed[to.Domain()] {
			return l.inDirectory(ctx, to)
		}
		return c.Answer(ctx, to.Key())
	}
}

// answerOf takes a refusal for good from a host alone: our own trouble with DNS, TLS
// or the configuration says nothing about a mailbox.
func answerOf(o queue.Outcome) callout.Answer {
	switch {
	case o.Result == queue.Delivered:
		return callout.Exists
	case o.Result == queue.Failed && o.RemoteMTA != "":
		return callout.Absent
	}
	return callout.Unknown
}
