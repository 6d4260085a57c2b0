package dnssec

import (
	"time"

	"github.com/miekg/dns"
)

// denials is all that the authority section of a reply denies in the name of
// one zone, signatures checked.
type denials struct {
	zone    *zone
	nsec    []nsec
	nsec3   hashed
	expires time.Time
}

// denialsOf collects the NSEC and NSEC3 records of a zone from a reply. Those
// of other zones are passed over: a sibling, or the parent, has no say here.
func (l *lookup) denialsOf(z *zone, r *reply) (*denials, error) {
	d := &denials{zone: z, expires: z.expires}
	d.nsec3 = hashed{apex: z.name, known: map[string]hash{}, spend: func(blocks int) error {
		return spend(&l.spent.blocks, blocks, maxBlocks, "blocks of SHA-1")
	}}
	looked := 0
	for _, set := range r.authority {
		if set.typ != dns.TypeNSEC && set.typ != dns.TypeNSEC3 || signerOf(set) != z.name {
			continue
		}
		if looked++; looked > maxDenials {
			return nil, tooMany("%s: more than %d NSEC or NSEC3 records of one zone", z.name, maxDenials)
		}
		p, err := l.verify(z, set)
		if err != nil {
			return nil, err
		}
		if p.encloser != "" {
			continue // made from a wildcard, so it is not the record of its owner. RFC 4035 5.4
		}
		d.expires = earlier(d.expires, p.expires)
		if err := d.add(set); err != nil {
			return nil, err
		}
	}
	if len(d.nsec3.records) > 0 && d.nsec3.iterations > maxIterations {
		// RFC 9276 3.2. The signature held, so this is the zone's own doing.
		return nil, tooMany("%s: NSEC3 with %d iterations, more than %d", z.name, d.nsec3.iterations, maxIterations)
	}
	return d, nil
}

func (d *denials) add(set *rrset) error {
	for _, rr := range set.rrs {
		switch rr := rr.(type) {
		case *dns.NSEC:
			d.nsec = append(d.nsec, nsec{set.owner, canonical(rr.NextDomain), rr.TypeBitMap})
		case *dns.NSEC3:
			if err := d.nsec3.add(rr); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge says what is proved about a name of the zone and a type; it is an
// error when that is nothing.
func (d *denials) judge(name string, typ uint16) (denial, error) {
	found := denyNSEC(d.zone.name, d.nsec, name, typ)
	if found == notDenied && len(d.nsec3.records) > 0 {
		var err error
		if found, err = d.nsec3.deny(name, typ); err != nil {
			return notDenied, err
		}
	}
	if found != notDenied {
		return found, nil
	}
	q := question{name, typ}
	if len(d.nsec)+len(d.nsec3.records) == 0 {
		return notDenied, bogus("%s: no records, and no NSEC or NSEC3 signed by %s", q, d.zone.name)
	}
	return notDenied, bogus("%s: the NSEC or NSEC3 records of %s do not prove that there is none", q, d.zone.name)
}

// proveExpansion demands the proof that the owner of an RRset made from a
// wildcard does not exist itself. optOut is true when an unsigned delegation
// may exist there, so that the records are insecure. RFC 4035 5.3.4, RFC 5155 8.8
func (l *lookup) proveExpansion(z *zone, r *reply, set *rrset, p *proof) (optOut bool, err error) {
	d, err := l.denialsOf(z, r)
	if err != nil {
		return false, err
	}
	p.expires = earlier(p.expires, d.expires)
	if expandedNSEC(z.name, d.nsec, set.owner, p.encloser) {
		return false, nil
	}
	if len(d.nsec3.records) > 0 {
		ok, optOut, err := d.nsec3.expanded(set.owner, p.encloser)
		if ok || err != nil {
			return optOut, err
		}
	}
	return false, bogus("%s: made from %s, without proof that nothing is closer", set, wildcardOf(p.encloser))
}

// negativeTTL bounds how long a denial is kept by the SOA that came with it.
// The SOA need not be proved, since it can only shorten the time. RFC 2308 5
func (r *reply) negativeTTL() time.Duration {
	ttl := maxNegative
	for _, set := range r.authority {
		for _, rr := range set.rrs {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = min(ttl, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
			}
		}
	}
	return ttl
}

// verifyExpanded proves an RRset and, if it was made from a wildcard, that it
// may stand for its owner.
func (l *lookup) verifyExpanded(z *zone, r *reply, set *rrset) (p proof, optOut bool, err error) {
	if p, err = l.verify(z, set); err != nil || p.encloser == "" {
		return p, false, err
	}
	optOut, err = l.proveExpansion(z, r, set, &p)
	return p, optOut, err
}
