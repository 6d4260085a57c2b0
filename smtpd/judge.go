package smtpd

import (
	"errors"
	"syscall"

	"dancemta/daneclient"
	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/saslext"
	"dancemta/smtpd/milter"
)

// The functions below turn the errors of our parts into answers. What they do
// not know is temporary: a refusal for good must be stated.

// permanent reports whether err states that this certificate gives no identity.
func permanent(err error) bool {
	var user *saslext.Error
	if errors.As(err, &user) {
		return !user.Temporary()
	}
	var client *daneclient.Error
	return errors.As(err, &client) && !client.Temporary()
}

// authAnswer is the answer to a login that failed.
func authAnswer(err error) answer {
	var e *saslext.Error
	switch {
	case errors.As(err, &e) && e.Reason == saslext.BadAuthzid:
		return authMalformed
	case permanent(err):
		return authRefused
	}
	return authTrouble
}

// clientAnswer is the answer to a peer without an identity: at MAIL, where nobody
// may begin without one, or at the first RCPT that takes one.
func clientAnswer(err error, atMail bool) answer {
	switch {
	case !permanent(err):
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

// reasonWord is the stable word of err for the log.
func reasonWord(err error) string {
	var client *daneclient.Error
	if errors.As(err, &client) {
		return client.Reason.String()
	}
	var user *saslext.Error
	if errors.As(err, &user) {
		return user.Reason.String()
	}
	return "unknown"
}

func isBadAuthor(err error) bool {
	_, ok := errors.AsType[*badAuthor](err)
	return ok
}
