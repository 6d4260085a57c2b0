package smtpd

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/saslext"
	"dancemta/saslext/door"
	"dancemta/smtpd/policy"
)

// How a user came to be logged in, for the log.
const (
	byAuth     = "external"
	byImplicit = "implicit"
)

// userLogin is a login of this session. The claim (authzid) stays when the proof
// has come to its end, so that the next MAIL can ask for it again.
type userLogin struct {
	saslext.Login
	authzid string
	how     string
	rules   *policy.Rules // that allowed it
}

// clientCheck is one judgement of the certificate as a client's, made in a
// goroutine that the session owns. What follows done is valid once it is closed.
type clientCheck struct {
	rules  *policy.Rules // that allowed the name, or did not
	done   chan struct{}
	client daneclient.Client
	err    error
}

// startCheck begins to judge the certificate, if there is one.
func (s *session) startCheck() {
	if !s.certified {
		return
	}
	c := &clientCheck{rules: s.opts.Rules(), done: make(chan struct{})}
	s.check = c
	s.checks.Go(func() {
		defer close(c.done)
		c.client, c.err = s.verifyClient(c.rules)
		s.logCheck(c)
	})
}

func (s *session) verifyClient(rules *policy.Rules) (c daneclient.Client, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			maillog.Fault(s.opts.Logger, s.log, "panic in the verifier", err)
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, door.DecisionTime)
	defer cancel()
	return s.opts.Verifier.Client(ctx, s.cred, func(owner dnsname.Name) bool {
		return rules.Admits(policy.Subject{Listener: s.listener(), Client: owner, Proved: s.proof(), Remote: s.remote}).Allow
	})
}

// logCheck writes the verdict down and counts it; one that the session's end cut
// off is none.
func (s *session) logCheck(c *clientCheck) {
	if c.err == nil {
		s.countClient(nil)
		maillog.Client(s.opts.Logger, s.log, c.client.Name.String(), string(c.client.Source), c.client.Record.Short())
		return
	}
	if s.ctx.Err() != nil {
		return
	}
	s.countClient(c.err)
	maillog.ClientRefused(s.opts.Logger, s.log,
		maillog.Refusal{Reason: door.Word(c.err), Detail: c.err.Error()}, s.shown(s.cred, c.err))
}

// refreshCheck begins anew at MAIL when the verdict has come to its end, was
// temporary, or the rules have changed since.
func (s *session) refreshCheck() {
	if s.check == nil {
		return
	}
	select {
	case <-s.check.done:
	default:
		return
	}
	switch c := s.check; {
	case c.rules != s.opts.Rules(),
		c.err == nil && !s.opts.Now().Before(c.client.Until),
		c.err != nil && !door.Permanent(c.err):
		s.startCheck()
	}
}

// awaitClient returns the verdict about the certificate as a client's.
func (s *session) awaitClient() (daneclient.Client, error) {
	if !s.told.Client.IsZero() {
		return s.toldClient()
	}
	if s.check == nil {
		s.startCheck()
	}
	if s.check == nil {
		err := s.noCredential()
		s.countClient(err)
		return daneclient.Client{}, err
	}
	<-s.check.done // at most door.DecisionTime; Logout waits for it, too
	return s.check.client, s.check.err
}

// noCredential says why nothing that this peer showed can be judged.
func (s *session) noCredential() error { return door.NoCredential(s.state, s.secure) }

// provenClient returns the client's name if it is proved by now, without waiting.
func (s *session) provenClient() (dnsname.Name, bool) {
	if !s.told.Client.IsZero() {
		client, err := s.toldClient()
		return client.Name, err == nil
	}
	if s.check == nil {
		return dnsname.Name{}, false
	}
	select {
	case <-s.check.done:
		return s.check.client.Name, s.check.err == nil
	default:
		return dnsname.Name{}, false
	}
}

// relayIdentity is who wants to relay, after MAIL has asked for nobody: the user
// of the certificate where the listener logs users in by it, else the client.
// The login is good for one transaction, so that no later MAIL waits for DNS.
func (s *session) relayIdentity() (policy.Subject, string, error) {
	if s.ImplicitLogin && s.mayBeUser() {
		login, err := s.login(s.opts.Rules(), "")
		s.countLogin(byImplicit, err)
		if err == nil {
			s.logLogin(login, byImplicit)
			return policy.Subject{User: login.Identity}, login.Identity.ASCIIDomain(), nil
		}
		if !door.Permanent(err) {
			return policy.Subject{}, "", err
		}
	}
	client, err := s.awaitClient()
	return policy.Subject{Client: client.Name}, client.Name.String(), err
}

