package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// Network is a range of addresses, or one alone.
type Network struct{ netip.Prefix }

// UnmarshalText reads ADDRESS/BITS, without bits beyond those, or one address.
func (n *Network) UnmarshalText(b []byte) error {
	if a, err := netip.ParseAddr(string(b)); err == nil && a.Zone() == "" && !a.Is4In6() {
		n.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(string(b))
	switch {
	case err != nil || p.Addr().Is4In6():
		return fmt.Errorf("%q is no network", b)
	case p != p.Masked():
		return fmt.Errorf("%q has bits beyond its length; the network is %q", b, p.Masked())
	}
	n.Prefix = p
	return nil
}

// Believes reports whether proxies may tell who their peers are at a listener.
func (c *Config) Believes(listener string) bool {
	return slices.ContainsFunc(c.Proxies, func(p Proxy) bool {
		return len(p.Identities) > 0 && slices.Contains(p.Listeners, listener)
	})
}

func checkProxies(c *Config, f *faults) {
	for i, p := range c.Proxies {
		path := fmt.Sprintf("proxy[%d]", i)
		f.required(path+".networks", "where the proxies are")
		f.required(path+".listeners", "the listeners behind them")
		checkListenerNames(c, f, path, p.Listeners)
		for _, key := range []string{".networks", ".identities"} {
			n := map[string]int{".networks": len(p.Networks), ".identities": len(p.Identities)}[key]
			if n == 0 && f.index.has(path+key) && f.clean(path+key) {
				f.key(path+key, "is empty", "write what it is for, or drop the key")
			}
		}
		for _, n := range p.Networks {
			if n.IsValid() && n.Bits() == 0 {
				f.key(path+".networks", fmt.Sprintf("%q is everybody", n), "write the addresses of the proxies")
			}
		}
	}
	for i, l := range c.Listeners {
		if !c.Believes(l.Name) {
			continue
		}
		path := fmt.Sprintf("listener[%d]", i)
		right := "drop the key, or let the [[proxy]] for this listener have no identities"
		if f.index.has(path+".client_certificates") && l.ClientCertificates != CertificatesOff {
			f.key(path+".client_certificates", "no certificate is asked for where proxies tell identities", right)
		}
		if l.ImplicitLogin {
			f.key(path+".implicit_login", "no certificate is asked for where proxies tell identities", right)
		}
	}
}

// checkListenerNames demands that each name is a listener's.
func checkListenerNames(c *Config, f *faults, path string, names []string) {
	var known []string
	for _, l := range c.Listeners {
		known = append(known, fmt.Sprintf("%q", l.Name))
	}
	for _, name := range names {
		if !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Name == name }) {
			f.key(path+".listeners", fmt.Sprintf("no listener is called %q", name), "write "+list(known, "or"))
		}
	}
	if len(names) == 0 && f.index.has(path+".listeners") && f.clean(path+".listeners") {
		f.key(path+".listeners", "is empty, so that it is for nobody", "write "+list(known, "or"))
	}
}
