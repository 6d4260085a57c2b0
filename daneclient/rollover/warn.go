package rollover

import (
	"fmt"
	"slices"

	"dancemta/daneclient"
)

// judge adds what deserves attention.
func (r *Report) judge() {
	l, state := r.Look, r.State
	if l == nil {
		return
	}
	warn := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	for _, missing := range l.Lacking(state.Current.Record()) {
		warn("the key in use has no live record: %s", missing)
	}
	if state.Phase == Switched {
		for _, missing := range l.Lacking(state.Old.Record()) {
			warn("the old record went too early: %s", missing)
		}
	}
	for _, s := range l.Servers {
		if why := daneclient.TTLProblem(s.TTL); why != "" && s.Fault == "" && len(s.Records) > 0 {
			warn("%s: %s", s.Server, why)
		}
	}
	for _, record := range r.foreign() {
		warn("somebody else's record stands at %s: %s", state.Owner, record)
	}
	if l.Walkable {
		warn("%s", daneclient.WalkableProblem(l.Zone))
	}
}

// foreign lists the records that are of no key of ours.
func (r *Report) foreign() []string {
	var ours, foreign []string
	for _, k := range []*Key{&r.State.Current, r.State.Next, r.State.Old} {
		if k != nil {
			ours = append(ours, k.Record().String())
		}
	}
	for _, s := range r.Look.Servers {
		for _, record := range s.Records {
			if text := record.String(); !slices.Contains(ours, text) && !slices.Contains(foreign, record.Short()) {
				foreign = append(foreign, record.Short())
			}
		}
	}
	return foreign
}
