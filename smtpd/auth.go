package smtpd

import (
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// AuthMechanisms says what EHLO offers: EXTERNAL where the certificate, or what a
// proxy told, might log a user in, whatever the verdict will be, so that trouble of DNS reads 454 and
// not "unsupported" (RFC 8314 4.2); PLAIN where users have passwords.
func (s *session) AuthMechanisms() (mechanisms []string) {
	if s.mayBeUser() {
		mechanisms = append(mechanisms, sasl.External)
	}
	if s.takesPasswords() {
		mechanisms = append(mechanisms, sasl.Plain)
	}
	return mechanisms
}

// Auth begins an AUTH command (RFC 4954 4).
func (s *session) Auth(mech string) (server sasl.Server, err error) {
	defer s.rescue("AUTH", &err)
	r := refusal{command: "AUTH"}
	switch {
	case s.tx != nil:
		r.answer = authInMail
	case s.user != nil:
		r.answer = authTwice
	case !slices.Contains(s.AuthMechanisms(), mech):
		r.answer = authNotOffered
	default:
		return exchange{s.mechanism(mech), s}, nil
	}
	return nil, s.refuse(r)
}

// mechanism makes the exchange of one that is offered.
func (s *session) mechanism(mech string) sasl.Server {
	rules, how := s.opts.Rules(), byAuth
	done := func(l saslext.Login, err error) error { return s.authDone(rules, how, l, err) }
	if mech == sasl.Plain {
		how = byPassword
		return s.passwords(rules).Server(s.ctx, done)
	}
	return saslext.External(func(authzid string) (saslext.Login, error) { return s.login(rules, authzid) }, done)
}

// authDone keeps the result of AUTH, or words its refusal: one text for all
// reasons, among them those that only a proved user can meet.
func (s *session) authDone(rules *policy.Rules, how string, login saslext.Login, err error) error {
	s.countLogin(how, err)
	if err != nil {
		e := authAnswer(err).reply(s.log.ID, "")
		s.logRefused(err, codes(e))
		return e
	}
	s.user = &userLogin{Login: login, how: how, rules: rules}
	if login.Identity != login.Authenticated {
		s.user.authzid = login.Identity.ASCIIDomain() // U-labels do not always read back
	}
	s.logLogin(login, how)
	return nil
}

// exchange is saslext's with our word for a panic.
type exchange struct {
	sasl.Server
	session *session
}

func (e exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	defer e.session.rescue("AUTH", &err)
	return e.Server.Next(response)
}

var _ smtp.AuthSession = (*session)(nil)
