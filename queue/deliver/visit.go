package deliver

import (
	"context"
	"errors"
	"time"

	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// visit is one connection at a time, and the messages that it is used for.
type visit struct {
	*Deliverer
	session
	began time.Time
	asks  bool // for recipients, and sends nothing
}

// terms are what a connection was made under: another message may use it only
// if its own are the same.
type terms struct {
	route       uint64 // Route.Version
	requireTLS  bool   // RFC 8689 4.2.1
	tlsOptional bool   // RFC 8689 3
}

func (a *attempt) terms() terms {
	return terms{a.route.Version, a.job.Envelope.RequireTLS, a.job.Envelope.TLSOptional}
}

// Deliver implements queue.Deliverer.
func (d *Deliverer) Deliver(ctx context.Context, v queue.Visit) {
	s := &visit{Deliverer: d, session: d.keeper.arrive(v.Destination()), began: time.Now()}
	busy, orderly := s.client != nil, false
	defer func() { s.depart(ctx, v.Destination(), busy, orderly) }()
	for n := range maxMessages {
		job, ok := v.Next()
		if !ok {
			break
		}
		busy = busy || n > 0
		v.Report(job, s.attempt(ctx, job))
		if !s.usable() || time.Since(s.began) >= maxVisit || ctx.Err() != nil {
			break
		}
	}
	orderly = true
}

// usable reports whether the connection can take a further transaction.
func (s *visit) usable() bool { return s.client != nil && s.client.Usable() && !s.client.Full() }

// depart ends the visit. Its connection may be kept for the next one; not after a
// panic, which leaves it anywhere within a transaction.
func (s *visit) depart(ctx context.Context, destination string, busy, orderly bool) {
	one := s.session
	if !orderly || !s.usable() || ctx.Err() != nil {
		one.client = nil
	}
	if !s.keeper.leave(destination, one, busy) {
		s.leave(ctx)
	}
}

func (s *visit) leave(ctx context.Context) {
	if s.client != nil {
		s.client.Quit(ctx)
		s.client = nil
	}
}

// attempt makes one attempt and returns an outcome for each recipient of job. The
// connection that is there comes first; what it does not settle takes the way of
// a first message.
func (s *visit) attempt(ctx context.Context, job queue.Job) []queue.Outcome {
	bounded, cancel := context.WithTimeoutCause(ctx, maxAttempt, errors.New("the attempt took too long"))
	defer cancel()
	a := newAttempt(job, s.o.Route(job.Destination))
	if s.usable() && s.terms == a.terms() {
		a.tls = s.tls
		s.send(bounded, a)
	}
	if len(a.open) > 0 {
		s.afresh(bounded, a)
	}
	if ctx.Err() != nil { // we leave, the destination did nothing
		for i := range a.outcomes {
			a.outcomes[i].Unreachable = false
		}
	}
	return a.outcomes
}

// afresh finds the hosts, and visits them group by group until no recipient is
// left.
func (s *visit) afresh(ctx context.Context, a *attempt) {
	groups, v := s.route(ctx, a.route, a.job.Destination)
	if v != nil {
		a.settle(*v)
		return
	}
	left := maxAddresses
	defer func() { a.settle(a.last()) }()
	for _, g := range groups {
		targets, v := s.targets(ctx, g, &left)
		a.note(v)
		for _, t := range targets {
			if a.tried[t.key()] {
				continue
			}
			s.call(ctx, a, t)
			if len(a.open) == 0 || ctx.Err() != nil {
				return
			}
		}
		if v.isLoop() {
			return
		}
	}
}

// call talks to one address: a session, as many transactions as it takes. Where
// the server ends sessions after some (RFC 9422, MAILMAX), a further one follows
// as long as each settles somebody.
func (s *visit) call(ctx context.Context, a *attempt, t target) {
	for {
		s.leave(ctx)
		if !s.open(ctx, a, t) {
			return
		}
		before := len(a.open)
		s.send(ctx, a)
		if len(a.open) == 0 || len(a.open) == before || !s.client.Usable() || !s.client.Full() {
			return
		}
	}
}

// open makes the session with t, or notes why there is none.
func (s *visit) open(ctx context.Context, a *attempt, t target) bool {
	c, state, err := s.enter(ctx, a, t)
	if a.tls = state.String(); err != nil {
		a.note(new(hostVerdict(t, err)))
		if a.job.Envelope.RequireTLS && isTLS(err) {
			a.used = true // a message that wants less may pass
		}
		return false
	}
	s.session = session{client: c, at: t, terms: a.terms(), tls: a.tls, made: time.Now()}
	return true
}

func isTLS(err error) bool {
	_, uncalled := errors.AsType[refused](err)
	return uncalled || errors.Is(err, errNoTLS) || errors.Is(err, smtpclient.ErrHandshake)
}

// send makes transactions for the open recipients. Those that the host has
// answered for are settled; the others stay open.
func (s *visit) send(ctx context.Context, a *attempt) {
	todo := a.open
	a.open = nil
	s.messages++
	for len(todo) > 0 && s.usable() {
		n := min(len(todo), s.client.MaxRecipients())
		chunk := todo[:n]
		again := a.record(s.at, s.client, s.client.Send(ctx, s.message(a, chunk)), chunk)
		todo = append(todo[n:], again...)
	}
	a.open = append(a.open, todo...)
	a.tried[s.at.key()] = s.usable() // else it only left, and may take a further connection
}

func (s *visit) message(a *attempt, indices []int) smtpclient.Message {
	m := a.message(s.at, indices)
	m.AskOnly = s.asks
	return m
}

// hostVerdict says what err means for recipients.
func hostVerdict(t target, err error) verdict {
	if r, ok := errors.AsType[refused](err); ok {
		return *r.verdict
	}
	e, ok := errors.AsType[*smtpclient.Error](err)
	if !ok {
		return verdict{status: statusNoAnswer, text: "connect to " + t.String() + ": " + maillog.Clean(err.Error())}
	}
	v := verdict{status: e.EnhancedStatus()}
	if e.Permanent {
		v.result = queue.Failed
	}
	if e.Reply.Code != 0 {
		v.text, v.remote = e.Reply.String(), t.host.String()
	} else {
		v.text = t.String() + ": " + maillog.Clean(e.Error())
	}
	return v
}
