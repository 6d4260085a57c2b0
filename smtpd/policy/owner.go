package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// owner is who asks, as the address patterns of one rule see him.
type owner struct {
	user   saslext.Identity
	as     mailaddr.Address   // the local name that the rule gives; null: none
	label  string             // what the star of the rule took of a client's name; "" where there is none
	listed []mailaddr.Address // in his entry of the directory
	plain  func(mailaddr.Address) mailaddr.Address
}

// owns reports whether a is the asker's own address, or a subaddress of it where its
// domain has those.
func (w owner) owns(a mailaddr.Address) bool {
	if a.IsNull() {
		return false
	}
	for _, a := range []mailaddr.Address{a, w.plain(a)} { // a uid may hold the delimiter itself
		switch {
		case !w.as.IsNull() && a.Key() == w.as.Key():
			return true
		case w.as.IsNull() && isOwn(a, w.user):
			return true
		}
	}
	return false
}

// lists reports whether a is one of the addresses in the asker's entry, or a subaddress
// of one.
func (w owner) lists(a mailaddr.Address) bool {
	return !a.IsNull() && slices.ContainsFunc(w.listed, func(l mailaddr.Address) bool {
		return !l.IsNull() && (l.Key() == a.Key() || l.Key() == w.plain(a).Key())
	})
}

// template is an address with a placeholder in its local part.
type template struct {
	before, after string
	user          bool // {uid}, else {label}
	domain        string
}

// The placeholders.
const (
	labelHole = "{label}"
	uidHole   = "{uid}"
)

// parseTemplate demands exactly one placeholder, and a domain without.
func parseTemplate(local, domain string) (t template, err error) {
	t.domain = domain
	var found bool
	if t.before, t.after, found = strings.Cut(local, labelHole); !found {
		t.before, t.after, t.user = cutUID(local)
		found = t.user
	}
	if !found || strings.ContainsAny(t.before+t.after+domain, "{}") {
		return t, fmt.Errorf("one of %s and %s stands before the @, once", labelHole, uidHole)
	}
	_, err = mailaddr.FromUnquoted(t.before + "x" + t.after + "@" + domain)
	return t, err
}

func cutUID(local string) (before, after string, found bool) { return strings.Cut(local, uidHole) }

// makes reports whether a is what the template makes of the asker's name.
func (t template) makes(a mailaddr.Address, w owner) bool {
	value := w.label
	if t.user {
		value = w.user.UID
	}
	if value == "" || a.IsNull() {
		return false
	}
	made, err := mailaddr.FromUnquoted(t.before + value + t.after + "@" + t.domain)
	return err == nil && (made.Key() == a.Key() || made.Key() == w.plain(a).Key())
}

// fits says whether the names that who matches give the template a value each, and
// no two of them the same address.
func (t template) fits(who pattern.Pattern) error {
	switch _, one := who.UID(); {
	case t.user && (one || !who.OneDomain()):
		return errors.New("{uid} is for all users of one domain, such as *@example.org: else two of them had one address")
	case !t.user && !who.HasOneStar():
		return errors.New("{label} is for clients whose pattern has one star, such as *._device.example.org")
	}
	return nil
}

// Subaddresses says that in the domains of a pattern all mailboxes whose local part
// goes on behind the delimiter are the one before it: rick+lists is rick.
type Subaddresses struct {
	Domains   pattern.Pattern // of users: *@example.org
	Delimiter string
}

// Plain returns a without its subaddress.
func (r *Rules) Plain(a mailaddr.Address) mailaddr.Address {
	if r == nil || a.IsNull() || a.Domain().IsZero() {
		return a
	}
	for _, s := range r.subaddresses {
		i := strings.Index(a.Local(), s.Delimiter)
		if i < 1 || !s.Domains.MatchUser("x", a.Domain()) {
			continue
		}
		if base, err := mailaddr.FromUnquoted(a.Local()[:i] + "@" + a.Domain().String()); err == nil {
			return base
		}
	}
	return a
}
