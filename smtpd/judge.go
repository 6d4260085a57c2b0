package smtpd

import (
	"errors"
	"syscall"

	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/saslext"
	"dancemta/saslext/door"
	"dancemta/smtpd/milter"
)

// The functions below turn the errors of our parts into answers. What they do
// not know is temporary: a refusal for good must be stated.

// authAnswer is the answer to a login that failed.
func authAnswer(err error) answer {
	var e *saslext.Error
	switch {
	case errors.As(err, &e) && e.Reason == saslext.BadAuthzid:
		return authMalformed
	case errors.As(err, &e) && e.Reason == saslext.BadMessage:
		return authBadMessage
	case errors.As(err, &e) && e.Reason == saslext.NoPasswords:
		return authNoPasswords
	case door.Permanent(err):
		return authRefused
	}
	return authTrouble
}

// clientAnswer is the answer to a peer without an identity: at MAIL, where nobody
// may begin without one, or at the first RCPT that takes one.
func clientAnswer(err error, atMail bool) answer {
	switch {
	case !door.Permanent(err):
		return cannotJudge
	case atMail:
		return loginRequired // RFC 6409 4.3
	}
	return relayRefused
}

// storeAnswer is the answer to a message that could not be kept.
func storeAnswer(err error) answer {
	if u, ok := errors.AsType[*unwanted](err); ok {
		return u.answer
	}
	switch {
	case isBadAuthor(err):
		return authorRefused
	case errors.Is(err, errHops):
		return tooManyHops
	case errors.Is(err, errTooBig), queue.IsKind(err, queue.TooBig):
		return tooBig
	case errors.Is(err, msgauth.ErrHeader), errors.Is(err, milter.ErrHeader):
		return longHeader
	case queue.IsKind(err, queue.Full), errors.Is(err, syscall.ENOSPC): // the queue's disk, or that of a body to be signed
		return storeFull
	}
	return ownTrouble
}

func isBadAuthor(err error) bool {
	_, ok := errors.AsType[*badAuthor](err)
	return ok
}
