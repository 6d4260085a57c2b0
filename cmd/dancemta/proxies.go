package main

import (
	"slices"

	"dancemta/config"
	"dancemta/smtpd/proxy"
)

// proxies are those before a listener; none: peers come themselves.
func proxies(all []config.Proxy, listener string) (sources []proxy.Source) {
	for _, p := range all {
		if !slices.Contains(p.Listeners, listener) {
			continue
		}
		s := proxy.Source{Identities: p.Identities}
		for _, n := range p.Networks {
			s.Networks = append(s.Networks, n.Prefix)
		}
		sources = append(sources, s)
	}
	return sources
}
