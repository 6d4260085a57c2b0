package ldapbridge

import (
	"math"

	"dancemta/internal/maillog"
	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/message"
)

// leave is what the rule of a user must have for an operation.
var leaveFor = map[message.Op]mapping.Operations{
	message.SearchRequest:   mapping.Search,
	message.CompareRequest:  mapping.Compare,
	message.AddRequest:      mapping.Add,
	message.ModifyRequest:   mapping.Modify,
	message.DeleteRequest:   mapping.Delete,
	message.ModifyDNRequest: mapping.ModifyDN,
}

// refusal is one request that is refused here, on its way to the log.
type refusal struct {
	outcome outcome
	rights  rights
	asked   string // the authzid of a control
	err     error
}

// operate answers the search for the root DSE, and forwards everything else.
func (c *conn) operate(m message.Message) error {
	op := m.Op
	if m.Tag() == message.SearchRequest {
		s, err := message.ParseSearch(m.Op)
		if err != nil {
			return c.refuseOp(m, refusal{outcome: syntax, err: err})
		}
		if len(s.Base) == 0 && s.Scope == message.ScopeBase {
			return c.answerRoot(m, s)
		}
		op = c.capped(m.Op, s)
	}
	r := c.permit(m, leaveFor[m.Tag()])
	if r.outcome != done {
		return c.refuseOp(m, r.refusal)
	}
	return c.forward(m, op, r)
}

// capped is the Op of a search with the limits of the listener in it, where they are
// lower than the client's.
func (c *conn) capped(op []byte, s message.Search) []byte {
	size := lower(s.SizeLimit, c.opts.Limits.Entries)
	seconds := lower(s.TimeLimit, c.opts.Limits.Seconds)
	if size == s.SizeLimit && seconds == s.TimeLimit {
		return op
	}
	s.SizeLimit, s.TimeLimit = size, seconds
	return s.AppendOp(nil)
}

// lower is the lower one of two limits of which 0 is none.
func lower(asked int32, limit int) int32 {
	if limit <= 0 || limit > math.MaxInt32 || asked > 0 && int(asked) <= limit {
		return asked
	}
	return int32(limit)
}

// permission is what was found out about a request that is to be forwarded.
type permission struct {
	refusal
	controls []message.Control
}

// permit decides whether a client may ask for an operation, and as whom it runs.
// Zero needs is asked for what no rule can have, and is refused.
func (c *conn) permit(m message.Message, needs mapping.Operations) (p permission) {
	u, o := c.identity()
	if p.rights = c.rightsOf(u); o != done {
		p.outcome = o
		return p
	}
	a, o := controlsOf(m.Controls, forwarded)
	if o != done {
		p.outcome = o
		return p
	}
	if a.proxied != nil {
		p.asked = string(a.proxied.Value)
		r, o, err := c.proxy(u, *a.proxied)
		if p.outcome, p.err = o, err; o != done {
			return p
		}
		p.rights = r
	}
	if p.controls, p.outcome = a.under(p.rights); p.outcome == done && !p.rights.operations.Has(needs) {
		p.outcome = c.withoutLeave(u)
	}
	return p
}

// withoutLeave is what a client hears who may not ask for an operation.
func (c *conn) withoutLeave(u *user) outcome {
	switch {
	case u != nil:
		return notAllowed
	case !c.secure:
		return needsTLS
	}
	return needsBind
}

// forward sends a request to the server under the rights that were found.
func (c *conn) forward(m message.Message, op []byte, p permission) error {
	if c.conns.Draining() {
		return c.refuseOp(m, refusal{outcome: goingDownNow, rights: p.rights})
	}
	out := message.Message{ID: m.ID, Op: op}
	if len(p.controls) > 0 {
		out.Controls = message.AppendControls(nil, p.controls...)
	}
	err := c.send(m, func(l *lease) error { return l.Send(c.ctx, out, p.rights.as) })
	if err != nil {
		return c.refuseOp(m, refusal{outcome: sentOutcome(err), rights: p.rights, err: err})
	}
	c.refusals = 0
	return nil
}

// refuseOp answers a request that is refused here, and writes it down.
func (c *conn) refuseOp(m message.Message, r refusal) error {
	l := maillog.LDAPRefusal{Operation: m.Tag().String(), Result: r.outcome.code().String(), Reason: reason(r.outcome, r.err), Asked: r.asked,
		User: maillog.LDAPUser{Identity: r.rights.who, Authzid: string(r.rights.as), Rule: r.rights.rule}}
	if r.err != nil {
		l.Detail = r.err.Error()
	}
	if u := c.user; u != nil {
		l.User.Identity = u.login.Identity.LogString()
		l.User.As = asAnother(u)
	}
	maillog.LDAPRefused(c.opts.Logger, c.log, l)
	c.opts.Counters.Operation(m.Tag().String(), r.outcome.code())
	if err := c.answer(m.ID, m.Tag().Reply(), r.outcome); err != nil {
		return err
	}
	switch r.outcome.code() {
	case message.Busy, message.Unavailable:
		return nil // no fault of the client's, whose program may ask until it is over
	}
	if c.refusals++; c.refusals >= c.opts.Limits.Refusals {
		return errRefused
	}
	return nil
}

// abandon gives up an operation (RFC 4511 4.11). There is no reply to it, and none to
// a mistake in it.
func (c *conn) abandon(m message.Message) error {
	id, err := message.ParseAbandon(m.Op)
	if err != nil {
		return err
	}
	if c.lease != nil {
		_ = c.lease.Abandon(c.ctx, id) // an error comes to the sink, too
		c.end(id)
	}
	return nil
}
