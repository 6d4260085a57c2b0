package main

import (
	"context"
	"sync/atomic"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/metrics"
)

const (
	// The root's keys change over months; an hour shows it in the same hour.
	anchorsEach = time.Hour
	// A resolver that is not there yet at the start may be after a minute.
	anchorsRetry = time.Minute
)

// anchorWatch knows which trust anchors match the live root, for the metrics: a
// scrape must not wait for DNS.
type anchorWatch struct {
	survey func(context.Context) ([]dnssec.AnchorStatus, error)
	known  atomic.Pointer[[]metrics.Anchor]
	wake   chan struct{} // capacity 1: look again now
}

func newAnchorWatch(survey func(context.Context) ([]dnssec.AnchorStatus, error), anchors []dnssec.Anchor) *anchorWatch {
	w := &anchorWatch{survey: survey, wake: make(chan struct{}, 1)}
	w.known.Store(&[]metrics.Anchor{})
	w.set(anchors)
	return w
}

// set says which anchors there are from now on. What was known of one stays until
// the next look, which is at once.
func (w *anchorWatch) set(anchors []dnssec.Anchor) {
	matched := map[uint16]bool{}
	for _, a := range w.list() {
		matched[a.KeyTag] = a.Matched
	}
	list := make([]metrics.Anchor, len(anchors))
	for i, a := range anchors {
		list[i] = metrics.Anchor{KeyTag: a.KeyTag, Matched: matched[a.KeyTag]}
	}
	w.known.Store(&list)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *anchorWatch) list() []metrics.Anchor { return *w.known.Load() }

// run looks until ctx ends. Trouble of DNS says nothing about anchors.
func (w *anchorWatch) run(ctx context.Context) {
	timer := time.NewTimer(anchorsEach)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake: // at the start, too
		case <-timer.C:
		}
		found, err := w.survey(ctx)
		if err != nil {
			timer.Reset(anchorsRetry)
			continue
		}
		list := make([]metrics.Anchor, len(found))
		for i, a := range found {
			list[i] = metrics.Anchor{KeyTag: a.Anchor.KeyTag, Matched: a.Matches}
		}
		w.known.Store(&list)
		timer.Reset(anchorsEach)
	}
}
