package saslext

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"

	"dancemta/internal/dnsname"
)

// Errors of ParseIdentity and NewIdentity; each comes wrapped with the text.
var (
	ErrSyntax = errors.New("not of the form uid@domain")
	ErrUID    = errors.New("uid has no normal form")
	ErrDomain = errors.New("not a domain for users")
)

const (
	// maxText bounds what is looked at before it is mapped, which may shrink it.
	// An identity takes 64 octets of uid and 253 of domain, so 1000 leaves room
	// for U-labels.
	maxText = 1000
	// maxUID is that of a mailbox's local part (RFC 5321 4.5.3.1.1), in octets
	// after mapping.
	maxUID = 64
	// userLabel stands before a domain where it publishes the CA of its users.
	userLabel = "_user"
	// maxDomain leaves room for that label and its dot in the 253 of a name.
	maxDomain = 253 - len(userLabel) - 1
)

// refused are characters that PRECIS lets through and that mean something in an
// address, a header, a DN, a filter, a path or a pattern.
const refused = "@/\\:,;<>()[]\"=*%?#"

// ParseIdentity reads uid@domain as a person or a SASL client writes it. The
// domain may hold A- or U-labels. There are no prefixes: the "u:" of LDAP is a
// syntax error here (RFC 4954 4 wants a simple user name).
func ParseIdentity(s string) (Identity, error) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 || len(s) > maxText || !utf8.ValidString(s) {
		return Identity{}, fmt.Errorf("%.80q: %w", s, ErrSyntax)
	}
	domain, err := dnsname.ParseUnicode(s[i+1:])
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrDomain, err)
	}
	return build(s[:i], domain)
}

// NewIdentity makes an identity of what a certificate says. The domain must be
// A-labels: mapping is for what people type.
func NewIdentity(uid, domain string) (Identity, error) {
	name, err := dnsname.Parse(domain)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrDomain, err)
	}
	return build(uid, name)
}

func build(uid string, domain dnsname.Name) (Identity, error) {
	if err := checkDomain(domain); err != nil {
		return Identity{}, err
	}
	normal, err := normalUID(uid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{UID: normal, Domain: domain}, nil
}

// checkDomain refuses names that no domain of users has: a top-level domain, an
// IP address in a dNSName, and names that have no room for the _user label.
// Underscore labels did not get through the parsers of dnsname.
func checkDomain(domain dnsname.Name) error {
	labels := domain.Labels()
	switch {
	case len(labels) < 2:
		return fmt.Errorf("%q: %w: a single label", domain.String(), ErrDomain)
	case len(domain.String()) > maxDomain:
		return fmt.Errorf("%.80q: %w: over %d octets", domain.String(), ErrDomain, maxDomain)
	case strings.Trim(labels[len(labels)-1], "0123456789") == "": // RFC 3696 2
		return fmt.Errorf("%q: %w: it ends in a number", domain.String(), ErrDomain)
	}
	return nil
}

// normalUID returns the one spelling of a uid: UsernameCaseMapped (RFC 8265
// 3.3), within bounds of our own. Applying it twice changes nothing.
func normalUID(uid string) (string, error) {
	switch {
	case uid == "": // precis returns "", without an error
		return "", fmt.Errorf("%w: it is empty", ErrUID)
	case len(uid) > maxText:
		return "", fmt.Errorf("%.80q: %w: over %d octets before mapping", uid, ErrUID, maxText)
	}
	normal, err := precis.UsernameCaseMapped.String(uid)
	if err != nil {
		return "", fmt.Errorf("%.80q: %w: %w", uid, ErrUID, err)
	}
	again, err := precis.UsernameCaseMapped.String(normal)
	if err != nil || again != normal { // RFC 8264 7: rules may need a second pass
		return "", fmt.Errorf("%.80q: %w: not stable", uid, ErrUID)
	}
	if what := uidFault(uid, normal); what != "" {
		return "", fmt.Errorf("%.80q: %w: %s", uid, ErrUID, what)
	}
	return normal, nil
}

// uidFault says what PRECIS allows and we do not; "" when all is well.
func uidFault(uid, normal string) string {
	switch {
	case normal == "" || len(normal) > maxUID:
		return "empty or over 64 octets"
	case strings.ContainsAny(normal, refused):
		return "one of " + refused
	case normal[0] == '.' || normal[len(normal)-1] == '.' || strings.Contains(normal, ".."):
		return "a dot where no dot may be"
	case becomesASCII(uid):
		return "not ASCII, but becomes so"
	case mixesScripts(normal):
		return "letters of more than one of Latin, Cyrillic, Greek"
	}
	return ""
}

// becomesASCII reports whether some letter that is not ASCII is mapped to one
// that is, as the Kelvin sign and fullwidth letters are: a second spelling of a
// user, one that other software keeps apart.
func becomesASCII(uid string) bool {
	for _, r := range uid { // each step of UsernameCaseMapped that can do so
		if r >= utf8.RuneSelf && isASCII(norm.NFC.String(width.Fold.String(string(unicode.ToLower(r))))) {
			return true
		}
	}
	return false
}

// mixesScripts reports whether a uid mixes scripts whose letters look alike, as
// a Cyrillic twin of a Latin name does.
func mixesScripts(uid string) bool {
	found := map[*unicode.RangeTable]bool{}
	for _, r := range uid {
		for _, script := range []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek} {
			if unicode.Is(script, r) {
				found[script] = true
			}
		}
	}
	return len(found) > 1
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
