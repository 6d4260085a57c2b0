// Package mailaddr holds mail addresses in one form: the local part without
// quotes, the domain as a dnsname.Name or an address literal. Parse reads text
// as people and protocols write it; FromUnquoted reads what go-smtp hands over;
// String quotes again, so what was one address stays one address (and cannot
// become SMTP parameters).
//
// A local part may hold UTF-8 (RFC 6531 3.3); its octets stay as they came, for
// only its own domain knows what they mean (RFC 6530 10.1). Two addresses are
// the same mailbox when they are equal as Go values; Key is the one looser rule.
package mailaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"dancemta/internal/dnsname"
)

const (
	maxLocal = 64  // RFC 5321 4.5.3.1.1
	maxPath  = 254 // RFC 5321 4.5.3.1.3: 256 with the angle brackets
)

// Errors of the parsers; each comes wrapped with the offending text.
var (
	ErrSyntax  = errors.New("not a mail address")
	ErrTooLong = errors.New("local part over 64 or address over 254 octets")
	ErrControl = errors.New("control character in the local part")
	// ErrCharacter is about what is not UTF-8, or would show another address than
	// it is: signs that turn the writing direction, are invisible, or are ASCII in
	// disguise.
	ErrCharacter = errors.New("character not allowed in the local part")
)

// Address is one mailbox, or the null sender (its zero value).
type Address struct {
	local   string
	domain  dnsname.Name
	literal netip.Addr
}

// Parse reads local@domain. The local part may be a quoted string; the domain
// may hold U-labels or be an address literal. An empty text is the null sender.
func Parse(s string) (Address, error) {
	if s == "" {
		return Address{}, nil
	}
	if strings.HasPrefix(s, `"`) {
		local, rest, err := unquote(s)
		if err != nil || !strings.HasPrefix(rest, "@") {
			return Address{}, fmt.Errorf("%.80q: %w", s, ErrSyntax)
		}
		return build(s, local, rest[1:])
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !isDotString(local) {
		return Address{}, fmt.Errorf("%.80q: %w", s, ErrSyntax)
	}
	return build(s, local, domain)
}

// FromUnquoted reads an address whose local part has lost its quotes, as
// go-smtp's parser delivers it: everything before the last @ is the local part.
func FromUnquoted(s string) (Address, error) {
	if s == "" {
		return Address{}, nil
	}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return Address{}, fmt.Errorf("%.80q: %w", s, ErrSyntax)
	}
	return build(s, s[:i], s[i+1:])
}

// MustParse is Parse for constants and tests; it panics on an error.
func MustParse(s string) Address {
	a, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func build(s, local, domain string) (Address, error) {
	switch {
	case local == "":
		return Address{}, fmt.Errorf("%.80q: %w", s, ErrSyntax)
	case len(local) > maxLocal:
		return Address{}, fmt.Errorf("%.80q: %w", s, ErrTooLong)
	}
	if err := checkLocal(local); err != nil {
		return Address{}, fmt.Errorf("%.80q: %w", s, err)
	}
	if strings.HasPrefix(domain, "[") {
		ip, err := parseLiteral(domain)
		if err != nil {
			return Address{}, fmt.Errorf("%.80q: %w", s, ErrSyntax)
		}
		return Address{local: local, literal: ip}, nil
	}
	name, err := dnsname.ParseUnicode(domain)
	if err != nil {
		return Address{}, fmt.Errorf("address %.80q: %w", s, err)
	}
	a := Address{local: local, domain: name}
	if len(a.String()) > maxPath { // as it is sent: in A-labels, with its quotes
		return Address{}, fmt.Errorf("%.80q: %w", s, ErrTooLong)
	}
	return a, nil
}

// parseLiteral reads [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 4.1.3).
func parseLiteral(s string) (netip.Addr, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return netip.Addr{}, ErrSyntax
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		ip, err := netip.ParseAddr(inner[5:])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return netip.Addr{}, ErrSyntax
		}
		return ip, nil
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || !ip.Is4() {
		return netip.Addr{}, ErrSyntax
	}
	return ip, nil
}

// unquote reads the quoted string at the start of s (RFC 5321 4.1.2).
func unquote(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			if i == len(s) {
				return "", "", ErrSyntax
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", ErrSyntax
}

// isDotString reports whether local needs no quotes (RFC 5321 4.1.2 Dot-string).
func isDotString(local string) bool {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
		for i := 0; i < len(atom); i++ {
			if c := atom[i]; c < utf8.RuneSelf && !isAtext(c) {
				return false
			}
		}
	}
	return true
}

func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// IsNull reports whether a is the null sender <>.
func (a Address) IsNull() bool { return a.local == "" }

// Local returns the local part without quotes, in the case it was written.
func (a Address) Local() string { return a.local }

// Domain returns the domain; zero for the null sender and for address literals.
func (a Address) Domain() dnsname.Name { return a.domain }

// Literal returns the address literal's address; invalid when there is none.
func (a Address) Literal() netip.Addr { return a.literal }

// IsASCII reports whether a can be sent without SMTPUTF8. A domain always can:
// it is kept in A-labels.
func (a Address) IsASCII() bool { return isASCII(a.local) }

// Key returns the form under which lists of mailboxes are compared: local part
// in NFC with ASCII letters in lower case, quoted only if needed, then @ and the
// domain. Other letters keep their case: what folds them differs by language.
func (a Address) Key() string {
	a.local = strings.Map(lowerASCII, norm.NFC.String(a.local)) // RFC 6532 3.1
	return a.String()
}

// ASCII is String for places where only ASCII may stand: signs beyond it are
// written as \x{FC} (RFC 6533 3), and so is a backslash beside them.
func (a Address) ASCII() string {
	if a.IsASCII() {
		return a.String()
	}
	var b strings.Builder
	for _, r := range a.String() {
		if r >= utf8.RuneSelf || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// String returns the address as SMTP writes it between the angle brackets,
// quoting the local part when it needs quotes; "" for the null sender. Its local
// part may be UTF-8, its domain is in A-labels.
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	return quote(a.local) + "@" + a.domainText()
}

func (a Address) domainText() string {
	switch {
	case !a.literal.IsValid():
		return a.domain.String()
	case a.literal.Is4():
		return "[" + a.literal.String() + "]"
	default:
		return "[IPv6:" + a.literal.String() + "]"
	}
}

func quote(local string) string {
	if isDotString(local) {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// MarshalText writes String.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads Parse's form.
func (a *Address) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err == nil {
		*a = v
	}
	return err
}
