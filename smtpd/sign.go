package smtpd

import (
	"io"

	"dancemta/internal/mailaddr"
	"dancemta/internal/msgauth"
)

// strip takes away what only we may write (RFC 8601 5). What milters of ours add later
// stays.
func (s *session) strip(message io.Reader) (arrival, error) {
	message, err := msgauth.Strip(s.opts.Hostname, message)
	if err != nil {
		return arrival{}, err
	}
	return arrival{ReadCloser: io.NopCloser(message)}, nil
}

// sign puts the DKIM signatures on a message of a logged-in user, whose rules let him
// send as what stands in From. Mail of strangers and of other servers is never signed: we do not know who wrote it.
func (s *session) sign(tx *transaction, message io.Reader) (arrival, error) {
	if s.opts.Signer == nil || tx.subject.User.IsZero() {
		return arrival{ReadCloser: io.NopCloser(message)}, nil
	}
	m, err := s.opts.Signer().Sign(message, func(from mailaddr.Address) bool {
		return s.opts.Rules().Sender(tx.subject, from).Allow
	})
	switch {
	case err != nil:
		s.opts.Counters.Signed("failed")
		return arrival{}, err
	case m.Domain.IsZero():
		s.opts.Counters.Signed("unsigned")
	default:
		s.opts.Counters.Signed("signed")
	}
	return arrival{ReadCloser: m, signed: m.Domain.String()}, nil
}
