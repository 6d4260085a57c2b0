package smtpd

import (
	"dancemta/daneclient"
	"dancemta/saslext/door"
	"dancemta/smtpd/policy"
)

// place stands for the session's id in replies that no session has sent.
const place = "session id"

// ClientReply foretells what a peer reads here whom err refuses as a client when
// he relays, or the alert that ends his handshake.
func (l Listener) ClientReply(cred daneclient.Credential, err error) string {
	if alert, ends := l.door().Ends(cred, err); ends {
		return door.AlertText(alert)
	}
	return foretold(clientAnswer(err, l.needsLogin()))
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
