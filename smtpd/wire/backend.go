package wire

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// backend stands between go-smtp and the sessions of one phase.
type backend struct {
	inner smtp.Backend
	conn  *Conn
}

// NewSession is called at the first EHLO or HELO.
func (b *backend) NewSession(c *smtp.Conn) (_ smtp.Session, err error) {
	s := &session{conn: b.conn, busy: make(chan struct{}, 1)}
	defer s.rescue(&err)
	inner, err := b.inner.NewSession(c)
	if err != nil {
		return nil, s.refusal(err, errTemporary)
	}
	s.inner = inner
	return s, nil
}

// session hands go-smtp's calls on: one after the other, without panics, and
// with errors that are replies.
type session struct {
	conn  *Conn
	inner smtp.Session
	busy  chan struct{} // full while a method of inner runs: go-smtp runs Data in a goroutine of its own
	dead  bool          // a method panicked: what it left behind is not to be trusted
}

// What the peer hears of errors that are no replies.
var (
	errTemporary = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Temporary failure, try again later"}
	errNoLogin   = &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Temporary authentication failure"} // RFC 4954 6: clients keep their credentials
	errDead      = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Internal error, closing connection"}
	errMechanism = &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Mechanism not available"}
)

// errUnread is a session that accepted a message without having read its end.
var errUnread = errors.New("session accepted a message that it did not read to its end")

// rescue turns a panic into errDead.
func (s *session) rescue(err *error) {
	if p := recover(); p != nil {
		s.dead = true
		s.conn.link.report(InternalError, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		*err = errDead
	}
}

// refusal lets replies 4xx and 5xx pass; all else becomes a temporary failure
// whose cause only the log hears. Wrapped replies do not pass: they may be those
// of another server.
func (s *session) refusal(err error, instead *smtp.SMTPError) error {
	if err == nil {
		return nil
	}
	if r, ok := err.(*smtp.SMTPError); ok && r != nil && r.Code >= 400 && r.Code <= 599 {
		return r
	}
	if !errors.Is(err, smtp.ErrDataReset) { // the peer went away: told elsewhere
		s.conn.link.report(InternalError, err)
	}
	return instead
}

// call runs f, a method of inner, alone.
func (s *session) call(instead *smtp.SMTPError, f func() error) (err error) {
	s.busy <- struct{}{}
	defer func() { <-s.busy }()
	if s.dead {
		return errDead
	}
	defer s.rescue(&err)
	return s.refusal(f(), instead)
}

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.conn.asked.mail(o)
	return s.call(errTemporary, func() error { return s.inner.Mail(from, o) })
}

func (s *session) Rcpt(to string, o *smtp.RcptOptions) error {
	s.conn.asked.rcpt(o)
	return s.call(errTemporary, func() error { return s.inner.Rcpt(to, o) })
}

// Data may answer with a 2xx of the session's own. Either way it counts only
// when the session has seen the end of the message.
func (s *session) Data(r io.Reader) error {
	var success *smtp.SMTPError
	err := s.call(errTemporary, func() error {
		r := &reader{r, s.conn}
		err := s.inner.Data(r)
		if r, ok := err.(*smtp.SMTPError); ok && r != nil && r.Code/100 == 2 {
			success, err = r, nil
		}
		if err != nil {
			return err
		}
		if n, err := io.Copy(io.Discard, r); n > 0 || err != nil {
			return errUnread
		}
		return nil
	})
	if err == nil && success != nil {
		return success
	}
	return err
}

// reader reads a message; its end is none when the wire has aborted the message.
type reader struct {
	r    io.Reader
	conn *Conn
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if err == io.EOF && r.conn.poisoned {
		err = smtp.ErrDataReset
	}
	return n, err
}

func (s *session) Reset() {
	_ = s.call(errTemporary, func() error { s.inner.Reset(); return nil })
}

// Logout ends what still runs by ending the context.
func (s *session) Logout() error {
	s.conn.cancel()
	return s.call(errTemporary, s.inner.Logout)
}

// AuthMechanisms is empty in clear (RFC 8314 4.2).
func (s *session) AuthMechanisms() []string {
	var list []string
	inner, ok := s.inner.(smtp.AuthSession)
	if ok && s.conn.underTLS() {
		_ = s.call(errTemporary, func() error { list = inner.AuthMechanisms(); return nil })
	}
	return list
}

// Auth knows only what was offered; go-smtp would let everything through.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if !slices.Contains(s.AuthMechanisms(), mechanism) {
		return nil, errMechanism
	}
	inner := s.inner.(smtp.AuthSession) // AuthMechanisms has looked
	x := &exchange{session: s}
	err := s.call(errNoLogin, func() (err error) { x.inner, err = inner.Auth(mechanism); return err })
	if err != nil {
		return nil, err
	}
	return x, nil
}

// exchange is a SASL exchange whose errors are replies.
type exchange struct {
	session *session
	inner   sasl.Server
}

func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	err = x.session.call(errNoLogin, func() (err error) {
		challenge, done, err = x.inner.Next(response)
		return err
	})
	return challenge, done && err == nil, err
}
