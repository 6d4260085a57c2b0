// Package dnsname holds domain names in their one normal form: lower case,
// A-labels, no final dot. Every other package compares, caches and logs names
// in this form only, so two spellings of a name can never be two names.
//
// Parse is for names that machines wrote (certificates, DNS, SMTP parameters
// in ASCII); ParseOwner also takes the underscore labels of TLSA owner names;
// ParseUnicode is for names that people typed and may hold U-labels.
package dnsname

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxName  = 253 // RFC 1035 2.3.4: 255 octets on the wire, 253 in text
	maxLabel = 63  // RFC 1035 2.3.4
)

// Errors of the parsers; each comes wrapped with the offending text.
var (
	ErrEmpty     = errors.New("empty name or label")
	ErrTooLong   = errors.New("name over 253 or label over 63 octets")
	ErrCharacter = errors.New("character not allowed in a domain name")
	ErrHyphen    = errors.New("label begins or ends with a hyphen")
	ErrALabel    = errors.New("label begins with xn-- but is no valid IDNA2008 A-label")
	ErrNotASCII  = errors.New("name is not ASCII where A-labels are required")
)

// Name is a domain name in normal form. The zero Name is no name at all;
// it equals no parsed one.
type Name struct{ s string }

// Parse reads a host or mail domain: letters, digits and inner hyphens in each
// label, at least one label. ASCII upper case is folded. No final dot.
func Parse(s string) (Name, error) { return parse(s, false) }

// ParseOwner reads a DNS owner name whose labels may also begin with an
// underscore and hold further ones (client-auth 7: a-z 0-9 - _ .).
func ParseOwner(s string) (Name, error) { return parse(s, true) }

// ParseUnicode reads a name that a person typed: U-labels are mapped by UTS 46
// and must convert to A-labels and back without a change.
func ParseUnicode(s string) (Name, error) {
	if isASCII(s) {
		return Parse(s)
	}
	if !utf8.ValidString(s) {
		return Name{}, fmt.Errorf("%q: %w", s, ErrCharacter)
	}
	a, err := idna.Lookup.ToASCII(s)
	if err != nil {
		return Name{}, fmt.Errorf("%q: %w", s, ErrCharacter)
	}
	return Parse(a)
}

// MustParse is ParseOwner for constants and tests; it panics on an error.
func MustParse(s string) Name {
	n, err := ParseOwner(s)
	if err != nil {
		panic(err)
	}
	return n
}

func parse(s string, underscore bool) (Name, error) {
	if !isASCII(s) {
		return Name{}, fmt.Errorf("%q: %w", s, ErrNotASCII)
	}
	if len(s) > maxName {
		return Name{}, fmt.Errorf("%.80q: %w", s, ErrTooLong)
	}
	s = strings.ToLower(s) // ASCII only here, so this folds nothing else
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label, underscore); err != nil {
			return Name{}, fmt.Errorf("%q: %w", s, err)
		}
	}
	return Name{s}, nil
}

func checkLabel(label string, underscore bool) error {
	switch {
	case label == "":
		return ErrEmpty
	case len(label) > maxLabel:
		return ErrTooLong
	case label[0] == '-' || label[len(label)-1] == '-':
		return ErrHyphen
	}
	for i := 0; i < len(label); i++ {
		c := label[i]
		ldh := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
		if !ldh && (!underscore || c != '_') {
			return ErrCharacter
		}
	}
	if strings.HasPrefix(label, "xn--") {
		return checkALabel(label)
	}
	return nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// String returns the name in A-labels, without a final dot; "" for the zero Name.
func (n Name) String() string { return n.s }

// IsZero reports whether n is the zero Name.
func (n Name) IsZero() bool { return n.s == "" }

// Unicode returns the name with its A-labels shown as U-labels, for people.
func (n Name) Unicode() string {
	if !strings.Contains(n.s, "xn--") {
		return n.s
	}
	labels := n.Labels()
	for i, label := range labels {
		if strings.HasPrefix(label, "xn--") {
			if u, err := idna.Registration.ToUnicode(label); err == nil {
				labels[i] = u
			}
		}
	}
	return strings.Join(labels, ".")
}

// Labels returns the labels from left to right; nil for the zero Name.
func (n Name) Labels() []string {
	if n.s == "" {
		return nil
	}
	return strings.Split(n.s, ".")
}

// Cut returns the first label and the rest; rest is zero for a single label.
func (n Name) Cut() (first string, rest Name) {
	first, after, _ := strings.Cut(n.s, ".")
	return first, Name{after}
}

// Prepend returns the name with one more label on the left.
func (n Name) Prepend(label string) (Name, error) {
	if n.s == "" {
		return Name{}, ErrEmpty
	}
	return ParseOwner(label + "." + n.s)
}

// Within reports whether n is zone or lies below it, by whole labels. Nothing
// lies within the zero Name.
func (n Name) Within(zone Name) bool {
	if zone.s == "" || n.s == "" {
		return false
	}
	return n.s == zone.s || strings.HasSuffix(n.s, "."+zone.s)
}

// HasUnderscore reports whether some label begins with an underscore.
func (n Name) HasUnderscore() bool {
	return strings.HasPrefix(n.s, "_") || strings.Contains(n.s, "._")
}

// MarshalText writes the A-label form.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.s), nil }

// UnmarshalText reads what a person typed (ParseUnicode); underscore labels are
// refused, since no setting that holds a Name wants them.
func (n *Name) UnmarshalText(b []byte) error {
	v, err := ParseUnicode(string(b))
	if err == nil {
		*n = v
	}
	return err
}
