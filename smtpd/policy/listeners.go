package policy

import "slices"

// NamesUsers reports whether a rule that allows users names this listener. Rules
// that name none hold everywhere, but do not by themselves make a relay listener
// one that users log in to.
func (r *Rules) NamesUsers(listener string) bool {
	return r != nil && slices.ContainsFunc(r.rules, func(rule Rule) bool {
		return rule.Allow && rule.Who.IsUser() && slices.Contains(rule.Listeners, listener)
	})
}
