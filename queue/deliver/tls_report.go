package deliver

import (
	"crypto/x509"
	"errors"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/mtasts"
	"dancemta/queue/tlsrpt"
)

// reportTLS says that a host was not called, because of what is demanded of it.
func (d *Deliverer) reportTLS(dem demand, h host) {
	if d.o.OnTLS == nil || dem.uncounted || dem.result == tlsrpt.Success || h.from.domain.IsZero() {
		return
	}
	d.o.OnTLS(tlsrpt.Session{Domain: h.from.domain, Policy: dem.published, Result: dem.result, MX: h.name, Reason: reasonOf(dem.fault)})
}

// reportNoPolicy says that a policy of MTA-STS could not be had.
func (d *Deliverer) reportNoPolicy(domain dnsname.Name, err error) {
	e, ok := errors.AsType[*mtasts.Error](err)
	if d.o.OnTLS == nil || !ok {
		return
	}
	result := tlsrpt.STSPolicyFetchError
	switch e.Kind {
	case mtasts.InvalidError:
		result = tlsrpt.STSPolicyInvalid
	case mtasts.WebPKIError:
		result = tlsrpt.STSWebPKIInvalid
	}
	d.o.OnTLS(tlsrpt.Session{Domain: domain, Policy: tlsrpt.Policy{Type: tlsrpt.STS, Domain: domain}, Result: result})
}

// reportSession says what became of TLS in one session. One that never came to
// the point where TLS begins says nothing about it (RFC 8460 4.3).
func (d *Deliverer) reportSession(t target, hs *handshake, err error) {
	reached := hs.refused || hs.done || errors.Is(err, smtpclient.ErrHandshake)
	if d.o.OnTLS == nil || !reached || hs.demand.uncounted || t.host.from.domain.IsZero() {
		return
	}
	result, why := hs.result(err)
	d.o.OnTLS(tlsrpt.Session{
		Domain: t.host.from.domain, Policy: hs.demand.published, Result: result,
		MX: t.host.name, ReceivingIP: t.addr.Addr(), Reason: reasonOf(why),
	})
}

// result is the word of RFC 8460 4.3 for a session.
func (s *handshake) result(err error) (tlsrpt.ResultType, error) {
	switch {
	case s.refused:
		return tlsrpt.StartTLSNotSupported, nil
	case s.err != nil:
		return resultOf(s.err), s.err
	case err != nil:
		return tlsrpt.ValidationFailure, err
	}
	return s.demand.result, s.demand.fault
}

// resultOf says why a host is not proved.
func resultOf(err error) tlsrpt.ResultType {
	if e, ok := errors.AsType[*daneclient.Error](err); ok {
		if e.Reason == daneclient.NameMismatch {
			return tlsrpt.CertificateHostMismatch
		}
		return tlsrpt.TLSAInvalid
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return tlsrpt.CertificateHostMismatch
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return tlsrpt.CertificateExpired
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return tlsrpt.CertificateNotTrusted
	}
	return tlsrpt.ValidationFailure
}

// reasonOf is a word of ours for a fault: what a peer wrote into its certificate
// goes to no third party.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*daneclient.Error](err); ok {
		return e.Reason.String()
	}
	switch {
	case errors.Is(err, errNotInPolicy):
		return "mx-mismatch"
	case errors.Is(err, errNoDANE):
		return "no-dane"
	case errors.Is(err, smtpclient.ErrHandshake):
		return "handshake-failed"
	}
	return ""
}
