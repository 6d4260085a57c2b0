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
// is refused. What else the chosen rule says, sizes and quotas among it, is in its
// Terms.
//
// A rule may choose by more than the pattern: a group of users, which a Directory
// knows, how the identity was proved, and the network that the peer is in. Before the
// login (AllowsClient, AllowsUser) what is not known yet is taken to fit an allow and
// not a deny; afterwards it fits neither. A rule with networks alone is for peers
// without an identity, and gives them none.
//
// Mail for our own relay domains is another matter: anybody may send it, and
// RelayRecipient says which mailboxes exist.
package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

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
	Who       pattern.Pattern  // zero: nobody that is proved, but whoever is in Networks
	Networks  []netip.Prefix   // empty: anywhere
	Group     string           // of users; "": any
	Proved    []Proof          // empty: however
	Allow     bool             // false: a deny
	Listeners []string         // empty: users everywhere, others where clients are taken
	From      []AddressPattern // empty: for an allow of users "own", for a deny "any"
	To        []AddressPattern // empty: "any"
	Authors   []AddressPattern // of the From field; empty: for users as From, for others "any"
	As        mailaddr.Address // the one client's or user's name here, and "own" address; null: none
	Until     time.Time        // from then on the rule is as if it were not there; zero: never
	Size      int64            // of a message; 0: that of the server
	Quotas    []Quota
	Line      int // in the configuration file, for people
}

// Proof is how an identity was proved.
type Proof uint8

// The proofs. The zero Proof is not known, or that of nobody.
const (
	ByCertificate Proof = iota + 1 // the name stands in the certificate
	ByExtension                    // the name was told by dane_clientid, and the certificate fits
	ByProxy                        // a proxy has proved it, and told it
	ByPassword                     // the directory takes the password for the user's
)

// String returns the word of the configuration and of logs; "" for the zero Proof.
func (p Proof) String() string {
	switch p {
	case ByCertificate:
		return "certificate"
	case ByExtension:
		return "extension"
	case ByProxy:
		return "proxy"
	case ByPassword:
		return "password"
	}
	return ""
}

// Directory knows users.
type Directory interface {
	// Lookup returns what is known of id; nothing is no error. An error says that it
	// cannot be known now.
	Lookup(ctx context.Context, id saslext.Identity) (Entry, error)
}

// Entry is what a Directory knows of a user.
type Entry struct {
	Groups    []string           // the names of all that he is in
	Addresses []mailaddr.Address // that "directory" means in an address pattern
	Quota     string             // the name of a class; "": none
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
	Backend    bool            // else only the backend knows: RelayRecipient says AskBackend
	Lenient    bool            // every mailbox exists while the backend does not answer
}

// Options of New.
type Options struct {
	Rules        []Rule
	Authzid      []Authzid
	RelayDomains []RelayDomain
	Subaddresses []Subaddresses
	Postmaster   mailaddr.Address // always a known recipient
	Hostname     dnsname.Name     // its postmaster is always a known recipient
	// Classes of quotas, which a Directory chooses from: the quotas of a user's class
	// stand in place of those that a rule has for each identity.
	Classes map[string][]Quota
	Now     func() time.Time // for rules with an end; nil: time.Now
}

// Rules decides. It is safe for concurrent use; a nil Rules refuses everything.
type Rules struct {
	rules        []Rule // the most specific first
	now          func() time.Time
	subaddresses []Subaddresses
	classes      map[string][]Quota
	authzid      []Authzid
	relay        map[dnsname.Name]RelayDomain
	postmaster   mailaddr.Address
	hostname     dnsname.Name
}

