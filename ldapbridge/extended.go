package ldapbridge

import (
	"errors"

	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/message"
)

// extended serves an ExtendedRequest: three are ours, one is passed on by rule, and
// all others are refused, since nobody knows what they would do at the server.
func (c *conn) extended(m message.Message) error {
	x, err := message.ParseExtended(m.Op)
	if err != nil {
		return c.refuseOp(m, refusal{outcome: syntax, err: err})
	}
	switch x.OID {
	case message.OIDStartTLS:
		return c.startTLS(m, x)
	case message.OIDWhoAmI:
		return c.whoAmI(m, x)
	case message.OIDCancel:
		return c.cancel(m, x)
	case message.OIDPasswordModify:
		p := c.permit(m, mapping.PasswordModify)
		if p.outcome != done {
			return c.refuseOp(m, p.refusal)
		}
		return c.forward(m, m.Op, p)
	}
	return c.refuseOp(m, refusal{outcome: unknownExtended, err: errors.New(x.OID)})
}

var errInjection = errors.New("octets in clear behind StartTLS")

// startTLS: RFC 4511 4.14. Octets that stand behind the request in clear would run as
// if they had come within TLS, so the connection ends there.
func (c *conn) startTLS(m message.Message, x message.Extended) error {
	if c.in.Buffered() > 0 && !c.secure {
		return errInjection
	}
	o := done
	switch _, controls := controlsOf(m.Controls, nothing); {
	case c.secure:
		o = tlsAlready
	case c.outstanding() > 0:
		o = tlsOutstanding
	case x.HasValue: // RFC 4511 4.14.1
		o = syntax
	case controls != done:
		o = controls
	case !c.place.BeginHandshake():
		o = tlsBusy
	}
	if o != done {
		return c.refuseOp(m, refusal{outcome: o})
	}
	c.detach()
	c.user = nil // nothing of the time in clear goes on
	r := done.result("")
	r.OID = message.OIDStartTLS
	if err := c.answerWith(m.ID, message.ExtendedResponse, r); err != nil {
		return err
	}
	if !c.handshake() {
		return errUnbind
	}
	return nil
}

// whoAmI: RFC 4532. Nobody is an empty value.
func (c *conn) whoAmI(m message.Message, x message.Extended) error {
	u, o := c.identity()
	p := permission{refusal: refusal{outcome: o, rights: c.rightsOf(u)}}
	if o == done {
		p = c.whoAmIRights(m, x, u)
	}
	if p.outcome != done {
		return c.refuseOp(m, p.refusal)
	}
	r := done.result("")
	r.Value = []byte(p.rights.identity)
	c.opts.Counters.Operation(m.Tag().String(), message.Success)
	return c.answerWith(m.ID, message.ExtendedResponse, r)
}

// whoAmIRights is as whom an operation of this client would run.
func (c *conn) whoAmIRights(m message.Message, x message.Extended, u *user) (p permission) {
	p.rights = c.rightsOf(u)
	a, o := controlsOf(m.Controls, proxied)
	switch {
	case o != done:
		p.outcome = o
		return p
	case x.HasValue: // RFC 4532 2.1
		p.outcome = syntax
		return p
	}
	if a.proxied != nil {
		p.asked = string(a.proxied.Value)
		if p.rights, p.outcome, p.err = c.proxy(u, *a.proxied); p.outcome != done {
			return p
		}
	}
	if u != nil && p.rights.identity != "" && !p.rights.operations.Has(mapping.Whoami) {
		p.outcome = notAllowed
	}
	return p
}

// cancel: RFC 3909. The ID is the client's, and gets to the server as ours.
func (c *conn) cancel(m message.Message, x message.Extended) error {
	target, err := message.ParseCancel(x.Value)
	if err != nil {
		return c.refuseOp(m, refusal{outcome: syntax, err: err})
	}
	if _, o := controlsOf(m.Controls, nothing); o != done {
		return c.refuseOp(m, refusal{outcome: o})
	}
	if c.lease == nil {
		return c.refuseOp(m, refusal{outcome: nothingToCancel})
	}
	err = c.send(m, func(l *lease) error { return l.Cancel(c.ctx, m.ID, target) })
	if err != nil {
		return c.refuseOp(m, refusal{outcome: sentOutcome(err), err: err})
	}
	return nil
}
