package smtpd

import (
	"context"
	"crypto/tls"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/saslext/door"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/wire"
)

// door is what this listener demands of TLS peers.
func (l Listener) door() door.Policy {
	return door.Policy{Certificates: l.ClientCertificates, Names: l.Names, Abort: l.Abort}
}

// logEarly writes down and counts who is refused before there is a session.
func (f *front) logEarly(ctx context.Context, cred daneclient.Credential, alert tls.AlertError, err error) {
	f.countClient(cred, err)
	peer := wire.PeerOf(ctx)
	s := maillog.Session{ID: peer.Session, Listener: f.Name}
	if peer.Addr != nil {
		s.Peer = peer.Addr.String()
	}
	maillog.ClientRefused(f.opts.Logger, s, maillog.Refusal{Reason: door.Word(err), Detail: err.Error(), Reply: door.AlertText(alert)}, f.shown(cred, err))
}

// shown describes for the log the certificate of a client or user refused with err.
func (f *front) shown(cred daneclient.Credential, err error) maillog.Shown {
	return maillog.Shown(door.Show{Listener: f.Name, Flags: f.opts.ExplainFlags, Now: f.opts.Now}.Shown(cred, err))
}

// judgeHandshake proves the credential as a client's or as a user's.
func (f *front) judgeHandshake(ctx context.Context, cred daneclient.Credential) error {
	rules := f.opts.Rules()
	listener := policy.Listener{Name: f.Name, TakesClients: f.Kind == Relay}
	return door.Judge(ctx, f.opts.Verifier, cred, func(owner dnsname.Name) bool { return rules.AllowsClient(listener, owner) },
		userRules{rules, policy.Subject{Listener: listener}})
}
