package daneclient

import (
	"context"
	"net/netip"

	"golang.org/x/net/publicsuffix"

	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
)

// gates bound the lookups in flight.
type gates struct {
	all  *limit.Gate
	peer *limit.KeyedGate[string]
	zone *limit.KeyedGate[string]
}

// waiting is how many peers and zones may be known at once, as a multiple of the
// lookups that run: more than there are connections, each of which costs a
// hundred times what its key does. With fewer, the clients of one dead zone, who
// wait for it and are known as peers, would shut out all the others.
const waiting = 64

func newGates(o Options) gates {
	return gates{
		all:  limit.NewGate(o.MaxLookups),
		peer: limit.NewKeyedGate[string](o.PerPeer, waiting*o.MaxLookups),
		zone: limit.NewKeyedGate[string](o.PerZone, waiting*o.MaxLookups),
	}
}

// enter waits for a place at the three gates, the widest last, so that those
// who wait for a dead zone take none of the places that all share. It returns
// the way out, or what was full until ctx ended.
func (g gates) enter(ctx context.Context, peer netip.Addr, owner dnsname.Name) (leave func(), full string) {
	zone := zoneOf(owner)
	leavePeer, ok := g.enterPeer(ctx, peer)
	if !ok {
		return nil, "lookups for this peer"
	}
	if g.zone.Enter(ctx, zone) != nil {
		leavePeer()
		return nil, "lookups in " + zone
	}
	if g.all.Enter(ctx) != nil {
		g.zone.Leave(zone)
		leavePeer()
		return nil, "lookups in all"
	}
	return func() {
		g.all.Leave()
		g.zone.Leave(zone)
		leavePeer()
	}, ""
}

// enterPeer passes whoever has no address: those who come by Match are as many
// as there are, and not one.
func (g gates) enterPeer(ctx context.Context, peer netip.Addr) (leave func(), ok bool) {
	if !peer.IsValid() {
		return func() {}, true
	}
	key := peerKeyOf(peer)
	if g.peer.Enter(ctx, key) != nil {
		return nil, false
	}
	return func() { g.peer.Leave(key) }, true
}

// peerKeyOf takes an IPv6 peer for its /64, which one host has to itself.
func peerKeyOf(peer netip.Addr) string {
	peer = peer.Unmap()
	if peer.Is6() {
		if p, err := peer.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return peer.String()
}

// zoneOf takes what somebody registered for the zone, example.co.uk and not
// co.uk: who serves it, and may be dead or slow on purpose, is the same for
// nearly all names below, and another one for its neighbours.
func zoneOf(owner dnsname.Name) string {
	zone, err := publicsuffix.EffectiveTLDPlusOne(owner.String())
	if err != nil { // the owner is a public suffix itself
		return owner.String()
	}
	return zone
}
