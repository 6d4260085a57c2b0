package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Proof is how an identity was proved.
type Proof string

// The proofs.
const (
	ProvedByCertificate Proof = "certificate"
	ProvedByExtension   Proof = "extension"
	ProvedByProxy       Proof = "proxy"
	ProvedByPassword    Proof = "password"
)

var proofs = []Proof{ProvedByCertificate, ProvedByExtension, ProvedByProxy, ProvedByPassword}

// UnmarshalText accepts the known words only.
func (p *Proof) UnmarshalText(b []byte) error { return oneOf(p, b, proofs) }

// Date is a day; its end is that of the day in UTC.
type Date struct{ time.Time }

// UnmarshalText reads year, month and day.
func (d *Date) UnmarshalText(b []byte) (err error) {
	if d.Time, err = time.Parse(time.DateOnly, string(b)); err != nil {
		return fmt.Errorf("%q is no date", b)
	}
	return nil
}

// End is the first moment after the day; zero for the zero Date.
func (d Date) End() time.Time {
	if d.IsZero() {
		return d.Time
	}
	return d.AddDate(0, 0, 1)
}

// Quota is so many in a time.
type Quota struct {
	N   int
	Per time.Duration
}

var quotaSpans = map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": day}

// UnmarshalText reads a whole number above zero, a stroke and m, h or d.
func (q *Quota) UnmarshalText(b []byte) error {
	digits, unit, _ := strings.Cut(string(b), "/")
	n, err := strconv.ParseUint(digits, 10, 64)
	per, ok := quotaSpans[unit]
	switch {
	case err != nil || !ok:
		return fmt.Errorf("%q is no quota", b)
	case n == 0:
		return fmt.Errorf("%q is not above zero", b)
	case n > maxRate:
		return fmt.Errorf("%q is over %d", b, maxRate)
	}
	*q = Quota{int(n), per}
	return nil
}

// Delimiter parts a mailbox from its subaddress.
type Delimiter string

// delimiters are the signs that no domain uses for anything else in a local part.
const delimiters = "+-=_#/~"

// UnmarshalText accepts one sign.
func (d *Delimiter) UnmarshalText(b []byte) error {
	if len(b) != 1 || !strings.Contains(delimiters, string(b)) {
		return fmt.Errorf("%q is no delimiter", b)
	}
	*d = Delimiter(b)
	return nil
}

// checkRule finds what contradicts itself in a rule.
func checkRule(c *Config, f *faults, path string, r Rule) {
	if !f.index.has(path+".network") || len(r.Network) == 0 && f.clean(path+".network") {
		f.required(path+".who", "a pattern of clients or users")
	}
	lists := map[string]int{".network": len(r.Network), ".proved": len(r.Proved), ".header_from": len(r.HeaderFrom)}
	for _, key := range []string{".network", ".proved", ".header_from"} {
		if lists[key] == 0 && f.index.has(path+key) && f.clean(path+key) {
			f.key(path+key, "is empty, so the rule could never hold", "write what it is for, or drop the key")
		}
	}
	for _, n := range r.Network {
		if n.IsValid() && n.Bits() == 0 {
			f.key(path+".network", fmt.Sprintf("%q is everybody", n), "write the addresses of the machines")
		}
	}
	if r.Group != "" {
		checkRuleGroup(c, f, path, r)
	}
	if r.Who.IsZero() && len(r.Proved) > 0 && f.clean(path+".who") {
		f.key(path+".proved", "needs who: nobody is proved by a network", "add who, or drop proved")
	}
	switch {
	case r.As.IsNull():
	case r.Who.IsZero() || r.Who.IsAny() || strings.Contains(r.Who.String(), "*"):
		f.key(path+".as", "is one name for one client or user, and who may be many", "write a rule with as for each of them")
	case r.Action == Deny:
		f.key(path+".as", "is for a rule that allows", `write action = "allow", or drop as`)
	}
	if r.Action == Deny {
		checkDeny(f, path)
	}
	checkOwn(f, path, r)
	checkNeedsDirectory(f, path, r)
	checkProvedByPassword(c, f, path, r)
}

func checkRuleGroup(c *Config, f *faults, path string, r Rule) {
	if !r.Who.IsUser() && !r.Who.IsZero() {
		f.key(path+".group", "groups are of users, and who names clients", `write who = "*@example.org", or drop group`)
	}
	var known []string
	for _, g := range c.Groups {
		known = append(known, strconv.Quote(g.Name))
	}
	known = slices.Compact(known)
	switch {
	case slices.Contains(known, strconv.Quote(r.Group)):
	case len(known) == 0:
		f.key(path+".group", fmt.Sprintf("no group is called %q", r.Group), "add a [[group]] with name, and members_file or directory")
	default:
		f.key(path+".group", fmt.Sprintf("no group is called %q", r.Group), "write "+list(known, "or"))
	}
}

// checkDeny finds what has a meaning only for those who may send.
func checkDeny(f *faults, path string) {
	for _, key := range []string{".header_from", ".size", ".messages", ".recipients", ".messages_per_domain", ".recipients_per_domain", ".messages_per_address", ".recipients_per_address"} {
		if f.index.has(path + key) {
			f.key(path+key, "is for a rule that allows", `write action = "allow", or drop it`)
		}
	}
}

// checkOwn finds "own" and templates in rules of those who have no such thing.
func checkOwn(f *faults, path string, r Rule) {
	if r.Who.IsZero() && !f.index.has(path+".network") {
		return // said already
	}
	for key, list := range map[string][]AddressPattern{".from": r.From, ".to": r.To, ".header_from": r.HeaderFrom} {
		for _, p := range list {
			switch _, one := r.Who.UID(); {
			case p == Own && !r.Who.IsUser() && r.As.IsNull():
				f.key(path+key, `"own" is for users; a client has no address of its own`, `write ["@example.org"] or ["any"]`)
			case strings.Contains(string(p), "{label}") && !r.Who.HasOneStar():
				f.key(path+key, "{label} is what the star of a client's name stands for, and who has not one star", `write who = "*._device.example.org", or the address itself`)
			case strings.Contains(string(p), "{uid}") && (one || !r.Who.OneDomain()):
				f.key(path+key, "{uid} is for all users of one domain: else two of them had one address", `write who = "*@example.org", or the address itself`)
			}
		}
	}
}

func checkGroups(c *Config, f *faults) {
	names := map[string]string{}
	for i, g := range c.Groups {
		path := fmt.Sprintf("group[%d]", i)
		f.required(path+".name", "by which rules call it")
		checkGroup(f, path, g)
		f.unique(names, g.Name, path+".name", "write each group once")
	}
	for i, s := range c.Subaddresses {
		path := fmt.Sprintf("subaddress[%d]", i)
		f.required(path+".users", `such as "*@example.org"`)
		f.required(path+".delimiter", `such as "+"`)
		if uid, one := s.Users.UID(); !s.Users.IsZero() && (!s.Users.IsUser() || one && uid != "") {
			f.key(path+".users", fmt.Sprintf("%q names not all users of a domain", s.Users), `write "*@example.org" or "*@*.example.org"`)
		}
	}
}
