// Package explain says to people why a certificate or a name is let in or not.
//
// It decides nothing. It asks the same verifier, the same authenticator and the
// same rules as a session does, in the same order, and writes down what they saw
// on the way: where the name came from, which rule decided, each step of DNSSEC,
// what each record is worth, what the peer would read, and what to mend.
//
// Start with Explainer: its methods return a Report, which prints itself and is
// the form of --json.
package explain

import (
	"context"
	"errors"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// Verifier is what sessions ask; *daneclient.Verifier is one. It must heed
// daneclient.WithEvidence.
type Verifier interface {
	Client(ctx context.Context, cred daneclient.Credential, allowed func(dnsname.Name) bool) (daneclient.Client, error)
	Published(ctx context.Context, owner dnsname.Name, allowed func(dnsname.Name) bool) error
	saslext.Anchorer
}

// Rules are the rules of sessions; *policy.Rules is one.
type Rules interface {
	MayActAs(authenticated, authzid saslext.Identity) bool
	Admits(s policy.Subject) policy.Verdict
}

// Explainer explains what happens on one listener. Verifier, Rules and
// the replies are required.
type Explainer struct {
	Verifier Verifier
	Rules    Rules
	Listener policy.Listener
	Deaf     bool   // the listener asks nobody for a certificate
	Bridge   Bridge // required for LDAPUser and LDAPUserName, which ask it in place of Rules
	// ClientReply and LoginReply say what a peer reads whom err refuses.
	ClientReply func(cred daneclient.Credential, err error) string
	LoginReply  func(err error) string
	Now         func() time.Time // nil: time.Now
}

// Client explains what becomes of a client with this credential.
func (e *Explainer) Client(ctx context.Context, cred daneclient.Credential) *Report {
	x := e.begin(ctx, kindClient, cred)
	client, err := daneclient.Client{}, error(&daneclient.Error{Reason: daneclient.NoCertificate, Detail: "this listener asks nobody for one"})
	if !e.Deaf {
		client, err = e.Verifier.Client(x.ctx, cred, x.allowsClient)
	}
	if err != nil {
		x.refused(err, e.ClientReply(cred, err))
		return x.finish()
	}
	x.accepted(client.Name.String(), client.Record.String(), client.Until)
	return x.finish()
}

// ClientName explains what a client of this owner name can prove with the
// records that it has, whatever certificate it shows.
func (e *Explainer) ClientName(ctx context.Context, name dnsname.Name) *Report {
	x := e.begin(ctx, kindClient, daneclient.Credential{})
	x.about(name)
	var err error
	if _, no := daneclient.FreeOwner(name); no != nil { // Published judges _user.D as users'
		err = &daneclient.Error{Reason: daneclient.ForbiddenName, Name: name, Detail: "never names a client"}
	} else {
		err = e.Verifier.Published(x.ctx, name, x.allowsClient)
	}
	if err != nil {
		x.refused(err, e.ClientReply(daneclient.Credential{}, err))
	}
	return x.finish()
}

// User explains what becomes of a user with this credential.
func (e *Explainer) User(ctx context.Context, cred daneclient.Credential) *Report {
	x := e.begin(ctx, kindUser, cred)
	login, err := (&saslext.Authenticator{Verifier: e.Verifier, Rules: userRules{x}}).Login(x.ctx, cred, "")
	if err != nil {
		x.refused(err, e.LoginReply(err))
		return x.finish()
	}
	x.accepted(login.Identity.LogString(), login.Record.String(), login.Until)
	return x.finish()
}

// UserName explains what a user of this identity can prove with the records of
// his domain, whatever certificate he shows.
func (e *Explainer) UserName(ctx context.Context, id saslext.Identity) *Report {
	x := e.begin(ctx, kindUser, daneclient.Credential{})
	if err := x.publishes(id, func(dnsname.Name) bool { return x.allowsUser(id) }); err != nil {
		x.refused(err, e.LoginReply(err))
	}
	return x.finish()
}

// publishes looks at the records of a user's domain. Its error is that of a login.
func (x *explanation) publishes(id saslext.Identity, allowed func(dnsname.Name) bool) error {
	owner, err := daneclient.UserOwner(id.Domain)
	var name dnsname.Name
	if err == nil {
		name, err = dnsname.ParseOwner(owner.String())
	}
	if err == nil {
		x.about(name)
		err = x.Verifier.Published(x.ctx, name, allowed)
	}
	if err != nil {
		return asLogin(id, err)
	}
	return nil
}

// asLogin is the error that a login would have had, so that it reads the same.
func asLogin(id saslext.Identity, err error) error {
	if c, ok := errors.AsType[*daneclient.Error](err); ok && c.Reason == daneclient.NotAllowed {
		return &saslext.Error{Reason: saslext.NotAllowed, Authenticated: id}
	}
	return &saslext.Error{Reason: saslext.Unproved, Authenticated: id, Err: err}
}

// userRules are the rules as saslext asks them, with a witness.
type userRules struct{ x *explanation }

func (r userRules) AllowsUser(id saslext.Identity) bool { return r.x.allowsUser(id) }

func (r userRules) MayActAs(authenticated, authzid saslext.Identity) bool {
	return r.x.Rules.MayActAs(authenticated, authzid)
}

// explanation is a report in the making.
type explanation struct {
	*Explainer
	ctx    context.Context // with seen
	report Report
	cred   daneclient.Credential
	user   saslext.Identity // whom the certificate claims, once that is read
	seen   daneclient.Evidence
	err    error
	now    time.Time
	// otherwise are the rules that would let names in, were these proved in another way.
	otherwise map[string]string
}

func (e *Explainer) begin(ctx context.Context, kind string, cred daneclient.Credential) *explanation {
	x := &explanation{Explainer: e, cred: cred, now: time.Now(), otherwise: map[string]string{}}
	if e.Now != nil {
		x.now = e.Now()
	}
	x.ctx = daneclient.WithEvidence(ctx, &x.seen)
	x.report = Report{Kind: kind, Listener: clean(e.Listener.Name), Verdict: Open, Chain: certificates(cred.Chain)}
	switch {
	case len(cred.Chain) == 0:
		x.report.Source = "given, without a certificate"
	case cred.Named:
		x.report.Source = "dane_clientid"
		x.about(cred.Name)
	case kind == kindUser:
		x.report.Source = "the certificate's uid and dNSName"
	default:
		x.report.Source = "the certificate's dNSName"
	}
	return x
}

// about notes a name that is not up to the certificate.
func (x *explanation) about(name dnsname.Name) { x.report.Name = name.String() }

// allowsClient asks the rules and notes which one decided.
func (x *explanation) allowsClient(owner dnsname.Name) bool {
	return x.admits(owner.String(), policy.Subject{Client: owner})
}

func (x *explanation) allowsUser(id saslext.Identity) bool {
	x.user = id
	return x.admits(id.ASCIIDomain(), policy.Subject{User: id})
}

// admits asks as a session does, which knows how the identity would be proved. A name
// without a certificate may be told in the handshake, or stand in the certificate.
func (x *explanation) admits(name string, s policy.Subject) bool {
	s.Listener, s.Proved = x.Listener, policy.ByCertificate
	if x.cred.Named {
		s.Proved = policy.ByExtension
	}
	v := x.Rules.Admits(s)
	if told := s; !v.Allow && len(x.cred.Chain) == 0 {
		if told.Proved = policy.ByExtension; x.Rules.Admits(told).Allow {
			v = x.Rules.Admits(told)
		}
	}
	if s.Proved = 0; !v.Allow && x.Rules.Admits(s).Allow {
		x.otherwise[clean(name)] = x.Rules.Admits(s).Rule
	}
	x.decided(name, v.Allow, v)
	return v.Allow
}

func (x *explanation) decided(name string, allowed bool, v policy.Verdict) {
	x.report.Names = append(x.report.Names, Name{clean(name), allowed, v.Reason.String(), v.Rule})
}

func (x *explanation) accepted(identity, record string, until time.Time) {
	x.report.Verdict, x.report.Identity, x.report.Record = Accepted, clean(identity), record
	until = until.UTC()
	x.report.Until = &until
}

func (x *explanation) refused(err error, reply string) {
	x.err = err
	x.report.Verdict = Refused
	if temporary(err) {
		x.report.Verdict = Temporary
	}
	x.report.Reason, x.report.Detail, x.report.Reply = reasonOf(err).word, clean(err.Error()), reply
}

// temporary reports whether err may pass; an error that does not say so may.
func temporary(err error) bool {
	var e interface{ Temporary() bool }
	return !errors.As(err, &e) || e.Temporary()
}

// reason is why somebody is refused, by the word of the part that refused him.
type reason struct {
	client daneclient.Reason // the zero Reason when it was not DNS
	user   saslext.Reason
	mapped *mapping.Error // nil when he was not mapped
	word   string
}

func reasonOf(err error) reason {
	r := reason{word: "unknown"}
	if e, ok := errors.AsType[*saslext.Error](err); ok {
		r.user, r.word = e.Reason, e.Reason.String()
	}
	if e, ok := errors.AsType[*daneclient.Error](err); ok {
		r.client, r.word = e.Reason, e.Reason.String()
	}
	if e, ok := errors.AsType[*mapping.Error](err); ok {
		r.mapped, r.word = e, e.Reason.String()
	}
	return r
}

func (x *explanation) finish() *Report {
	x.report.DNS = x.dns()
	x.report.Hints = x.hints()
	return &x.report
}
