package directory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/text/unicode/norm"

	"dancemta/internal/mailaddr"
	"dancemta/saslext"
)

const (
	// maxValues of one attribute: users of large sites are in hundreds of groups.
	maxValues = 2000
	// maxValue is room for a DN, or for an address (RFC 5321 4.5.3.1: 320 octets).
	maxValue = 1024
	// oneEntry is one more than there may be: two entries of one user are a mistake.
	oneEntry = 2
	// noAttributes asks for the entry alone (RFC 4511 4.5.1.8).
	noAttributes = "1.1"
)

// brokenError says that a connection is of no more use: no answer came, or none that
// can be believed.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

func isBroken(err error) bool {
	_, ok := errors.AsType[*brokenError](err)
	return ok
}

// said tells what a server has answered from what has happened to the connection: codes
// of the library's own stand above those of RFC 4511 and its kin. A server that goes,
// or is busy, is as good as silent.
func said(err error) error {
	e, ok := errors.AsType[*ldap.Error](err)
	switch {
	case err == nil:
		return nil
	case !ok || e.ResultCode >= ldap.ErrorNetwork:
		return &brokenError{err}
	}
	switch e.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultServerDown, ldap.LDAPResultTimeout, ldap.LDAPResultConnectError, ldap.LDAPResultProtocolError:
		return &brokenError{err}
	}
	return err
}

// one searches the entry that a template means; nil when there is none.
func (d *Directory) one(ctx context.Context, t template, v values, attributes ...string) (*ldap.Entry, error) {
	entries, err := d.search(ctx, t, v, oneEntry, attributes...)
	switch {
	case err != nil || len(entries) == 0:
		return nil, err
	case len(entries) > 1:
		return nil, fmt.Errorf("more than one entry: %q and %q", entries[0].DN, entries[1].DN)
	}
	return entries[0], nil
}

// question is one search, its texts filled in.
type question struct {
	base, filter string
	most         int // entries
	attributes   []string
	absent       func(matched string) bool // that there is no base is an answer; nil: never
}

// search returns what a template finds, at most so many entries. That there is none is
// believed only of a server that has looked everywhere.
func (d *Directory) search(ctx context.Context, t template, v values, most int, attributes ...string) ([]*ldap.Entry, error) {
	entries, err := d.ask(ctx, question{t.baseFor(v), t.filterFor(v), most, attributes, t.provesAbsence})
	if err != nil {
		return nil, fmt.Errorf("search below %s: %w", t.base, err)
	}
	return entries, nil
}

// Find returns the DNs of the entries below base that a filter matches, two at the most.
// Whatever stands for a user in base and filter, the caller has escaped. Nothing is
// cached.
func (d *Directory) Find(ctx context.Context, base, filter string) ([]string, error) {
	entries, err := d.ask(ctx, question{base: base, filter: filter, most: oneEntry, attributes: []string{noAttributes}})
	if err != nil {
		return nil, fmt.Errorf("search below %s: %w", base, err)
	}
	dns := make([]string, len(entries))
	for i, e := range entries {
		dns[i] = e.DN
	}
	return dns, nil
}

func (d *Directory) ask(ctx context.Context, q question) (entries []*ldap.Entry, err error) {
	r := ldap.NewSearchRequest(q.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, q.most,
		int(math.Ceil(d.o.Timeout.Seconds())), false, q.filter, q.attributes, nil)
	r.EnforceSizeLimit = true
	err = d.searches.do(ctx, func(c *conn) error {
		result, err := c.Search(r)
		full := ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || errors.Is(err, ldap.ErrSizeLimitExceeded)
		switch {
		case full && len(result.Entries) >= q.most: // so many there are at least; fewer is a limit of the server's own
		case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) && q.absent != nil && q.absent(matched(err)):
			return nil
		case err != nil:
			return said(err)
		case len(result.Entries) == 0 && len(result.Referrals) > 0:
			return fmt.Errorf("it may be elsewhere (%d referrals, which are not followed)", len(result.Referrals))
		}
		entries = result.Entries
		return bounded(entries)
	})
	return entries, err
}

func matched(err error) string {
	if e, ok := errors.AsType[*ldap.Error](err); ok {
		return e.MatchedDN
	}
	return ""
}

// bounded refuses entries that are beyond all measure: half of one could lack the group
// that forbids.
func bounded(entries []*ldap.Entry) error {
	for _, e := range entries {
		for _, a := range e.Attributes {
			if len(a.Values) > maxValues {
				return fmt.Errorf("over %d values of %q", maxValues, a.Name)
			}
			if slices.ContainsFunc(a.Values, func(v string) bool { return len(v) > maxValue }) {
				return fmt.Errorf("a value of %q over %d octets", a.Name, maxValue)
			}
		}
	}
	return nil
}

func valuesOf(id saslext.Identity) values {
	return values{uid: id.UID, domain: id.Domain.String(), address: id.ASCIIDomain()}
}

