package daneclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"dancemta/internal/dnsname"
)

// OwnVerdict says what becomes of a certificate of our own at those who look at its
// TLSA records. The zero OwnVerdict is no verdict.
type OwnVerdict uint8

// The verdicts, from good to bad.
const (
	OwnMatch    OwnVerdict = iota + 1 // the live records vouch for it
	OwnNone                           // no secure records, or no name for any: nobody knows it by DANE
	OwnUnknown                        // DNS did not answer, or not with a proof
	OwnMismatch                       // there are records, and they refuse it
)

// String returns the stable word for logs and metrics.
func (v OwnVerdict) String() string {
	switch v {
	case OwnMatch:
		return "match"
	case OwnNone:
		return "none"
	case OwnMismatch:
		return "mismatch"
	}
	return "unknown"
}

// Own is what was found out about a certificate of our own.
type Own struct {
	Owner   dnsname.Name // where its records stand, or should
	Verdict OwnVerdict
	Reason  string // one line; "" for a match
}

// OwnServer judges the certificate of a server of ours as those who connect to it
// do, see FindServer. Usages 0 and 1 count with Roots only.
func OwnServer(ctx context.Context, host dnsname.Name, port uint16, chain []*x509.Certificate, o ServerOptions) Own {
	own := Own{Owner: host}
	at, err := ServerOwner(host, port)
	if err == nil {
		own.Owner, err = dnsname.ParseOwner(at.String())
	}
	if err != nil {
		return own.because(err)
	}
	o.PKIXFallback = false // there are to be records
	server, err := FindServer(ctx, host, port, o)
	if err != nil {
		return own.because(err)
	}
	if at, err := ServerOwner(server.Base, port); err == nil { // where a secure CNAME led
		own.Owner, _ = dnsname.ParseOwner(at.String())
	}
	_, err = server.Verify(chain)
	return own.because(err)
}

// OwnClient judges the certificate that we show as a client as servers do that ask
// for it. The name is the one told by dane_clientid; with the zero Name each name of
// the certificate is tried, since the server's rules choose, and the best counts.
func (v *Verifier) OwnClient(ctx context.Context, name dnsname.Name, chain []*x509.Certificate) Own {
	cred := FromChain(chain)
	if err := cred.check(); err != nil {
		return Own{Owner: name}.because(err)
	}
	owners := []dnsname.Name{name}
	if cred.Named, cred.Name = !name.IsZero(), name; !cred.Named {
		var err error
		if owners, err = CandidateNames(chain[0]); err != nil {
			return Own{}.because(err)
		}
	}
	var best Own
	for _, owner := range owners {
		_, err := v.Client(ctx, cred, func(n dnsname.Name) bool { return n == owner })
		if own := (Own{Owner: owner}).because(err); best.Verdict == 0 || own.Verdict < best.Verdict {
			best = own
		}
	}
	return best
}

// because fills in the verdict that a refusal makes.
func (o Own) because(err error) Own {
	if err == nil {
		o.Verdict = OwnMatch
		return o
	}
	o.Verdict, o.Reason = OwnMismatch, err.Error()
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok || e.Temporary():
		o.Verdict = OwnUnknown
	case e.Reason == NoRecord || e.Reason == Insecure || e.Reason == NoName || e.Reason == ForbiddenName:
		o.Verdict = OwnNone
	}
	return o
}

// The lives of TLSA records that deserve no warning.
const (
	// minOwnTTL: below it each login costs a lookup, and many resolvers keep records
	// longer anyway.
	minOwnTTL = time.Minute
	// maxOwnTTL: nobody may believe in a record for longer, so that a larger TTL only
	// makes rollovers and revocations slow.
	maxOwnTTL = maxLife
)

// TTLProblem says what is wrong with the TTL of TLSA records; "" when nothing is.
func TTLProblem(ttl time.Duration) string {
	switch {
	case ttl < minOwnTTL:
		return fmt.Sprintf("the TTL is %s, under %s: each login costs a lookup, and many resolvers keep it longer", ttl, minOwnTTL)
	case ttl > maxOwnTTL:
		return fmt.Sprintf("the TTL is %s, over %s: rollovers and revocations take long", ttl, maxOwnTTL)
	}
	return ""
}

// WalkableProblem is what is wrong with a zone of clients that denies by NSEC.
func WalkableProblem(zone string) string {
	return zone + " denies by NSEC: anybody can list the names of your clients; NSEC3 makes it harder"
}
