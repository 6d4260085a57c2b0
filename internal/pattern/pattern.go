// Package pattern holds the patterns by which rules name clients and users.
//
// A pattern without @ names clients by their whole TLSA owner name:
//
//	sensor7._device.example.org     this device
//	*._device.example.org           one or more labels before ._device.example.org
//	_smtp-client.*.example.org      any MTA below example.org
//	any                             every client; spelled out on purpose
//
// A pattern with @ names users only: rick@example.org, *@example.org,
// *@*.example.org, *@any. A star is one or more whole labels, none of which
// begins with an underscore: underscore labels are always written out, so that
// no pattern for hosts admits devices or users by accident.
package pattern

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"dancemta/internal/dnsname"
)

// ErrSyntax comes wrapped with the offending pattern and what is wrong.
var ErrSyntax = errors.New("bad pattern")

// Any is the word that must be spelled out to match every name.
const Any = "any"

// Pattern matches clients or users, never both. The zero Pattern matches nothing.
type Pattern struct {
	text   string
	user   bool
	uid    string   // "*" or one uid; see WithUID
	labels []string // nil when anyName
	any    bool
}

// Parse reads a pattern. Of the uid of a user pattern it folds ASCII only: the
// normal form of uids is not known here, and whoever matches users brings the
// uid to it by WithUID first.
func Parse(s string) (Pattern, error) {
	p := Pattern{text: s}
	name := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		p.user, p.uid, name = true, lowerASCII(s[:i]), s[i+1:]
		if !utf8.ValidString(s) || p.uid == "" || p.uid != "*" && strings.Contains(p.uid, "*") || strings.Contains(p.uid, "@") {
			return Pattern{}, fmt.Errorf("%w %q: before @ stands * or one uid", ErrSyntax, s)
		}
	}
	if strings.EqualFold(name, Any) {
		if name != Any { // a person who writes ANY does not mean a top-level domain
			return Pattern{}, fmt.Errorf("%w %q: write %q in lower case", ErrSyntax, s, Any)
		}
		p.any = true
		return p, nil
	}
	labels, err := parseLabels(name)
	if err != nil {
		return Pattern{}, fmt.Errorf("%w %q: %v", ErrSyntax, s, err)
	}
	p.labels = labels
	if err := p.check(); err != nil {
		return Pattern{}, err // a pattern that is no good matches nothing
	}
	return p, nil
}

// lowerASCII leaves everything else alone: strings.ToLower would turn the Kelvin
// sign into an ASCII k, which makes another user of it.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func parseLabels(name string) ([]string, error) {
	// The stars are parsed as an ordinary label, so that everything else obeys
	// the rules of names; U-labels become A-labels label by label.
	var labels []string
	for label := range strings.SplitSeq(name, ".") {
		if label == "*" {
			labels = append(labels, label)
			continue
		}
		parse := dnsname.ParseUnicode
		if strings.HasPrefix(label, "_") {
			parse = dnsname.ParseOwner
		}
		n, err := parse(label)
		if err != nil {
			return nil, err
		}
		labels = append(labels, n.Labels()...) // UTS 46 knows further dots
	}
	return labels, nil
}

func (p Pattern) check() error {
	literal, stars, underscore := 0, 0, false
	for _, label := range p.labels {
		if label == "*" {
			stars++
		} else {
			literal++
		}
		underscore = underscore || strings.HasPrefix(label, "_")
	}
	switch {
	case literal == 0:
		return fmt.Errorf("%w %q: only stars; write %q to match every name", ErrSyntax, p.text, Any)
	case stars > 2:
		return fmt.Errorf("%w %q: more than two stars", ErrSyntax, p.text)
	case p.user && underscore:
		return fmt.Errorf("%w %q: a user's domain has no underscore label", ErrSyntax, p.text)
	}
	return nil
}

