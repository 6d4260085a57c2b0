// Package crowd bounds the connections of our listeners, and takes them in and lets
// them go: in all, by address and network, by handshakes under way, and with less
// patience when places are short.
//
// Start with Crowd, which servers share, and Set (set.go), which is the connections of
// one server from accept to drain. Neither knows a protocol.
package crowd

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dancemta/internal/limit"
)

// Options of New. A zero number takes the default beside it.
type Options struct {
	// Connections at once, in all: 1000.
	Connections int
	// PerAddress of those, from one IPv4 address or one IPv6 network of 64 bits,
	// which is what one customer has: 100, for the many hosts behind one NAT.
	PerAddress int
	// PerNetwork of those, from one network of 24 bits (IPv4) or 48 bits (IPv6): 300.
	PerNetwork int
	// Handshakes at once: half of Connections. So peers that begin TLS and say no more
	// leave room for those who go on.
	Handshakes int
	// Overload says why no further connection can be served; "": one can. It is asked
	// for each. nil: never.
	Overload func() string
}

// Crowd bounds the connections of all servers that share it: in all, and those of
// each peer, so that no peer leaves nothing to the others. Peers on this host are
// only counted in all.
//
// From three quarters of the places on the crowd is dense: whoever keeps silent for
// DenseWait then loses his place, those included who have been silent for longer
// already. It lasts until half of the places are free again.
type Crowd struct {
	o          Options
	all        *limit.Gate
	handshakes *limit.Gate
	addresses  *limit.KeyedGate[netip.Prefix]
	networks   *limit.KeyedGate[netip.Prefix]
	dense      atomic.Bool

	mu      sync.Mutex
	servers []func() // that make their connections hurry
}

const (
	defaultConnections = 1000
	defaultPerAddress  = 100
	defaultPerNetwork  = 300

	// DenseWait replaces every longer time of patience in a dense crowd. It is below
	// the five minutes of RFC 5321 4.5.3.2.7, which would let a few peers that say
	// nothing shut out all others; honest clients answer within seconds.
	DenseWait = 10 * time.Second
)

// New returns an empty crowd.
func New(o Options) *Crowd {
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Connections, defaultConnections}, {&o.PerAddress, defaultPerAddress}, {&o.PerNetwork, defaultPerNetwork}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Handshakes == 0 {
		o.Handshakes = max(o.Connections/2, 1)
	}
	return &Crowd{
		o: o, all: limit.NewGate(o.Connections), handshakes: limit.NewGate(o.Handshakes),
		addresses: limit.NewKeyedGate[netip.Prefix](o.PerAddress, o.Connections),
		networks:  limit.NewKeyedGate[netip.Prefix](o.PerNetwork, o.Connections),
	}
}

// Len returns how many connections there are.
func (c *Crowd) Len() int { return c.all.Len() }

// Full says why there is no place for a connection.
type Full uint8

// The reasons; the zero value is none.
const (
	_          Full = iota
	All             // all places are taken
	OfAddress       // one address has enough already
	OfNetwork       // the same for one network
	Overloaded      // no memory for one more
)

// Handshakes returns how many handshakes are under way.
func (c *Crowd) Handshakes() int { return c.handshakes.Len() }

// Place is one connection's part of the crowd.
type Place struct {
	crowd            *Crowd
	address, network netip.Prefix // zero: a peer on this host
	handshaking      atomic.Bool
}

// Enter finds a place for a peer, or says why there is none; nil is a peer of whom
// nothing is known yet. The text tells more to the log.
func (c *Crowd) Enter(peer net.Addr) (*Place, Full, string) {
	p := &Place{crowd: c}
	if c.o.Overload != nil {
		if why := c.o.Overload(); why != "" {
			return nil, Overloaded, why
		}
	}
	if !c.all.TryEnter() {
		return nil, All, ""
	}
	if full, why := p.Count(peer); full != 0 {
		c.all.Leave()
		return nil, full, why
	}
	return p, 0, ""
}

// Count counts a place for its peer's networks, or says why there are too many.
func (p *Place) Count(peer net.Addr) (Full, string) {
	address, network := networksOf(peer)
	if !address.IsValid() {
		return 0, ""
	}
	if !p.crowd.addresses.TryEnter(address) {
		return OfAddress, address.String()
	}
	if !p.crowd.networks.TryEnter(network) {
		p.crowd.addresses.Leave(address)
		return OfNetwork, network.String()
	}
	p.address, p.network = address, network
	return 0, ""
}

// Leave gives the place back.
func (p *Place) Leave() {
	p.EndHandshake()
	if p.address.IsValid() {
		p.crowd.networks.Leave(p.network)
		p.crowd.addresses.Leave(p.address)
	}
	p.crowd.all.Leave()
	if p.crowd.Len() <= p.crowd.o.Connections/2 {
		p.crowd.dense.Store(false)
	}
}

// BeginHandshake reports whether one more may be under way.
func (p *Place) BeginHandshake() bool {
	if p.handshaking.Load() {
		return true
	}
	ok := p.crowd.handshakes.TryEnter()
	p.handshaking.Store(ok)
	return ok
}

// EndHandshake says that it is over.
func (p *Place) EndHandshake() {
	if p.handshaking.Swap(false) {
		p.crowd.handshakes.Leave()
	}
}

// IsDense reports whether it is so now.
func (c *Crowd) IsDense() bool { return c.dense.Load() }

// Thicken makes the crowd dense when three quarters of the places are taken, and
// tells whether it was not so before.
func (c *Crowd) Thicken() bool {
	if 4*c.Len() < 3*c.o.Connections || !c.dense.CompareAndSwap(false, true) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, hurry := range c.servers {
		hurry()
	}
	return true
}

// Join lets hurry shorten the waits of a server's connections when the crowd gets
// dense.
func (c *Crowd) Join(hurry func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = append(c.servers, hurry)
}

// Patience is d, or less in a dense crowd.
func (c *Crowd) Patience(d time.Duration) time.Duration {
	if c.IsDense() {
		return min(d, DenseWait)
	}
	return d
}

// networksOf returns the networks that a peer's connections are counted for; zero
// ones for a peer on this host, or one without an IP address.
func networksOf(peer net.Addr) (address, network netip.Prefix) {
	if peer == nil {
		return address, network
	}
	ap, err := netip.ParseAddrPort(peer.String())
	if err != nil {
		return address, network
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.IsLoopback() {
		return address, network
	}
	one, many := 64, 48
	if ip.Is4() {
		one, many = 32, 24
	}
	return netip.PrefixFrom(ip, one).Masked(), netip.PrefixFrom(ip, many).Masked()
}
