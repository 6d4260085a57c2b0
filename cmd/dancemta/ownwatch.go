package main

import (
	"context"
	"sync/atomic"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/maillog"
	"dancemta/internal/metrics"
)

const (
	// Records change by hand or once in months; an hour is as long as anybody may
	// believe in an old one.
	ownEach = time.Hour
	// DNS that is not there yet at the start may be after a minute.
	ownRetry = time.Minute
)

// ownWatch compares our own certificates with their live records, hourly and after
// each reload, for the metrics and the log. A scrape must not wait for DNS.
type ownWatch struct {
	judge func(context.Context, ownIdentity) daneclient.Own
	// worse hears of a verdict that is worse than the one before.
	worse func(ownIdentity, daneclient.Own)
	list  atomic.Pointer[[]ownIdentity]
	known atomic.Pointer[[]metrics.OwnTLSA]
	wake  chan struct{} // capacity 1: look again now
}

func newOwnWatch(list []ownIdentity) *ownWatch {
	w := &ownWatch{wake: make(chan struct{}, 1)}
	w.known.Store(&[]metrics.OwnTLSA{})
	w.set(list)
	return w
}

// set says which identities there are from now on.
func (w *ownWatch) set(list []ownIdentity) {
	w.list.Store(&list)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// verdicts is for the metrics: nothing before the first look.
func (w *ownWatch) verdicts() []metrics.OwnTLSA { return *w.known.Load() }

// run looks until ctx ends. Trouble of DNS is no verdict that others could be worse
// than; it shows in the metrics, and is tried again soon.
func (w *ownWatch) run(ctx context.Context) {
	timer := time.NewTimer(ownEach)
	defer timer.Stop()
	last := map[string]daneclient.OwnVerdict{} // by what
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake: // at the start, too
		case <-timer.C:
		}
		wait := ownEach
		var all []metrics.OwnTLSA
		for _, o := range *w.list.Load() {
			own := w.judge(ctx, o)
			all = append(all, metrics.OwnTLSA{Identity: o.kind, Verdict: own.Verdict.String()})
			if own.Verdict == daneclient.OwnUnknown {
				wait = ownRetry
				continue
			}
			if own.Verdict > firstOr(last, o) {
				w.worse(o, own)
			}
			last[o.what] = own.Verdict
		}
		w.known.Store(&all)
		timer.Reset(wait)
	}
}

// firstOr returns the verdict before. At the start that is what is usual: servers
// without DANE are many, a client's certificate is there for its records.
func firstOr(last map[string]daneclient.OwnVerdict, o ownIdentity) daneclient.OwnVerdict {
	if v, ok := last[o.what]; ok {
		return v
	}
	if o.kind == ownServer {
		return daneclient.OwnNone
	}
	return daneclient.OwnMatch
}

// newOwnWatch makes the watch of this server's certificates.
func (p *parts) newOwnWatch() *ownWatch {
	w := newOwnWatch(ownIdentities(p.cfg))
	w.judge = func(ctx context.Context, o ownIdentity) daneclient.Own {
		return o.judge(ctx, p.cfg.Hostname, p.verifier, p.resolver)
	}
	w.worse = func(o ownIdentity, own daneclient.Own) {
		maillog.OwnRecords(p.log, o.what, own.Owner.String(), own.Verdict.String(), own.Reason)
	}
	return w
}
