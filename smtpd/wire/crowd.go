package wire

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dancemta/internal/limit"
)

// CrowdOptions of NewCrowd. A zero number takes the default beside it.
type CrowdOptions struct {
	// Connections at once, in all: 1000. Each costs MemoryPerConnection at the most.
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

// MemoryPerConnection bounds what one connection holds: 64 KiB of a handshake or of
// a body, 64 KiB of a header that is looked at, a message of 64 KiB on its way to the
// store, a line, and what TLS, go-smtp and two stacks take.
const MemoryPerConnection = 256 << 10

// Crowd bounds the connections of all servers that share it: in all, and those of
// each peer, so that no peer leaves nothing to the others. Peers on this host are
// only counted in all.
//
// From three quarters of the places on the crowd is dense: whoever keeps silent for
// denseWait then loses his place, those included who have been silent for longer
// already. It lasts until half of the places are free again.
type Crowd struct {
	o          CrowdOptions
	all        *limit.Gate
	handshakes *limit.Gate
	addresses  *limit.KeyedGate[netip.Prefix]
	networks   *limit.KeyedGate[netip.Prefix]
	dense      atomic.Bool

	mu      sync.Mutex
	servers []*Server
}

const (
	defaultConnections = 1000
	defaultPerAddress  = 100
	defaultPerNetwork  = 300

	// denseWait replaces every longer time of patience in a dense crowd. It is below
	// the five minutes of RFC 5321 4.5.3.2.7, which would let a few peers that say
	// nothing shut out all others; honest clients answer within seconds.
	denseWait = 10 * time.Second
)

// NewCrowd returns an empty crowd.
func NewCrowd(o CrowdOptions) *Crowd {
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

// place is one connection's part of the crowd.
type place struct {
	crowd            *Crowd
	address, network netip.Prefix // zero: a peer on this host
	handshaking      atomic.Bool
}

// refusals are the replies to those for whom there is no place.
var refusals = map[Kind]string{
	TooManyConnections: "421 4.3.2 Too many connections, try again later",
	TooManyFromPeer:    "421 4.7.0 Too many connections from your address, try again later",
	TooManyFromNetwork: "421 4.7.0 Too many connections from your network, try again later",
	Overloaded:         "421 4.3.2 Too busy, try again later",
}

// enter finds a place for a peer, or says by the kind of an event why there is none.
func (c *Crowd) enter(peer net.Addr) (*place, Kind, string) {
	p := &place{crowd: c}
	if c.o.Overload != nil {
		if why := c.o.Overload(); why != "" {
			return nil, Overloaded, why
		}
	}
	if !c.all.TryEnter() {
		return nil, TooManyConnections, ""
	}
	if kind, why := p.count(peer); kind != 0 {
		c.all.Leave()
		return nil, kind, why
	}
	return p, 0, ""
}

// count counts a place for its peer's networks, or says why there are too many.
func (p *place) count(peer net.Addr) (Kind, string) {
	address, network := networksOf(peer)
	if !address.IsValid() {
		return 0, ""
	}
	if !p.crowd.addresses.TryEnter(address) {
		return TooManyFromPeer, address.String()
	}
	if !p.crowd.networks.TryEnter(network) {
		p.crowd.addresses.Leave(address)
		return TooManyFromNetwork, network.String()
	}
	p.address, p.network = address, network
	return 0, ""
}

// leave gives the place back.
func (p *place) leave() {
	p.endHandshake()
	if p.address.IsValid() {
		p.crowd.networks.Leave(p.network)
		p.crowd.addresses.Leave(p.address)
	}
	p.crowd.all.Leave()
	if p.crowd.Len() <= p.crowd.o.Connections/2 {
		p.crowd.dense.Store(false)
	}
}

// beginHandshake reports whether one more may be under way.
func (p *place) beginHandshake() bool {
	if p.handshaking.Load() {
		return true
	}
	ok := p.crowd.handshakes.TryEnter()
	p.handshaking.Store(ok)
	return ok
}

func (p *place) endHandshake() {
	if p.handshaking.Swap(false) {
		p.crowd.handshakes.Leave()
	}
}

// thicken makes the crowd dense when three quarters of the places are taken, and
// tells whether it was not so before.
func (c *Crowd) thicken() bool {
	if 4*c.Len() < 3*c.o.Connections || !c.dense.CompareAndSwap(false, true) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		s.each((*link).hurry)
	}
	return true
}

func (c *Crowd) join(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = append(c.servers, s)
}

// patience is d, or less in a dense crowd.
func (c *Crowd) patience(d time.Duration) time.Duration {
	if c.dense.Load() {
		return min(d, denseWait)
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
