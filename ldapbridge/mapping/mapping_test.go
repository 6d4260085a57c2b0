package mapping_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"dancemta/internal/pattern"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
)

const (
	people = "ou=people,dc=example,dc=test"
	byDN   = "uid={uid},ou={domain}," + people
)

func identity(t *testing.T, s string) saslext.Identity {
	t.Helper()
	id, err := saslext.ParseIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func allow(line int, who, dn string) mapping.Rule {
	return mapping.Rule{Who: pattern.MustParse(who), Allow: true, DN: dn, Line: line}
}

func deny(line int, who string) mapping.Rule {
	return mapping.Rule{Who: pattern.MustParse(who), Line: line}
}

func newMapper(t *testing.T, o mapping.Options) *mapping.Mapper {
	t.Helper()
	m, err := mapping.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// finder is a directory that answers always the same.
type finder struct {
	dns          []string
	err          error
	base, filter string // asked last
}

func (f *finder) Find(_ context.Context, base, filter string) ([]string, error) {
	f.base, f.filter = base, filter
	return f.dns, f.err
}

func TestMapTemplates(t *testing.T) {
	tests := []struct {
		who, dn, id string
		want        string
	}{
		{"*@any", byDN, "rick@partner.test", "uid=rick,ou=partner.test," + people},
		{"*@any", byDN, "rick@other.test", "uid=rick,ou=other.test," + people},
		{"*@any", byDN, "Rick@Partner.TEST", "uid=rick,ou=partner.test," + people},
		{"*@any", byDN, "+mail+archive@partner.test", `uid=\+mail\+archive,ou=partner.test,` + people},
		{"*@any", byDN, "jürgen@bücher.example", "uid=jürgen,ou=xn--bcher-kva.example," + people},
		{"*@any", byDN, "{domain}@partner.test", "uid={domain},ou=partner.test," + people},
		{"*@any", "uid={uid},{domain_dn},dc=users", "rick@a.partner.test", "uid=rick,dc=a,dc=partner,dc=test,dc=users"},
		{"*@any", "uid={uid}@{domain}," + people, "rick@partner.test", "uid=rick@partner.test," + people},
		{"*@any", `cn=\#{uid} \,{domain} ,o=x`, "+a@partner.test", `cn=\#\+a \,partner.test,o=x`},
		{"*@any", "uid={uid}+l=Rome,ou={domain},o=x", "rick@partner.test", "uid=rick+l=Rome,ou=partner.test,o=x"},
		{"*@partner.test", "UserID={uid},ou=partners,o=x", "rick@partner.test", "uid=rick,ou=partners,o=x"},
		{"rick@partner.test", "cn=Rick of Partner,o=x", "rick@partner.test", "cn=Rick of Partner,o=x"},
		{"rick@*.test", "cn=rick,ou={domain},o=x", "rick@partner.test", "cn=rick,ou=partner.test,o=x"},
	}
	for _, tt := range tests {
		m, err := mapping.New(mapping.Options{Rules: []mapping.Rule{allow(7, tt.who, tt.dn)}})
		if err != nil {
			t.Errorf("%s: %v", tt.dn, err)
			continue
		}
		id := identity(t, tt.id)
		got, err := m.Map(t.Context(), id)
		if err != nil || got.DN != tt.want || got.Authzid != mapping.Authzid("dn:"+tt.want) || got.Identity != id {
			t.Errorf("%s of %s: %+v, %v; want %q", tt.dn, tt.id, got, err, tt.want)
		}
		if got.Rule != `"`+tt.who+`" (line 7)` || got.Operations != mapping.Defaults || got.Controls != 0 {
			t.Errorf("%s of %s: %+v", tt.dn, tt.id, got)
		}
	}
}

func TestMapByName(t *testing.T) {
	m := newMapper(t, mapping.Options{Rules: []mapping.Rule{{
		Who: pattern.MustParse("*@any"), Allow: true, Authzid: "u:{uid}@{domain}", Line: 3,
		Operations: mapping.Search | mapping.Add, Controls: mapping.ManageDSAIT,
	}}})
	for id, want := range map[string]mapping.Authzid{
		"rick@partner.test": "u:rick@partner.test", "+mail+archive@bücher.example": "u:+mail+archive@xn--bcher-kva.example",
	} {
		got, err := m.Map(t.Context(), identity(t, id))
		if err != nil || got.Authzid != want || got.DN != "" {
			t.Errorf("%s: %+v, %v; want %q", id, got, err, want)
		}
		if !got.Operations.Has(mapping.Add) || got.Operations.Has(mapping.Compare) || !got.Controls.Has(mapping.ManageDSAIT) {
			t.Errorf("%s: %v, %v", id, got.Operations, got.Controls.Words())
		}
	}
}

func searching(f *finder, filter string) mapping.Options {
	return mapping.Options{Searcher: f, Rules: []mapping.Rule{{
		Who: pattern.MustParse("*@any"), Allow: true, SearchBase: people, SearchFilter: filter, Line: 3,
	}}}
}

func TestMapBySearch(t *testing.T) {
	entry := "uid=rick,ou=a," + people
	tests := []struct {
		name      string
		dns       []string
		err       error
		reason    mapping.Reason // zero: mapped
		temporary bool
	}{
		{"one", []string{entry}, nil, 0, false},
		{"none", nil, nil, mapping.NoEntry, false},
		{"two", []string{entry, "uid=rick,ou=b," + people}, nil, mapping.ManyEntries, true},
		{"the same twice", []string{entry, entry}, nil, mapping.ManyEntries, true},
		{"silent", nil, errors.New("timeout"), mapping.Trouble, true},
		{"the root", []string{""}, nil, mapping.Trouble, true},
		{"no DN", []string{"rick"}, nil, mapping.Trouble, true},
		{"one and an error", []string{entry}, errors.New("cut off"), mapping.Trouble, true},
	}
	for _, tt := range tests {
		f := &finder{dns: tt.dns, err: tt.err}
		got, err := newMapper(t, searching(f, "(&(uid={uid})(o={domain}))")).Map(t.Context(), identity(t, "+a@partner.test"))
		if f.base != people || f.filter != "(&(uid=+a)(o=partner.test))" {
			t.Errorf("%s: asked %q below %q", tt.name, f.filter, f.base)
		}
		if tt.reason == 0 {
			if err != nil || got.DN != entry || got.Authzid != mapping.Authzid("dn:"+entry) {
				t.Errorf("%s: %+v, %v", tt.name, got, err)
			}
			continue
		}
		e, ok := errors.AsType[*mapping.Error](err)
		if !ok || e.Reason != tt.reason || e.Temporary() != tt.temporary || got.Authzid != "" || got.Operations != 0 {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestSearchBase(t *testing.T) {
	f := &finder{dns: []string{"cn=x"}}
	for _, tt := range []struct{ base, filter, wantBase, wantFilter string }{
		{"ou={domain}," + people, "(uid={uid})", "ou=partner.test," + people, "(uid=+a)"},
		{"{domain_dn},o=x", "(uid={uid})", "dc=partner,dc=test,o=x", "(uid=+a)"},
		{"uid={uid},ou={domain},o=x", "(objectClass=*)", `uid=\+a,ou=partner.test,o=x`, "(objectClass=*)"},
	} {
		o := searching(f, tt.filter)
		o.Rules[0].SearchBase = tt.base
		_, err := newMapper(t, o).Map(t.Context(), identity(t, "+a@partner.test"))
		if err != nil || f.base != tt.wantBase || f.filter != tt.wantFilter {
			t.Errorf("%s: asked %q below %q, %v", tt.base, f.filter, f.base, err)
		}
	}
}

func TestRules(t *testing.T) {
	m := newMapper(t, mapping.Options{Rules: []mapping.Rule{
		allow(1, "*@any", "uid={uid},ou={domain},ou=any,dc=x"),
		allow(2, "*@*.test", "uid={uid},ou={domain},ou=test,dc=x"),
		allow(3, "*@partner.test", "uid={uid},ou={domain},ou=partner,dc=x"),
		allow(4, "Rick@partner.test", "cn=rick,dc=x"),
		deny(5, "*@old.test"),
		deny(6, "eve@partner.test"),
		allow(7, "ann@old.test", "cn=ann,dc=x"),
	}})
	tests := []struct{ id, rule, dn string }{
		{"rick@partner.test", `"Rick@partner.test" (line 4)`, "cn=rick,dc=x"},
		{"ann@partner.test", `"*@partner.test" (line 3)`, "uid=ann,ou=partner.test,ou=partner,dc=x"},
		{"ann@b.partner.test", `"*@*.test" (line 2)`, "uid=ann,ou=b.partner.test,ou=test,dc=x"},
		{"ann@example.org", `"*@any" (line 1)`, "uid=ann,ou=example.org,ou=any,dc=x"},
		{"ann@old.test", `"*@old.test" (line 5)`, ""},
		{"eve@partner.test", `"eve@partner.test" (line 6)`, ""},
	}
	for _, tt := range tests {
		id := identity(t, tt.id)
		v, allowed := m.Admits(id), m.AllowsUser(id)
		if v.Rule != tt.rule || v.Allow != (tt.dn != "") || allowed != v.Allow {
			t.Errorf("%s: %+v", tt.id, v)
		}
		mapped, err := m.Map(t.Context(), id)
		if mapped.DN != tt.dn || (err == nil) != v.Allow {
			t.Errorf("%s: %+v, %v", tt.id, mapped, err)
		}
		if e, ok := errors.AsType[*mapping.Error](err); err != nil && (!ok || e.Reason != mapping.Denied || e.Temporary() || e.Rule != tt.rule) {
			t.Errorf("%s: %v", tt.id, err)
		}
	}
}

// TestNobody: what no rule allows, and nobody, is refused; so is everybody by nil.
func TestNobody(t *testing.T) {
	m := newMapper(t, mapping.Options{Rules: []mapping.Rule{allow(1, "*@partner.test", byDN)}})
	rick := identity(t, "rick@partner.test")
	for name, c := range map[string]struct {
		m  *mapping.Mapper
		id saslext.Identity
	}{"other": {m, identity(t, "rick@other.test")}, "nobody": {m, saslext.Identity{}}, "nil": {nil, rick}, "none": {newMapper(t, mapping.Options{}), rick}} {
		if v := c.m.Admits(c.id); v.Allow || v.Reason != mapping.NoRule || v.Rule != "" || c.m.AllowsUser(c.id) {
			t.Errorf("%s: %+v", name, v)
		}
		for _, as := range []string{"", "u:rick@partner.test", "dn:uid=rick,ou=partner.test," + people} {
			r, err := mapping.ParseAuthzid(as)
			if err != nil {
				t.Fatal(err)
			}
			mapped, err := c.m.As(t.Context(), c.id, r)
			if e, ok := errors.AsType[*mapping.Error](err); !ok || e.Temporary() || mapped != (mapping.Mapped{}) {
				t.Errorf("%s as %q: %+v, %v", name, as, mapped, err)
			}
		}
		if c.m != m && c.m.MayActAs(c.id, identity(t, "ann@partner.test")) {
			t.Errorf("%s may be Ann", name)
		}
	}
}

func TestParseAuthzid(t *testing.T) {
	for _, s := range []string{"", "u:rick@partner.test", "u:Rick@PARTNER.test", "dn:uid=rick,dc=x", "dn:cn=a\\,b+l=c,dc=x"} {
		r, err := mapping.ParseAuthzid(s)
		if err != nil || r.IsZero() != (s == "") || r.String() != s {
			t.Errorf("%q: %v, %v", s, r, err)
		}
	}
	for _, s := range []string{
		"u:", "u:rick", "u:@partner.test", "u:rick@partner.test\x00", "u:rick@partner.test ", "u:u:rick@partner.test", "u:*)(uid=*@partner.test",
		"U:rick@partner.test", "rick@partner.test", "uid=rick,dc=x", " u:rick@partner.test", "x",
		"dn:", "dn: ", "dn:rick", "dn:uid=rick,,dc=x", "dn:uid=rick\x00,dc=x", "dn:uid=\xff,dc=x", "dn:uid=#0404746573", "dn:uid=#04047269636b,dc=x",
		"DN:uid=rick,dc=x", "dn:uid=rick,dc=x,", "dn:=rick", "dn:u id=rick", "dn:uid=" + strings.Repeat("a", 5000),
	} {
		r, err := mapping.ParseAuthzid(s)
		e, ok := errors.AsType[*mapping.Error](err)
		if !ok || e.Reason != mapping.BadAuthzid || e.Temporary() || !r.IsZero() {
			t.Errorf("%.80q: %v, %v", s, r, err)
		}
	}
}

// TestAs: himself, or whom an authzid rule names; by name or by DN.
func TestAs(t *testing.T) {
	o := mapping.Options{
		Rules: []mapping.Rule{
			allow(1, "*@*.test", byDN), allow(2, "*@a.example", "uid={uid},{domain_dn},dc=users"), deny(3, "eve@partner.test"),
			{Who: pattern.MustParse("*@names.example"), Allow: true, Authzid: "u:{uid}@{domain}", Line: 4},
		},
		MayActAs: func(from, to saslext.Identity) bool {
			return from.UID == "service" && (to.Domain == from.Domain || to.UID == "sales")
		},
	}
	m := newMapper(t, o)
	tests := []struct{ from, as, want string }{ // want "": denied
		{"rick@partner.test", "", "rick@partner.test"},
		{"rick@partner.test", "u:rick@partner.test", "rick@partner.test"},
		{"rick@partner.test", "u:RICK@Partner.test", "rick@partner.test"},
		{"rick@partner.test", "dn:uid=rick,ou=partner.test," + people, "rick@partner.test"},
		{"rick@partner.test", "dn:UID=Rick , ou=PARTNER.test; 2.5.4.11=People,dc=example,DC=test", "rick@partner.test"},
		{"rick@partner.test", "dn:uid=\\72ick,ou=partner.test," + people, "rick@partner.test"},
		{"rick@names.example", "u:rick@names.example", "rick@names.example"},
		{"service@partner.test", "u:ann@partner.test", "ann@partner.test"},
		{"service@partner.test", "dn:uid=ann,ou=partner.test," + people, "ann@partner.test"},
		{"service@partner.test", "dn:uid=sales,dc=a,dc=example,dc=users", "sales@a.example"},
		{"service@partner.test", "dn:uid=\\2Bmail\\2barchive,ou=partner.test," + people, "+mail+archive@partner.test"},

		{"rick@partner.test", "u:rick@other.test", ""},
		{"rick@partner.test", "u:ann@partner.test", ""},
		{"rick@partner.test", "dn:uid=rick,ou=other.test," + people, ""},
		{"rick@partner.test", "dn:uid=ann,ou=partner.test," + people, ""},
		{"rick@partner.test", "dn:uid=rick,ou=partner.test,ou=people,dc=example", ""},
		{"rick@partner.test", "dn:ou=partner.test," + people, ""},
		{"rick@partner.test", "dn:uid=rick,ou=partner.test,ou=admins,dc=example,dc=test", ""},
		{"rick@partner.test", "dn:uid=rick+l=x,ou=partner.test," + people, ""},
		{"rick@partner.test", "dn:uid=rick,l=x,ou=partner.test," + people, ""},
		{"rick@partner.test", "dn:cn=bridge,ou=services,dc=example,dc=test", ""},
		{"rick@partner.test", "dn:uid=\u212arick,ou=partner.test," + people, ""},
		{"rick@names.example", "dn:uid=rick,ou=names.example," + people, ""},
		{"service@partner.test", "u:ann@other.test", ""},
		{"service@partner.test", "u:eve@partner.test", ""},
		{"service@partner.test", "u:sales@nowhere.example", ""}, // no rule maps him
		{"service@partner.test", "dn:uid=eve,ou=partner.test," + people, ""},
		{"service@partner.test", "dn:uid=ann,ou=other.test," + people, ""},
	}
	for _, tt := range tests {
		r, err := mapping.ParseAuthzid(tt.as)
		if err != nil {
			t.Errorf("%s: %v", tt.as, err)
			continue
		}
		got, err := m.As(t.Context(), identity(t, tt.from), r)
		if tt.want != "" {
			if want, _ := m.Map(t.Context(), identity(t, tt.want)); err != nil || got != want || got.Authzid == "" {
				t.Errorf("%s as %s: %+v, %v", tt.from, tt.as, got, err)
			}
			continue
		}
		e, ok := errors.AsType[*mapping.Error](err)
		if !ok || e.Reason != mapping.AuthzidDenied || e.Temporary() || got != (mapping.Mapped{}) {
			t.Errorf("%s as %s: %+v, %v", tt.from, tt.as, got, err)
		}
	}
}

// TestAsBySearch: only the directory knows the DN of a search, and only one's own is
// asked for.
func TestAsBySearch(t *testing.T) {
	f := &finder{dns: []string{"cn=Rick,ou=a," + people}}
	o := searching(f, "(mail={uid}@{domain})")
	o.MayActAs = func(_, to saslext.Identity) bool { return to.UID == "ann" }
	m := newMapper(t, o)
	as := func(text string) error {
		r, err := mapping.ParseAuthzid(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.As(t.Context(), identity(t, "rick@partner.test"), r)
		return err
	}
	if err := as("dn:CN=rick,ou=A," + people); err != nil || f.filter != "(mail=rick@partner.test)" {
		t.Error(err, f.filter)
	}
	if err := as("u:ann@partner.test"); err != nil || f.filter != "(mail=ann@partner.test)" {
		t.Error(err, f.filter)
	}
	if e, ok := errors.AsType[*mapping.Error](as("dn:cn=Ann,ou=a," + people)); !ok || e.Reason != mapping.AuthzidDenied {
		t.Error(e)
	}
	f.err = errors.New("away")
	for _, text := range []string{"dn:cn=Rick,ou=a," + people, "u:ann@partner.test", ""} {
		if e, ok := errors.AsType[*mapping.Error](as(text)); !ok || e.Reason != mapping.Trouble || !e.Temporary() {
			t.Errorf("%q: %v", text, e)
		}
	}
	f.dns, f.err = nil, nil
	if e, ok := errors.AsType[*mapping.Error](as("u:ann@partner.test")); !ok || e.Reason != mapping.AuthzidDenied {
		t.Error("that Ann has no entry is told:", e)
	}
}

func TestMayActAs(t *testing.T) {
	rick, ann := identity(t, "rick@partner.test"), identity(t, "ann@partner.test")
	alone := newMapper(t, mapping.Options{})
	if alone.MayActAs(rick, ann) || !alone.MayActAs(rick, rick) || alone.MayActAs(rick, saslext.Identity{}) || alone.MayActAs(saslext.Identity{}, saslext.Identity{}) {
		t.Error("without rules one is oneself")
	}
	var _ saslext.Rules = alone
}

func TestOperations(t *testing.T) {
	for _, word := range []string{"search", "compare", "whoami", "add", "modify", "delete", "modify_dn", "password_modify"} {
		o, ok := mapping.ParseOperation(word)
		if !ok || !slices.Equal(o.Words(), []string{word}) {
			t.Errorf("%s: %v", word, o)
		}
		if reads := word == "search" || word == "compare" || word == "whoami"; mapping.Defaults.Has(o) != reads {
			t.Errorf("%s is a default: %v", word, !reads)
		}
	}
	if c, ok := mapping.ParseControl("manage_dsa_it"); !ok || c != mapping.ManageDSAIT || !slices.Equal(c.Words(), []string{"manage_dsa_it"}) {
		t.Error("manage_dsa_it")
	}
	_, okOp := mapping.ParseOperation("Search")
	_, okControl := mapping.ParseControl("relax")
	if okOp || okControl || mapping.Defaults.Has(0) || mapping.ManageDSAIT.Has(0) {
		t.Error("what is not known is not allowed")
	}
	if s := mapping.Defaults.String(); s != "search compare whoami" {
		t.Error(s)
	}
}
