package config

import (
	"slices"
	"strings"

	"dancemta/internal/pattern"
)

// checkDirectoryDomains finds a search that sees no domain although users of several
// would be searched by it: rick@other.test would get the groups, the addresses and, with
// his password, the name of rick@example.org.
func checkDirectoryDomains(c *Config, f *faults) {
	const key = "directory.filter"
	d := c.Directory
	if d.Filter == "" || !f.clean(key) || !f.clean("directory.base") || seesDomain(d.Base) || seesDomain(d.Filter) {
		return
	}
	domains := map[string]bool{}
	for _, r := range c.Rules {
		if !r.Who.IsUser() || !c.asksDirectory(r) {
			continue
		}
		if !r.Who.OneDomain() {
			domains["*"], domains[r.Who.String()] = true, true
			continue
		}
		domains[domainOf(r.Who)] = true
	}
	for _, domain := range d.PasswordDomains {
		domains[domain.String()] = true
	}
	if len(domains) > 1 {
		f.key(key, "neither it nor base has the domain, and rules ask about users of several: the same uid in two domains would be one user",
			"write {address}, or {domain} where the domain stands")
	}
}

// seesDomain reports whether a base or a filter differs from domain to domain.
func seesDomain(template string) bool {
	return strings.Contains(template, "{domain}") || strings.Contains(template, "{address}")
}

// domainOf is the domain of a pattern that has one.
func domainOf(who pattern.Pattern) string { return strings.Join(who.Labels(), ".") }

// asksDirectory reports whether a rule for users may want what the directory knows.
func (c *Config) asksDirectory(r Rule) bool {
	return len(c.QuotaClasses) > 0 ||
		slices.Contains(slices.Concat(r.From, r.To, r.HeaderFrom), InDirectory) ||
		slices.ContainsFunc(c.Groups, func(g Group) bool { return r.Group != "" && g.Name == r.Group && g.Directory != "" })
}
