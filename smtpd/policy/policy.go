// Package policy holds the rules of who may relay. It is pure: no sockets, no
// DNS, no SMTP verbs; a Rules value never changes, and a reload makes a new one.
//
// A rule's pattern is the allow list: what no rule allows is refused before
// any DNS query (Rules.AllowsClient, Rules.AllowsUser). After the login, Sender
// and Recipient decide about each address and name the rule that decided.
//
// Of the rules whose pattern and listener fit, the most specific allow is the
// chosen one: its from and to are demands, and nobody falls through to the next
// rule when they are not met. Any deny that fits wins over it; the from and to
// of a deny are conditions, without which it is passed over. What no rule allows
// is refused.
//
// Mail for our own relay domains is another matter: anybody may send it, and
// RelayRecipient says which mailboxes exist.
package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// Listener is where the peer came in.
type Listener struct {
	Name         string
	TakesClients bool // relay listeners: client rules hold here without naming it
}

// Rule says what one pattern of clients or users may do.
type Rule struct {
	Who       pattern.Pattern
	Allow     bool             // false: a deny
	Listeners []string         // empty: users everywhere, clients where clients are taken
	From      []AddressPattern // empty: for an allow of users "own", for a deny "any"
	To        []AddressPattern // empty: "any"
	Line      int              // in the configuration file, for people
}

// Authzid lets the users of From act as those of To.
type Authzid struct {
	From, To pattern.Pattern
	Line     int
}

// RelayDomain is a domain whose mail is taken from anybody.
type RelayDomain struct {
	Domain     dnsname.Name
	Any        bool            // every mailbox exists
	Recipients map[string]bool // else those whose mailaddr.Address.Key stands here
}

// Options of New.
type Options struct {
	Rules        []Rule
	Authzid      []Authzid
	RelayDomains []RelayDomain
	Postmaster   mailaddr.Address // always a known recipient
	Hostname     dnsname.Name     // its postmaster is always a known recipient
}

// Rules decides. It is safe for concurrent use; a nil Rules refuses everything.
type Rules struct {
	rules      []Rule // the most specific first
	authzid    []Authzid
	relay      map[dnsname.Name]RelayDomain
	postmaster mailaddr.Address
	hostname   dnsname.Name
}

// New checks the rules and puts them in order: no star before stars, then more
// literal labels, then the order of the file. Its errors name the line.
func New(o Options) (*Rules, error) {
	r := &Rules{relay: map[dnsname.Name]RelayDomain{}, postmaster: o.Postmaster, hostname: o.Hostname}
	for _, rule := range o.Rules {
		rule, err := newRule(rule)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", name(rule.Who, rule.Line), err)
		}
		r.rules = append(r.rules, rule)
	}
	slices.SortStableFunc(r.rules, func(a, b Rule) int {
		return cmp.Or(pattern.Compare(a.Who, b.Who), cmp.Compare(a.Line, b.Line))
	})
	for _, a := range o.Authzid {
		a, err := newAuthzid(a)
		if err != nil {
			return nil, fmt.Errorf("authzid %s: %w", name(a.From, a.Line), err)
		}
		r.authzid = append(r.authzid, a)
	}
	for _, d := range o.RelayDomains {
		if _, twice := r.relay[d.Domain]; twice || d.Domain.IsZero() {
			return nil, fmt.Errorf("relay domain %q: empty or twice", d.Domain)
		}
		r.relay[d.Domain] = d
	}
	return r, nil
}

// newRule fills in what an empty from and to mean, and refuses a rule that would
// not do what it seems to say. On an error the rule comes back as it was.
func newRule(r Rule) (Rule, error) {
	who, err := normalWho(r.Who)
	if err != nil {
		return r, err
	}
	if len(r.From) == 0 {
		switch {
		case !r.Allow:
			r.From = []AddressPattern{{kind: anyAddress}}
		case who.IsUser():
			r.From = []AddressPattern{{kind: ownAddress}}
		default:
			return r, errors.New(`a rule that allows a client must say from ("any" spelled out)`)
		}
	}
	if len(r.To) == 0 {
		r.To = []AddressPattern{{kind: anyAddress}}
	}
	for _, p := range slices.Concat(r.From, r.To) {
		switch {
		case p.kind == noAddress:
			return r, errors.New("an empty address pattern")
		case p.kind == ownAddress && !who.IsUser():
			return r, errors.New(`"own" is for users; a client has no address of its own`)
		}
	}
	r.Who = who
	r.From, r.To = slices.Clone(r.From), slices.Clone(r.To)
	r.Listeners = slices.Clone(r.Listeners)
	return r, nil
}

func newAuthzid(a Authzid) (Authzid, error) {
	if !a.From.IsUser() || !a.To.IsUser() {
		return a, errors.New("both sides must name users, with an @")
	}
	from, err := normalWho(a.From)
	if err != nil {
		return a, err
	}
	to, err := normalWho(a.To)
	if err != nil {
		return a, err
	}
	return Authzid{From: from, To: to, Line: a.Line}, nil
}

// normalWho brings the uid of a user pattern to its normal form. A uid that has
// none would never match, and a deny for it would be a lock without a bolt.
func normalWho(p pattern.Pattern) (pattern.Pattern, error) {
	if p.IsZero() {
		return p, errors.New("no pattern")
	}
	uid, ok := p.UID()
	if !ok {
		return p, nil
	}
	id, err := saslext.NewIdentity(uid, "users.invalid") // only the uid matters
	if err != nil {
		return p, err
	}
	return p.WithUID(id.UID), nil
}

// name calls a rule as logs and `check` do: its pattern and its place.
func name(p pattern.Pattern, line int) string { return fmt.Sprintf("%q (line %d)", p, line) }
