package smtpd

import (
	"dancemta/internal/mailaddr"
	"dancemta/smtpd/callout"
	"dancemta/smtpd/policy"
)

// askBackend finds out whether a mailbox exists that only its backend knows, and makes
// v say so. On false that cannot be known now, and r says it.
func (s *session) askBackend(to mailaddr.Address, v *policy.Verdict, r *refusal) bool {
	answer := callout.Unknown
	if s.opts.Mailboxes != nil {
		answer = s.opts.Mailboxes(s.ctx, to)
	}
	switch {
	case answer == callout.Exists, answer == callout.Unknown && s.opts.Rules().Lenient(to):
		v.Allow = true
	case answer == callout.Absent:
		v.Reason = policy.UnknownMailbox
	default:
		r.answer = mailboxUnclear
		return false
	}
	return true
}
