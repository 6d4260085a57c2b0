package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// errNoTLS: a host that must have it.
var errNoTLS = errors.New("the server offers no TLS, which is required")

// session connects and begins TLS as dem wants it. Where TLS is not required and
// fails, the same host gets one more chance in clear: whoever could break TLS
// could have hidden the offer too (RFC 7435 3). The handshake is never nil.
func (d *Deliverer) session(ctx context.Context, id queue.ID, t target, dem demand) (*smtpclient.Client, *handshake, error) {
	hs := &handshake{demand: dem}
	c, err := d.begin(ctx, t, hs)
	d.reportSession(t, hs, err)
	if err == nil {
		return c, hs, nil
	}
	if hs.err != nil { // our finding, not a fault of its TLS
		if e, ok := errors.AsType[*smtpclient.Error](err); ok {
			e.Status = statusNoProof
		}
	}
	// RFC 8461 5.1: a newer policy may name the host no more, or want no TLS of it: also
	// when TLS has failed before there was a certificate to judge.
	if dem.wanted == wantSTS && (hs.err != nil || hs.refused || errors.Is(err, smtpclient.ErrHandshake)) {
		d.o.STS.Recheck(t.host.from.domain)
	}
	if !dem.required && errors.Is(err, smtpclient.ErrHandshake) {
		maillog.TLSFailed(d.o.Logger, string(id), t.String(), err)
		hs.done, hs.err = false, nil
		c, err = d.connect(ctx, t, nil)
	}
	return c, hs, err
}

// begin is one try, without the chance in clear.
func (d *Deliverer) begin(ctx context.Context, t target, hs *handshake) (*smtpclient.Client, error) {
	if t.host.implicit {
		return d.connect(ctx, t, hs.config())
	}
	c, err := d.connect(ctx, t, nil)
	if err != nil {
		return nil, err
	}
	required := hs.demand.required
	if _, offered := c.Extension("STARTTLS"); !offered {
		hs.refused = true
		if !required {
			return c, nil
		}
		c.Quit(ctx)
		return nil, &smtpclient.Error{Step: "EHLO", Err: errNoTLS, Status: statusNoTLS, OtherHost: true, Permanent: hs.demand.requireTLS && hs.demand.wanted == wantRequire}
	}
	err = c.StartTLS(ctx, hs.config())
	switch {
	case err == nil:
		return c, nil
	case c.Usable() && !required: // it took the offer back, in words
		hs.refused = true
		return c, nil
	}
	hs.refused = c.Usable()
	c.Quit(ctx)
	return nil, err
}

// handshake is one attempt to meet a demand.
type handshake struct {
	demand  demand
	refused bool // TLS was not offered, or the offer was taken back
	done    bool // TLS is spoken
	version uint16
	record  string // the TLSA record that matched
	err     error  // why the host is not proved
}

// config judges the host within the handshake, so that nothing is said to one
// that fails.
func (s *handshake) config() *tls.Config {
	c := &tls.Config{
		ServerName: s.demand.sni.String(),
		MinVersion: tls.VersionTLS12, // RFC 8461 4.2
		// The alternative to an unproved host is plaintext (RFC 7435 3), and
		// crypto/tls knows no TLSA: judge does all the checks.
		InsecureSkipVerify: true,
		VerifyConnection:   s.judge,
	}
	if show := s.demand.certificate; show != nil {
		c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if r.Version < tls.VersionTLS13 {
				return new(tls.Certificate), nil // it would travel in clear
			}
			return show(r)
		}
	}
	return c
}

// judge proves the host as demanded. Its error ends the handshake.
func (s *handshake) judge(state tls.ConnectionState) error {
	s.done, s.version = true, state.Version
	switch s.demand.proof {
	case proofDANE:
		record, err := s.demand.server.Verify(state.PeerCertificates)
		if s.err = err; err == nil {
			s.record = fmt.Sprintf("%d %d %d", record.Usage, record.Selector, record.Matching)
		}
	case proofPKIX:
		if s.err = s.demand.verifyPKIX(state.PeerCertificates); s.err == nil {
			s.err = s.demand.fault
		}
	}
	if s.demand.lenient {
		return nil
	}
	return s.err
}

var (
	errNoCertificate = errors.New("the server showed no certificate")
	errNoNames       = errors.New("no name of the host is proved to be one of the domain, nor below it: nothing to compare a certificate with")
)

// verifyPKIX takes any of the names (RFC 8461 4.2, RFC 9525 6).
func (dem *demand) verifyPKIX(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	issuers := x509.NewCertPool()
	for _, cert := range chain[1:] {
		issuers.AddCert(cert)
	}
	told := errNoNames
	for _, name := range dem.names {
		if name.IsZero() { // crypto/x509 would take any
			continue
		}
		_, err := chain[0].Verify(x509.VerifyOptions{
			DNSName: name.String(), Roots: dem.roots, Intermediates: issuers,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err == nil {
			return nil
		}
		// A CA that nobody knows says more than the next name, which is another one.
		if _, other := errors.AsType[x509.HostnameError](told); other || told == errNoNames {
			told = err
		}
	}
	return told
}

// verified reports whether the host has proved who it is (RFC 8689 4.2.1).
func (s *handshake) verified() bool {
	return s.done && s.err == nil && s.demand.proof != proofNone
}

// String is the outcome in one phrase: "dane: TLS1.3 verified 3 1 1", "may: none".
func (s *handshake) String() string {
	var b strings.Builder
	b.WriteString(s.demand.wanted)
	if s.demand.proof == proofDANE && !s.demand.trusted { // RFC 7672 2.2.1
		b.WriteString(" (not secure to the domain)")
	}
	b.WriteString(": ")
	if !s.done {
		return b.String() + "none"
	}
	b.WriteString(strings.ReplaceAll(tls.VersionName(s.version), " ", ""))
	switch {
	case s.verified():
		b.WriteString(strings.TrimRight(" verified "+s.record, " "))
	case s.demand.proof != proofNone:
		b.WriteString(" not verified")
	}
	return b.String()
}
