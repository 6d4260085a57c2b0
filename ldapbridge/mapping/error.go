package mapping

import (
	"errors"
	"strings"

	"dancemta/saslext"
)

// Reason says why a user is not mapped. Its String is a stable word for logs.
type Reason uint8

// The reasons. The zero Reason is no reason; errors of this package have one.
const (
	_             Reason = iota
	BadAuthzid           // what the client asks to be has no known form
	NoRule               // no rule allows this identity
	Denied               // a rule denies it
	AuthzidDenied        // the client may not act as whom it asks to be
	NoEntry              // the search found nobody
	ManyEntries          // the search found several
	Trouble              // the directory could not be asked; see Err
)

var reasonWords = [...]string{
	BadAuthzid: "bad-authzid", NoRule: "no-rule", Denied: "denied", AuthzidDenied: "authzid-denied",
	NoEntry: "no-entry", ManyEntries: "many-entries", Trouble: "directory-trouble",
}

// String returns the stable word; "" for the zero Reason.
func (r Reason) String() string {
	if int(r) < len(reasonWords) {
		return reasonWords[r]
	}
	return "unknown"
}

var errNoSearcher = errors.New("no directory to search in")

// Error is the one error type of Mapper.Map, Mapper.As and ParseAuthzid.
type Error struct {
	Reason   Reason
	Identity saslext.Identity // about whom
	Rule     string           // that decided
	Err      error            // the cause below
}

// Error returns one line for the log, never for the peer.
func (e *Error) Error() string {
	var b strings.Builder
	if !e.Identity.IsZero() {
		b.WriteString(e.Identity.LogString() + ": ")
	}
	b.WriteString(e.Reason.String())
	if e.Rule != "" {
		b.WriteString(" by ldap_rule " + e.Rule)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same may succeed later, without another identity or
// another rule. That a search finds several entries is a fault of the directory, and
// no reason for a client to drop its credentials.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case BadAuthzid, NoRule, Denied, AuthzidDenied, NoEntry:
		return false
	}
	return true
}
