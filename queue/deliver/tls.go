package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/queue"
	"dancemta/queue/tlsrpt"
)

// TLSPolicy is what the operator demands of a destination's TLS.
type TLSPolicy uint8

// The policies; the words of the configuration in the comments.
const (
	TLSDefault  TLSPolicy = iota // DANE and MTA-STS where they are published, else opportunistic
	TLSMay                       // "may": opportunistic, whatever is published
	TLSEncrypt                   // "encrypt": TLS, with whomever
	TLSVerify                    // "verify": a certificate of the roots for the host's name
	TLSDANE                      // "dane": as published by DANE; where nothing usable is, as TLSEncrypt
	TLSDANEOnly                  // "dane-only": as published by DANE, and else not at all
)

// What is wanted of a host, as logs and lists have it.
const (
	wantMay      = "may"
	wantEncrypt  = "encrypt"
	wantVerify   = "verify"
	wantDANE     = "dane"
	wantDANEOnly = "dane-only"
	wantSTS      = "mta-sts"
	wantTesting  = "mta-sts testing"
	wantRequire  = "requiretls"
)

// Enhanced status codes of what TLS lacks.
const (
	statusNoProof      = "4.7.5"  // RFC 3463 3.8: cryptographic failure
	statusNoRequireTLS = "5.7.30" // RFC 8689 4.2.1
)

// origin says how a host came to stand for a destination.
type origin struct {
	domain   dnsname.Name // whose MX it is, or the configured hop itself; zero: an address literal
	target   dnsname.Name // where CNAMEs led from domain; zero: there are none
	secure   bool         // the way from domain to the host's name is proved, or configured
	implicit bool         // domain has no MX records: it is the host itself, or its target is
}

// proof is how a host must show who it is.
type proof uint8

const (
	proofNone proof = iota // nobody asks
	proofDANE              // TLSA records decide (RFC 7672 3.1)
	proofPKIX              // a path to roots, and a name
)

// demand is what a host's TLS must show before mail goes there.
type demand struct {
	wanted   string // one of the want words, for log and lists
	required bool   // without TLS the host is not used, nor in clear after a failed handshake
	proof    proof
	lenient  bool // a failed proof is noted and reported, and the mail goes all the same

	server *daneclient.Server // proofDANE: the records and the names that count
	names  []dnsname.Name     // proofPKIX: the certificate must have one of them
	roots  *x509.CertPool     // proofPKIX; nil: the system's
	sni    dnsname.Name       // zero: none is sent

	trusted    bool          // the way from the domain to the host's name is proved
	requireTLS bool          // RFC 8689 4.2.1: what is missing is final
	published  tlsrpt.Policy // for reports
	uncounted  bool          // the session is in no report
	fault      error         // MTA-STS testing: why the host would not be used
	result     tlsrpt.ResultType

	certificate certificate // our own, for this host; nil: none is shown
}

// certificate gives what we show of ourselves.
type certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// demandTLS says what the TLS of a host must show for a message, before the host
// is called. A verdict says why it must not be used at all.
//
// The order: the operator's word; then DANE, which alone decides where it has
// usable records (RFC 8461 2); then MTA-STS. What a message itself demands
// (RFC 8689) is added at last.
func (d *Deliverer) demandTLS(ctx context.Context, r Route, h host, e queue.Envelope) (demand, *verdict) {
	dem, v := d.demandOf(ctx, r, h, e)
	dem.certificate, dem.trusted = h.certificate, h.from.secure
	dem.uncounted = e.TLSOptional           // it says nothing of what the others meet; a report itself is of this kind (RFC 8460 3)
	if h.certificate != nil || h.implicit { // in clear the host would take us for a stranger
		dem.required = true
	}
	if v == nil && e.RequireTLS {
		v = dem.requiretls(r, h)
	}
	if dem.published.Type == "" {
		dem.published = tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: h.from.domain}
	}
	if v != nil {
		d.reportTLS(dem, h)
	}
	return dem, v
}

func (d *Deliverer) demandOf(ctx context.Context, r Route, h host, e queue.Envelope) (demand, *verdict) {
	dem := demand{wanted: wantMay, sni: h.name}
	switch r.TLS {
	case TLSEncrypt:
		dem.wanted, dem.required = wantEncrypt, true
		return dem, nil
	case TLSVerify:
		dem.verify(r.Roots, h)
		return dem, nil
	case TLSDANE, TLSDANEOnly:
		return d.mandatoryDANE(ctx, r, h)
	case TLSDefault:
		if e.TLSOptional && !e.RequireTLS && !r.trusts() { // RFC 8689 3: its sender wants it to arrive
			return dem, nil
		}
		return d.demandPublished(ctx, r, h)
	}
	return dem, nil // TLSMay
}

// trusts reports whether the route says by whom its hosts are proved, or gives
// them a password, which is for nobody else.
func (r Route) trusts() bool { return len(r.Hosts) > 0 && (r.Roots != nil || r.Auth.User != "") }

// demandPublished takes what the host's domain says.
func (d *Deliverer) demandPublished(ctx context.Context, r Route, h host) (demand, *verdict) {
	dem, v := d.dane(ctx, h)
	switch {
	case v != nil, dem.proof == proofDANE:
		return dem, v
	case r.trusts():
		dem.verify(r.Roots, h)
		return dem, nil
	}
	return d.sts(ctx, h, dem)
}

// verify demands a certificate of the host's name. A name that came from DNS
// without a proof may be anybody's, and counts only below the domain itself.
func (dem *demand) verify(roots *x509.CertPool, h host) {
	dem.wanted, dem.required, dem.proof, dem.roots = wantVerify, true, proofPKIX, roots
	dem.names = nil
	if !h.name.IsZero() && (h.from.secure || h.name.Within(h.from.domain)) {
		dem.names = append(dem.names, h.name)
	}
	if !h.from.domain.IsZero() && h.from.domain != h.name {
		dem.names = append(dem.names, h.from.domain)
	}
}

// requiretls adds what a message with REQUIRETLS demands (RFC 8689 4.2.1): the
// name of the host is proved, by DNSSEC or by MTA-STS, and so is the host.
func (dem *demand) requiretls(r Route, h host) *verdict {
	matched := dem.published.Type == tlsrpt.STS && dem.fault == nil
	if !h.from.secure && !matched {
		return &verdict{queue.Failed, statusNoRequireTLS, "host " + h.String() + ": neither DNSSEC nor MTA-STS proves that it takes this mail, which REQUIRETLS demands", ""}
	}
	if dem.proof == proofNone {
		roots := r.Roots
		dem.verify(roots, h)
		dem.wanted = wantRequire
	}
	dem.required, dem.lenient, dem.requireTLS = true, false, true
	return nil
}
