package smtpd

import (
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// AuthMechanisms says what EHLO offers: EXTERNAL where the certificate might log
// a user in, whatever the verdict will be, so that trouble of DNS reads 454 and
// not "unsupported" (RFC 8314 4.2).
func (s *session) AuthMechanisms() []string {
	if s.certified && s.takesUsers() {
		return []string{sasl.External}
	}
	return nil
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
		rules := s.opts.Rules()
		done := func(l saslext.Login, err error) error { return s.authDone(rules, l, err) }
		return exchange{s.authenticator(rules).Server(s.ctx, s.cred, done), s}, nil
	}
	return nil, s.refuse(r)
}

// authDone keeps the result of AUTH, or words its refusal: one text for all
// reasons, among them those that only a proved user can meet.
func (s *session) authDone(rules *policy.Rules, login saslext.Login, err error) error {
	s.countLogin(byAuth, err)
	if err != nil {
		e := authAnswer(err).reply(s.log.ID, "")
		s.logRefused(err, codes(e))
		return e
	}
	s.user = &userLogin{Login: login, how: byAuth, rules: rules}
	if login.Identity != login.Authenticated {
		s.user.authzid = login.Identity.ASCIIDomain() // U-labels do not always read back
	}
	s.logLogin(login, byAuth)
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
