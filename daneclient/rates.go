package daneclient

import (
	"fmt"
	"net/netip"
	"sync"

	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
)

// Rate is so many lookups at once, and from then on as many in each span of time,
// evenly.
type Rate = limit.Rate

// The rates when Options leave them zero, for each minute, and why. What is counted
// are lookups that ask the resolver: of an owner name one in the life of its
// records, so that steady clients stay far below.
const (
	// 50 a second is a few percent of one CPU, and no burden to any resolver. All of
	// a minute at once is for a start with empty caches.
	DefaultRate = 3000
	// 600 clients behind one address whose records live five minutes. A flood needs
	// 25 addresses to use up what all have.
	DefaultRatePerPeer = 120
	// 3,000 clients of one organisation whose records live five minutes, 36,000 with an
	// hour. A flood needs the names of five to use up what all have.
	DefaultRatePerZone = 600
)

// maxRateKeys bounds the peers and zones whose buckets are known, whatever the
// rates: 10 MiB of each kind.
const maxRateKeys = 1 << 16

// rates bound how often the resolver is asked.
type rates struct {
	opts Options

	mu              sync.Mutex // a lookup pays at all three, or nowhere
	peer, zone, all *limit.Buckets[string]
}

// newRates gives the keys as many places as the rate of all can ever use, so that
// no flood, of whatever addresses and names, leaves none for others.
func newRates(o Options) *rates {
	keys := func(r Rate) int { return min(o.Rate.Within(r.Per), maxRateKeys) }
	return &rates{
		opts: o,
		peer: limit.NewBuckets[string](o.RatePerPeer, keys(o.RatePerPeer), o.Now),
		zone: limit.NewBuckets[string](o.RatePerZone, keys(o.RatePerZone), o.Now),
		all:  limit.NewBuckets[string](o.Rate, 1, o.Now),
	}
}

// lookup is one that is about to be made.
type lookup struct {
	owner dnsname.Name
	peer  netip.Addr
	class limit.Class
}

// over returns the rate that has no token left for a lookup, "" for none.
func (r *rates) over(l lookup) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spent(l)
}

// pay is over, and takes the tokens if there are any.
func (r *rates) pay(l lookup) (over string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if over := r.spent(l); over != "" {
		return over
	}
	if l.peer.IsValid() {
		r.peer.Take(peerKeyOf(l.peer), l.class)
	}
	r.zone.Take(zoneOf(l.owner), l.class)
	r.all.Take("", l.class)
	return ""
}

// spent names the narrowest rate first: the one whose end is not the work of others.
func (r *rates) spent(l lookup) string {
	describe := func(of string, rate Rate) string {
		return fmt.Sprintf("the rate of lookups %s, %d in %v, is used up", of, rate.N, rate.Per)
	}
	zone := zoneOf(l.owner)
	switch {
	case l.peer.IsValid() && !r.peer.Has(peerKeyOf(l.peer), l.class):
		return describe("for this peer", r.opts.RatePerPeer)
	case !r.zone.Has(zone, l.class):
		return describe("in "+zone, r.opts.RatePerZone)
	case !r.all.Has("", l.class):
		return describe("in all", r.opts.Rate)
	}
	return ""
}
