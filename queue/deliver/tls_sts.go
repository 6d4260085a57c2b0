package deliver

import (
	"context"
	"errors"

	"dancemta/internal/dnsname"
	"dancemta/queue/mtasts"
	"dancemta/queue/tlsrpt"
)

// STS gives policies of MTA-STS; *mtasts.Client does.
type STS interface {
	Policy(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error)
	Recheck(domain dnsname.Name)
}

var errNotInPolicy = errors.New("the domain's MTA-STS policy does not name this host")

// sts adds what the domain's MTA-STS policy demands (RFC 8461 5) to a demand that
// DANE has left without a proof. Of a configured hop its own name is the domain
// (RFC 8461 3.4).
func (d *Deliverer) sts(ctx context.Context, h host, dem demand) (demand, *verdict) {
	domain := h.from.domain
	if d.o.STS == nil || domain.IsZero() || h.lmtp {
		return dem, nil
	}
	p, err := d.o.STS.Policy(ctx, domain)
	if err != nil && p.Mode == mtasts.None {
		d.reportNoPolicy(domain, err)
	}
	if p.Mode == mtasts.None { // RFC 8461 5: also the mode of that name
		return dem, nil
	}
	dem.published = tlsrpt.Policy{Type: tlsrpt.STS, Domain: domain, Strings: p.Lines(), MXHosts: p.MX}
	name, matches := named(p, h)
	dem.proof, dem.names, dem.sni, dem.roots = proofPKIX, []dnsname.Name{name}, name, d.o.Roots
	dem.fault, dem.result = nil, tlsrpt.Success
	if !matches {
		dem.fault, dem.result = errNotInPolicy, tlsrpt.ValidationFailure
	}
	if p.Mode == mtasts.Testing {
		dem.wanted, dem.lenient = wantTesting, true
		return dem, nil
	}
	dem.wanted, dem.required = wantSTS, true
	if !matches {
		d.o.STS.Recheck(domain)
		return dem, &verdict{status: statusNoProof, text: "host " + h.String() + ": " + errNotInPolicy.Error()}
	}
	return dem, nil
}

// named returns the name of a host that a policy permits, which its certificate must
// have (RFC 8461 4.1): that of the MX record. A domain without one may name itself;
// then the end of its CNAMEs, which anybody may have forged, counts for nothing.
func named(p mtasts.Policy, h host) (name dnsname.Name, ok bool) {
	if h.from.implicit && !p.Match(h.name) && p.Match(h.from.domain) {
		return h.from.domain, true
	}
	return h.name, p.Match(h.name)
}
