package saslext

import (
	"time"

	"github.com/emersion/go-sasl"
)

// Vouched is a user whom somebody that we trust has proved, such as a proxy at which
// TLS ends, and until when his word is good.
type Vouched struct {
	Identity Identity
	Until    time.Time
}

// LoginVouched is Login for a user who is proved already: the rules, and who may act
// as whom, are the same, and DNS is not asked. Every error is an *Error.
func (a *Authenticator) LoginVouched(v Vouched, authzid string) (Login, error) {
	wanted, err := wantedBy(authzid)
	switch {
	case err != nil:
		return Login{}, err
	case v.Identity.IsZero():
		return Login{}, &Error{Reason: NoUser}
	case a.Rules == nil || !a.Rules.AllowsUser(v.Identity):
		return Login{}, &Error{Reason: NotAllowed, Authenticated: v.Identity}
	}
	return Login{Identity: v.Identity, Authenticated: v.Identity, Until: v.Until}.as(wanted, a.Rules)
}

// External returns the EXTERNAL exchange of one AUTH command whose authzid goes to
// login, and the result of that to done, as Authenticator.Server says.
func External(login func(authzid string) (Login, error), done func(Login, error) error) sasl.Server {
	return &exchange{login: func(authzid []byte) error {
		if done == nil || login == nil {
			return errNoCallback
		}
		return done(login(string(authzid)))
	}}
}

// wantedBy reads an authzid; zero: none was sent.
func wantedBy(authzid string) (Identity, error) {
	if authzid == "" {
		return Identity{}, nil
	}
	wanted, err := ParseIdentity(authzid)
	if err != nil {
		return Identity{}, &Error{Reason: BadAuthzid, Err: err}
	}
	return wanted, nil
}

// as makes a login of a proved user one as wanted, if that is another and an explicit
// rule lets him.
func (l Login) as(wanted Identity, rules Rules) (Login, error) {
	if wanted.IsZero() || wanted == l.Authenticated {
		return l, nil
	}
	if !rules.MayActAs(l.Authenticated, wanted) {
		return Login{}, &Error{Reason: AuthzidDenied, Authenticated: l.Authenticated, Authzid: wanted}
	}
	l.Identity = wanted
	return l, nil
}
