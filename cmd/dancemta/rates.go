package main

import (
	"fmt"

	"dancemta/config"
)

// rates tells who can make this server ask DNS, and how often.
func (r *report) rates(cfg *config.Config) {
	l := cfg.Limits
	for i, rule := range cfg.Rules {
		if rule.Action == config.Allow && rule.Who.IsAny() {
			r.note("rule %q (line %d): any domain can make this server ask DNS, at most %v, %v for one peer and %v for one domain (limits.lookup_rate)",
				rule.Who, cfg.Line(fmt.Sprintf("rule[%d]", i)), l.LookupRate, l.LookupRatePerPeer, l.LookupRatePerZone)
		}
	}
	if l.LookupRatePerPeer.Above(l.LookupRate) {
		r.warning("limits.lookup_rate_per_peer is %v: one peer may use up the %v of all (limits.lookup_rate)", l.LookupRatePerPeer, l.LookupRate)
	}
	if l.LookupRatePerZone.Above(l.LookupRate) {
		r.warning("limits.lookup_rate_per_zone is %v: one zone may use up the %v of all (limits.lookup_rate)", l.LookupRatePerZone, l.LookupRate)
	}
}
