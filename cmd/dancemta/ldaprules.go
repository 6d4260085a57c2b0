package main

import (
	"errors"
	"fmt"

	"dancemta/config"
	"dancemta/ldapbridge/directory"
	"dancemta/ldapbridge/mapping"
	"dancemta/smtpd/policy"
)

// newMapper makes the rules of the LDAP bridge. Who may act as whom is up to those of
// SMTP; d, which may be nil, is where rules search.
func newMapper(cfg *config.Config, rules *policy.Rules, d *directory.Directory) (*mapping.Mapper, error) {
	o := mapping.Options{MayActAs: rules.MayActAs}
	if d != nil {
		o.Searcher = d
	}
	for i, r := range cfg.LDAPRules {
		rule, err := newLDAPRule(r, cfg.Line(fmt.Sprintf("ldap_rule[%d]", i)))
		if err != nil {
			return nil, &exitError{code: exitConfig, err: err}
		}
		if rule.SearchFilter != "" && d == nil {
			return nil, &exitError{code: exitConfig, err: fmt.Errorf("ldap_rule %s: search_filter: no [directory] says where to search", rule.Who.At(rule.Line)),
				hints: []string{"add [directory] with servers, base and filter, or write dn in place of search_base and search_filter"}}
		}
		o.Rules = append(o.Rules, rule)
	}
	m, err := mapping.New(o)
	if err != nil {
		return nil, &exitError{code: exitConfig, err: err, hints: []string{"see [[ldap_rule]] in the configuration"}}
	}
	return m, nil
}

func newLDAPRule(r config.LDAPRule, line int) (mapping.Rule, error) {
	rule := mapping.Rule{
		Who: r.Who, Allow: r.Action == config.Allow, DN: r.DN, Authzid: r.Authzid,
		SearchBase: r.SearchBase, SearchFilter: r.SearchFilter, Line: line,
	}
	for _, word := range r.Operations {
		op, ok := mapping.ParseOperation(string(word))
		if !ok {
			return rule, errors.New("ldap_rule.operations: " + string(word))
		}
		rule.Operations |= op
	}
	for _, word := range r.Controls {
		c, ok := mapping.ParseControl(string(word))
		if !ok {
			return rule, errors.New("ldap_rule.controls: " + string(word))
		}
		rule.Controls |= c
	}
	return rule, nil
}
