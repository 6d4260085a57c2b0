package explain

import (
	"context"
	"strings"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
)

// Bridge are the rules of the LDAP bridge; *mapping.Mapper is one.
type Bridge interface {
	saslext.Rules
	Admits(id saslext.Identity) mapping.Verdict
	As(ctx context.Context, authenticated saslext.Identity, r mapping.Request) (mapping.Mapped, error)
}

// LDAP is what becomes of a user at the directory server behind the bridge.
type LDAP struct {
	Asked      string   `json:"asked,omitempty"` // the authzid that the client sends
	Acts       string   `json:"acts,omitempty"`  // as whom, by identity
	Rule       string   `json:"rule,omitempty"`  // that maps, with its line
	Authzid    string   `json:"authzid,omitempty"`
	DN         string   `json:"dn,omitempty"` // absent when the directory server maps by itself
	Operations []string `json:"operations"`
	Controls   []string `json:"controls"`
}

// LDAPUser explains what becomes of a user with this credential who binds at the bridge
// by SASL EXTERNAL, and asks to be r.
func (e *Explainer) LDAPUser(ctx context.Context, cred daneclient.Credential, r mapping.Request) *Report {
	x := e.begin(ctx, kindUser, cred)
	login, err := saslext.Login{}, error(&saslext.Error{
		Reason: saslext.NoCertificate, Err: &daneclient.Error{Reason: daneclient.NoCertificate, Detail: "this listener asks nobody for one"},
	})
	if !e.Deaf {
		login, err = (&saslext.Authenticator{Verifier: e.Verifier, Rules: bridgeRules{e.Bridge, x}}).Login(x.ctx, cred, "")
	}
	if err == nil {
		err = x.maps(login.Identity, r)
	}
	if err != nil {
		x.refused(err, e.LoginReply(err))
		return x.finish()
	}
	x.accepted(login.Identity.LogString(), login.Record.String(), login.Until)
	return x.finish()
}

// LDAPUserName explains what a user of this identity can prove with the records of his
// domain, and as whom he then acts.
func (e *Explainer) LDAPUserName(ctx context.Context, id saslext.Identity, r mapping.Request) *Report {
	x := e.begin(ctx, kindUser, daneclient.Credential{})
	rules := bridgeRules{e.Bridge, x}
	err := x.publishes(id, func(dnsname.Name) bool { return rules.AllowsUser(id) })
	if err == nil {
		err = x.maps(id, r)
	}
	if err != nil {
		x.refused(err, e.LoginReply(err))
	}
	return x.finish()
}

// bridgeRules are the rules of the bridge as saslext asks them, with a witness.
type bridgeRules struct {
	Bridge
	x *explanation
}

func (r bridgeRules) AllowsUser(id saslext.Identity) bool {
	allowed, v := r.Bridge.AllowsUser(id), r.Admits(id)
	r.x.user = id
	r.x.report.Names = append(r.x.report.Names, Name{clean(id.ASCIIDomain()), allowed, v.Reason.String(), clean(v.Rule)})
	return allowed
}

// maps asks as whom a proved user acts.
func (x *explanation) maps(id saslext.Identity, r mapping.Request) error {
	x.report.LDAP = &LDAP{Asked: clean(r.String()), Operations: []string{}, Controls: []string{}}
	m, err := x.Bridge.As(x.ctx, id, r)
	if err != nil {
		return err
	}
	x.report.LDAP = &LDAP{
		Asked: clean(r.String()), Acts: clean(m.Identity.LogString()), Rule: clean(m.Rule), Authzid: clean(string(m.Authzid)), DN: clean(m.DN),
		Operations: append([]string{}, m.Operations.Words()...), Controls: append([]string{}, m.Controls.Words()...),
	}
	return nil
}

// mappingHints are for the operator of the bridge.
func (x *explanation) mappingHints(e *mapping.Error) []string {
	switch e.Reason {
	case mapping.NoRule, mapping.Denied:
		return x.ruleHints()
	case mapping.AuthzidDenied:
		return []string{
			"let the client bind without an authzid: then it acts as " + x.user.String(),
			`or let it act as others: [[authzid]] from = "` + x.user.ASCIIDomain() + `" and to, and an [[ldap_rule]] that is for these`,
			"a DN is taken only when a dn template makes it of an identity that the client may be",
		}
	case mapping.NoEntry:
		return []string{"give the user an entry that search_filter finds below search_base, in rule " + clean(e.Rule)}
	case mapping.ManyEntries:
		return []string{"make search_filter of rule " + clean(e.Rule) + " find one entry: several are of this user now"}
	}
	return []string{`see [directory]: "dancemta check" asks its servers`}
}

func (r *Report) printLDAP(t *table) {
	l := r.LDAP
	if l == nil || l.Asked == "" && l.Acts == "" { // nobody there, as when no entry is found
		return
	}
	t.head("directory")
	t.line("asks to be", l.Asked)
	t.line("acts as", l.Acts)
	t.line("mapped by", l.Rule)
	t.line("authzid", l.Authzid)
	t.line("may", strings.Join(l.Operations, ", "))
	t.line("controls", strings.Join(l.Controls, ", "))
}
