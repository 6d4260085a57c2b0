// Package door is what every listener does that takes the certificates of TLS peers,
// be it for mail or for LDAP: it asks for them, bounds what may come, judges within the
// handshake those who want it, and says for the log why somebody is nobody.
//
// Start with Policy, which is what a listener is told, then Policy.TLS. What a peer is
// allowed, and in which words he is refused, is the business of those above.
package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
	"dancemta/saslext"
)

// Certificates says whether TLS peers are asked for a certificate.
type Certificates uint8

// The values.
const (
	Ask     Certificates = iota // asked for, not needed
	Off                         // never asked for
	Require                     // no TLS without one, none below 1.3, and nothing without an identity
)

// Policy is what one listener demands of its peers.
type Policy struct {
	Certificates Certificates
	// Names says where the names of clients come from; the zero value asks nobody for one.
	Names daneclient.Sources
	// Abort ends the handshake of a peer that told a name by dane_clientid which
	// it does not prove; without it the peer is nobody. With Require it ends that
	// of every peer without an identity.
	Abort bool
}

// Verifier proves certificates by DNS; *daneclient.Verifier is one. Both
// methods return soon after ctx has ended.
type Verifier interface {
	Client(ctx context.Context, cred daneclient.Credential, allowed func(dnsname.Name) bool) (daneclient.Client, error)
	saslext.Anchorer
}

const (
	// Within a handshake DNS gets as long as the handshake itself has: a client
	// that waits for its Finished to be answered waits in silence.
	handshakeDecision = 10 * time.Second
	// JudgedHandshake is how long a handshake may take that is judged within.
	JudgedHandshake = 20 * time.Second

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

// TLS are what Policy.TLS needs of the server.
type TLS struct {
	// Certificate is the server's own.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Peer says whose handshake ctx belongs to.
	Peer func(ctx context.Context) netip.Addr
	// Judge proves a credential, as far as rules allow the claim.
	Judge func(ctx context.Context, cred daneclient.Credential) error
	// Ended hears of a handshake that ends because of err.
	Ended func(ctx context.Context, cred daneclient.Credential, alert tls.AlertError, err error)
}

// TLS makes the configuration of a listener. It never sets ClientCAs: DNS vouches
// for clients, so any certificate may come, and an empty list of CAs invites all of
// them.
func (p Policy) TLS(o TLS) (*tls.Config, error) {
	c := &tls.Config{GetCertificate: o.Certificate, MinVersion: tls.VersionTLS12}
	switch p.Certificates {
	case Ask:
		c.ClientAuth = tls.RequestClientCert
	case Require:
		c.ClientAuth = tls.RequireAnyClientCert
		c.MinVersion = tls.VersionTLS13 // client-auth 12: no identity below it
	}
	c.VerifyConnection = boundedChain
	// A ticket would bring back a certificate whose records may be gone since.
	c.SessionTicketsDisabled = c.ClientAuth != tls.NoClientCert
	if !p.Judges() {
		return c, nil
	}
	return c, clientid.Request(c, p.Names.Extension, func(ctx context.Context, state tls.ConnectionState) error {
		return p.finishHandshake(ctx, state, o)
	})
}

// Judges reports whether peers are asked for dane_clientid.
func (p Policy) Judges() bool { return p.Certificates != Off && p.Names.Extension != 0 }

// finishHandshake judges, before the handshake is done, those who are judged so
// early, and ends it for whom it must.
func (p Policy) finishHandshake(ctx context.Context, state tls.ConnectionState, o TLS) error {
	cred, ok := p.Names.Credential(state, o.Peer(ctx))
	if !ok {
		return nil // no certificate, and so no name; Require has seen to that
	}
	if early, err := p.judgedEarly(cred); !early {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeDecision)
	defer cancel()
	err := o.Judge(ctx, cred)
	if alert, ends := p.alertFor(err); ends {
		o.Ended(ctx, cred, alert, err)
		return fmt.Errorf("%w: %w", alert, err)
	}
	return nil // proved, or nobody: then the session asks again and logs why
}

// judgedEarly reports whether a peer is judged before its handshake is done: those
// who asked for it by telling a name (client-auth 8.2). All others are let through
// without a word, since on a shared port many servers show a certificate to
// everybody; where a certificate is required they are judged too if failures
// abort. An error ends the handshake of who cannot be anybody.
func (p Policy) judgedEarly(cred daneclient.Credential) (bool, error) {
	required := p.Certificates == Require
	switch {
	case cred.Named, required && p.Abort:
		return true, nil
	case required && !p.Names.Certificate:
		return false, fmt.Errorf("%w: no dane_clientid where nothing else counts", (&daneclient.Error{}).Alert())
	}
	return false, nil
}

// alertFor returns the alert that ends the handshake of a peer judged early with
// this result; false lets him through.
func (p Policy) alertFor(err error) (tls.AlertError, bool) {
	if err == nil {
		return 0, false
	}
	e, ok := errors.AsType[*daneclient.Error](err)
	if !ok {
		e = &daneclient.Error{}
	}
	return e.Alert(), e.MustAbort() || p.Abort
}

// Ends foretells the alert that ends the handshake of a peer whom err refuses.
func (p Policy) Ends(cred daneclient.Credential, err error) (tls.AlertError, bool) {
	if !p.Judges() {
		return 0, false
	}
	early, refused := p.judgedEarly(cred)
	if early {
		return p.alertFor(err)
	}
	return errors.AsType[tls.AlertError](refused)
}

// AlertText shows an alert in logs and to people.
func AlertText(alert tls.AlertError) string {
	return fmt.Sprintf("TLS alert %d (%s)", uint8(alert), strings.TrimPrefix(alert.Error(), "tls: "))
}

// Judge proves the credential as a client's or as a user's. What it finds is
// remembered by the verifier, so that the session does not ask DNS again. A nil
// allowed lets no client in.
func Judge(ctx context.Context, v Verifier, cred daneclient.Credential, allowed func(dnsname.Name) bool, users saslext.Rules) error {
	_, err := v.Client(ctx, cred, allowed)
	if e, ok := errors.AsType[*daneclient.Error](err); !ok || e.Reason != daneclient.ForbiddenName {
		return err
	}
	// A user's name or certificate, which is never a client's.
	a := saslext.Authenticator{Verifier: v, Rules: users}
	if _, no := a.Login(ctx, cred, ""); no != nil {
		// Login's comes second, so that it never is what must end the handshake: it asks
		// the rules first, and who is refused would see by the alert whom they name.
		return fmt.Errorf("%w; as a user: %w", err, no)
	}
	return nil
}

// Addr is the IP address of a peer; the zero Addr where there is none.
func Addr(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
