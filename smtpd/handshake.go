package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
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
func (f *front) judgesHandshakes() bool {
	return f.ClientCertificates != Off && f.Names.Extension != 0
}

// finishHandshake judges, before the handshake is done, the peers that asked for
// it by telling a name (client-auth 8.2). All others are let through without a
// word, since on a shared port many servers show a certificate to everybody; where
// a certificate is required they are judged here too if failures abort.
func (f *front) finishHandshake(ctx context.Context, state tls.ConnectionState) error {
	cred, ok := f.Names.Credential(state, addrOf(wire.PeerOf(ctx).Addr))
	required := f.ClientCertificates == Require
	switch {
	case !ok:
		return nil // no certificate, and so no name; Require has seen to that
	case cred.Named, required && f.Abort:
	case required && !f.Names.Certificate:
		return fmt.Errorf("%w: no dane_clientid where nothing else counts", (&daneclient.Error{}).Alert())
	default:
		return nil
	}
	err := f.judgeHandshake(ctx, cred)
	if err == nil {
		return nil
	}
	var e *daneclient.Error
	if !errors.As(err, &e) {
		e = &daneclient.Error{}
	}
	if !e.MustAbort() && !f.Abort {
		return nil // nobody, then; the session asks again and logs why
	}
	return fmt.Errorf("%w: %w", e.Alert(), err)
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
	users := saslext.Authenticator{Verifier: f.opts.Verifier, Rules: userRules{rules, listener}}
	_, err = users.Login(ctx, cred, "")
	return err
}