// New checks the rules and puts them in order: no star before stars, then more
// literal labels, then those with a group, then the order of the file. Of rules for
// networks alone the smaller network comes first. Its errors name the line.
func New(o Options) (*Rules, error) {
	r := &Rules{relay: map[dnsname.Name]RelayDomain{}, postmaster: o.Postmaster, hostname: o.Hostname, now: o.Now, classes: maps.Clone(o.Classes)}
	if r.now == nil {
		r.now = time.Now
	}
	for _, s := range o.Subaddresses {
		if !s.Domains.IsUser() || s.Delimiter == "" {
			return nil, fmt.Errorf("subaddresses of %q: a pattern of users and a delimiter are needed", s.Domains)
		}
		r.subaddresses = append(r.subaddresses, s)
	}
	for name, quotas := range o.Classes {
		if err := checkQuotas(quotas); name == "" || err != nil {
			return nil, fmt.Errorf("class of quotas %q: %w", name, cmp.Or(err, errors.New("no name")))
		}
	}
	for _, rule := range o.Rules {
		rule, err := newRule(rule)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", rule.name(), err)
		}
		r.rules = append(r.rules, rule)
	}
	slices.SortStableFunc(r.rules, compare)
	for _, a := range o.Authzid {
		a, err := newAuthzid(a)
		if err != nil {
			return nil, fmt.Errorf("authzid %s: %w", a.From.At(a.Line), err)
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

func compare(a, b Rule) int {
	group := func(r Rule) int { return min(len(r.Group), 1) }
	if a.Who.IsZero() && b.Who.IsZero() {
		return cmp.Or(cmp.Compare(b.bits(), a.bits()), cmp.Compare(a.Line, b.Line))
	}
	return cmp.Or(pattern.Compare(a.Who, b.Who), cmp.Compare(group(b), group(a)), cmp.Compare(a.Line, b.Line))
}

// bits is the length of the widest network; addresses of IPv4 count as the last part
// of those of IPv6.
func (r Rule) bits() int {
	least := 128
	for _, n := range r.Networks {
		bits := n.Bits()
		if n.Addr().Is4() {
			bits += 96
		}
		least = min(least, bits)
	}
	return least
}

// newRule fills in what an empty from and to mean, and refuses a rule that would
// not do what it seems to say. On an error the rule comes back as it was.
func newRule(r Rule) (Rule, error) {
	var who pattern.Pattern
	if !r.Who.IsZero() || len(r.Networks) == 0 {
		var err error
		if who, err = saslext.NormalPattern(r.Who); err != nil {
			return r, err
		}
	}
	if err := r.check(who); err != nil {
		return r, err
	}
	if len(r.From) == 0 {
		switch {
		case !r.Allow:
			r.From = []AddressPattern{{kind: anyAddress}}
		case who.IsUser():
			r.From = []AddressPattern{{kind: ownAddress}}
		case who.IsZero():
			return r, errors.New(`a rule that allows a network must say from ("any" spelled out)`)
		default:
			return r, errors.New(`a rule that allows a client must say from ("any" spelled out)`)
		}
	}
	if len(r.To) == 0 {
		r.To = []AddressPattern{{kind: anyAddress}}
	}
	if len(r.Authors) == 0 {
		if r.Authors = []AddressPattern{{kind: anyAddress}}; who.IsUser() {
			r.Authors = r.From
		}
	}
	for _, p := range slices.Concat(r.From, r.To, r.Authors) {
		if err := p.fits(who, r.As); err != nil {
			return r, err
		}
	}
	r.Who = who
	r.From, r.To, r.Authors = slices.Clone(r.From), slices.Clone(r.To), slices.Clone(r.Authors)
	r.Listeners, r.Networks, r.Proved = slices.Clone(r.Listeners), slices.Clone(r.Networks), slices.Clone(r.Proved)
	r.Quotas = slices.Clone(r.Quotas)
	return r, nil
}

// check finds conditions that contradict each other.
func (r Rule) check(who pattern.Pattern) error {
	uid, one := who.UID()
	switch {
	case r.Group != "" && !who.IsUser():
		return errors.New("groups are of users")
	case len(r.Proved) > 0 && who.IsZero():
		return errors.New("a rule for a network alone proves nobody")
	case r.As.IsNull():
	case r.As.Domain().IsZero():
		return errors.New("as is a mailbox in a domain")
	case !r.Allow:
		return errors.New("as is for a rule that allows")
	case who.IsZero(), who.IsAny(), slices.Contains(who.Labels(), "*"), who.IsUser() && !(one && uid != ""):
		return errors.New("as is one name for one client or user: the pattern has no star")
	}
	if err := checkQuotas(r.Quotas); err != nil {
		return err
	}
	for _, n := range r.Networks {
		if !n.IsValid() {
			return errors.New("an empty network")
		}
	}
	return nil
}

// fits says whether a rule for who can hold the pattern.
func (p AddressPattern) fits(who pattern.Pattern, as mailaddr.Address) error {
	switch {
	case p.kind == noAddress:
		return errors.New("an empty address pattern")
	case p.kind == ownAddress && !who.IsUser() && as.IsNull():
		return errors.New(`"own" is for users, and for clients with as; others have no address of their own`)
	case p.kind == listedAddress && !who.IsUser():
		return errors.New(`"directory" is for users: nobody else has an entry there`)
	case p.kind == madeAddress:
		return p.made.fits(who)
	}
	return nil
}

func newAuthzid(a Authzid) (Authzid, error) {
	if !a.From.IsUser() || !a.To.IsUser() {
		return a, errors.New("both sides must name users, with an @")
	}
	from, err := saslext.NormalPattern(a.From)
	if err != nil {
		return a, err
	}
	to, err := saslext.NormalPattern(a.To)
	if err != nil {
		return a, err
	}
	return Authzid{From: from, To: to, Line: a.Line}, nil
}

// name calls a rule as logs and `check` do: its pattern, or its networks, and its place.
func (r Rule) name() string {
	if !r.Who.IsZero() {
		return r.Who.At(r.Line)
	}
	words := make([]string, len(r.Networks))
	for i, n := range r.Networks {
		words[i] = n.String()
	}
	return fmt.Sprintf("%q (line %d)", strings.Join(words, " "), r.Line)
}
