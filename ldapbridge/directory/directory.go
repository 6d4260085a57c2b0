// Package directory asks an LDAP server about users and mailboxes: which groups a user
// is in, which addresses are his and which class of quotas, whether a mailbox exists,
// and whether a password is a user's.
//
// What it cannot find out is an error, and never an answer: nobody is refused for good
// because a server is away, slow, forbids us to look, or sends us elsewhere. Start with
// New, then Lookup, Exists and CheckPassword, which are the one method each of three
// interfaces of those who ask.
package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/internal/recall"
	"dancemta/saslext"
)

// Entry is what the directory says of a user; the zero Entry when it has none of him.
type Entry struct {
	Groups    []string           // by the names of Options.Groups; never nil without an error
	Addresses []mailaddr.Address // that he may send from
	Quota     string             // the name of a class; "" for none
}

// Group is a group as rules call it, and as the directory does.
type Group struct {
	Name  string
	Value string // of the group attribute, or the DN of its entry; DNs are compared as such
}

// Options of New. Servers, Base and Filter are required.
type Options struct {
	Servers []Server // tried in this order
	Bind    Bind

	// Base is the DN below which users are, Filter finds one of them. Both may hold the
	// placeholders {uid}, {domain} and {address}, whose values are escaped.
	Base, Filter string
	// GroupAttribute of a user's entry has values of Groups. With GroupFilter, which
	// may also hold {dn}, the DNs of all entries below GroupBase that it finds are such
	// values.
	GroupAttribute, GroupBase, GroupFilter string
	Groups                                 []Group
	AddressAttributes                      []string
	QuotaAttribute                         string // "": there are no classes
	// RecipientBase and RecipientFilter find the entry of a mailbox; {uid} is its local part.
	RecipientBase, RecipientFilter string

	Cache    time.Duration // how long an entry or a mailbox holds; 0: 5 minutes
	Negative time.Duration // how long it holds that there is none; 0: 1 minute
	Timeout  time.Duration // of one question; 0: 5 seconds
	// Connections for look-ups, and as many for passwords; 0: 4.
	Connections int

	Count  func(question Question, result Result, cached bool) // nil: nothing is counted
	Logger *slog.Logger                                        // nil: silent
	Now    func() time.Time                                    // nil: time.Now
}

// Question is what was asked.
type Question string

// The questions.
const (
	OfUser      Question = "user"
	OfRecipient Question = "recipient"
	OfPassword  Question = "password"
)

// Result is what came of a question.
type Result string

// The results.
const (
	Found   Result = "found" // or the password is right
	None    Result = "none"  // no such entry, or not its password
	Trouble Result = "trouble"
)

// What Options leave at zero.
const (
	defaultCache       = 5 * time.Minute // a user who left can send for so long
	defaultNegative    = time.Minute     // a user who came waits for so long
	defaultTimeout     = 5 * time.Second // a search takes milliseconds, and a client waits meanwhile
	defaultConnections = 4
	// maxKnown bounds the memory of each cache: at some KiB an entry, 20 MB at the worst.
	maxKnown = 10_000
	// troubleLife spares a server that has trouble: those who ask the same again at once
	// read what is known. Mail and logins are tried again much later.
	troubleLife = time.Second
)

// Directory asks. It is safe for concurrent use.
type Directory struct {
	o          Options
	groups     groups
	user       template
	recipient  template
	searches   *pool // bound as ourselves
	passwords  *pool // bound as whoever was asked about last
	entries    *recall.Memory[found[Entry]]
	recipients *recall.Memory[found[bool]]
}

// found is an answer of the directory, or why there is none. The zero value is no answer.
type found[V any] struct {
	value V
	known bool
	err   error
}

var errUnknown = errors.New("nobody has asked the directory to its end")

func (f found[V]) problem() error {
	if f.err == nil && !f.known {
		return errUnknown
	}
	return f.err
}

