package dnssec

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"dancemta/internal/dnsname"
)

// Options of New. Zero numbers mean the documented defaults.
type Options struct {
	Upstreams  []string         // "IP:port" of recursive resolvers, tried in order; required
	Anchors    []Anchor         // nil: BuiltinAnchors
	Now        func() time.Time // nil: time.Now
	Timeout    time.Duration    // of one Lookup; default 5 s
	Logger     *slog.Logger     // nil: silent; one debug line for each lookup that asked an upstream
	CacheSize  int              // KiB of answers, and as many of zone keys; default 10,000
	MaxLookups int              // at once; default 256
}

// Resolver looks up and proves. It is safe for concurrent use.
type Resolver struct {
	opts Options
}

// New returns a resolver; it asks nothing yet.
func New(o Options) (*Resolver, error) {
	if len(o.Upstreams) == 0 {
		return nil, errors.New("dnssec: no upstream resolver")
	}
	return &Resolver{opts: o}, nil
}

// Lookup finds the records of a name and proves them.
func (r *Resolver) Lookup(ctx context.Context, name dnsname.Name, t Type) Answer {
	return Answer{State: Failed, Reason: "no chain of trust yet", Final: name}
}

// SelfTest proves the keys of the root.
func (r *Resolver) SelfTest(ctx context.Context) error {
	return errors.New("no chain of trust yet")
}

// SetAnchors replaces the trust anchors and forgets all that hung from the old.
func (r *Resolver) SetAnchors(anchors []Anchor) { r.opts.Anchors = anchors }

// Close ends what is in flight and waits for it.
func (r *Resolver) Close() error { return nil }
