package deliver

import (
	"context"
	"net/netip"

	"dancemta/daneclient/dnssec"
	"dancemta/queue"
)

const (
	maxPerHost   = 5  // addresses of one host: a host that is down at five is down
	maxAddresses = 10 // addresses of one attempt: the rest is for the next one
)

// target is one address to visit.
type target struct {
	host host
	addr netip.AddrPort
}

// key tells targets apart.
func (t target) key() string { return t.addr.String() + t.host.unix }

// String names a target for logs and bounces.
func (t target) String() string {
	if t.host.addr.IsValid() || t.host.unix != "" {
		return t.host.String()
	}
	return t.host.name.String() + "[" + t.addr.Addr().String() + "]"
}

// targets returns the addresses of a group's hosts, at most *left, which it
// counts down. All hosts are resolved before the first is visited: when one of
// them is ourselves, none of this preference and of the worse ones may be used.
// The verdict says why a host has none, a loop above all.
func (d *Deliverer) targets(ctx context.Context, g group, left *int) (all []target, v *verdict) {
	for _, h := range g {
		if h.unix != "" {
			*left--
			return []target{{host: h}}, nil // alone in its group
		}
		addrs, trouble := d.addresses(ctx, h)
		if trouble != nil && (v == nil || trouble.result == queue.Deferred) {
			v = trouble
		}
		for _, a := range addrs {
			if d.own[a] && !h.configured {
				return nil, loop(h.String())
			}
		}
		addrs, refused := d.permitted(h, addrs)
		if refused != nil && v == nil {
			v = refused
		}
		for _, a := range addrs[:min(len(addrs), maxPerHost, *left)] {
			*left--
			to := netip.AddrPortFrom(a, uint16(h.port))
			if d.ownPorts[to] {
				v = &verdict{status: statusOwnHop, text: "next hop " + h.String() + " is this server itself"}
				continue
			}
			all = append(all, target{h, to})
		}
	}
	return all, v
}

// addresses returns the addresses of a host, IPv6 first and then in turn: with a
// bound on their number, a host of many addresses in the family that we cannot
// reach would else never be tried in the other.
func (d *Deliverer) addresses(ctx context.Context, h host) (addrs []netip.Addr, v *verdict) {
	if h.addr.IsValid() {
		return []netip.Addr{h.addr.Unmap()}, nil
	}
	var families [2][]netip.Addr
	for i, q := range []struct {
		t    dnssec.Type
		name string
	}{{dnssec.TypeAAAA, "AAAA"}, {dnssec.TypeA, "A"}} {
		answer := d.o.Resolver.Lookup(ctx, h.name, q.t)
		if !usable(answer) {
			v = &verdict{status: statusDNS, text: troubleText(h.name, q.name, answer)}
			continue
		}
		families[i] = answer.Addrs
	}
	for n := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if n < len(f) {
				addrs = append(addrs, f[n].Unmap())
			}
		}
	}
	switch {
	case len(addrs) > 0 || v != nil:
		return addrs, v
	case h.configured: // the operator can mend it
		return nil, &verdict{status: "4.4.4", text: "next hop " + h.String() + " has no address"}
	}
	return nil, &verdict{queue.Failed, statusNoRoute, "host " + h.String() + " has no address", ""}
}

// permitted drops addresses that mail from the Internet must not make us talk to.
func (d *Deliverer) permitted(h host, addrs []netip.Addr) (kept []netip.Addr, v *verdict) {
	if h.configured {
		return addrs, nil
	}
	permitted := Permitted(d.o.AllowPrivateTargets)
	for _, a := range addrs {
		switch {
		case !permitted(a):
			v = &verdict{queue.Failed, statusNoRoute, "host " + h.String() + " has the address " + a.String() + ", which is not on the public Internet", ""}
		default:
			kept = append(kept, a)
		}
	}
	return kept, v
}

// Permitted reports of addresses that came from DNS whether we may be made to call
// them: by a stranger's MX, policy host or place for reports.
func Permitted(allowPrivate bool) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return !never(a) && (allowPrivate || !private(a)) }
}

// privateNets are where nobody outside can have a mail server, but our own
// services may listen: a stranger's MX must not lead us there.
var privateNets = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this host (RFC 1122 3.2.1.3)
	netip.MustParsePrefix("10.0.0.0/8"),      // RFC 1918 3
	netip.MustParsePrefix("100.64.0.0/10"),   // RFC 6598 7
	netip.MustParsePrefix("127.0.0.0/8"),     // loopback
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local
	netip.MustParsePrefix("172.16.0.0/12"),   // RFC 1918 3
	netip.MustParsePrefix("192.168.0.0/16"),  // RFC 1918 3
	netip.MustParsePrefix("::ffff:0:0:0/96"), // translated IPv4 (RFC 2765 2.1)
	netip.MustParsePrefix("::/96"),           // unspecified, loopback, IPv4-compatible
	netip.MustParsePrefix("fc00::/7"),        // unique local (RFC 4193 3.1)
	netip.MustParsePrefix("fe80::/9"),        // link-local and the old site-local
	netip.MustParsePrefix("64:ff9b:1::/48"),  // somebody's own NAT64, to whatever IPv4 it leads (RFC 8215 3)
}

// neverNets can be no host at all, not even in a laboratory.
var neverNets = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("ff00::/8"),    // multicast
}

// embedding are IPv6 nets whose gateways send on to the IPv4 address that stands
// at this octet.
var embedding = []struct {
	net netip.Prefix
	at  int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64 (RFC 6052 2.1)
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4 (RFC 3056 2)
}

func private(a netip.Addr) bool { return inAny(a, privateNets) }
func never(a netip.Addr) bool   { return inAny(a, neverNets) }

func inAny(a netip.Addr, nets []netip.Prefix) bool {
	a = a.Unmap().WithZone("") // ::ffff:127.0.0.1 is 127.0.0.1
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	for _, e := range embedding {
		if e.net.Contains(a) {
			b := a.As16()
			return inAny(netip.AddrFrom4([4]byte(b[e.at:e.at+4])), nets)
		}
	}
	return false
}