// MustParse is Parse for constants and tests; it panics on an error.
func MustParse(s string) Pattern {
	p, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// IsUser reports whether the pattern names users.
func (p Pattern) IsUser() bool { return p.user }

// IsZero reports whether p is the zero Pattern.
func (p Pattern) IsZero() bool { return p.text == "" }

// IsAny reports whether the pattern matches names of every domain.
func (p Pattern) IsAny() bool { return p.any }

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// At calls a pattern with its line in the configuration, as logs and `check` do.
func (p Pattern) At(line int) string { return fmt.Sprintf("%q (line %d)", p, line) }

// UID returns the uid that a user pattern names; false when it is a star or the
// pattern names clients.
func (p Pattern) UID() (string, bool) { return p.uid, p.user && p.uid != "*" }

// WithUID returns the pattern with its uid replaced by the normal form of it. It
// changes nothing where UID reports false.
func (p Pattern) WithUID(normal string) Pattern {
	if _, ok := p.UID(); ok {
		p.uid = normal
	}
	return p
}

// MatchClient reports whether a client with this TLSA owner name is meant.
func (p Pattern) MatchClient(owner dnsname.Name) bool {
	return !p.user && p.matchName(owner)
}

// MatchUser reports whether the user uid@domain is meant. The uid must be in
// normal form already.
func (p Pattern) MatchUser(uid string, domain dnsname.Name) bool {
	return p.user && uid != "" && (p.uid == "*" || p.uid == uid) && p.matchName(domain)
}

func (p Pattern) matchName(n dnsname.Name) bool {
	if n.IsZero() {
		return false
	}
	return p.any || matchLabels(p.labels, n.Labels())
}

// matchLabels consumes labels from the right. Two stars at the most (Parse), so
// the worst case is quadratic in the 127 labels that a name can have.
func matchLabels(pattern, labels []string) bool {
	if len(pattern) == 0 {
		return len(labels) == 0
	}
	last := pattern[len(pattern)-1]
	rest := pattern[:len(pattern)-1]
	if last != "*" {
		n := len(labels) - 1
		return n >= 0 && labels[n] == last && matchLabels(rest, labels[:n])
	}
	for n := len(labels) - 1; n >= 0 && !strings.HasPrefix(labels[n], "_"); n-- {
		if matchLabels(rest, labels[:n]) {
			return true
		}
	}
	return false
}

// Covers reports whether p matches every name that q matches, so that q has no
// say behind p.
func (p Pattern) Covers(q Pattern) bool {
	switch {
	case p.IsZero() || q.IsZero() || p.user != q.user || p.user && p.uid != "*" && p.uid != q.uid:
		return false
	case p.any || q.any:
		return p.any
	default:
		return matchLabels(p.labels, q.labels) // q's star is a label that only a star takes
	}
}

// Compare orders patterns from the most specific to the least: no star before
// stars, then more literal labels first (a literal uid counts as one), any last.
// Equal patterns compare as 0 and keep the order of the file.
func Compare(a, b Pattern) int {
	aStars, aLiteral := a.weight()
	bStars, bLiteral := b.weight()
	if c := cmp.Compare(min(aStars, 1), min(bStars, 1)); c != 0 {
		return c
	}
	return cmp.Compare(bLiteral, aLiteral)
}

func (p Pattern) weight() (stars, literal int) {
	parts := p.labels
	if p.user {
		parts = append([]string{p.uid}, parts...)
	}
	if p.any {
		stars = 1
	}
	for _, part := range parts {
		if part == "*" {
			stars++
		} else {
			literal++
		}
	}
	return stars, literal
}

// Star returns the labels that the one star of a client pattern takes in a name that
// it matches; false for a pattern without a star, or with two.
func (p Pattern) Star(owner dnsname.Name) (string, bool) {
	stars, _ := p.weight()
	i := slices.Index(p.labels, "*")
	if stars != 1 || i < 0 || !p.MatchClient(owner) {
		return "", false
	}
	labels := owner.Labels()
	return strings.Join(labels[i:i+len(labels)-len(p.labels)+1], "."), true
}

// HasOneStar reports whether Star finds something in each name that a client pattern matches.
func (p Pattern) HasOneStar() bool {
	stars, _ := p.weight()
	return !p.user && !p.any && stars == 1
}

// OneDomain reports whether a user pattern names users of a single domain.
func (p Pattern) OneDomain() bool {
	return p.user && !p.any && !slices.Contains(p.labels, "*")
}

// Labels returns the labels of the name, stars among them; nil for Any.
func (p Pattern) Labels() []string { return slices.Clone(p.labels) }

// UnmarshalText reads Parse's form.
func (p *Pattern) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err == nil {
		*p = v
	}
	return err
}
