package smtpd

import (
	"io"
	"strings"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// sign puts the DKIM signatures on a message of a logged-in user, whose rules let
// him send as what stands in From. Mail of strangers and of other servers is never
// signed: we do not know who wrote it. domain is whose signature it has; "" when
// nobody's.
func (s *session) sign(tx *transaction, message io.Reader) (signed io.ReadCloser, domain string, err error) {
	if s.opts.Signer == nil || tx.subject.User.IsZero() {
		return io.NopCloser(message), "", nil
	}
	m, err := s.opts.Signer().Sign(message, func(from mailaddr.Address) bool {
		return s.opts.Rules().Sender(tx.subject, from).Allow
	})
	if err != nil {
		return nil, "", err
	}
	return m, m.Domain.String(), nil
}

// keep signs a message and hands it to the queue, our trace on top. A message
// that should have a signature and cannot get it is not kept.
func (s *session) keep(tx *transaction, env queue.Envelope, trace string, message io.Reader) (domain string, err error) {
	body, domain, err := s.sign(tx, message)
	if err != nil {
		return "", err
	}
	defer body.Close()
	return domain, s.opts.Queue.Accept(s.ctx, env, io.MultiReader(strings.NewReader(trace), body))
}
