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
	"strings"

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
	uid    string   // "*" or one uid in normal form
	labels []string // nil when anyName
	any    bool
}

// Parse reads a pattern. The uid of a user pattern is kept as written in lower
// case; callers compare it with normalised uids only.
func Parse(s string) (Pattern, error) {
	p := Pattern{text: s}
	name := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		p.user, p.uid, name = true, strings.ToLower(s[:i]), s[i+1:]
		if p.uid == "" || p.uid != "*" && strings.Contains(p.uid, "*") || strings.Contains(p.uid, "@") {
			return Pattern{}, fmt.Errorf("%w %q: before @ stands * or one uid", ErrSyntax, s)
		}
	}
	if name == Any {
		p.any = true
		return p, nil
	}
	labels, err := parseLabels(name)
	if err != nil {
		return Pattern{}, fmt.Errorf("%w %q: %v", ErrSyntax, s, err)
	}
	p.labels = labels
	return p, p.check()
}

func parseLabels(name string) ([]string, error) {
	// The stars are parsed as an ordinary label, so that everything else obeys
	// the rules of names; U-labels become A-labels label by label.
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if label == "*" {
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
		labels[i] = n.String()
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

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

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

// UnmarshalText reads Parse's form.
func (p *Pattern) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err == nil {
		*p = v
	}
	return err
}
