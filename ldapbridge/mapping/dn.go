package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
)

// maxDN bounds what is parsed. A uid of 64 octets, all escaped, and a domain of 253 in
// single labels (dc=x, each) take 1000; the rest is for the template.
const maxDN = 4096

// ErrDN comes wrapped with what is wrong with a DN.
var ErrDN = errors.New("no distinguished name")

// attributeType is that of RFC 4512 1.4: a short name or a numeric OID.
var attributeType = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$`)

// hexValue is the # form of a value, which holds BER of any type: what equals what
// there depends on a schema that is not known here.
var hexValue = regexp.MustCompile(`= *#`)

// attributeNames are the other names of the types that DNs are made of (RFC 4514 3,
// RFC 4519 2): a type is known by its first short name.
var attributeNames = map[string]string{
	"0.9.2342.19200300.100.1.1": "uid", "userid": "uid",
	"0.9.2342.19200300.100.1.3": "mail", "rfc822mailbox": "mail",
	"0.9.2342.19200300.100.1.25": "dc", "domaincomponent": "dc",
	"2.5.4.3": "cn", "commonname": "cn",
	"2.5.4.4": "sn", "surname": "sn",
	"2.5.4.6": "c", "countryname": "c",
	"2.5.4.7": "l", "localityname": "l",
	"2.5.4.8": "st", "stateorprovincename": "st",
	"2.5.4.9": "street", "streetaddress": "street",
	"2.5.4.10": "o", "organizationname": "o",
	"2.5.4.11": "ou", "organizationalunitname": "ou",
}

// NormalDN returns the one spelling under which DNs are compared here. Attribute types
// are folded to lower case, and their OIDs and long names to the short name, as far as
// RFC 4519 has them. Values are compared as by caseIgnoreMatch (RFC 4517 4.2.11) in
// ASCII: case is folded, outer spaces go, and inner runs become one. Letters that are
// not ASCII must be the same octets: folding those differs between servers, and would
// make one of two uids that PRECIS keeps apart.
//
// A DN of a client is compared and never passed on, so a pair that is the same here and
// not at the directory gives nobody another's rights.
func NormalDN(s string) (string, error) {
	rdns, err := parseDN(s)
	if err != nil {
		return "", err
	}
	out := make([]string, len(rdns))
	for i, rdn := range rdns {
		parts := make([]string, len(rdn))
		for j, a := range rdn {
			parts[j] = a.Type + "=" + ldap.EscapeDN(normalValue(a.Value))
		}
		slices.Sort(parts) // their order has no meaning (RFC 4514 2.2)
		out[i] = strings.Join(parts, "+")
	}
	return strings.Join(out, ","), nil
}

// SameDN reports whether both are DNs and the same one by NormalDN.
func SameDN(a, b string) bool {
	x, errX := NormalDN(a)
	y, errY := NormalDN(b)
	return errX == nil && errY == nil && x == y
}

// attribute is one of an RDN, its type in normal form, its value as it is.
type attribute = ldap.AttributeTypeAndValue

// parseDN is ldap.ParseDN within bounds, and strict where that is not: it replaces
// octets that are no UTF-8, takes any text for a type, and reads # values.
func parseDN(s string) ([][]attribute, error) {
	switch {
	case len(s) > maxDN:
		return nil, fmt.Errorf("%w: over %d octets", ErrDN, maxDN)
	case !utf8.ValidString(s):
		return nil, fmt.Errorf("%w: %.80q is no UTF-8", ErrDN, s)
	case hexValue.MatchString(s):
		return nil, fmt.Errorf("%w: %.80q has a value in hexadecimal", ErrDN, s)
	}
	dn, err := ldap.ParseDN(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %.80q: %v", ErrDN, s, err)
	}
	rdns := make([][]attribute, len(dn.RDNs))
	for i, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			if !attributeType.MatchString(a.Type) || !utf8.ValidString(a.Value) || hexValue.MatchString(a.Value) {
				return nil, fmt.Errorf("%w: %.80q: a part is not of the form type=value", ErrDN, s)
			}
			rdns[i] = append(rdns[i], attribute{Type: normalType(a.Type), Value: a.Value})
		}
	}
	return rdns, nil
}

func normalType(t string) string {
	t = lowerASCII(t)
	if name, ok := attributeNames[t]; ok {
		return name
	}
	return t
}

func normalValue(v string) string {
	return lowerASCII(strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' }), " "))
}

// lowerASCII leaves everything else alone, see NormalDN.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
