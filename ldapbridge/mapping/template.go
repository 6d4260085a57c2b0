package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// The placeholders.
const (
	uidHole      = "{uid}"
	domainHole   = "{domain}"
	domainDNHole = "{domain_dn}"
)

// maxTemplate bounds a template; the rest of maxDN is for what is put into it.
const maxTemplate = 1000

// parting are characters that neither a uid nor a domain can hold (see saslext), so
// that one of them between two placeholders keeps a.b@c.d and a@b.c.d apart.
const parting = " @/\\:,;<>()[]\"=*%?#"

// textTemplate is a text with placeholders. It is taken apart once and filled in one
// pass: {domain} is a legal uid.
type textTemplate struct {
	parts []string // texts and placeholders by turns, a text first and last
}

// parseText demands that different identities give different texts, as far as the
// placeholders that stand in it tell them apart.
func parseText(s string) (*textTemplate, error) {
	t := &textTemplate{}
	for {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			t.parts = append(t.parts, s)
			return t, nil
		}
		hole := uidHole
		if !strings.HasPrefix(s[i:], hole) {
			hole = domainHole
		}
		if !strings.HasPrefix(s[i:], hole) {
			return nil, fmt.Errorf("only %s and %s stand in braces here", uidHole, domainHole)
		}
		if len(t.parts) > 0 && !strings.ContainsAny(s[:i], parting) {
			return nil, errors.New("between two placeholders stands @ or another sign that no uid and no domain has, else two users were one")
		}
		t.parts = append(t.parts, s[:i], hole)
		s = s[i+len(hole):]
	}
}

// has reports whether a placeholder stands in the text.
func (t *textTemplate) has(hole string) bool {
	for i := 1; i < len(t.parts); i += 2 {
		if t.parts[i] == hole {
			return true
		}
	}
	return false
}

// fixed reports whether no placeholder stands in the text.
func (t *textTemplate) fixed() bool { return len(t.parts) == 1 }

// build fills the placeholders, each escaped.
func (t *textTemplate) build(id saslext.Identity, escape func(string) string) string {
	var b strings.Builder
	for i, part := range t.parts {
		switch {
		case i%2 == 0:
			b.WriteString(part)
		case part == uidHole:
			b.WriteString(escape(id.UID))
		default:
			b.WriteString(escape(id.Domain.String())) // A-labels: one spelling of a domain
		}
	}
	return b.String()
}

func verbatim(s string) string { return s }

// escapeFilter is RFC 4515 3.
func escapeFilter(s string) string { return ldap.EscapeFilter(s) }

// read returns what stands in the places of the placeholders of a value.
func (t *textTemplate) read(value string) (found map[string]string, ok bool) {
	expr := `(?is)^`
	for i, part := range t.parts {
		if i%2 == 0 {
			expr += regexp.QuoteMeta(part)
		} else {
			expr += `(.+)`
		}
	}
	groups := regexp.MustCompile(expr + `$`).FindStringSubmatch(value)
	if groups == nil {
		return nil, false
	}
	found = map[string]string{}
	for i, g := range groups[1:] {
		found[t.parts[2*i+1]] = g
	}
	return found, true
}

// newFilter demands a filter whose placeholders stand in assertion values, where
// escaping keeps them what they are.
func newFilter(s string) (*textTemplate, error) {
	t, err := parseText(s)
	if err != nil {
		return nil, err
	}
	before := ""
	for i := 0; i+1 < len(t.parts); i += 2 {
		before += t.parts[i]
		if strings.LastIndexByte(before, '=') < strings.LastIndexAny(before, "()") {
			return nil, fmt.Errorf("%s stands where no value is", t.parts[i+1])
		}
	}
	sample := saslext.Identity{UID: "x"}
	if _, err := ldap.CompileFilter(t.build(sample, escapeFilter)); err != nil {
		return nil, fmt.Errorf("no filter: %v", err)
	}
	return t, nil
}

// dnTemplate is a DN with placeholders in its values.
type dnTemplate struct {
	rdns [][]valueTemplate
	tail int // the place of {domain_dn}; -1: none
}

type valueTemplate struct {
	kind string // the type, in normal form
	text *textTemplate
}

