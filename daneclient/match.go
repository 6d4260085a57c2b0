package daneclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"dancemta/internal/dnsname"
)

// FromChain makes a credential of a chain, leaf first, that somebody else's TLS
// took from its peer. It proves NO possession of the key: certificates are
// public, anybody can hand one in. The caller's TLS must have proved it, in a
// handshake of TLS 1.3 that was no resumption, or what comes out is worth
// nothing. Whoever has the tls.ConnectionState calls FromState instead, which
// looks at all that.
func FromChain(chain []*x509.Certificate) Credential {
	return Credential{Chain: chain, Version: tls.VersionTLS13}
}

// Match names the peer that showed a chain, by the name that it told in the
// application, such as in the body of a request. It proves NO possession of the
// key, see FromChain.
//
// The name is the whole owner name and counts as one told by dane_clientid
// does: what allowed refuses (nil refuses all) costs no query, it is asked for
// verbatim, and for usages 0 to 2 it must be a dNSName of the leaf. The error is
// an *Error.
func (v *Verifier) Match(ctx context.Context, name dnsname.Name, chain []*x509.Certificate, allowed func(dnsname.Name) bool) (Client, error) {
	cred := FromChain(chain)
	cred.Named, cred.Name = true, name
	c, err := v.Client(ctx, cred, allowed)
	if err == nil {
		c.Source = SourceApplication
	}
	return c, err
}
