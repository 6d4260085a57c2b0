package lab

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Entry is one entry of a directory. Attribute names are matched without regard
// to case, and so are values.
type Entry struct {
	DN         string
	Attributes []Attribute // in the order in which they are shown
}

// Attribute is an attribute and its values.
type Attribute struct {
	Name   string
	Values []string
}

// Right says what somebody may do with an entry; a greater one holds the lesser.
type Right int

// No right is for whom an entry does not exist.
const (
	NoRight Right = iota
	MayRead       // search and compare
	MayWrite
)

// Access gives a right to those whom an authorization identity places in a domain.
type Access struct {
	Below  string // DN; what is at and below it
	Domain string // of the authorization identity; "" for anonymous
	Right  Right
}

// Principal is who an operation is done for. RFC 4370 3
type Principal struct {
	DN     string // "" for anonymous
	Domain string // of which the people's DN holds an ou
}

// tree holds entries. Its caller locks.
type tree struct {
	entries []Entry // parents first
	people  string  // see DirectoryOptions
	access  []Access
}

// at returns the place of an entry, or -1.
func (t *tree) at(dn string) int {
	return slices.IndexFunc(t.entries, func(e Entry) bool { return sameDN(e.DN, dn) })
}

// right is what the first rule says that fits; everybody may read himself. Where
// no rule fits there is no right.
func (t *tree) right(who Principal, dn string) Right {
	for _, a := range t.access {
		if a.Domain == who.Domain && isBelow(dn, a.Below) {
			return a.Right
		}
	}
	if who.DN != "" && sameDN(who.DN, dn) {
		return MayRead
	}
	return NoRight
}

// leads reports whether somebody may read anything at or below an entry.
func (t *tree) leads(who Principal, dn string) bool {
	return slices.ContainsFunc(t.entries, func(e Entry) bool { return isBelow(e.DN, dn) && t.right(who, e.DN) >= MayRead })
}

// principal reads an authorization identity, RFC 4513 5.2.1.8: "" is anonymous,
// "u:rick@partner.test" is uid=rick,ou=partner.test below the people, and of a DN
// only that form is known.
func (t *tree) principal(authzid string) (Principal, error) {
	if authzid == "" {
		return Principal{}, nil
	}
	if user, ok := strings.CutPrefix(authzid, "u:"); ok {
		at := strings.LastIndexByte(user, '@')
		if at < 1 || at == len(user)-1 {
			return Principal{}, errors.New("a user without a domain")
		}
		return t.person(user[:at], user[at+1:]), nil
	}
	dn, ok := strings.CutPrefix(authzid, "dn:")
	rdns := splitDN(dn)
	if !ok || len(rdns) < 2 || !slices.Equal(rdns[2:], splitDN(t.people)) {
		return Principal{}, errors.New("an identity that is not among the people")
	}
	uid, one := strings.CutPrefix(rdns[0], "uid=")
	domain, two := strings.CutPrefix(rdns[1], "ou=")
	if !one || !two {
		return Principal{}, errors.New("an identity that is no person")
	}
	return t.person(uid, domain), nil
}

func (t *tree) person(uid, domain string) Principal {
	return Principal{DN: "uid=" + escapeDN(uid) + ",ou=" + escapeDN(domain) + "," + t.people, Domain: strings.ToLower(domain)}
}

// values returns those of an attribute, or nil.
func (e *Entry) values(name string) []string {
	for _, a := range e.Attributes {
		if strings.EqualFold(a.Name, name) {
			return a.Values
		}
	}
	return nil
}

func (e *Entry) has(name, value string) bool {
	return slices.ContainsFunc(e.values(name), func(v string) bool { return strings.EqualFold(v, value) })
}

// replace sets the values of an attribute; none removes it. RFC 4511 4.6
func (e *Entry) replace(name string, values []string) {
	i := slices.IndexFunc(e.Attributes, func(a Attribute) bool { return strings.EqualFold(a.Name, name) })
	switch {
	case i < 0 && len(values) > 0:
		e.Attributes = append(e.Attributes, Attribute{name, values})
	case i >= 0 && len(values) > 0:
		e.Attributes[i].Values = values
	case i >= 0:
		e.Attributes = slices.Delete(e.Attributes, i, i+1)
	}
}

func (e Entry) clone() Entry {
	e.Attributes = slices.Clone(e.Attributes)
	return e
}

// byDepth puts parents before their children.
func byDepth(a, b Entry) int { return cmp.Compare(len(splitDN(a.DN)), len(splitDN(b.DN))) }

func sameDN(a, b string) bool { return slices.Equal(splitDN(a), splitDN(b)) }

// isBelow reports whether a DN is an entry or below it.
func isBelow(dn, top string) bool {
	d, t := splitDN(dn), splitDN(top)
	return len(d) >= len(t) && slices.Equal(d[len(d)-len(t):], t)
}

// splitDN takes a DN apart, RFC 4514 3, and brings each RDN of one attribute into
// lower case without escapes and spaces around it.
func splitDN(dn string) (rdns []string) {
	var rdn strings.Builder
	keep := 0 // up to there nothing may be trimmed: escaped spaces
	end := func() {
		text := rdn.String()
		text = text[:keep] + strings.TrimRight(text[keep:], " ")
		name, value, _ := strings.Cut(text, "=")
		rdns = append(rdns, strings.ToLower(strings.TrimSpace(name)+"="+value))
		rdn.Reset()
		keep = 0
	}
	for i := 0; i < len(dn); i++ {
		switch c := dn[i]; {
		case c == '\\' && i+2 < len(dn) && isHex(dn[i+1:i+3]):
			code, _ := strconv.ParseUint(dn[i+1:i+3], 16, 8) // both are hex digits
			rdn.WriteByte(byte(code))
			i += 2
			keep = rdn.Len()
		case c == '\\' && i+1 < len(dn):
			i++
			rdn.WriteByte(dn[i])
			keep = rdn.Len()
		case c == ',':
			end()
		case c == ' ' && strings.IndexByte(rdn.String(), '=') == rdn.Len()-1:
			// Before the type (nothing yet: -1) or right before the value.
		default:
			rdn.WriteByte(c)
		}
	}
	if dn != "" {
		end()
	}
	return rdns
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// escapeDN writes a value so that it can stand in a DN. RFC 4514 2.4
func escapeDN(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if strings.IndexByte("\"+,;<>\\=#\x00 ", value[i]) >= 0 {
			b.WriteByte('\\')
			b.WriteString(strconv.FormatUint(uint64(value[i])|0x100, 16)[1:]) // two digits
			continue
		}
		b.WriteByte(value[i])
	}
	return b.String()
}
