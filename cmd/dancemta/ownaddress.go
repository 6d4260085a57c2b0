package main

import (
	"net"
	"net/netip"

	"dancemta/config"
)

// ownPorts lists where we listen: mail that is sent there comes back.
func ownPorts(cfg *config.Config) []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range cfg.Listeners {
		host, _, err := net.SplitHostPort(string(l.Address))
		if err != nil {
			continue // config has checked it
		}
		port := portOf(l.Address)
		if port == 0 {
			continue // the system's choice, not known yet
		}
		ip, err := netip.ParseAddr(host)
		if err == nil && !ip.IsUnspecified() {
			own = append(own, netip.AddrPortFrom(ip, port))
			continue
		}
		for _, a := range interfaceAddresses() {
			own = append(own, netip.AddrPortFrom(a, port))
		}
	}
	return own
}

// ownAddresses lists where a delivery would come back to ourselves: addresses on
// which we listen at the port of mail exchangers.
func ownAddresses(cfg *config.Config) []netip.Addr {
	var own []netip.Addr
	for _, a := range ownPorts(cfg) {
		if int(a.Port()) == cfg.Delivery.MXPort {
			own = append(own, a.Addr())
		}
	}
	return own
}

// hostAddresses lists the addresses of this host, with those that it is told to have.
func hostAddresses(cfg *config.Config) []netip.Addr {
	own := interfaceAddresses()
	for _, a := range []netip.Addr{cfg.Delivery.SourceIPv4.Addr, cfg.Delivery.SourceIPv6.Addr} {
		if a.IsValid() {
			own = append(own, a)
		}
	}
	return own
}

func interfaceAddresses() []netip.Addr {
	var all []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // the name in the MX list still shows a loop, and so does the count of Received lines
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, prefix.Addr())
		}
	}
	return all
}
