package saslext

import (
	"errors"
	"strings"
)

// Reason says why there is no login. Its String is a stable word for logs; the
// peer is told only syntax, refused or temporary.
type Reason uint8

// The reasons. The zero Reason is no reason; errors of this package have one.
const (
	_             Reason = iota
	BadAuthzid           // the authzid is no identity: a syntax error of the client
	NoCertificate        // the peer sent none
	NoUser               // the certificate names no user: not one uid and one dNSName
	BadIdentity          // its uid or domain has no normal form
	NotAllowed           // no rule allows the user; no query was made
	Unproved             // the domain does not vouch for the certificate, or DNS failed; see Err
	AuthzidDenied        // proved, but may not act as the authzid
	BadMessage           // of PLAIN: a syntax error of the client
	NoPasswords          // the users of this domain have no passwords
	TooManyTries         // of this user or from this address, for now
	BadPassword          // no such user, or not his password; or an empty one
	Unchecked            // the password could not be checked now; see Err
)

var reasonWords = [...]string{
	BadAuthzid: "bad-authzid", NoCertificate: "no-certificate", NoUser: "no-user",
	BadIdentity: "bad-identity", NotAllowed: "not-allowed", Unproved: "unproved",
	AuthzidDenied: "authzid-denied",
	BadMessage:    "bad-message", NoPasswords: "no-passwords", TooManyTries: "too-many-tries",
	BadPassword: "bad-password", Unchecked: "unchecked",
}

// String returns the stable word.
func (r Reason) String() string {
	if int(r) < len(reasonWords) && reasonWords[r] != "" {
		return reasonWords[r]
	}
	return "unknown"
}

// OfPassword reports whether only PasswordAuthenticator has such a reason.
func (r Reason) OfPassword() bool { return r >= BadMessage && r <= Unchecked }

// Error is the one error type of the Login methods.
type Error struct {
	Reason        Reason
	Authenticated Identity // whom the certificate or the client names, once that is read; proved only for AuthzidDenied
	Authzid       Identity // who was asked for, if another was
	Err           error    // the cause below, such as a *daneclient.Error
}

// Error returns one line for the log, never for the peer.
func (e *Error) Error() string {
	var b strings.Builder
	if !e.Authenticated.IsZero() {
		b.WriteString(e.Authenticated.LogString() + ": ")
	}
	b.WriteString(e.Reason.String())
	if !e.Authzid.IsZero() {
		b.WriteString(" for " + e.Authzid.LogString())
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same login may succeed later. Clients drop
// their credentials on a permanent refusal, so whatever is not a stated refusal
// is temporary: DNS trouble, and errors and reasons that are not known here.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case BadAuthzid, NoCertificate, NoUser, BadIdentity, NotAllowed, AuthzidDenied, BadMessage, NoPasswords, BadPassword:
		return false
	case TooManyTries, Unchecked: // whatever the cause says of itself
		return true
	default:
		var cause interface{ Temporary() bool }
		return !errors.As(e.Err, &cause) || cause.Temporary()
	}
}
