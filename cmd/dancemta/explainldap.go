package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dancemta/config"
	"dancemta/internal/explain"
	"dancemta/ldapbridge"
	"dancemta/ldapbridge/mapping"
	"dancemta/smtpd/policy"
)

// bridge is the listener of the LDAP bridge that was named, or its first; nil when none
// was meant.
func (f *explainFlags) bridge(cfg *config.Config, l *live) (*scene, error) {
	var known []string
	for _, listener := range cfg.LDAPListeners {
		known = append(known, listener.Name)
	}
	i := slices.Index(known, f.listener)
	switch {
	case !f.users || !f.ldap && i < 0:
		if f.as != "" {
			return nil, usage(errors.New("--as is what a client asks for at the LDAP bridge"), "add --ldap")
		}
		return nil, nil
	case len(known) == 0:
		return nil, usage(errors.New("the configuration has no LDAP bridge"), "add [[ldap_listener]], [ldap] and [[ldap_rule]], or leave --ldap out")
	case i < 0 && f.listener != "":
		return nil, usage(fmt.Errorf("--listener %s: the LDAP bridge has none of this name", f.listener), "it has "+strings.Join(known, ", "))
	}
	asked, err := mapping.ParseAuthzid(f.as)
	if err != nil {
		return nil, usage(fmt.Errorf("--as %s: %w", f.as, err), `an authzid is "u:rick@example.org" or "dn:uid=rick,dc=example,dc=org"`)
	}
	listener := ldapListener(cfg.LDAPListeners[max(i, 0)], cfg.DANE)
	return &scene{names: listener.Names, asked: asked, Explainer: explain.Explainer{
		Rules: l.rules, Bridge: l.mapper, Listener: policy.Listener{Name: listener.Name}, LoginReply: ldapbridge.BindReply,
	}}, nil
}
