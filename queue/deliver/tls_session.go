package deliver

import (
	"context"
	"crypto/tls"
	"errors"

	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// errNoTLS: a host that must have it.
var errNoTLS = errors.New("the server offers no TLS, which is required")

// session connects and begins TLS as dem wants it. Where TLS is not required and
// fails, the same host gets one more chance in clear: whoever could break TLS
// could have hidden the offer too (RFC 7435 3).
// The handshake is never nil.
func (d *Deliverer) session(ctx context.Context, id queue.ID, t target, dem demand) (*smtpclient.Client, *handshake, error) {
	hs := &handshake{demand: dem}
	c, err := d.connect(ctx, t, nil)
	if err != nil {
		return nil, hs, err
	}
	if _, offered := c.Extension("STARTTLS"); !offered {
		if !dem.required {
			return c, hs, nil
		}
		c.Quit(ctx)
		return nil, hs, &smtpclient.Error{Step: "EHLO", Err: errNoTLS, Status: statusNoTLS, OtherHost: true}
	}
	err = c.StartTLS(ctx, hs.config())
	switch {
	case err == nil, c.Usable() && !dem.required: // Usable: it took the offer back, in words
		return c, hs, nil
	case errors.Is(err, smtpclient.ErrHandshake) && !dem.required:
		c.Close()
		maillog.TLSFailed(d.o.Logger, string(id), t.String(), err)
		hs.forget()
		c, err = d.connect(ctx, t, nil)
		return c, hs, err
	}
	c.Quit(ctx)
	return nil, hs, err
}

// handshake is one attempt to meet a demand.
type handshake struct {
	demand  demand
	done    bool   // TLS is spoken
	version uint16 // of TLS
	record  string // the TLSA record that matched
	err     error  // why the host is not proved
}

// config judges the host within the handshake, so that nothing is said to one
// that fails.
func (s *handshake) config() *tls.Config {
	c := &tls.Config{
		ServerName: s.demand.sni.String(),
		MinVersion: tls.VersionTLS12,
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

func (s *handshake) judge(state tls.ConnectionState) error {
	s.done, s.version = true, state.Version
	return nil
}

// forget says that the session goes on without TLS.
func (s *handshake) forget() { s.done, s.record, s.err = false, "", nil }

// verified reports whether the host has proved who it is (RFC 8689 4.2.1).
func (s *handshake) verified() bool {
	return s.done && s.err == nil && s.demand.proof != proofNone
}

// String is the outcome in one phrase: "dane: TLS1.3 verified 3 1 1", "may: none".
func (s *handshake) String() string {
	text := s.demand.wanted + ": "
	switch {
	case !s.done:
		return text + "none"
	case s.verified():
		return text + tls.VersionName(s.version) + " verified " + s.record
	}
	return text + tls.VersionName(s.version)
}