// parseDNTemplate reads a DN as RFC 4514 writes it, in which {domain_dn} stands for
// RDNs.
func parseDNTemplate(s string) (*dnTemplate, error) {
	if len(s) > maxTemplate {
		return nil, fmt.Errorf("%w: over %d octets", ErrDN, maxTemplate)
	}
	// It takes the place of an RDN, which a DN has not; so it is given a type here.
	rdns, err := parseDN(strings.ReplaceAll(s, domainDNHole, "dc="+domainDNHole))
	if err != nil {
		return nil, err
	}
	if len(rdns) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrDN)
	}
	t := &dnTemplate{tail: -1}
	for i, rdn := range rdns {
		if len(rdn) == 1 && rdn[0].Type == "dc" && rdn[0].Value == domainDNHole {
			if t.tail >= 0 {
				return nil, fmt.Errorf("%s stands twice", domainDNHole)
			}
			t.tail = i
			t.rdns = append(t.rdns, nil)
			continue
		}
		values, err := rdnTemplate(rdn)
		if err != nil {
			return nil, err
		}
		t.rdns = append(t.rdns, values)
	}
	return t, nil
}

// rdnTemplate demands that at most one of the values has placeholders: their order has
// no meaning, and uid=a+uid=b is both a at b and b at a.
func rdnTemplate(rdn []attribute) (values []valueTemplate, err error) {
	open := 0
	for _, a := range rdn {
		text, err := parseText(a.Value)
		if err != nil {
			return nil, err
		}
		if !text.fixed() {
			open++
		}
		values = append(values, valueTemplate{a.Type, text})
	}
	if open > 1 {
		return nil, errors.New("placeholders in two parts of one RDN")
	}
	return values, nil
}

// has reports whether a placeholder stands in the DN; {domain_dn} is as good as {domain}.
func (t *dnTemplate) has(hole string) bool {
	if hole == domainHole && t.tail >= 0 {
		return true
	}
	for _, rdn := range t.rdns {
		for _, v := range rdn {
			if v.text.has(hole) {
				return true
			}
		}
	}
	return false
}

// build makes the DN. Each value is escaped as a whole (RFC 4514 2.4), since what a
// leading # or a trailing space is depends on what stands around the placeholder.
func (t *dnTemplate) build(id saslext.Identity) string {
	var rdns []string
	for i, rdn := range t.rdns {
		if i == t.tail {
			for _, label := range id.Domain.Labels() {
				rdns = append(rdns, "dc="+ldap.EscapeDN(label))
			}
			continue
		}
		parts := make([]string, len(rdn))
		for j, v := range rdn {
			parts[j] = v.kind + "=" + ldap.EscapeDN(v.text.build(id, verbatim))
		}
		rdns = append(rdns, strings.Join(parts, "+"))
	}
	return strings.Join(rdns, ",")
}

// read returns whose DN this may be, among the users of who.
func (t *dnTemplate) read(dn [][]attribute, who pattern.Pattern) (id saslext.Identity, ok bool) {
	found := map[string]string{}
	if uid, one := who.UID(); one {
		found[uidHole] = uid
	}
	if who.OneDomain() {
		found[domainHole] = strings.Join(who.Labels(), ".")
	}
	labels := len(dn) - len(t.rdns) + 1 // of the domain, where {domain_dn} stands
	if t.tail < 0 && labels != 1 || labels < 1 {
		return id, false
	}
	for i, rdn := range t.rdns {
		if i == t.tail {
			domain, good := joinDC(dn[:labels])
			if !good {
				return id, false
			}
			found[domainHole], dn = domain, dn[labels:]
			continue
		}
		if !readRDN(rdn, dn[0], found) {
			return id, false
		}
		dn = dn[1:]
	}
	id, err := saslext.ParseIdentity(found[uidHole] + "@" + found[domainHole])
	return id, err == nil
}

func joinDC(dn [][]attribute) (domain string, ok bool) {
	labels := make([]string, len(dn))
	for i, rdn := range dn {
		if len(rdn) != 1 || rdn[0].Type != "dc" {
			return "", false
		}
		labels[i] = rdn[0].Value
	}
	return strings.Join(labels, "."), true
}

// readRDN adds what the placeholders stand for; that the rest is right is seen when
// the DN is made again.
func readRDN(rdn []valueTemplate, of []attribute, found map[string]string) bool {
	if len(rdn) != len(of) {
		return false
	}
	for _, v := range rdn {
		if v.text.fixed() {
			continue
		}
		for _, a := range of {
			values, ok := v.text.read(normalValue(a.Value))
			if a.Type != v.kind || !ok {
				continue
			}
			for hole, value := range values {
				found[hole] = value
			}
		}
	}
	return true
}
