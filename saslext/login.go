package saslext

import (
	"context"
	"errors"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/saslext/usercert"
)

// Rules decide about users. A nil Rules refuses everybody.
type Rules interface {
	// AllowsUser reports whether some rule lets this user in. It is asked
	// before any DNS query; the identity is a claim then, not proved.
	AllowsUser(id Identity) bool
	// MayActAs reports whether an explicit rule lets a proved user act as
	// another one.
	MayActAs(authenticated, authzid Identity) bool
}

// Anchorer proves that a certificate chains to the CA published at owner.
// *daneclient.Verifier is one.
type Anchorer interface {
	Anchored(ctx context.Context, owner dnsname.Name, cred daneclient.Credential) (daneclient.Anchor, error)
}

// Login is a user who is logged in.
type Login struct {
	Identity      Identity    // as whom: the authorization identity
	Authenticated Identity    // whose certificate or password it was
	Record        tlsa.Record // the record of the domain's CA that matched; zero for a password
	Until         time.Time   // judge it again after this
}

// Authenticator logs users in. It is safe for concurrent use.
type Authenticator struct {
	Verifier Anchorer // nil proves nothing
	Rules    Rules    // nil refuses
}

// Login logs in the user whose certificate cred holds, as himself when authzid
// is empty. Every error is an *Error.
//
// The order matters. What the client got wrong by itself comes first, and costs
// nothing. Then the identity is read and the rules are asked, so that a user
// whom no rule allows costs no query. Then DNS proves the certificate, and only
// a proved user learns whether he may act as another (RFC 4422 3.4.1).
func (a *Authenticator) Login(ctx context.Context, cred daneclient.Credential, authzid string) (Login, error) {
	wanted, err := wantedBy(authzid)
	if err != nil {
		return Login{}, err
	}
	id, err := claimed(cred)
	if err != nil {
		return Login{}, err
	}
	if a.Rules == nil || !a.Rules.AllowsUser(id) {
		return Login{}, &Error{Reason: NotAllowed, Authenticated: id}
	}
	anchor, err := a.prove(ctx, id, cred)
	if err != nil {
		return Login{}, &Error{Reason: Unproved, Authenticated: id, Err: err}
	}
	return Login{Identity: id, Authenticated: id, Record: anchor.Record, Until: anchor.Until}.as(wanted, a.Rules)
}

// claimed reads the identity that the leaf claims.
func claimed(cred daneclient.Credential) (Identity, error) {
	if len(cred.Chain) == 0 || cred.Chain[0] == nil {
		return Identity{}, &Error{Reason: NoCertificate}
	}
	uid, domain, err := usercert.Parse(cred.Chain[0])
	if err != nil {
		return Identity{}, &Error{Reason: NoUser, Err: err}
	}
	id, err := NewIdentity(uid, domain)
	if err != nil {
		return Identity{}, &Error{Reason: BadIdentity, Err: err}
	}
	return id, nil
}

// Claimed returns the identity that a certificate claims: the one that Login would try
// to prove. Every error is an *Error.
func Claimed(cred daneclient.Credential) (Identity, error) { return claimed(cred) }

// prove asks for the CA at the name that id's own domain has, and no other: a CA
// elsewhere has no say in this domain.
func (a *Authenticator) prove(ctx context.Context, id Identity, cred daneclient.Credential) (daneclient.Anchor, error) {
	if a.Verifier == nil {
		return daneclient.Anchor{}, errors.New("no verifier")
	}
	owner, err := id.Domain.Prepend(userLabel)
	if err != nil {
		return daneclient.Anchor{}, err
	}
	return a.Verifier.Anchored(ctx, owner, cred)
}
