// Package mapping says as whom a user acts at the directory server behind the
// bridge, and what he may do there.
//
// The identity of a user is uid@domain, whatever domain that is; the directory
// knows DNs. A rule says which users it is for, what their DN is made of, and which
// operations they may ask for. The domain is never lost on the way: rules that could
// give users of two domains one DN are refused by New, since rick@partner.test and
// rick@other.test are strangers to each other.
//
// A rule's pattern is the allow list before DNS, as in smtpd/policy, and rules are
// chosen as there: the most specific allow, and any deny that fits wins over it.
//
// Start with New; then Mapper.AllowsUser before the login, ParseAuthzid for what the
// client asks to be, and Mapper.As for what becomes of it.
package mapping

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// Authzid is an authorization identity as a directory reads it (RFC 4513 5.2.1.8):
// "dn:…", "u:…", or "" for nobody.
type Authzid string

// Rule says as whom the users of one pattern act, and what they may do. Of DN, Authzid
// and the pair SearchBase and SearchFilter an allow has exactly one, and a deny none.
//
// In the texts {uid} and {domain} stand for the two parts of the identity, {domain} in
// A-labels; in DN and SearchBase also {domain_dn}, which makes dc=partner,dc=test of
// partner.test.
type Rule struct {
	Who          pattern.Pattern
	Allow        bool // false: a deny
	DN           string
	Authzid      string // "u:{uid}@{domain}"
	SearchBase   string
	SearchFilter string
	Operations   Operations // zero: Defaults
	Controls     Controls
	Line         int // in the configuration file, for people
}

// Searcher looks for entries in the directory.
type Searcher interface {
	// Find returns the DNs of the entries below base that the filter matches; it may
	// stop at two. None is no error. An error says that it cannot be known now.
	Find(ctx context.Context, base, filter string) ([]string, error)
}

// Options of New.
type Options struct {
	Rules []Rule
	// MayActAs reports whether an explicit rule lets one proved user act as another;
	// those of SMTP are shared. nil: everybody acts as himself only.
	MayActAs func(authenticated, authzid saslext.Identity) bool
	Searcher Searcher // required by rules that search
}

// Mapper decides and maps. It is safe for concurrent use; a nil Mapper refuses
// everybody.
type Mapper struct {
	rules    []rule // the most specific first
	mayActAs func(authenticated, authzid saslext.Identity) bool
	searcher Searcher
}

// rule is a Rule that was found to be good.
type rule struct {
	Rule
	dn     *dnTemplate   // of DN
	text   *textTemplate // of Authzid
	base   *dnTemplate   // of SearchBase
	filter *textTemplate // of SearchFilter
}

// Mapped is what becomes of one identity.
type Mapped struct {
	Identity   saslext.Identity
	Authzid    Authzid // at the directory
	DN         string  // "" when only the directory knows it, as for "u:"
	Rule       string  // that decided: `"*@partner.test" (line 12)`
	Operations Operations
	Controls   Controls
}

// Verdict says whether some rule lets a user in, and which rule decided.
type Verdict struct {
	Allow  bool
	Reason Reason // NoRule or Denied when Allow is false
	Rule   string // "" when no rule decided
}

// New checks the rules and puts them in order. Its errors name the line.
func New(o Options) (*Mapper, error) {
	m := &Mapper{mayActAs: o.MayActAs, searcher: o.Searcher}
	for _, r := range o.Rules {
		rule, err := newRule(r, o.Searcher != nil)
		if err != nil {
			return nil, fmt.Errorf("ldap_rule %s: %w", r.name(), err)
		}
		m.rules = append(m.rules, rule)
	}
	slices.SortStableFunc(m.rules, func(a, b rule) int {
		return cmp.Or(pattern.Compare(a.Who, b.Who), cmp.Compare(a.Line, b.Line))
	})
	return m, m.checkPairs()
}

func (r Rule) name() string { return r.Who.At(r.Line) }

// AllowsUser is the allow list before DNS: the identity is a claim then, not proved.
func (m *Mapper) AllowsUser(id saslext.Identity) bool { return m.Admits(id).Allow }

// Admits is AllowsUser with the rule that decided.
func (m *Mapper) Admits(id saslext.Identity) Verdict {
	allow, deny := m.choose(id)
	switch {
	case deny != nil:
		return Verdict{Reason: Denied, Rule: deny.name()}
	case allow == nil:
		return Verdict{Reason: NoRule}
	}
	return Verdict{Allow: true, Rule: allow.name()}
}

// choose returns the most specific allow and the most specific deny for id.
func (m *Mapper) choose(id saslext.Identity) (allow, deny *rule) {
	if m == nil || id.IsZero() {
		return nil, nil
	}
	for i := range m.rules {
		r := &m.rules[i]
		switch {
		case !r.Who.MatchUser(id.UID, id.Domain):
		case r.Allow && allow == nil:
			allow = r
		case !r.Allow && deny == nil:
			deny = r
		}
	}
	return allow, deny
}

// MayActAs reports whether one proved user may act as another. Everybody may act as
// himself. With AllowsUser it makes a Mapper the Rules of saslext.
func (m *Mapper) MayActAs(authenticated, authzid saslext.Identity) bool {
	switch {
	case m == nil || authenticated.IsZero() || authzid.IsZero():
		return false
	case authenticated == authzid:
		return true
	}
	return m.mayActAs != nil && m.mayActAs(authenticated, authzid)
}

// Map returns as whom a proved user acts. Every error is an *Error.
func (m *Mapper) Map(ctx context.Context, id saslext.Identity) (Mapped, error) {
	allow, deny := m.choose(id)
	switch {
	case deny != nil:
		return Mapped{}, &Error{Reason: Denied, Identity: id, Rule: deny.name()}
	case allow == nil:
		return Mapped{}, &Error{Reason: NoRule, Identity: id}
	}
	mapped := Mapped{Identity: id, Rule: allow.name(), Operations: allow.Operations, Controls: allow.Controls}
	switch {
	case allow.dn != nil:
		mapped.DN = allow.dn.build(id)
	case allow.text != nil:
		mapped.Authzid = Authzid(allow.text.build(id, verbatim))
		return mapped, nil
	default:
		dn, err := m.search(ctx, allow, id)
		if err != nil {
			return Mapped{}, err
		}
		mapped.DN = dn
	}
	mapped.Authzid = Authzid(dnPrefix + mapped.DN)
	return mapped, nil
}

// search demands exactly one entry.
func (m *Mapper) search(ctx context.Context, r *rule, id saslext.Identity) (string, error) {
	fail := func(reason Reason, err error) (string, error) {
		return "", &Error{Reason: reason, Identity: id, Rule: r.name(), Err: err}
	}
	if m.searcher == nil {
		return fail(Trouble, errNoSearcher)
	}
	found, err := m.searcher.Find(ctx, r.base.build(id), r.filter.build(id, escapeFilter))
	switch {
	case err != nil:
		return fail(Trouble, err)
	case len(found) == 0:
		return fail(NoEntry, nil)
	case len(found) > 1:
		return fail(ManyEntries, nil)
	}
	if _, err := NormalDN(found[0]); err != nil || found[0] == "" { // the empty DN would be anonymous
		return fail(Trouble, fmt.Errorf("the directory names an entry %.80q", found[0]))
	}
	return found[0], nil
}
