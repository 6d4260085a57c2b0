package dnssec

import (
	"context"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

// Published is what a zone publishes at a name, as everybody who validates sees it.
type Published struct {
	Answer
	// Zone holds what the answer rests on, with its final dot; TTL is that of the
	// records as they were signed, which no cache on the way has shortened; Walkable
	// says that the zone denies by NSEC, so that its names can be listed. All are
	// known only of a secure answer that was proved here.
	Zone     string
	TTL      time.Duration
	Walkable bool
}

// Published looks the TLSA records of a name up, and what their owner chose beside
// them. It is for looking at one's own names: two questions more than Lookup asks.
func (r *Resolver) Published(ctx context.Context, name dnsname.Name) Published {
	found := Published{Answer: r.Lookup(ctx, name, TypeTLSA)}
	if found.State != Secure || found.Trusted != "" || found.Final.IsZero() {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	l := r.lookup(r.memory(), r.opts.Now())
	at, err := l.walk(ctx, found.Final.String()+".")
	if err != nil || at.zone == nil {
		return found
	}
	found.Zone, found.Walkable = at.zone.name, l.walkable(ctx, at.zone.name)
	set, err := l.resolveLink(ctx, question{found.Final.String() + ".", dns.TypeTLSA})
	if err == nil && set.state == Secure && set.set != nil {
		found.TTL = signedTTL(set.set)
	}
	return found
}

// walkable reports whether a zone is proved to deny by NSEC: it has no parameters
// of NSEC3. A hint for people: when this fails, there is none.
func (l *lookup) walkable(ctx context.Context, zone string) bool {
	param, err := l.resolveLink(ctx, question{zone, dns.TypeNSEC3PARAM})
	return err == nil && param.state == Secure && param.set == nil
}

// signedTTL is what a set had at first, also where a cache has counted it down.
// RFC 4034 3.1.4
func signedTTL(set *rrset) time.Duration {
	ttl := lowestTTL(set.rrs)
	for _, sig := range set.sigs {
		ttl = max(ttl, sig.OrigTtl)
	}
	return time.Duration(ttl) * time.Second
}
