package ldapbridge

import (
	"context"
	"errors"
	"unicode/utf8"

	"dancemta/daneclient"
	"dancemta/internal/maillog"
	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/message"
	"dancemta/saslext"
	"dancemta/saslext/door"
)

// user is who has bound. The claim stays when the proof has come to its end, so that
// the next operation can ask for it again.
type user struct {
	login  saslext.Login   // whose certificate it is
	asked  mapping.Request // whom he asked to be
	mapped mapping.Mapped  // as whom he acts
	rules  *mapping.Mapper // that decided
}

// bind serves a BindRequest. Whatever comes of it, the old identity and what it had
// asked for are gone first (RFC 4511 4.2.1, RFC 4513 4).
func (c *conn) bind(m message.Message) error {
	c.user = nil
	c.detach()
	b, err := message.ParseBind(m.Op)
	r := bindRefusal{how: bindOther, outcome: syntax}
	if err == nil {
		r = c.judgeBind(b, m.Controls)
	}
	c.opts.Counters.Bind(r.how, r.outcome.code())
	if r.outcome == done {
		c.logBind(r.how)
		c.binds, c.refusals = 0, 0
		return c.answer(m.ID, message.BindResponse, done)
	}
	c.logBindRefused(r)
	if err := c.answer(m.ID, message.BindResponse, r.outcome); err != nil {
		return err
	}
	if c.binds++; c.binds >= c.opts.Limits.Binds {
		return errRefused
	}
	return nil
}

func (c *conn) logBind(how string) {
	u := c.user
	if u == nil {
		maillog.LDAPBind(c.opts.Logger, c.log, maillog.LDAPUser{}, how, "")
		return
	}
	maillog.LDAPBind(c.opts.Logger, c.log, maillog.LDAPUser{Identity: u.login.Identity.LogString(), As: asAnother(u),
		Authzid: string(u.mapped.Authzid), Rule: u.mapped.Rule}, how, u.login.Record.Short())
}

// bindRefusal is what came of a bind, and what the log says of it.
type bindRefusal struct {
	how     string
	outcome outcome
	asked   string // the authzid, as the client wrote it
	user    saslext.Identity
	err     error
}

// judgeBind decides about a bind; done: c.user is set, or nil for anonymous.
func (c *conn) judgeBind(b message.Bind, controls []byte) bindRefusal {
	r := bindRefusal{how: bindOther, outcome: noMechanism}
	switch _, o := controlsOf(controls, nothing); {
	case o != done:
		r.outcome = o
	case b.Version != 3:
		r.outcome = badVersion
	case b.IsSimple:
		return c.judgeSimple(b)
	case b.IsSASL && b.Mechanism == "EXTERNAL":
		return c.judgeExternal(b)
	}
	return r
}

// judgeSimple: RFC 4513 5.1. Only the anonymous bind succeeds, and gives nothing.
func (c *conn) judgeSimple(b message.Bind) bindRefusal {
	switch name, password := len(b.Name) > 0, len(b.Password) > 0; {
	case !name && !password:
		return bindRefusal{how: bindAnonymous}
	case !password:
		return bindRefusal{how: bindSimple, outcome: unauthenticate}
	case !c.secure:
		return bindRefusal{how: bindSimple, outcome: passwordClear}
	}
	return bindRefusal{how: bindSimple, outcome: passwordAtAll}
}

// judgeExternal: RFC 4513 5.2.3. Credentials that are absent and those that are empty
// ask for the same: the identity of the certificate.
func (c *conn) judgeExternal(b message.Bind) bindRefusal {
	r := bindRefusal{how: bindExternal, asked: string(b.Credentials)}
	if !c.certified {
		r.outcome, r.err = noIdentity, door.NoCredential(c.state, c.secure)
		return r
	}
	asked, err := parseAuthzid(b.Credentials)
	if err != nil {
		r.outcome, r.err = badAuthzid, err
		return r
	}
	u, o, err := c.judge(c.opts.Rules(), asked)
	if r.outcome, r.err = o, err; o != done {
		if u != nil {
			r.user = u.login.Identity
		}
		return r
	}
	c.user = u
	return r
}

var errUTF8 = errors.New("authzid is not UTF-8")

func parseAuthzid(credentials []byte) (mapping.Request, error) {
	if !utf8.Valid(credentials) {
		return mapping.Request{}, errUTF8
	}
	return mapping.ParseAuthzid(string(credentials))
}

// asAnother is whom a user acts as, if that is not himself.
func asAnother(u *user) string {
	if u.mapped.Identity == u.login.Identity {
		return ""
	}
	return u.mapped.Identity.LogString()
}

// judge proves the certificate and maps its user. After a refusal the user is there
// if he is proved.
func (c *conn) judge(rules *mapping.Mapper, asked mapping.Request) (*user, outcome, error) {
	a := saslext.Authenticator{Verifier: door.Bounded{Anchorer: c.opts.Verifier}, Rules: rules}
	login, err := a.Login(c.ctx, c.cred, "")
	if err != nil {
		return nil, loginOutcome(err), err
	}
	u := &user{login: login, asked: asked, rules: rules}
	ctx, cancel := context.WithTimeout(c.ctx, door.DecisionTime)
	defer cancel()
	if u.mapped, err = rules.As(ctx, login.Identity, asked); err != nil {
		return u, mappedOutcome(err), err
	}
	return u, done, nil
}

// identity returns who asks for an operation; nil: nobody. A proof that has come to
// its end, or whose rules have changed, is asked for again.
func (c *conn) identity() (*user, outcome) {
	u, rules := c.user, c.opts.Rules()
	if u == nil || u.rules == rules && c.opts.Now().Before(u.login.Until) {
		return u, done
	}
	again, o, err := c.judge(rules, u.asked)
	if o != done {
		c.logBindRefused(bindRefusal{how: bindExternal, outcome: o, asked: u.asked.String(), err: err})
		if o == cannotJudge {
			return nil, cannotJudge
		}
		return nil, idOver // c.user stays, as a claim
	}
	if again.mapped.Authzid != u.mapped.Authzid {
		c.detach() // what another identity has begun there is not gone on with
	}
	c.user = again
	return again, done
}

// logBindRefused writes down why there is no identity; the client was told only the
// result.
func (c *conn) logBindRefused(r bindRefusal) {
	l := maillog.Refusal{Identity: r.user.LogString(), Reason: reason(r.outcome, r.err), Reply: r.outcome.code().String()}
	var shown maillog.Shown
	if r.err != nil {
		l.Detail = r.err.Error()
	}
	if e, ok := errors.AsType[*mapping.Error](r.err); ok {
		l.Rule = e.Rule
	}
	if r.err != nil && c.certified && (r.outcome == noIdentity || r.outcome == cannotJudge) {
		shown = c.shown(c.cred, r.err)
	}
	maillog.LDAPBindRefused(c.opts.Logger, c.log, l, r.asked, shown)
}

// reason is the stable word of a refusal for the log.
func reason(o outcome, err error) string {
	var client *daneclient.Error
	var user *saslext.Error
	var mapped *mapping.Error
	switch {
	case errors.As(err, &mapped):
		return mapped.Reason.String()
	case errors.As(err, &client), errors.As(err, &user):
		return door.Word(err)
	}
	return o.String()
}
