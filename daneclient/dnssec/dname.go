package dnssec

import (
	"context"
	"slices"

	"github.com/miekg/dns"
)

// A DNAME redirects all names below its owner, and never the owner (RFC 6672
// 2.2). A server sends a CNAME along that it made of it, which nobody signed:
// that one is not looked at, the name to go on with is made here.

// dnameAbove returns the DNAME of an answer that redirects a name, nil for
// none. Of several the highest counts: it hides whatever lies below it.
func (r *reply) dnameAbove(name string) *rrset {
	var found *rrset
	for q, set := range r.answer {
		if q.typ == dns.TypeDNAME && below(q.name, name) && (found == nil || below(q.name, found.owner)) {
			found = set
		}
	}
	return found
}

// redirect proves a DNAME under its own zone and rebuilds the CNAME that it
// stands for. RFC 6672 5.3.1
func (l *lookup) redirect(ctx context.Context, q question, r *reply, dname *rrset) (link, error) {
	of := question{dname.owner, dns.TypeDNAME}
	l.heard(of, r.extended)
	found, err := l.judgeReply(ctx, of, r, dname)
	if err != nil {
		return link{}, err
	}
	found.set, err = rebuild(q, dname)
	if err != nil {
		return link{}, l.blame("", of, err)
	}
	return found, nil
}

// rebuild makes the CNAME of a name below a DNAME. RFC 6672 2.2, 3.1
func rebuild(q question, dname *rrset) (*rrset, error) {
	record, ok := dname.rrs[0].(*dns.DNAME)
	// A chain may pass one twice, and its reply then holds it twice. RFC 2181 5
	other := func(rr dns.RR) bool { return !dns.IsDuplicate(rr, record) }
	if !ok || slices.ContainsFunc(dname.rrs[1:], other) { // RFC 6672 2.4: a singleton type
		return nil, failed("%s: %s is not one record", q, dname)
	}
	starts := dns.Split(q.name)
	kept := len(starts) - dns.CountLabel(dname.owner)
	target := q.name
	if kept < len(starts) {
		target = q.name[:starts[kept]]
	}
	if to := canonical(record.Target); to != root {
		target += to
	}
	var buf [maxWire + 1]byte
	if _, err := wire(target, &buf); err != nil {
		// RFC 6672 2.2: YXDOMAIN, as a server says by itself.
		return nil, failed("%s: the name that the DNAME at %s makes is too long", q, dname.owner)
	}
	cname := &dns.CNAME{
		Hdr:    dns.RR_Header{Name: q.name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: record.Hdr.Ttl},
		Target: target,
	}
	return &rrset{owner: q.name, typ: dns.TypeCNAME, rrs: []dns.RR{cname}}, nil
}

// belowDNAME says of a name that a proved DNAME redirects that it is not there:
// no delegation, nor anything below. RFC 6672 2.4
func (l *lookup) belowDNAME(parent *zone, name string, r *reply, dname *rrset) (*cut, error) {
	p, optOut, err := l.verifyExpanded(parent, r, dname)
	if err != nil {
		return nil, err
	}
	if optOut {
		return l.unsigned(parent, name, "below an opt-out span of "+parent.name, p.expires), nil
	}
	step := Step{Zone: parent.name, Name: name, Type: "DS", State: Secure, Detail: "redirected by the DNAME at " + dname.owner}
	return &cut{kind: noSuchName, expires: earlier(p.expires, l.now.Add(maxNegative)), steps: l.noted(step)}, nil
}
