package policy

import (
	"fmt"
	"strings"

	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// Own is the word for the user's own address, Listed for those in his entry of the
// directory.
const (
	Own    = "own"
	Listed = "directory"
)

type addressKind uint8

const (
	noAddress     addressKind = iota // the zero pattern matches nothing
	anyAddress                       // "any"
	ownAddress                       // "own"
	oneAddress                       // "rick@example.org"
	domainAddress                    // "@example.org", "*@*.example.org"
	listedAddress                    // "directory"
	madeAddress                      // "{label}@alerts.example.org", "{uid}@example.org"
)

// AddressPattern matches envelope addresses. The zero value matches none.
type AddressPattern struct {
	text   string
	kind   addressKind
	key    string          // of oneAddress
	made   template        // of madeAddress
	domain pattern.Pattern // of domainAddress
}

// ParseAddressPattern reads "any", "own", "directory", one address, or all addresses of a
// domain: "@example.org" is that domain alone, "@*.example.org" any domain below
// it; "*@" may stand for "@". A star is one or more whole labels. In a local part
// {label} stands for what the star of a client's rule took, {uid} for a user's uid.
func ParseAddressPattern(s string) (AddressPattern, error) {
	p := AddressPattern{text: s}
	switch s {
	case pattern.Any:
		p.kind = anyAddress
		return p, nil
	case Own:
		p.kind = ownAddress
		return p, nil
	case Listed:
		p.kind = listedAddress
		return p, nil
	}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return AddressPattern{}, fmt.Errorf("address pattern %q: no @, and none of %q, %q and %q", s, pattern.Any, Own, Listed)
	}
	var err error
	switch local, domain := s[:i], s[i+1:]; {
	case local == "" || local == "*":
		p.kind = domainAddress
		if strings.EqualFold(domain, pattern.Any) {
			return AddressPattern{}, fmt.Errorf("address pattern %q: write %q for every address", s, pattern.Any)
		}
		p.domain, err = pattern.Parse("*@" + domain)
	case strings.ContainsAny(s, "{}"):
		p.kind = madeAddress
		p.made, err = parseTemplate(local, domain)
	case strings.Contains(domain, "*"):
		return AddressPattern{}, fmt.Errorf("address pattern %q: before a starred domain stands @ or *@ alone", s)
	default:
		p.kind = oneAddress
		var a mailaddr.Address
		a, err = mailaddr.Parse(s)
		p.key = a.Key()
	}
	if err != nil {
		return AddressPattern{}, fmt.Errorf("address pattern %q: %w", s, err)
	}
	return p, nil
}

// String returns the pattern as it was written.
func (p AddressPattern) String() string {
	switch {
	case p.text != "":
		return p.text
	case p.kind == anyAddress:
		return pattern.Any
	case p.kind == ownAddress:
		return Own
	default:
		return ""
	}
}

// matches reports whether a is meant; w is whose "own" it is. The null sender is an
// address of nobody: only "any" means it.
func (p AddressPattern) matches(a mailaddr.Address, w owner) bool {
	switch p.kind {
	case anyAddress:
		return true
	case ownAddress:
		return w.owns(a)
	case oneAddress:
		return !a.IsNull() && a.Key() == p.key
	case listedAddress:
		return w.lists(a)
	case madeAddress:
		return p.made.makes(a, w)
	case domainAddress:
		return !a.IsNull() && p.domain.MatchUser(a.Local(), a.Domain())
	default:
		return false
	}
}

// isOwn reports whether a is user's identity written as a mailbox. Both are
// compared in normal form, so case, quotes and U-labels make no difference.
func isOwn(a mailaddr.Address, user saslext.Identity) bool {
	if user.IsZero() || a.IsNull() || a.Domain().IsZero() {
		return false
	}
	id, err := saslext.NewIdentity(a.Local(), a.Domain().String())
	return err == nil && id == user
}

func matchesAny(patterns []AddressPattern, a mailaddr.Address, w owner) bool {
	for _, p := range patterns {
		if p.matches(a, w) {
			return true
		}
	}
	return false
}

// always reports whether the patterns hold for every address.
func always(patterns []AddressPattern) bool {
	for _, p := range patterns {
		if p.kind == anyAddress {
			return true
		}
	}
	return false
}
