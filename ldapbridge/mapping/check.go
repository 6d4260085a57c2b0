package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// newRule reads the templates, and refuses a rule that would not do what it seems to
// say, or that could give two users one name.
func newRule(r Rule, searches bool) (out rule, err error) {
	out.Rule = r
	if !r.Who.IsUser() {
		return out, errors.New("who names no users; write it with an @, such as *@example.org")
	}
	if out.Who, err = saslext.NormalPattern(r.Who); err != nil {
		return out, err
	}
	ways := 0
	for _, set := range []bool{r.DN != "", r.Authzid != "", r.SearchBase != "" || r.SearchFilter != ""} {
		if set {
			ways++
		}
	}
	switch {
	case !r.Allow && (ways > 0 || r.Operations != 0 || r.Controls != 0):
		return out, errors.New("a deny has nothing but who")
	case !r.Allow:
		return out, nil
	case ways != 1:
		return out, errors.New("an allow has one of dn, authzid, and search_base with search_filter")
	case out.Operations == 0:
		out.Operations = Defaults
	}
	switch {
	case r.DN != "":
		out.dn, err = newDN(out.Who, r.DN)
	case r.Authzid != "":
		out.text, err = newText(out.Who, r.Authzid)
	default:
		err = out.newSearch(searches)
	}
	return out, err
}

func newDN(who pattern.Pattern, s string) (*dnTemplate, error) {
	t, err := parseDNTemplate(s)
	if err != nil {
		return nil, fmt.Errorf("dn: %w", err)
	}
	return t, keeps("dn", who, t.has)
}

func newText(who pattern.Pattern, s string) (*textTemplate, error) {
	if !strings.HasPrefix(s, userPrefix) {
		return nil, errors.New(`authzid: begins with "u:"; for a DN there is dn`)
	}
	if len(s) > maxTemplate {
		return nil, fmt.Errorf("authzid: over %d octets", maxTemplate)
	}
	t, err := parseText(s)
	if err != nil {
		return nil, fmt.Errorf("authzid: %w", err)
	}
	return t, keeps("authzid", who, t.has)
}

func (r *rule) newSearch(searches bool) (err error) {
	switch {
	case r.SearchBase == "" || r.SearchFilter == "":
		return errors.New("search_base and search_filter belong together")
	case len(r.SearchFilter) > maxTemplate:
		return fmt.Errorf("search_filter: over %d octets", maxTemplate)
	}
	if r.base, err = parseDNTemplate(r.SearchBase); err != nil {
		return fmt.Errorf("search_base: %w", err)
	}
	if r.filter, err = newFilter(r.SearchFilter); err != nil {
		return fmt.Errorf("search_filter: %w", err)
	}
	if !searches {
		return errNoSearcher
	}
	return keeps("search_filter", r.Who, r.searchHas)
}

// searchHas reports whether a placeholder stands in the base or in the filter.
func (r *rule) searchHas(hole string) bool { return r.base.has(hole) || r.filter.has(hole) }

// keeps demands the placeholders without which two users of who were one.
func keeps(key string, who pattern.Pattern, has func(hole string) bool) error {
	if _, one := who.UID(); !one && !has(uidHole) {
		return fmt.Errorf("%s: %s is missing, so all users that who names would be one", key, uidHole)
	}
	if !who.OneDomain() && !has(domainHole) {
		return fmt.Errorf("%s: %s is missing, so users of the same uid in two domains would be one", key, domainHole)
	}
	return nil
}

// checkPairs finds two rules that could give two users one name. A rule for a single
// user is left out: whoever writes both out means it.
func (m *Mapper) checkPairs() error {
	for i := range m.rules {
		for j := i + 1; j < len(m.rules); j++ {
			a, b := &m.rules[i], &m.rules[j]
			if !a.Allow || !b.Allow || a.oneUser() || b.oneUser() || a.apart(b) {
				continue
			}
			if a.Line > b.Line {
				a, b = b, a
			}
			return fmt.Errorf("ldap_rule %s: with rule %s it may give users of two domains one name; write {domain} in the same place of both",
				b.name(), a.name())
		}
	}
	return nil
}

func (r *rule) oneUser() bool {
	_, one := r.Who.UID()
	return one && r.Who.OneDomain()
}

// names returns the parts of the DN that the rule gives, the last first, with what is
// known of the placeholders filled in.
func (r *rule) names() []part {
	var parts []part
	for i, rdn := range slices.Backward(r.dn.rdns) {
		if i == r.dn.tail {
			parts = append(parts, part{kind: domainDNHole})
			continue
		}
		p := part{kind: "+", text: &textTemplate{parts: []string{""}}}
		if len(rdn) == 1 {
			p = part{kind: rdn[0].kind, text: r.known(rdn[0].text)}
		}
		parts = append(parts, p)
	}
	return parts
}

// part is one RDN, as far as the comparison goes.
type part struct {
	kind string
	text *textTemplate
}

// known writes the one domain, or the one uid, of a rule into its template.
func (r *rule) known(t *textTemplate) *textTemplate {
	out := &textTemplate{parts: []string{t.parts[0]}}
	for i := 1; i < len(t.parts); i += 2 {
		last := len(out.parts) - 1
		switch uid, one := r.Who.UID(); {
		case t.parts[i] == domainHole && r.Who.OneDomain():
			out.parts[last] += strings.Join(r.Who.Labels(), ".") + t.parts[i+1]
		case t.parts[i] == uidHole && one:
			out.parts[last] += uid + t.parts[i+1]
		default:
			out.parts = append(out.parts, t.parts[i], t.parts[i+1])
		}
	}
	return out
}

