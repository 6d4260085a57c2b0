package policy

import (
	"slices"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/saslext"
)

// Subject is who asks, and where. At most one of Client and User is set: a peer
// that is both is nobody.
type Subject struct {
	Listener Listener
	Client   dnsname.Name     // the proved TLSA owner name
	User     saslext.Identity // the authorization identity
}

func (s Subject) isNobody() bool { return s.Client.IsZero() == s.User.IsZero() }

// chooses reports whether who and listener of the rule fit s.
func (r Rule) chooses(s Subject) bool {
	if len(r.Listeners) > 0 {
		if !slices.Contains(r.Listeners, s.Listener.Name) {
			return false
		}
	} else if !r.Who.IsUser() && !s.Listener.TakesClients {
		return false // a submission listener takes users only, unless a rule names it
	}
	if !s.User.IsZero() {
		return r.Who.MatchUser(s.User.UID, s.User.Domain)
	}
	return r.Who.MatchClient(s.Client)
}

// AllowsClient is the allow list before DNS: whether a client of this name could
// be allowed anything on l.
func (r *Rules) AllowsClient(l Listener, owner dnsname.Name) bool {
	allow, deny := r.admits(Subject{Listener: l, Client: owner})
	return allow != nil && deny == nil
}

// AllowsUser is the allow list before DNS for users.
func (r *Rules) AllowsUser(l Listener, id saslext.Identity) bool {
	allow, deny := r.admits(Subject{Listener: l, User: id})
	return allow != nil && deny == nil
}

// Admits is AllowsClient and AllowsUser with the rule that decided.
func (r *Rules) Admits(s Subject) Verdict {
	allow, deny := r.admits(s)
	switch {
	case s.isNobody():
		return Verdict{Reason: NoIdentity}
	case deny != nil:
		return Verdict{Reason: Denied, Rule: name(deny.Who, deny.Line)}
	case allow == nil:
		return Verdict{Reason: NoRule}
	}
	return Verdict{Allow: true, Rule: name(allow.Who, allow.Line)}
}

// admits returns the rule chosen for s, and one that denies s everything.
func (r *Rules) admits(s Subject) (allow, deny *Rule) {
	if r == nil || s.isNobody() {
		return nil, nil
	}
	return r.choose(s, func(deny Rule) bool { return always(deny.From) && always(deny.To) })
}

// choose returns the most specific allow and the most specific deny for s; of
// the denies only those whose conditions hold.
func (r *Rules) choose(s Subject, holds func(deny Rule) bool) (allow, deny *Rule) {
	for i := range r.rules {
		rule := &r.rules[i]
		switch {
		case !rule.chooses(s):
		case rule.Allow && allow == nil:
			allow = rule
		case !rule.Allow && deny == nil && holds(*rule):
			deny = rule
		}
	}
	return allow, deny
}

// MayActAs reports whether an explicit rule lets one proved user act as another.
// Everybody may act as himself.
func (r *Rules) MayActAs(authenticated, authzid saslext.Identity) bool {
	if r == nil || authenticated.IsZero() || authzid.IsZero() {
		return false
	}
	if authenticated == authzid {
		return true
	}
	for _, a := range r.authzid {
		if a.From.MatchUser(authenticated.UID, authenticated.Domain) && a.To.MatchUser(authzid.UID, authzid.Domain) {
			return true
		}
	}
	return false
}

// Sender decides whether s may send as from. A deny with a condition on the
// recipient waits for Recipient. The null sender passes every demand, since
// bounces have no other (RFC 5321 4.5.5).
func (r *Rules) Sender(s Subject, from mailaddr.Address) Verdict {
	v, _ := r.sender(s, from, func(deny Rule) bool { return always(deny.To) })
	return v
}

// Recipient decides whether s may send from that sender to this recipient,
// wherever it is. It decides about the sender once more, so that no order of
// calls lets one through.
func (r *Rules) Recipient(s Subject, from, to mailaddr.Address) Verdict {
	v, chosen := r.sender(s, from, func(deny Rule) bool { return matchesAny(deny.To, to, s.User) })
	if v.Allow && (to.IsNull() || !matchesAny(chosen.To, to, s.User)) {
		return Verdict{Reason: RecipientRefused, Rule: v.Rule}
	}
	return v
}

// sender judges all but the to of the chosen allow, and returns that rule when
// it allows. holds says whether the to of a deny holds.
func (r *Rules) sender(s Subject, from mailaddr.Address, holds func(deny Rule) bool) (Verdict, *Rule) {
	if s.isNobody() {
		return Verdict{Reason: NoIdentity}, nil
	}
	if r == nil {
		return Verdict{Reason: NoRule}, nil
	}
	allow, deny := r.choose(s, func(deny Rule) bool { return matchesAny(deny.From, from, s.User) && holds(deny) })
	switch {
	case deny != nil:
		return Verdict{Reason: Denied, Rule: name(deny.Who, deny.Line)}, nil
	case allow == nil:
		return Verdict{Reason: NoRule}, nil
	case !from.IsNull() && !matchesAny(allow.From, from, s.User):
		return Verdict{Reason: SenderRefused, Rule: name(allow.Who, allow.Line)}, nil
	}
	return Verdict{Allow: true, Rule: name(allow.Who, allow.Line)}, allow
}
