package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Unreachable returns a sentence for each rule that can never decide anything,
// in the order of the file: its pattern names no possible client, or another rule
// always decides before it. It tells of what is certain only.
func (r *Rules) Unreachable() []string {
	if r == nil {
		return nil
	}
	var out []string
	for _, i := range r.fileOrder() {
		rule := r.rules[i]
		if !rule.Until.IsZero() && !r.now().Before(rule.Until) {
			out = append(out, fmt.Sprintf("rule %s ended with %s", rule.name(), rule.Until.Add(-1).Format(time.DateOnly)))
			continue
		}
		if why := neverClient(rule); why != "" {
			out = append(out, fmt.Sprintf("rule %s can never match: %s", rule.name(), why))
			continue
		}
		for j, other := range r.rules {
			if i != j && hides(other, rule, j < i) {
				out = append(out, fmt.Sprintf("rule %s can never decide: rule %s always does before it",
					rule.name(), other.name()))
				break
			}
		}
	}
	return out
}

// fileOrder returns the places of the rules in the order of their lines.
func (r *Rules) fileOrder() []int {
	places := make([]int, len(r.rules))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(r.rules[a].Line, r.rules[b].Line) })
	return places
}

// hides reports whether other decides whenever rule could; before says that it
// stands before rule in the order of the rules.
func hides(other, rule Rule, before bool) bool {
	if !other.Who.Covers(rule.Who) || !holdsWherever(other, rule) || other.conditional() {
		return false
	}
	switch {
	case other.Allow && rule.Allow:
		return before // the chosen rule never changes
	case !other.Allow && rule.Allow:
		return always(other.From) && always(other.To) // a deny wins from anywhere
	case !other.Allow:
		return before && implies(rule.From, other.From) && implies(rule.To, other.To)
	default:
		return false // an allow never hides a deny
	}
}

// conditional reports whether more than its pattern and its listeners decides about
// the rule.
func (r Rule) conditional() bool {
	return len(r.Networks) > 0 || len(r.Proved) > 0 || r.Group != "" || !r.Until.IsZero()
}

// holdsWherever reports whether other holds on every listener where rule does.
func holdsWherever(other, rule Rule) bool {
	switch {
	case len(other.Listeners) == 0 && rule.Who.IsUser():
		return true
	case len(other.Listeners) == 0:
		return len(rule.Listeners) == 0 // a named listener may be one that takes no clients
	case len(rule.Listeners) == 0:
		return false
	}
	for _, l := range rule.Listeners {
		if !slices.Contains(other.Listeners, l) {
			return false
		}
	}
	return true
}

// implies reports whether the condition b holds wherever a does, as far as that
// can be told from the text.
func implies(a, b []AddressPattern) bool {
	if always(b) {
		return true
	}
	for _, p := range a {
		if !slices.ContainsFunc(b, func(q AddressPattern) bool { return p.String() == q.String() }) {
			return false
		}
	}
	return true
}

// neverClient says why no client can have a name that the rule's pattern
// matches; "" for patterns of users and for those that some client can have.
func neverClient(r Rule) string {
	labels := r.Who.Labels()
	if r.Who.IsUser() || labels == nil {
		return ""
	}
	underscore := false
	for _, label := range labels {
		if forbidden(label) {
			return fmt.Sprintf("a name with the label %s is never a client", label)
		}
		underscore = underscore || strings.HasPrefix(label, "_")
	}
	if !underscore { // the name of a client is the owner name of its TLSA records
		return "the name of a client has an underscore label; write for example _smtp-client." + r.Who.String()
	}
	return ""
}

// forbidden are the labels of users and of servers.
func forbidden(label string) bool {
	switch label {
	case "_user", "_tcp", "_udp", "_sctp", "_dane":
		return true
	}
	digits, ok := strings.CutPrefix(label, "_")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}
