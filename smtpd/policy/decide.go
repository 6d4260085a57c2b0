package policy

import (
	"net/netip"
	"slices"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/saslext"
)

// Subject is who asks, and where. At most one of Client and User is set: a peer
// that is both is nobody. With neither he is a peer of a network.
type Subject struct {
	Listener Listener
	Client   dnsname.Name     // the proved TLSA owner name
	User     saslext.Identity // the authorization identity
	Proved   Proof            // how; zero: not known yet
	Groups   []string         // of User; nil: not known yet
	Remote   netip.Addr       // where the peer is; zero: not known yet

	// What else a Directory knows of User; see Rules.Know.
	Addresses []mailaddr.Address
	Class     string
}

func (s Subject) isNobody() bool {
	if s.Client.IsZero() && s.User.IsZero() {
		return !s.Remote.IsValid()
	}
	return s.Client.IsZero() == s.User.IsZero()
}

// fits reports whether the conditions beside who and listener hold. unknown is the
// answer where that cannot be said before the login.
func (r Rule) fits(s Subject, unknown bool) bool {
	switch {
	case len(r.Networks) > 0 && s.Remote.IsValid() && !within(r.Networks, s.Remote):
		return false
	case len(r.Proved) > 0 && s.Proved != 0 && !slices.Contains(r.Proved, s.Proved):
		return false
	case r.Group != "" && s.Groups != nil && !slices.Contains(s.Groups, r.Group):
		return false
	case len(r.Networks) > 0 && !s.Remote.IsValid(), len(r.Proved) > 0 && s.Proved == 0, r.Group != "" && s.Groups == nil:
		return unknown
	}
	return true
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a.Unmap().WithZone("")) })
}

// chooses reports whether who and listener of the rule fit s.
func (r Rule) chooses(s Subject) bool {
	if len(r.Listeners) > 0 {
		if !slices.Contains(r.Listeners, s.Listener.Name) {
			return false
		}
	} else if !r.Who.IsUser() && !s.Listener.TakesClients {
		return false // a submission listener takes users only, unless a rule names it
	}
	if s.Client.IsZero() && s.User.IsZero() {
		return r.Who.IsZero()
	}
	if !s.User.IsZero() {
		return r.Who.MatchUser(s.User.UID, s.User.Domain)
	}
	return r.Who.MatchClient(s.Client)
}

// AllowsClient is the allow list before DNS: whether a client of this name could
// be allowed anything on l, wherever it is.
func (r *Rules) AllowsClient(l Listener, owner dnsname.Name) bool {
	return r.Admits(Subject{Listener: l, Client: owner}).Allow
}

// AllowsUser is the allow list before DNS for users.
func (r *Rules) AllowsUser(l Listener, id saslext.Identity) bool {
	return r.Admits(Subject{Listener: l, User: id}).Allow
}

// Admits is AllowsClient and AllowsUser with the rule that decided.
func (r *Rules) Admits(s Subject) Verdict {
	allow, deny := r.admits(s)
	switch {
	case s.isNobody():
		return Verdict{Reason: NoIdentity}
	case deny != nil:
		return Verdict{Reason: Denied, Rule: deny.name()}
	case allow == nil:
		return Verdict{Reason: NoRule}
	}
	return Verdict{Allow: true, Rule: allow.name()}
}

// admits returns the rule chosen for s, and one that denies s everything.
func (r *Rules) admits(s Subject) (allow, deny *Rule) {
	if r == nil || s.isNobody() {
		return nil, nil
	}
	return r.choose(s, true, func(deny Rule) bool { return always(deny.From) && always(deny.To) })
}

// choose returns the most specific allow and the most specific deny for s; of
// the denies only those whose conditions hold. early: before the login, when an allow
// may still come to fit.
func (r *Rules) choose(s Subject, early bool, holds func(deny Rule) bool) (allow, deny *Rule) {
	now := r.now()
	for i := range r.rules {
		rule := &r.rules[i]
		switch {
		case !rule.Until.IsZero() && !now.Before(rule.Until):
		case !rule.chooses(s), !rule.fits(s, early && rule.Allow):
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
	v, chosen := r.sender(s, from, func(deny Rule) bool { return matchesAny(deny.To, to, r.owner(deny, s)) })
	if v.Allow && (to.IsNull() || !matchesAny(chosen.To, to, r.owner(*chosen, s))) {
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
	allow, deny := r.choose(s, false, func(deny Rule) bool { return matchesAny(deny.From, from, r.owner(deny, s)) && holds(deny) })
	switch {
	case deny != nil:
		return Verdict{Reason: Denied, Rule: deny.name()}, nil
	case allow == nil:
		return Verdict{Reason: NoRule}, nil
	case !from.IsNull() && !matchesAny(allow.From, from, r.owner(*allow, s)):
		return Verdict{Reason: SenderRefused, Rule: allow.name()}, nil
	}
	return Verdict{Allow: true, Rule: allow.name()}, allow
}

// Author decides whether s may write as author in the From field. A deny of a sender
// is one of an author, too.
func (r *Rules) Author(s Subject, author mailaddr.Address) Verdict {
	if r == nil || s.isNobody() {
		return Verdict{Reason: NoIdentity}
	}
	allow, deny := r.choose(s, false, func(deny Rule) bool {
		return matchesAny(deny.From, author, r.owner(deny, s)) && always(deny.To)
	})
	switch {
	case deny != nil:
		return Verdict{Reason: Denied, Rule: deny.name()}
	case allow == nil:
		return Verdict{Reason: NoRule}
	case !matchesAny(allow.Authors, author, r.owner(*allow, s)):
		return Verdict{Reason: AuthorRefused, Rule: allow.name()}
	}
	return Verdict{Allow: true, Rule: allow.name()}
}

// owner is s as the patterns of a rule see him.
func (r *Rules) owner(rule Rule, s Subject) owner {
	w := owner{user: s.User, as: rule.As, listed: s.Addresses, plain: r.Plain}
	if !s.Client.IsZero() {
		w.label, _ = rule.Who.Star(s.Client)
	}
	return w
}
