package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/queue"
)

// TLSPolicy is what the operator demands of a destination's TLS.
type TLSPolicy uint8

// The policies; the words of the configuration in the comments.
const (
	TLSDefault  TLSPolicy = iota // DANE and MTA-STS where they are published, else opportunistic
	TLSMay                       // "may": opportunistic, whatever is published
	TLSEncrypt                   // "encrypt": TLS, with whomever
	TLSVerify                    // "verify": a certificate of the roots for the host's name
	TLSDANE                      // "dane": as published by DANE, where nothing usable is, as TLSEncrypt
	TLSDANEOnly                  // "dane-only": as published by DANE, and else not at all
)

// proof is how a host must show who it is.
type proof uint8

const (
	proofNone proof = iota // nobody asks
	proofDANE              // TLSA records decide (RFC 7672 3.1)
	proofPKIX              // a path to roots, and the name
)

// demand is what a host's TLS must show before mail goes there.
type demand struct {
	wanted   string // for log and lists: "may", "encrypt", "dane", "mta-sts", "verify", "dane-only"
	required bool   // without TLS the host is not used, nor in clear after a failed handshake
	proof    proof
	lenient  bool // a failed proof is noted and reported, the mail goes all the same

	server *daneclient.Server // proofDANE: the records and the names that count
	name   dnsname.Name       // proofPKIX: whom the certificate must name
	roots  *x509.CertPool     // proofPKIX; nil: the system's
	sni    dnsname.Name       // zero: none is sent

	certificate certificate // our own, for this host; nil: none is shown
}

// certificate gives what we show of ourselves.
type certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// demandTLS says what the TLS of a host must show for a message. A verdict says
// why the host must not be used at all.
func (d *Deliverer) demandTLS(_ context.Context, _ Route, h host, _ queue.Envelope) (demand, *verdict) {
	return demand{wanted: "may", required: h.certificate != nil, sni: h.name, certificate: h.certificate}, nil
}
