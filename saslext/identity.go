// Package saslext gives users of any domain an identity and logs them in by
// SASL EXTERNAL (RFC 4422 appendix A), and those of domains that have passwords
// by PLAIN (RFC 4616).
//
// The identity is uid@domain. With EXTERNAL it comes from a certificate alone: package
// usercert reads uid and domain, daneclient proves that the chain ends at the
// CA that the domain publishes at _user.<domain>, and only then the rules say
// whether this user may act as the authorization identity that was asked for.
//
// Start with Identity and ParseIdentity (the one normal form), then Authenticator.Login
// and PasswordAuthenticator.Login; their Server methods wrap them for go-sasl.
package saslext

import (
	"dancemta/internal/dnsname"
)

// Identity is a user in normal form. Two identities are the same user exactly
// when they are equal; the zero Identity is nobody.
type Identity struct {
	UID    string       // PRECIS UsernameCaseMapped with our further bounds
	Domain dnsname.Name // A-labels
}

// IsZero reports whether id is nobody.
func (id Identity) IsZero() bool { return id.UID == "" }

// String returns uid@domain with U-labels, for people and for SASL.
func (id Identity) String() string {
	if id.IsZero() {
		return ""
	}
	return id.UID + "@" + id.Domain.Unicode()
}

// ASCIIDomain returns uid@domain with A-labels: the form of rules and keys.
func (id Identity) ASCIIDomain() string {
	if id.IsZero() {
		return ""
	}
	return id.UID + "@" + id.Domain.String()
}

// LogString returns the form for logs: String, and the A-labels behind it where
// they differ, since two domains may look alike and not be.
func (id Identity) LogString() string {
	if s := id.String(); s != id.ASCIIDomain() {
		return s + " (" + id.ASCIIDomain() + ")"
	}
	return id.String()
}