// New checks the options. It connects to nobody.
func New(o Options) (*Directory, error) {
	o = o.withDefaults()
	d := &Directory{o: o, groups: newGroups(o.Groups)}
	var err error
	if d.user, err = newTemplate(o.Base, o.Filter, false); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if d.recipient, err = newTemplate(o.RecipientBase, o.RecipientFilter, false); err != nil {
		return nil, fmt.Errorf("directory: recipients: %w", err)
	}
	if o.GroupFilter != "" {
		if d.groups.search, err = newTemplate(o.GroupBase, o.GroupFilter, true); err != nil {
			return nil, fmt.Errorf("directory: groups: %w", err)
		}
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	s := newServers(o)
	d.searches = newPool(o, func(ctx context.Context) (*conn, error) { return s.connect(ctx, true) })
	d.passwords = newPool(o, func(ctx context.Context) (*conn, error) { return s.connect(ctx, false) })
	d.entries = recall.New(recall.Options[found[Entry]]{Ask: d.askEntry, Max: maxKnown, Now: o.Now})
	d.recipients = recall.New(recall.Options[found[bool]]{Ask: d.askRecipient, Max: maxKnown, Now: o.Now})
	return d, nil
}

func (o Options) withDefaults() Options {
	for at, d := range map[*time.Duration]time.Duration{&o.Cache: defaultCache, &o.Negative: defaultNegative, &o.Timeout: defaultTimeout} {
		if *at == 0 {
			*at = d
		}
	}
	if o.Connections == 0 {
		o.Connections = defaultConnections
	}
	if o.RecipientBase == "" {
		o.RecipientBase = o.Base
	}
	if o.RecipientFilter == "" {
		o.RecipientFilter = "(mail={address})"
	}
	if o.GroupBase == "" {
		o.GroupBase = o.Base
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Count == nil {
		o.Count = func(Question, Result, bool) {}
	}
	return o
}

func (o Options) check() error {
	switch {
	case len(o.Servers) == 0:
		return errors.New("no server")
	case o.Connections < 0 || o.Cache < 0 || o.Negative < 0 || o.Timeout < 0:
		return errors.New("a time or a number is below zero")
	case o.Bind.DN == "" != (o.Bind.Password == ""): // RFC 4513 5.1.2: it would be anonymous, and look bound
		return errors.New("a bind DN and its password belong together")
	}
	for _, s := range o.Servers {
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

// Close closes all connections. Questions that still come are answered, each by a
// connection of its own.
func (d *Directory) Close() {
	d.searches.close()
	d.passwords.close()
}

// Lookup returns what the directory says of a user, from the cache if it is young
// enough. No entry is no error.
func (d *Directory) Lookup(ctx context.Context, id saslext.Identity) (Entry, error) {
	f, cached, err := d.entries.Answer(ctx, id.ASCIIDomain())
	if err = cmp.Or(err, f.problem()); err != nil {
		d.o.Count(OfUser, Trouble, cached)
		return Entry{}, err
	}
	result := Found
	if f.value.Groups == nil {
		result, f.value.Groups = None, []string{}
	}
	d.o.Count(OfUser, result, cached)
	return f.value, nil
}

// Exists reports whether there is a mailbox.
func (d *Directory) Exists(ctx context.Context, mailbox mailaddr.Address) (bool, error) {
	if mailbox.IsNull() || mailbox.Domain().IsZero() {
		return false, nil
	}
	f, cached, err := d.recipients.Answer(ctx, mailbox.Key())
	if err = cmp.Or(err, f.problem()); err != nil {
		d.o.Count(OfRecipient, Trouble, cached)
		return false, err
	}
	result := None
	if f.value {
		result = Found
	}
	d.o.Count(OfRecipient, result, cached)
	return f.value, nil
}

// CheckPassword implements saslext.PasswordChecker. The user's entry is searched anew
// each time, and the bind is made as the entry's DN: what is remembered of him says
// nothing about his password.
func (d *Directory) CheckPassword(ctx context.Context, id saslext.Identity, password saslext.Password) error {
	err := d.checkPassword(ctx, id, password)
	switch {
	case err == nil:
		d.o.Count(OfPassword, Found, false)
	case errors.Is(err, saslext.ErrPassword):
		d.o.Count(OfPassword, None, false)
	default:
		d.o.Count(OfPassword, Trouble, false)
	}
	return err
}
