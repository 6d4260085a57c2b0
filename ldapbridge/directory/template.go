package directory

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// template is a base and a filter with placeholders.
type template struct {
	base, filter string
	fixed        int // RDNs at the end of base that hold no placeholder
}

// values are what stands for the placeholders.
type values struct{ uid, domain, address, dn string }

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// newTemplate checks a base and a filter; withDN: {dn} may stand in the filter.
func newTemplate(base, filter string, withDN bool) (template, error) {
	t := template{base: base, filter: filter}
	if err := checkPlaceholders(base, false); err != nil {
		return t, fmt.Errorf("base %q: %w", base, err)
	}
	if err := checkPlaceholders(filter, withDN); err != nil {
		return t, fmt.Errorf("filter %q: %w", filter, err)
	}
	if !placeholder.MatchString(filter) { // it would find the same entries for everybody
		return t, fmt.Errorf("filter %q: no {uid}, {domain} or {address}", filter)
	}
	sample := values{"x", "x", "x", "x"}
	if _, err := ldap.CompileFilter(t.filterFor(sample)); err != nil {
		return t, fmt.Errorf("filter %q: %w", filter, err)
	}
	dn, err := ldap.ParseDN(t.baseFor(sample))
	if err != nil || len(dn.RDNs) == 0 {
		return t, fmt.Errorf("base %q is no DN", base)
	}
	marked, err := ldap.ParseDN(t.baseFor(values{"{", "{", "{", "{"}))
	if err != nil {
		return t, fmt.Errorf("base %q is no DN", base)
	}
	for i := len(marked.RDNs) - 1; i >= 0 && !strings.Contains(marked.RDNs[i].String(), "{"); i-- {
		t.fixed++
	}
	return t, nil
}

func checkPlaceholders(text string, withDN bool) error {
	if text == "" {
		return errors.New("it is empty")
	}
	for _, p := range placeholder.FindAllString(text, -1) {
		switch {
		case p == "{uid}", p == "{domain}", p == "{address}", p == "{dn}" && withDN:
		default:
			return fmt.Errorf("%s is not known", p)
		}
	}
	if rest := placeholder.ReplaceAllString(text, ""); strings.ContainsAny(rest, "{}") {
		return errors.New("a brace without its other half")
	}
	return nil
}

// filterFor fills in the filter (RFC 4515 3: everything special is escaped).
func (t template) filterFor(v values) string { return v.fill(t.filter, ldap.EscapeFilter) }

// baseFor fills in the base (RFC 4514 2.4).
func (t template) baseFor(v values) string { return v.fill(t.base, ldap.EscapeDN) }

// fill goes through the text once, so that a value with braces stays one.
func (v values) fill(text string, escape func(string) string) string {
	return strings.NewReplacer("{uid}", escape(v.uid), "{domain}", escape(v.domain),
		"{address}", escape(v.address), "{dn}", escape(v.dn)).Replace(text)
}

// provesAbsence reports whether a server that has no such base has shown that it knows
// what is above it. One that may not tell us names nothing (RFC 4511 4.1.9).
func (t template) provesAbsence(matched string) bool {
	if t.base == "" || !placeholder.MatchString(t.base) {
		return false // what the configuration names should exist
	}
	m, err := ldap.ParseDN(matched)
	if err != nil || len(m.RDNs) < t.fixed || t.fixed == 0 {
		return false
	}
	base, err := ldap.ParseDN(t.baseFor(values{"x", "x", "x", "x"}))
	if err != nil {
		return false
	}
	end := func(d *ldap.DN) *ldap.DN { return &ldap.DN{RDNs: d.RDNs[len(d.RDNs)-t.fixed:]} }
	return end(m).EqualFold(end(base))
}
