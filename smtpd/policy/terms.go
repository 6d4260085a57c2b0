package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"dancemta/internal/mailaddr"
)

// What a quota counts, and for whom each. The words stand in replies and in logs.
const (
	Messages   = "messages"
	Recipients = "recipients"

	EachIdentity = "identity"
	EachDomain   = "domain"  // of the identity, as it was registered
	EachAddress  = "address" // one of IPv4, or one network of IPv6 (/64)
)

// Quota is how much may be sent in a time: N at once, and from then on as many in each
// span, evenly.
type Quota struct {
	Of   string // Messages or Recipients
	Each string // EachIdentity, EachDomain or EachAddress
	N    int
	Per  time.Duration
}

// Text is the quota in words: "100/h messages of an identity".
func (q Quota) Text() string {
	unit := q.Per.String()
	switch q.Per {
	case time.Minute:
		unit = "m"
	case time.Hour:
		unit = "h"
	case 24 * time.Hour:
		unit = "d"
	}
	return fmt.Sprintf("%d/%s %s of one %s", q.N, unit, q.Of, q.Each)
}

// Terms are what the chosen rule says beside who may send as whom.
type Terms struct {
	Rule   string           // "" when no rule is chosen
	As     mailaddr.Address // the name of s here; null: its own
	Size   int64            // of a message; 0: that of the server
	Quotas []Quota
}

// Terms returns those of the rule that is chosen for s; zero ones when none is.
func (r *Rules) Terms(s Subject) Terms {
	if r == nil || s.isNobody() {
		return Terms{}
	}
	allow, _ := r.choose(s, false, func(Rule) bool { return false })
	if allow == nil {
		return Terms{}
	}
	return Terms{Rule: allow.name(), As: allow.As, Size: allow.Size, Quotas: r.quotas(*allow, s)}
}

// quotas are those of a rule, or of the class of s for each identity.
func (r *Rules) quotas(rule Rule, s Subject) []Quota {
	class, ok := r.classes[s.Class]
	if !ok || s.Class == "" {
		return rule.Quotas
	}
	kept := slices.DeleteFunc(slices.Clone(rule.Quotas), func(q Quota) bool { return q.Each == EachIdentity })
	return append(kept, class...)
}

func checkQuotas(quotas []Quota) error {
	for _, q := range quotas {
		if q.N < 1 || q.Per <= 0 || q.Of == "" || q.Each == "" {
			return errors.New("an empty quota")
		}
	}
	return nil
}

// Key is whom a quota counts for when s sends: the same words for the same account.
// "" when it does not concern him.
func (q Quota) Key(s Subject) string {
	switch q.Each {
	case EachIdentity:
		switch {
		case !s.User.IsZero():
			return "user " + s.User.ASCIIDomain()
		case !s.Client.IsZero():
			return "client " + s.Client.String()
		}
		return addressKey(s.Remote) // a rule for a network: there is nobody else to count for
	case EachDomain:
		return domainKey(s)
	case EachAddress:
		return addressKey(s.Remote)
	}
	return ""
}

// addressKey takes the networks that customers have: a host of IPv6 can change its
// address with each message.
func addressKey(a netip.Addr) string {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	if !a.IsValid() {
		return ""
	}
	return "address " + netip.PrefixFrom(a, bits).Masked().String()
}

// domainKey is the domain that somebody registered, whatever stands below it.
func domainKey(s Subject) string {
	name := s.User.Domain.String()
	if s.User.IsZero() {
		labels := s.Client.Labels()
		for i := range slices.Backward(labels) {
			if strings.HasPrefix(labels[i], "_") {
				labels = labels[i+1:]
				break
			}
		}
		name = strings.Join(labels, ".")
	}
	if name == "" {
		return ""
	}
	if zone, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		name = zone
	}
	return "domain " + name
}

// NeedsDirectory reports whether a rule that may be for s, a user, asks for what only a
// Directory knows: so that those whom none of it concerns do not depend on it.
func (r *Rules) NeedsDirectory(s Subject) bool {
	if r == nil || s.User.IsZero() {
		return false
	}
	listed := func(p AddressPattern) bool { return p.kind == listedAddress }
	return len(r.classes) > 0 || slices.ContainsFunc(r.rules, func(rule Rule) bool {
		asks := rule.Group != "" || slices.ContainsFunc(slices.Concat(rule.From, rule.To, rule.Authors), listed)
		return asks && rule.chooses(s) && rule.fits(s, true)
	})
}

// Know takes over into s what a Directory knows of its user. A class that is not known
// here is an error: nobody can say what it would allow.
func (r *Rules) Know(s *Subject, e Entry) error {
	s.Groups, s.Addresses, s.Class = append([]string{}, e.Groups...), e.Addresses, e.Quota
	if r == nil || e.Quota == "" || len(r.classes) == 0 {
		return nil
	}
	if _, ok := r.classes[e.Quota]; !ok {
		return fmt.Errorf("no class of quotas is called %q", e.Quota)
	}
	return nil
}
