package dnssec

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"dancemta/internal/dnsname"
)

// Options of New. Zero numbers mean the documented defaults.
type Options struct {
	Upstreams  []string         // recursive resolvers, tried in order, see below; required
	Anchors    []Anchor         // nil: BuiltinAnchors
	Now        func() time.Time // nil: time.Now
	Timeout    time.Duration    // of one Lookup; default 5 s
	Logger     *slog.Logger     // nil: silent; one debug line for each lookup that asked an upstream
	CacheSize  int              // answers kept, and as many zones; large ones count by the KiB; default 10,000
	MaxLookups int              // at once; default 256
	Trust      Trust            // who proves the answers; default Validate
	ClockSkew  time.Duration    // by which dates of signatures may be off, at most MaxClockSkew; default none
	// OnLookup hears of each answer, and whether it was known without asking; it is
	// called from many goroutines at once. nil: nobody does.
	OnLookup func(s State, cached bool)

	// Upstreams are "IP:port" (UDP, and TCP for what does not fit), or over TLS
	// (RFC 7858) "tls://IP:port#name", whose certificate must be good for the name,
	// or "tls://IP:port#sha256/BASE64", whose key must have this SHA-256 digest.

	TLSRoots *x509.CertPool // for names; nil: those of the system
	// ClientCertificate is shown to upstreams over TLS that ask for one; nil: none is.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

func (o Options) withDefaults() Options {
	if o.Anchors == nil {
		o.Anchors = BuiltinAnchors()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheSize <= 0 {
		o.CacheSize = defaultCache
	}
	if o.MaxLookups <= 0 {
		o.MaxLookups = defaultLookups
	}
	if o.OnLookup == nil {
		o.OnLookup = func(State, bool) {}
	}
	return o
}

// Resolver looks up and proves. It is safe for concurrent use.
type Resolver struct {
	opts     Options
	up       *upstreams
	slots    chan struct{} // one for each lookup at work
	earliest time.Time     // that our clock can be right
	ctx      context.Context
	cancel   context.CancelFunc

	mu     sync.Mutex // guards what follows
	mem    *memory
	closed bool
	jobs   sync.WaitGroup
}

// Trust says who proves answers.
type Trust uint8

// The kinds of Trust.
const (
	Validate Trust = iota // we do, from the trust anchors down
	// AD believes the AD bit of the upstreams, which must all be on loopback. Each
	// Answer says so in Trusted. Surveys and the self-test prove for themselves
	// even so.
	AD
)

// String returns the word for logs.
func (t Trust) String() string {
	if t == AD {
		return trustedAD
	}
	return "validate"
}

// MaxClockSkew bounds Options.ClockSkew: a clock that is further off is to be set.
const MaxClockSkew = 5 * time.Minute

// New returns a resolver; it asks nothing yet. It fails without upstreams, with
// one that is of no form of Options.Upstreams or, for AD, not on loopback.
func New(o Options) (*Resolver, error) {
	o = o.withDefaults()
	up, err := newUpstreams(o)
	if err != nil {
		return nil, err
	}
	if err := checkTrust(o, up); err != nil {
		return nil, err
	}
	if o.ClockSkew < 0 || o.ClockSkew > MaxClockSkew {
		return nil, fmt.Errorf("dnssec: a clock skew of %v is not between 0 and %v", o.ClockSkew, MaxClockSkew)
	}
	earliest, err := time.Parse(time.RFC3339, released)
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		opts: o, up: up, earliest: earliest,
		slots: make(chan struct{}, o.MaxLookups),
		mem:   newMemory(o.Anchors, o.CacheSize),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// SetAnchors replaces the trust anchors and forgets all that hung from the old.
// Without anchors nothing can be proved, and all lookups are bogus.
func (r *Resolver) SetAnchors(anchors []Anchor) {
	mem := newMemory(anchors, r.opts.CacheSize)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mem = mem
}

// Close ends what is in flight and waits for it. Lookups fail from then on.
func (r *Resolver) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.jobs.Wait()
	r.up.close()
	return nil
}

// Lookup finds the records of a name and says what they are worth. It follows
// CNAMEs. It takes as long as ctx and Options.Timeout allow; equal lookups
// share one, which goes on when ctx ends, for the others and the cache.
func (r *Resolver) Lookup(ctx context.Context, name dnsname.Name, t Type) Answer {
	a, ok := r.Cached(name, t)
	if !ok {
		a = r.marked(r.find(ctx, name, t))
		r.opts.OnLookup(a.State, false)
	}
	return a
}

// marked says on an answer whose word it is.
func (r *Resolver) marked(a Answer) Answer {
	if r.opts.Trust == AD {
		a.Trusted = trustedAD
		if a.State != Secure {
			a.Reason += markAD
		}
	}
	return a
}

// find is Lookup for what is not known yet.
func (r *Resolver) find(ctx context.Context, name dnsname.Name, t Type) Answer {
	mem, q := r.memory(), question{name.String() + ".", uint16(t)}
	fail := func(why string) Answer {
		return failedAnswer(name, q, &fault{reason: why}, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	f, why := r.flight(ctx, mem, q, name)
	if f == nil {
		return fail(why)
	}
	select {
	case <-f.done:
		return f.answer
	case <-ctx.Done():
		return fail("given up waiting: " + context.Cause(ctx).Error())
	}
}

// Cached returns what Lookup would say without asking anybody: what is in the
// cache, a failure that is still believed included, and what cannot be looked up
// at all. Otherwise it returns false.
func (r *Resolver) Cached(name dnsname.Name, t Type) (a Answer, ok bool) {
	if a, ok = r.known(name, t); ok {
		a = r.marked(a)
		r.opts.OnLookup(a.State, true)
	}
	return a, ok
}

func (r *Resolver) known(name dnsname.Name, t Type) (Answer, bool) {
	q, now := question{name.String() + ".", uint16(t)}, r.opts.Now()
	var why string
	switch {
	case name.IsZero():
		why = "no name to look up"
	case q.invalid() != "":
		why = q.invalid()
	case now.Before(r.earliest):
		why = r.clockFault(now)
	default:
		return r.memory().remembered(q, name, now)
	}
	return failedAnswer(name, q, &fault{reason: why}, nil), true
}

func (r *Resolver) clockFault(now time.Time) string {
	return "the clock says " + now.UTC().Format(time.DateTime) + ", which is before this program was made: set the clock"
}

func (r *Resolver) memory() *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mem
}

// remembered returns the answer of the caches.
func (m *memory) remembered(q question, name dnsname.Name, now time.Time) (Answer, bool) {
	if a, ok := m.answers.get(q, now); ok {
		return a, true
	}
	if f := m.failures.get(q, now); f != nil {
		l := &lookup{}
		l.note(f.step)
		return failedAnswer(name, q, f, l.steps), true
	}
	return Answer{}, false
}

// flight joins the lookup that is at this question, or starts one when there
// is a free place. A nil flight comes with the reason.
func (r *Resolver) flight(ctx context.Context, mem *memory, q question, name dnsname.Name) (*flight, string) {
	if f := mem.lookups.find(q); f != nil {
		return f, ""
	}
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, "too many lookups at once"
	}
	f, first := mem.lookups.join(q)
	if !first {
		<-r.slots
		return f, ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		f.answer = failedAnswer(name, q, &fault{reason: "the resolver is closed"}, nil)
		mem.lookups.finish(q, f)
		<-r.slots
		return f, ""
	}
	r.jobs.Go(func() {
		defer func() { <-r.slots }()
		f.answer = r.run(mem, q, name)
		mem.lookups.finish(q, f)
	})
	return f, ""
}

// usualSteps are those of a name two zones below the root.
const usualSteps = 6

// lookup makes one that proves for itself.
func (r *Resolver) lookup(mem *memory, now time.Time) *lookup {
	return &lookup{
		fetch: r.up.exchange, mem: mem, now: now, clock: r.opts.Now, skew: r.opts.ClockSkew,
		steps: make([]Step, 0, usualSteps),
	}
}

// run does one lookup and remembers what it found.
func (r *Resolver) run(mem *memory, q question, name dnsname.Name) Answer {
	now := r.opts.Now()
	if a, ok := mem.remembered(q, name, now); ok {
		return a // another flight ended between the look into the cache and ours
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.opts.Timeout)
	defer cancel()
	l := r.lookup(mem, now)
	if l.ad = r.opts.Trust == AD; l.ad {
		l.fetch = r.up.vouched
	}
	a, err := l.resolve(ctx, q)
	if err == nil {
		a.Steps = l.steps
		mem.remember(q, a, now)
	} else {
		f := asFault(err)
		f.until = mem.failures.put(q, f, l.end())
		a = failedAnswer(name, q, f, l.steps)
	}
	if !r.opts.Logger.Enabled(ctx, slog.LevelDebug) {
		return a
	}
	r.opts.Logger.Debug("dns lookup", "name", name.String(), "type", typeText(q.typ),
		"state", a.State.String(), "trust", r.opts.Trust.String(), "reason", a.Reason, "queries", l.spent.queries, "signatures", l.spent.checks)
	return a
}

// remember keeps an answer. Denials only when they are secure: an unsigned one
// can be made by anybody.
func (m *memory) remember(q question, a Answer, now time.Time) {
	m.failures.forget(q)
	if a.empty() && a.State != Secure {
		return
	}
	m.answers.put(q, a, a.Expires, now)
}

func (a *Answer) empty() bool {
	return len(a.TLSA)+len(a.MX)+len(a.Addrs)+len(a.Names)+len(a.TXT) == 0
}

// SelfTest fetches and proves the keys of the root, past all caches; for AD the
// upstream must vouch for them, too. Its error says what is wrong and what to do.
func (r *Resolver) SelfTest(ctx context.Context) error {
	now := r.opts.Now()
	if now.Before(r.earliest) {
		return errors.New(r.clockFault(now))
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	anchors := r.memory().anchors
	_, err := r.lookup(newMemory(anchors, 1), now).cutAt(ctx, root, nil)
	if err == nil && r.opts.Trust == AD {
		err = r.vouchesForRoot(ctx)
	}
	if err == nil {
		return nil
	}
	return errors.New(asFault(err).reason + "; " + r.advice(asFault(err)))
}

// advice says what an administrator can do about a root that cannot be proved.
func (r *Resolver) advice(f *fault) string {
	switch {
	case f.kind == silence || f.kind == deadline:
		way := "for UDP and TCP"
		if slices.ContainsFunc(r.up.servers, func(s *server) bool { return s.tls }) {
			way += ", or over TLS with the name or the key that is configured"
		}
		return "is a recursive resolver listening at " + r.up.addrs() + ", " + way + "?"
	case f.state == Failed:
		return "does the resolver at " + r.up.addrs() + " serve this host?"
	case f.hint != "":
		return f.hint
	}
	return "does the resolver at " + r.up.addrs() + " pass DNSSEC records on unchanged?"
}