// proof is how this login was proved; zero: as all of its session's.
func (u *userLogin) proof() policy.Proof {
	if u.how == byPassword {
		return policy.ByPassword
	}
	return 0
}

// mayBeUser reports whether this peer might be logged in as a user, by what it or a
// proxy has shown.
func (s *session) mayBeUser() bool {
	return (s.certified || !s.told.User.IsZero()) && s.takesUsers()
}

// login logs in the user of the certificate, or the one whom a proxy told: from
// there on both are the same.
func (s *session) login(rules *policy.Rules, authzid string) (saslext.Login, error) {
	a := s.authenticator(rules)
	if s.told.User.IsZero() {
		return a.Login(s.ctx, s.cred, authzid)
	}
	if !s.opts.Now().Before(s.told.until) {
		return saslext.Login{}, errToldOld
	}
	return a.LoginVouched(saslext.Vouched{Identity: s.told.User, Until: s.told.until}, authzid)
}

func (s *session) takesUsers() bool { return s.TakesUsers(s.opts.Rules()) }

// TakesUsers reports whether users may log in here: on submission listeners,
// and on those relay listeners that a rule for users names.
func (l Listener) TakesUsers(rules *policy.Rules) bool {
	return l.Kind != Relay || rules.NamesUsers(l.Name)
}

// needsLogin reports whether nobody may begin a message here without an
// identity: on submission listeners, and where TLS itself demands a certificate.
// Anybody can make himself one of those; only DNS makes it worth something.
func (l Listener) needsLogin() bool { return l.Kind != Relay || l.ClientCertificates == Require }

// userAtMail returns the user who is logged in, nil when nobody is. A login that
// has come to its end, or whose rules have changed, is asked for again; an error
// says that it cannot be judged now.
func (s *session) userAtMail() (*userLogin, error) {
	u := s.user
	switch {
	case u != nil && u.how == byPassword:
		return s.passwordAtMail(u)
	case u == nil && (!s.ImplicitLogin || !s.needsLogin() || !s.mayBeUser()):
		return nil, nil
	case u == nil:
		u = &userLogin{how: byImplicit}
	case u.rules == s.opts.Rules() && s.opts.Now().Before(u.Until):
		return u, nil
	}
	rules := s.opts.Rules()
	login, err := s.login(rules, u.authzid)
	s.countLogin(u.how, err)
	switch {
	case err == nil:
		s.user = &userLogin{Login: login, authzid: u.authzid, how: u.how, rules: rules}
		s.logLogin(login, u.how)
		return s.user, nil
	case !door.Permanent(err):
		return nil, err
	}
	s.logRefused(err, "")
	return nil, nil // s.user stays, as a claim that the next MAIL asks for again
}

// logRefused writes a refused login down, but for a certificate that is no
// user's where nobody asked for one by AUTH.
func (s *session) logRefused(err error, reply string) {
	r := maillog.Refusal{Reason: door.Word(err), Detail: err.Error(), Reply: reply}
	var e *saslext.Error
	if errors.As(err, &e) {
		if e.Reason == saslext.NoUser && reply == "" {
			return
		}
		if e.Reason == saslext.AuthzidDenied {
			r.Identity = e.Authenticated.LogString() // the one case where it is proved
		}
	}
	shown := s.shown(s.cred, err)
	if !s.told.User.IsZero() || e != nil && e.Reason.OfPassword() {
		shown = maillog.Shown{} // it was no certificate that is refused
	}
	maillog.LoginRefused(s.opts.Logger, s.log, r, shown)
}

func (s *session) logLogin(l saslext.Login, how string) {
	maillog.Login(s.opts.Logger, s.log, l.Identity.LogString(), l.Authenticated.LogString(), s.toldHow(how))
}

func (s *session) authenticator(rules *policy.Rules) *saslext.Authenticator {
	return &saslext.Authenticator{Verifier: door.Bounded{Anchorer: s.opts.Verifier}, Rules: userRules{rules, policy.Subject{Listener: s.listener(), Proved: s.proof(), Remote: s.remote}}}
}

// userRules are the rules as saslext asks them, on one listener.
type userRules struct {
	*policy.Rules
	who policy.Subject // but for the user
}

func (r userRules) AllowsUser(id saslext.Identity) bool {
	who := r.who
	who.User = id
	return r.Rules.Admits(who).Allow
}
