package deliver

import (
	"context"
	"errors"
	"slices"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/queue/tlsrpt"
)

// dane asks for the TLSA records of a host (RFC 7672 2.2). Records that are usable
// demand a proof, records of which none is demand TLS, none at all demand nothing.
// Trouble makes the host unreachable: it may be somebody who hides the records
// (RFC 7672 2.1.2).
func (d *Deliverer) dane(ctx context.Context, h host) (demand, *verdict) {
	dem := demand{wanted: wantMay, sni: h.name}
	if h.name.IsZero() { // RFC 7672 2.2: an address has no records
		return dem, nil
	}
	// Without Roots usages 0 and 1 are unusable (RFC 7672 3.1.3).
	o := daneclient.ServerOptions{Resolver: d.o.Resolver, CommonName: true}
	if h.from.secure { // RFC 7672 3.2.2
		o.Aliases = h.from.names()
	}
	at := h.name
	if h.from.implicit { // its CNAME has not been looked at by whoever asks for records
		at = h.from.domain
	}
	server, err := daneclient.FindServer(ctx, at, uint16(h.port), o)
	if err == nil {
		dem.wanted, dem.required, dem.proof = wantDANE, true, proofDANE
		dem.server, dem.sni = server, server.Base // RFC 7672 8.1
		dem.published = tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: server.Base, Strings: recordTexts(server)}
		return dem, nil
	}
	e, ok := errors.AsType[*daneclient.Error](err)
	switch {
	case !ok: // a name too long for an owner of records
		return dem, nil
	case e.Temporary():
		dem.wanted = wantDANE
		dem.published = tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: h.name}
		dem.fault, dem.result = err, tlsrpt.DNSSECInvalid
		return dem, &verdict{status: statusDNS, text: "host " + h.String() + ": " + maillog.Clean(err.Error())}
	case e.Reason == daneclient.Unusable:
		dem.wanted, dem.required = wantDANE, true
		dem.published = tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: h.name}
		dem.fault, dem.result = err, tlsrpt.TLSAInvalid
	}
	return dem, nil
}

// names are those of a domain for which a CA may vouch beside the base domain.
func (o origin) names() (names []dnsname.Name) {
	for _, n := range []dnsname.Name{o.domain, o.target} {
		if !n.IsZero() {
			names = append(names, n)
		}
	}
	return names
}

func recordTexts(s *daneclient.Server) (texts []string) {
	for _, r := range s.Records() {
		texts = append(texts, r.String())
	}
	slices.Sort(texts)
	return texts
}

// mandatoryDANE is for destinations that the operator knows to have DANE
// (RFC 7672 6).
func (d *Deliverer) mandatoryDANE(ctx context.Context, r Route, h host) (demand, *verdict) {
	dem, v := d.dane(ctx, h)
	switch {
	case r.TLS == TLSDANE:
		if dem.required, dem.wanted = true, wantDANE; v == nil && dem.proof == proofNone {
			dem.wanted = wantEncrypt
		}
	case v == nil && (dem.proof != proofDANE || !h.from.secure): // an unproved MX record leads to anybody's records
		dem.wanted, dem.proof, dem.fault, dem.result = wantDANEOnly, proofNone, errNoDANE, tlsrpt.DANERequired
		v = &verdict{status: statusNoTLS, text: "host " + h.String() + ": " + errNoDANE.Error()}
	default:
		dem.wanted = wantDANEOnly
	}
	return dem, v
}

var errNoDANE = errors.New("no usable TLSA records, or no proof by DNSSEC that the host takes this mail, and the policy is dane-only")
