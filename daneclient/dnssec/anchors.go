package dnssec

import (
	"context"
	"errors"

	"github.com/miekg/dns"
)

// AnchorStatus says how one trust anchor fits the live root.
type AnchorStatus struct {
	Anchor  Anchor
	Matches bool   // it is valid now and names a key of the live root
	Signs   bool   // and that key signs the root's keys today, which a standby key does not
	Reason  string // why it does not match; "" when it does
}

// Anchors fetches the keys of the root, past all caches, and compares them with
// each trust anchor. Keys that the anchors do not prove match none. It is an
// error when they cannot be fetched, or not be judged.
func (r *Resolver) Anchors(ctx context.Context) ([]AnchorStatus, error) {
	now := r.opts.Now()
	if now.Before(r.earliest) {
		return nil, errors.New(r.clockFault(now))
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	anchors := r.memory().anchors
	l := r.lookup(newMemory(anchors, 1), now)
	q := question{root, dns.TypeDNSKEY}
	got, err := l.ask(ctx, q)
	if err != nil {
		return nil, errors.New(asFault(err).reason)
	}
	set := got.answer[q]
	if set == nil {
		return nil, errors.New(q.String() + ": none in the reply")
	}
	keys, err := keysOf(set)
	if err != nil {
		return nil, err
	}
	valid, _ := records(anchors, now)
	_, _, unproved := l.proveKeys(set, root, valid, now.Add(maxLife))
	out := make([]AnchorStatus, len(anchors))
	for i, a := range anchors {
		out[i] = AnchorStatus{Anchor: a, Reason: a.problem(now)}
		if out[i].Reason != "" {
			continue
		}
		named := named(keys, []*dns.DS{a.record()})
		switch {
		case len(named) == 0:
			out[i].Reason = "names no key of the live root"
		case unproved != nil:
			out[i].Reason = asFault(unproved).reason
		default:
			out[i].Matches = true
			_, err := l.verify(&zone{name: root, keys: named, expires: now.Add(maxLife)}, set)
			out[i].Signs = err == nil
		}
	}
	return out, nil
}
