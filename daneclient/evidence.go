package daneclient

import (
	"context"
	"errors"
	"slices"

	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// Evidence is what one verdict rests on, for people who ask why. It stays empty
// when the claim was refused before DNS was asked.
type Evidence struct {
	Owner   dnsname.Name   // the name that DNS was asked for; zero: it was not asked
	SAN     string         // the dNSName that the leaf must hold for usages 0 to 2
	Answer  dnssec.Answer  // what came, with its proofs in Steps
	Records []tlsa.Finding // each record of a secure answer
}

type evidenceKey struct{}

// WithEvidence returns a context under which a Verifier writes down what it
// sees. It then judges anew and past its cache, by the same path; e must not be
// read before it has answered, and takes one verdict.
func WithEvidence(ctx context.Context, e *Evidence) context.Context {
	return context.WithValue(ctx, evidenceKey{}, e)
}

// evidenceOf returns nil when nobody wants to see.
func evidenceOf(ctx context.Context) *Evidence {
	e, _ := ctx.Value(evidenceKey{}).(*Evidence)
	return e
}

// note writes down what weigh was given.
func (e *Evidence) note(c claim, answer dnssec.Answer, cred Credential, o tlsa.Options) {
	if e == nil {
		return
	}
	*e = Evidence{Owner: c.owner, SAN: c.san, Answer: answer}
	e.Answer.Steps = slices.Clone(answer.Steps) // an Answer is shared with the resolver's cache
	if _, worthless := refusalOf(answer.State); !worthless {
		e.Records = tlsa.Findings(recordsOf(answer.TLSA), cred.Chain, o)
	}
}

// Published judges the records of a name as Client and Anchored do, all but the
// comparison with a chain: nil says that a certificate could match. It tells
// nobody's identity. A name of the form _user.D is judged as that of users; what
// allowed does not let through costs no query.
func (v *Verifier) Published(ctx context.Context, owner dnsname.Name, allowed func(dnsname.Name) bool) error {
	domain, user := userDomain(owner)
	c := claim{owner: owner, san: owner.String(), named: true}
	switch {
	case user:
		c.user, c.san = true, domain.String()
	case isForbidden(owner) || !isHost(owner.String()):
		return &Error{Reason: ForbiddenName, Name: owner, Detail: "never names a client"}
	}
	if allowed == nil || !allowed(owner) {
		return &Error{Reason: NotAllowed, Name: owner}
	}
	_, err := v.judge(ctx, c, Credential{}) // no chain matches: whoever comes so far has records that count
	if e, ok := errors.AsType[*Error](err); ok && e.Reason == NoMatch {
		return nil
	}
	return err
}
