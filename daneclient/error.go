package daneclient

import (
	"crypto/tls"
	"errors"
	"strings"

	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
)

// Reason says why there is no identity. Its String is a stable word for logs.
type Reason uint8

// The reasons. The zero Reason is no reason; errors of this package have one.
const (
	_                 Reason = iota
	NoCertificate            // the peer sent none
	WeakTLS                  // below TLS 1.3
	Resumed                  // the chain came out of a session ticket
	NoName                   // no dNSName that could be a client
	AmbiguousName            // several names that rules allow
	NotAllowed               // no rule allows the name; no query was made
	ForbiddenName            // a name or certificate that is never a client
	BadClientName            // what came by dane_clientid is no name
	NameMismatch             // the certificate was not made for the name told by dane_clientid
	NoRecord                 // a secure answer without TLSA records
	Unusable                 // TLSA records, none of which says anything here
	NoMatch                  // usable records, none for this chain
	Insecure                 // the answer is not signed: never an identity
	WildcardForbidden        // records made from a wildcard where none may be
	BogusDNS                 // signatures or proofs are wrong; temporary
	FailedDNS                // no answer that could be judged; temporary
	Overloaded               // too many lookups, at once or of late; temporary
)

var reasonWords = [...]string{
	NoCertificate: "no-certificate", WeakTLS: "weak-tls", Resumed: "resumed",
	NoName: "no-name", AmbiguousName: "ambiguous-name", NotAllowed: "not-allowed",
	ForbiddenName: "forbidden-name", BadClientName: "bad-client-name", NameMismatch: "name-mismatch",
	NoRecord: "no-record", Unusable: "unusable",
	NoMatch: "no-match", Insecure: "insecure", WildcardForbidden: "wildcard-forbidden",
	BogusDNS: "bogus-dns", FailedDNS: "failed-dns", Overloaded: "overloaded",
}

// String returns the stable word.
func (r Reason) String() string {
	if int(r) < len(reasonWords) && reasonWords[r] != "" {
		return reasonWords[r]
	}
	return "unknown"
}

// Error is the one error type of this package.
type Error struct {
	Reason Reason
	Name   dnsname.Name // the owner name, once there is one
	Detail string       // one line for the log, never for the peer
	Err    error        // the cause below, such as a *tlsa.MismatchError
}

// Error returns "name TLSA: reason: detail", for the log.
func (e *Error) Error() string {
	var b strings.Builder
	if !e.Name.IsZero() {
		b.WriteString(e.Name.String() + " TLSA: ")
	}
	b.WriteString(e.Reason.String())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same credential may prove its identity later:
// DNS trouble and load are never the peer's fault. A reason that this package
// does not know is temporary too.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case NoCertificate, WeakTLS, Resumed, NoName, AmbiguousName, NotAllowed, ForbiddenName,
		BadClientName, NameMismatch, NoRecord, Unusable, NoMatch, Insecure, WildcardForbidden:
		return false
	default:
		return true
	}
}

// MustAbort reports whether a server that asked for dane_clientid must end the
// handshake, whatever its policy on peers without an identity (client-auth 8.2).
func (e *Error) MustAbort() bool {
	return e.Reason == NameMismatch || errors.Is(e.Err, clientid.ErrEmpty) || errors.Is(e.Err, clientid.ErrEncoding)
}

// Alert is the alert that ends a handshake for this reason. It is one for all,
// so that it tells a stranger nothing, but for bytes that TLS cannot read.
func (e *Error) Alert() tls.AlertError {
	if errors.Is(e.Err, clientid.ErrEncoding) {
		return clientid.AlertDecodeError
	}
	return clientid.AlertHandshakeFailure
}
