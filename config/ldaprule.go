package config

import (
	"fmt"
	"slices"
	"strings"

	"dancemta/internal/pattern"
)

// LDAPRule says which users may come in by the LDAP bridge, as whom they act at the
// directory server, and what they may do there, an [[ldap_rule]] table. The most
// specific who decides, as in a [[rule]]; what no rule allows is refused before any DNS
// query. An allow has one of dn, authzid, and search_base with search_filter. In these
// {uid} and {domain} stand for the two parts of the identity, the domain in A-labels;
// all is escaped.
type LDAPRule struct {
	// who (required): a pattern of users, as "rick@example.org", "*@example.org",
	// "*@*.example.org" or "*@any".
	Who pattern.Pattern `toml:"who"`
	// action (required): "allow" or "deny". A deny that matches wins over any allow.
	Action Action `toml:"action"`
	// dn: the DN of the user, as "uid={uid},ou={domain},ou=people,dc=example,dc=org".
	// {domain_dn} makes dc=partner,dc=test of partner.test.
	DN string `toml:"dn"`
	// authzid: the name that the directory server maps by itself, as "u:{uid}@{domain}".
	Authzid string `toml:"authzid"`
	// search_base: the DN below which the user's entry is searched, as
	// "ou=people,dc=example,dc=org" or "ou={domain},ou=people,dc=example,dc=org".
	SearchBase string `toml:"search_base"`
	// search_filter: what finds it there, as "(mail={uid}@{domain})". Exactly one entry
	// must come back.
	SearchFilter string `toml:"search_filter"`
	// operations: what the user may ask for: "search", "compare", "whoami", "add",
	// "modify", "delete", "modify_dn" and "password_modify". Whether it is done is up to
	// the directory server. Default ["search", "compare", "whoami"].
	Operations []LDAPOperation `toml:"operations"`
	// controls: controls of requests beyond those that everybody may send:
	// "manage_dsa_it". Default: none.
	Controls []LDAPControl `toml:"controls"`
}

// LDAPOperation is a word of operations.
type LDAPOperation string

var ldapOperations = []LDAPOperation{"search", "compare", "whoami", "add", "modify", "delete", "modify_dn", "password_modify"}

// UnmarshalText accepts the known words only.
func (o *LDAPOperation) UnmarshalText(b []byte) error { return oneOf(o, b, ldapOperations) }

// LDAPControl is a word of controls.
type LDAPControl string

var ldapControls = []LDAPControl{"manage_dsa_it"}

// UnmarshalText accepts the known words only.
func (c *LDAPControl) UnmarshalText(b []byte) error { return oneOf(c, b, ldapControls) }

// ldapMappings are the keys that say as whom a user acts.
var ldapMappings = []string{".dn", ".authzid", ".search_base", ".search_filter"}

// checkLDAPRules finds what contradicts itself in the rules of the bridge. What only
// the form of a DN or a filter shows is found by the room that makes them.
func checkLDAPRules(c *Config, f *faults) {
	for i, r := range c.LDAPRules {
		path := fmt.Sprintf("ldap_rule[%d]", i)
		f.required(path+".who", "a pattern of users")
		f.required(path+".action", `"allow" or "deny"`)
		if !r.Who.IsZero() && !r.Who.IsUser() {
			f.key(path+".who", fmt.Sprintf("%q names clients", r.Who), `write users, such as "*@example.org"`)
		}
		if r.Action == Deny {
			for _, key := range append([]string{".operations", ".controls"}, ldapMappings...) {
				if f.index.has(path + key) {
					f.key(path+key, "is for a rule that allows", `write action = "allow", or drop it`)
				}
			}
			continue
		}
		for key, n := range map[string]int{".operations": len(r.Operations), ".controls": len(r.Controls)} {
			if n == 0 && f.index.has(path+key) && f.clean(path+key) {
				f.key(path+key, "is empty", "write what the users may do, or drop the key")
			}
		}
		if r.Action == Allow {
			checkLDAPMapping(f, path, r)
			checkLDAPPasswords(c, f, path, r)
		}
	}
}

// checkLDAPPasswords keeps users with passwords and users with certificates apart, here
// as in a [[rule]]: the CA that DNS names would be a second key to them.
func checkLDAPPasswords(c *Config, f *faults, path string, r LDAPRule) {
	for _, domain := range c.Directory.PasswordDomains {
		uid, one := r.Who.UID()
		if !one {
			uid = "x" // any will do
		}
		denied := slices.ContainsFunc(c.LDAPRules, func(d LDAPRule) bool {
			all, one := d.Who.UID()
			return d.Action == Deny && (!one || all == uid) && d.Who.MatchUser(uid, domain)
		})
		if r.Who.MatchUser(uid, domain) && !denied {
			f.key(path+".who", fmt.Sprintf("users of %q have passwords, and this rule takes their certificates", domain),
				fmt.Sprintf(`write a pattern without that domain, or a rule that denies "*@%s"`, domain))
		}
	}
}

// checkLDAPMapping demands one mapping, and that it keeps users apart.
func checkLDAPMapping(f *faults, path string, r LDAPRule) {
	base, filter := f.index.has(path+".search_base"), f.index.has(path+".search_filter")
	ways := 0
	for _, has := range []bool{f.index.has(path + ".dn"), f.index.has(path + ".authzid"), base || filter} {
		if has {
			ways++
		}
	}
	switch {
	case ways == 0:
		f.key(path+".dn", "missing", `add dn, such as "uid={uid},ou={domain},ou=people,dc=example,dc=org"`)
		return
	case ways > 1:
		f.key(path+".dn", "is one way of several to say as whom the users act", "write one of dn, authzid, and search_base with search_filter")
		return
	case base && !filter:
		f.key(path+".search_filter", "missing", `add search_filter, such as "(mail={uid}@{domain})"`)
		return
	case filter && !base:
		f.key(path+".search_base", "missing", `add search_base, such as "ou=people,dc=example,dc=org"`)
		return
	}
	key, text := ".dn", r.DN
	switch {
	case filter:
		key, text = ".search_filter", r.SearchBase+" "+r.SearchFilter
	case r.Authzid != "" || f.index.has(path+".authzid"):
		key, text = ".authzid", r.Authzid
	}
	checkLDAPHoles(f, path+key, text, r.Who)
}

// checkLDAPHoles finds a template that would make one user of two.
func checkLDAPHoles(f *faults, path, text string, who pattern.Pattern) {
	if who.IsZero() || !who.IsUser() || !f.clean(path) {
		return
	}
	if _, one := who.UID(); !one && !strings.Contains(text, "{uid}") {
		f.key(path, "has no {uid}, and who may be many", "write {uid} where the uid stands, or a who of one user")
		return
	}
	domain := strings.Contains(text, "{domain}") || !strings.HasSuffix(path, ".authzid") && strings.Contains(text, "{domain_dn}")
	if !who.OneDomain() && !domain {
		f.key(path, "has no {domain}, and who may be of several: the same uid in two domains would be one user", "write {domain} where the domain stands, or a who of one domain")
	}
}
