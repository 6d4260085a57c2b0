package explain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"dancemta/internal/explain"
	"dancemta/internal/pattern"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
)

// finder is a directory that answers always the same.
type finder struct {
	dns []string
	err error
}

func (f *finder) Find(context.Context, string, string) ([]string, error) { return f.dns, f.err }

func newBridge(t *testing.T, f *finder) *mapping.Mapper {
	t.Helper()
	m, err := mapping.New(mapping.Options{
		Searcher: f,
		MayActAs: func(_, to saslext.Identity) bool { return to.UID == "boss" },
		Rules: []mapping.Rule{
			{Who: pattern.MustParse("*@partner.test"), Allow: true, DN: "uid={uid},ou={domain},dc=x", Line: 3, Operations: mapping.Search | mapping.Modify, Controls: mapping.ManageDSAIT},
			{Who: pattern.MustParse("eve@partner.test"), Line: 7},
			{Who: pattern.MustParse("*@remote.test"), Allow: true, SearchBase: "dc=x", SearchFilter: "(uid={uid})", Line: 9},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func request(t *testing.T, s string) mapping.Request {
	t.Helper()
	r, err := mapping.ParseAuthzid(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLDAPUser(t *testing.T) {
	w := newWorld(t)
	f := &finder{dns: []string{"cn=Ann,dc=x"}}
	e := w.explainer()
	e.Bridge = newBridge(t, f)
	const acts, dn = "rick@partner.test", "uid=rick,ou=partner.test,dc=x"
	refused := func(err error) string { return "refused: " + err.Error() }
	e.LoginReply = refused

	r := e.LDAPUser(t.Context(), shown(w.Rick.Credential), request(t, ""))
	if r.Verdict != explain.Accepted || r.Identity != acts || r.Record == "" || r.Until == nil || len(r.Hints) != 0 {
		t.Errorf("%+v", r)
	}
	want := explain.LDAP{Acts: acts, Rule: `"*@partner.test" (line 3)`, Authzid: "dn:" + dn, DN: dn, Operations: []string{"search", "modify"}, Controls: []string{"manage_dsa_it"}}
	if got, _ := json.Marshal(r.LDAP); string(got) != string(must(json.Marshal(want))) {
		t.Errorf("got %s", got)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"accepted\n", "partner.test  allowed by rule \"*@partner.test\" (line 3)", "acts as    rick@partner.test", "mapped by  \"*@partner.test\" (line 3)", "authzid    dn:" + dn, "may        search, modify", "controls   manage_dsa_it"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}

	r = e.LDAPUser(t.Context(), shown(w.Rick.Credential), request(t, "u:boss@partner.test"))
	if r.Verdict != explain.Accepted || r.Identity != acts || r.LDAP.Acts != "boss@partner.test" || r.LDAP.Asked != "u:boss@partner.test" {
		t.Errorf("%+v, %+v", r, r.LDAP)
	}
	r = e.LDAPUser(t.Context(), shown(w.Rick.Credential), request(t, "dn:uid=ann,ou=partner.test,dc=x"))
	if r.Verdict != explain.Refused || r.Reason != "authzid-denied" || !strings.HasPrefix(r.Reply, "refused: ") || r.LDAP.Authzid != "" || len(r.Hints) != 3 || !strings.Contains(r.Hints[1], `[[authzid]] from = "rick@partner.test"`) {
		t.Errorf("%+v, %+v", r, r.LDAP)
	}
	if r = e.LDAPUser(t.Context(), shown(w.foreign), request(t, "")); r.Verdict != explain.Refused || r.Reason != "no-match" || r.LDAP != nil {
		t.Errorf("%+v", r)
	}
	e.Deaf = true
	if r = e.LDAPUser(t.Context(), shown(w.Rick.Credential), request(t, "")); r.Verdict != explain.Refused || r.Reason != "no-certificate" || r.DNS != nil || !slices.Equal(r.Hints, []string{`let the listener ask: client_certificates = "ask"`}) {
		t.Errorf("%+v", r)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestLDAPUserName(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		user    string
		found   finder
		verdict string
		reason  string
		rule    string // that the rules say
		dns     bool   // DNS was asked
		hint    string
	}{
		{"rick@partner.test", finder{}, explain.Open, "", `"*@partner.test" (line 3)`, true, "once more with the certificate"},
		{"eve@partner.test", finder{}, explain.Refused, "not-allowed", `"eve@partner.test" (line 7)`, false, "denies eve@partner.test"},
		{"rick@other.test", finder{}, explain.Refused, "not-allowed", "", false, `add a rule: [[ldap_rule]] who = "rick@other.test" (or for all users of the domain: "*@other.test"), action = "allow", and dn, as whom they act`},
		{"ann@remote.test", finder{dns: []string{"cn=Ann,dc=x"}}, explain.Open, "", `"*@remote.test" (line 9)`, true, "once more"},
		{"ann@remote.test", finder{}, explain.Refused, "no-entry", `"*@remote.test" (line 9)`, true, `finds below search_base, in rule "*@remote.test" (line 9)`},
		{"ann@remote.test", finder{dns: []string{"cn=Ann,dc=x", "cn=An,dc=x"}}, explain.Temporary, "many-entries", `"*@remote.test" (line 9)`, true, "find one entry"},
		{"ann@remote.test", finder{err: errors.New("away")}, explain.Temporary, "directory-trouble", `"*@remote.test" (line 9)`, true, "dancemta check"},
	} {
		e := w.explainer()
		e.Bridge = newBridge(t, &tt.found)
		id, err := saslext.ParseIdentity(tt.user)
		if err != nil {
			t.Fatal(err)
		}
		r := e.LDAPUserName(t.Context(), id, request(t, ""))
		if r.Verdict != tt.verdict || r.Reason != tt.reason || len(r.Names) != 1 || r.Names[0].Rule != tt.rule || (r.DNS != nil) != tt.dns || len(r.Hints) == 0 || !strings.Contains(r.Hints[0], tt.hint) {
			t.Errorf("%s: %+v", tt.user, r)
		}
		if mapped := r.LDAP != nil && r.LDAP.DN != ""; mapped != (tt.verdict == explain.Open) {
			t.Errorf("%s: %+v", tt.user, r.LDAP)
		}
		var text strings.Builder
		if err := r.Print(&text); err != nil || strings.Contains(text.String(), "\ndirectory\n") != (tt.verdict == explain.Open) {
			t.Errorf("%s: %v: a heading with nothing below, or none:\n%s", tt.user, err, text.String())
		}
	}
}