// apart reports whether a and b never give two users one name, as far as can be told.
func (a *rule) apart(b *rule) bool {
	switch {
	case a.sameTemplate(b):
		return true // one template with both placeholders: users differ where names do
	case a.text != nil && b.text != nil:
		return !meet(a.known(a.text), b.known(b.text))
	case a.filter != nil && b.filter != nil:
		// Only what is the same for certain: filters cannot be compared otherwise.
		return !nested(a.knownBase(), b.knownBase()) || !slices.Equal(a.known(a.filter).parts, b.known(b.filter).parts)
	case a.dn != nil && b.dn != nil:
		return a.apartByDN(b)
	}
	return true // the directory maps one of them in a way not known here
}

func (a *rule) apartByDN(b *rule) bool {
	x, y := a.names(), b.names()
	if len(x) != len(y) && a.dn.tail < 0 && b.dn.tail < 0 {
		return true
	}
	for i := range min(len(x), len(y)) {
		if x[i].kind == domainDNHole || y[i].kind == domainDNHole {
			return false // from here on the places do not tell
		}
		if x[i].kind != y[i].kind && x[i].kind != "+" && y[i].kind != "+" || !meet(x[i].text, y[i].text) {
			return true
		}
	}
	return false
}

// knownBase writes the one domain, or the one uid, of a rule into its base.
func (r *rule) knownBase() string {
	base := r.SearchBase
	if uid, one := r.Who.UID(); one {
		base = strings.ReplaceAll(base, uidHole, ldap.EscapeDN(uid))
	}
	if r.Who.OneDomain() {
		base = strings.ReplaceAll(base, domainHole, strings.Join(r.Who.Labels(), "."))
		base = strings.ReplaceAll(base, domainDNHole, "dc="+strings.Join(r.Who.Labels(), ",dc="))
	}
	return strings.ReplaceAll(base, domainDNHole, "dc="+domainDNHole)
}

// nested reports whether one base is the other, or above it.
func nested(a, b string) bool {
	x, errX := NormalDN(a)
	y, errY := NormalDN(b)
	return errX != nil || errY != nil || strings.HasSuffix(","+x, ","+y) || strings.HasSuffix(","+y, ","+x)
}

// sameTemplate reports whether both fill the same text, and that tells all their users
// apart.
func (a *rule) sameTemplate(b *rule) bool {
	oneDomain := a.Who.OneDomain() && b.Who.OneDomain() && slices.Equal(a.Who.Labels(), b.Who.Labels())
	keeps := func(has func(hole string) bool) bool { return has(uidHole) && (oneDomain || has(domainHole)) }
	switch {
	case a.text != nil && b.text != nil:
		return slices.Equal(a.text.parts, b.text.parts) && keeps(a.text.has)
	case a.filter != nil && b.filter != nil:
		return a.SearchBase == b.SearchBase && slices.Equal(a.filter.parts, b.filter.parts) && keeps(a.searchHas)
	case a.dn == nil || b.dn == nil:
		return false
	}
	same := slices.EqualFunc(a.dn.rdns, b.dn.rdns, func(x, y []valueTemplate) bool {
		return slices.EqualFunc(x, y, func(v, w valueTemplate) bool { return v.kind == w.kind && slices.Equal(v.text.parts, w.text.parts) })
	})
	return same && a.dn.tail == b.dn.tail && keeps(a.dn.has)
}

// meet reports whether two values may be equal: whatever stands in the placeholders,
// the text before the first and behind the last is fixed.
func meet(a, b *textTemplate) bool {
	first := func(t *textTemplate) string { return lowerASCII(t.parts[0]) }
	last := func(t *textTemplate) string { return lowerASCII(t.parts[len(t.parts)-1]) }
	switch {
	case a.fixed() && b.fixed():
		return normalValue(a.parts[0]) == normalValue(b.parts[0])
	case a.fixed():
		return strings.HasPrefix(first(a), first(b)) && strings.HasSuffix(last(a), last(b))
	case b.fixed():
		return meet(b, a)
	}
	return (strings.HasPrefix(first(a), first(b)) || strings.HasPrefix(first(b), first(a))) &&
		(strings.HasSuffix(last(a), last(b)) || strings.HasSuffix(last(b), last(a)))
}

// Unreachable returns a sentence for each rule that can never decide anything, in the
// order of the file.
func (m *Mapper) Unreachable() []string {
	if m == nil {
		return nil
	}
	hidden := map[int]string{} // by line
	for i, r := range m.rules {
		for j, other := range m.rules {
			// A deny wins from anywhere, an allow over the allows behind it.
			hides := i != j && other.Who.Covers(r.Who) && (!other.Allow && (r.Allow || j < i) || other.Allow && r.Allow && j < i)
			if hides && hidden[r.Line] == "" {
				hidden[r.Line] = fmt.Sprintf("ldap_rule %s can never decide: rule %s always does before it", r.name(), other.name())
			}
		}
	}
	var out []string
	for _, r := range m.inFileOrder() {
		if s := hidden[r.Line]; s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (m *Mapper) inFileOrder() []rule {
	rules := slices.Clone(m.rules)
	slices.SortStableFunc(rules, func(a, b rule) int { return a.Line - b.Line })
	return rules
}