// askEntry finds a user's entry, for the cache.
func (d *Directory) askEntry(ctx context.Context, user string) (found[Entry], time.Duration) {
	id, err := saslext.ParseIdentity(user)
	if err != nil {
		return found[Entry]{err: err}, 0
	}
	e, err := d.entry(ctx, id)
	switch {
	case err != nil:
		return found[Entry]{err: err}, troubleLife
	case e == nil:
		return found[Entry]{known: true}, d.o.Negative
	}
	return found[Entry]{value: *e, known: true}, d.o.Cache
}

// entry asks about a user; nil when there is none.
func (d *Directory) entry(ctx context.Context, id saslext.Identity) (*Entry, error) {
	wanted := slices.Concat(d.o.AddressAttributes, []string{d.o.QuotaAttribute, d.o.GroupAttribute})
	wanted = slices.DeleteFunc(wanted, func(a string) bool { return a == "" })
	if len(wanted) == 0 {
		wanted = []string{noAttributes}
	}
	v := valuesOf(id)
	e, err := d.one(ctx, d.user, v, wanted...)
	if err != nil || e == nil {
		return nil, err
	}
	out := &Entry{}
	groups := attribute(e, d.o.GroupAttribute)
	if d.o.GroupFilter != "" {
		v.dn = e.DN
		more, err := d.search(ctx, d.groups.search, v, maxValues+1, noAttributes)
		if err != nil {
			return nil, err
		}
		if len(more) > maxValues {
			return nil, fmt.Errorf("over %d groups", maxValues)
		}
		for _, g := range more {
			groups = append(groups, g.DN)
		}
	}
	out.Groups = d.groups.names(groups)
	for _, name := range d.o.AddressAttributes {
		for _, text := range attribute(e, name) {
			if a, err := mailaddr.Parse(strings.TrimSpace(text)); err == nil && !a.IsNull() {
				out.Addresses = append(out.Addresses, a)
			}
		}
	}
	if classes := attribute(e, d.o.QuotaAttribute); len(classes) > 1 {
		return nil, fmt.Errorf("%d values of %q, and a user has one class", len(classes), d.o.QuotaAttribute)
	} else if len(classes) == 1 {
		out.Quota = classes[0]
	}
	return out, nil
}

// attribute returns the values of an attribute, whose name may come back in any case
// (RFC 4512 2.5).
func attribute(e *ldap.Entry, name string) []string {
	if name == "" {
		return nil
	}
	return slices.Clone(e.GetEqualFoldAttributeValues(name))
}

// askRecipient finds out about a mailbox, for the cache.
func (d *Directory) askRecipient(ctx context.Context, mailbox string) (found[bool], time.Duration) {
	a, err := mailaddr.Parse(mailbox)
	if err != nil {
		return found[bool]{err: err}, 0
	}
	if looksLikeAnother(a.Local()) {
		return found[bool]{known: true}, d.o.Negative
	}
	v := values{uid: a.Local(), domain: a.Domain().String(), address: a.Local() + "@" + a.Domain().String()}
	entries, err := d.search(ctx, d.recipient, v, 1, noAttributes) // several may share one
	switch {
	case err != nil:
		return found[bool]{err: err}, troubleLife
	case len(entries) == 0:
		return found[bool]{known: true}, d.o.Negative
	}
	return found[bool]{value: true, known: true}, d.o.Cache
}

// looksLikeAnother reports whether a server compares a local part as if it were written
// in another way (RFC 4518 2.2, 2.3, 2.6): it would find the mailbox of that one. A uid of
// PRECIS has no such characters.
func looksLikeAnother(local string) bool {
	return strings.Trim(local, " ") != local || strings.Contains(local, "  ") ||
		strings.ContainsFunc(local, func(r rune) bool { return unicode.Is(unicode.Variation_Selector, r) }) || norm.NFKC.String(local) != norm.NFC.String(local)
}

// checkPassword binds as the user. An empty password never gets here: it would be an
// unauthenticated bind, which succeeds and proves nothing (RFC 4513 5.1.2).
func (d *Directory) checkPassword(ctx context.Context, id saslext.Identity, password saslext.Password) error {
	secret := password.Reveal()
	if secret == "" {
		return saslext.ErrPassword
	}
	e, err := d.one(ctx, d.user, valuesOf(id), noAttributes)
	switch {
	case err != nil:
		return err
	case e == nil:
		return fmt.Errorf("no entry: %w", saslext.ErrPassword)
	case strings.TrimSpace(e.DN) == "": // it would be an anonymous bind
		return errors.New("an entry without a DN")
	}
	return d.passwords.do(ctx, func(c *conn) error {
		err := c.Bind(e.DN, secret)
		// RFC 4511 4.2.2 and 4513 5.1.3: the one says that it is wrong, the other that
		// the entry has none. All else, such as a lock, may be another thing tomorrow.
		if ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication) {
			return fmt.Errorf("bind as %q: %w", e.DN, saslext.ErrPassword)
		}
		if err != nil {
			return fmt.Errorf("bind as %q: %w", e.DN, without(secret, said(err)))
		}
		return nil
	})
}

// without is err, but for a text of the server that repeats the password.
func without(secret string, err error) error {
	if !strings.Contains(err.Error(), secret) {
		return err
	}
	hidden := errors.New("the server's answer has the password in it")
	if isBroken(err) {
		return &brokenError{hidden}
	}
	return hidden
}
