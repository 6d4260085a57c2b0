package main

import (
	"context"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/msgauth"
	"dancemta/smtpd"
)

// inbound says how mail from anybody is judged.
func (p *parts) inbound() smtpd.Inbound {
	a := p.cfg.Authentication
	if a.DMARC == config.DMARCNone {
		return smtpd.Inbound{}
	}
	return smtpd.Inbound{
		Verifier: msgauth.NewVerifier(msgauth.VerifierOptions{
			Hostname: p.cfg.Hostname, Resolver: textResolver{p.resolver}, Dir: string(p.cfg.StateDir),
		}),
		Reject: a.DMARC == config.DMARCReject, Partners: a.Partners,
	}
}

// textResolver asks our resolver for package msgauth. Whether a domain is signed does
// not matter there; what is bogus or did not come is not known.
type textResolver struct{ inner *dnssec.Resolver }

var recordTypes = map[msgauth.Type]dnssec.Type{
	msgauth.TypeA: dnssec.TypeA, msgauth.TypeAAAA: dnssec.TypeAAAA, msgauth.TypeMX: dnssec.TypeMX,
	msgauth.TypePTR: dnssec.TypePTR, msgauth.TypeTXT: dnssec.TypeTXT,
}

// Lookup implements msgauth.Resolver.
func (r textResolver) Lookup(ctx context.Context, name dnsname.Name, t msgauth.Type) msgauth.Answer {
	a := r.inner.Lookup(ctx, name, recordTypes[t])
	if a.State != dnssec.Secure && a.State != dnssec.Insecure {
		return msgauth.Answer{}
	}
	out := msgauth.Answer{Known: true, NXDomain: a.NXDomain, TXT: a.TXT, Addrs: a.Addrs, Names: a.Names}
	for _, mx := range a.MX {
		if !mx.Host.IsZero() { // RFC 7505: there is none
			out.Names = append(out.Names, mx.Host)
		}
	}
	return out
}

// inbound says what becomes of mail from anybody.
func (r *report) inbound(cfg *config.Config) {
	switch {
	case len(cfg.RelayDomains) == 0: // nobody gets any
	case cfg.Authentication.DMARC == config.DMARCNone:
		r.warning(`mail from anybody is not judged by SPF, DKIM and DMARC: authentication.dmarc is "none"`)
	case cfg.Authentication.DMARC == config.DMARCReject:
		r.ok("mail from anybody is judged, and refused where the domain in its From field asks for it (DMARC)")
	default:
		r.ok("mail from anybody is judged, marked and delivered")
	}
}
