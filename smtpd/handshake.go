package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/wire"
)

const (
	// Within a handshake DNS gets as long as the handshake itself has: a client
	// that waits for its Finished to be answered waits in silence.
	handshakeDecision = 10 * time.Second
	judgedHandshake   = 20 * time.Second

	// What comes with a certificate stays in memory as long as its connection.
	// Honest chains have a few KiB.
	maxChainBytes = 32 << 10
	sctOverhead   = 32 // of crypto/tls for each timestamp: 64 KiB of tiny ones become 600
)

// errChain ends the handshake with bad_certificate.
var errChain = errors.New("certificate chain over 32 KiB")

// boundedChain refuses a chain that only fills memory: by its certificates, or by
// the timestamps and the OCSP response that crypto/tls asks every client for.
func boundedChain(s tls.ConnectionState) error {
	size := len(s.OCSPResponse)
	for _, cert := range s.PeerCertificates {
		size += len(cert.Raw)
	}
	for _, sct := range s.SignedCertificateTimestamps {
		size += len(sct) + sctOverhead
	}
	if size > maxChainBytes {
		return errChain
	}
	return nil
}

// judgesHandshakes reports whether peers are asked for dane_clientid.
func (l Listener) judgesHandshakes() bool {
	return l.ClientCertificates != Off && l.Names.Extension != 0
}

// finishHandshake judges, before the handshake is done, those who are judged so
// early, and ends it for whom it must.
func (f *front) finishHandshake(ctx context.Context, state tls.ConnectionState) error {
	cred, ok := f.Names.Credential(state, addrOf(wire.PeerOf(ctx).Addr))
	if !ok {
		return nil // no certificate, and so no name; Require has seen to that
	}
	if early, err := f.judgedEarly(cred); !early {
		return err
	}
	err := f.judgeHandshake(ctx, cred)
	if alert, ends := f.alertFor(err); ends {
		f.logEarly(ctx, cred, alert, err)
		return fmt.Errorf("%w: %w", alert, err)
	}
	return nil // proved, or nobody: then the session asks again and logs why
}

// logEarly writes down and counts who is refused before there is a session.
func (f *front) logEarly(ctx context.Context, cred daneclient.Credential, alert tls.AlertError, err error) {
	f.countClient(cred, err)
	peer := wire.PeerOf(ctx)
	s := maillog.Session{ID: peer.Session, Listener: f.Name}
	if peer.Addr != nil {
		s.Peer = peer.Addr.String()
	}
	maillog.ClientRefused(f.opts.Logger, s, maillog.Refusal{Reason: reasonWord(err), Detail: err.Error(), Reply: alertText(alert)}, f.shown(cred, err))
}

func alertText(alert tls.AlertError) string {
	return fmt.Sprintf("TLS alert %d (%s)", uint8(alert), strings.TrimPrefix(alert.Error(), "tls: "))
}

// judgedEarly reports whether a peer is judged before its handshake is done: those
// who asked for it by telling a name (client-auth 8.2). All others are let through
// without a word, since on a shared port many servers show a certificate to
// everybody; where a certificate is required they are judged too if failures
// abort. An error ends the handshake of who cannot be anybody.
func (l Listener) judgedEarly(cred daneclient.Credential) (bool, error) {
	required := l.ClientCertificates == Require
	switch {
	case cred.Named, required && l.Abort:
		return true, nil
	case required && !l.Names.Certificate:
		return false, fmt.Errorf("%w: no dane_clientid where nothing else counts", (&daneclient.Error{}).Alert())
	}
	return false, nil
}

// alertFor returns the alert that ends the handshake of a peer judged early with
// this result; false lets him through.
func (l Listener) alertFor(err error) (tls.AlertError, bool) {
	if err == nil {
		return 0, false
	}
	e, ok := errors.AsType[*daneclient.Error](err)
	if !ok {
		e = &daneclient.Error{}
	}
	return e.Alert(), e.MustAbort() || l.Abort
}

// judgeHandshake proves the credential as a client's or as a user's. What it
// finds is remembered by the verifier, so that the session does not ask DNS again.
func (f *front) judgeHandshake(ctx context.Context, cred daneclient.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeDecision)
	defer cancel()
	rules := f.opts.Rules()
	listener := policy.Listener{Name: f.Name, TakesClients: f.Kind == Relay}
	_, err := f.opts.Verifier.Client(ctx, cred, func(owner dnsname.Name) bool { return rules.AllowsClient(listener, owner) })
	if e, ok := errors.AsType[*daneclient.Error](err); !ok || e.Reason != daneclient.ForbiddenName {
		return err
	}
	// A user's name or certificate, which is never a client's.
	users := saslext.Authenticator{Verifier: f.opts.Verifier, Rules: userRules{rules, policy.Subject{Listener: listener}}}
	if _, no := users.Login(ctx, cred, ""); no != nil {
		// Login's comes second, so that it never is what must end the handshake: it asks
		// the rules first, and who is refused would see by the alert whom they name.
		return fmt.Errorf("%w; as a user: %w", err, no)
	}
	return nil
}
