package smtpd

import (
	"crypto/tls"
	"errors"

	"dancemta/daneclient"
	"dancemta/smtpd/policy"
)

// place stands for the session's id in replies that no session has sent.
const place = "session id"

// ClientReply foretells what a peer reads here whom err refuses as a client when
// he relays, or the alert that ends his handshake.
func (l Listener) ClientReply(cred daneclient.Credential, err error) string {
	if alert, ends := l.endsHandshake(cred, err); ends {
		return alertText(alert)
	}
	return foretold(clientAnswer(err, l.needsLogin()))
}

// endsHandshake reports whether it comes to a session at all.
func (l Listener) endsHandshake(cred daneclient.Credential, err error) (tls.AlertError, bool) {
	if !l.judgesHandshakes() {
		return 0, false
	}
	early, refused := l.judgedEarly(cred)
	if early {
		return l.alertFor(err)
	}
	return errors.AsType[tls.AlertError](refused)
}

// LoginReply foretells the reply to AUTH EXTERNAL of a user whom err refuses.
func LoginReply(err error) string { return foretold(authAnswer(err)) }

func foretold(a answer) string {
	e := a.reply(place, "")
	return codes(e) + " " + e.Message
}

// RuleReply foretells what a peer reads whom the rules refuse; identity is his, proved.
func RuleReply(v policy.Verdict, identity string) string {
	r := refusal{identity: identity}
	r.decided(v, &transaction{identity: identity})
	switch v.Reason {
	case policy.AuthorRefused:
		r.answer = authorRefused
	case policy.UnknownMailbox:
		r.answer = unknownUser
	}
	e := r.answer.reply(place, r.toName())
	return codes(e) + " " + e.Message
}
