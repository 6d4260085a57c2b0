package mapping_test

import (
	"slices"
	"strings"
	"testing"

	"dancemta/internal/pattern"
	"dancemta/ldapbridge/mapping"
)

// TestNewRefuses: each rule alone, and what is said of it.
func TestNewRefuses(t *testing.T) {
	all := pattern.MustParse("*@any")
	one := pattern.MustParse("*@partner.test")
	tests := []struct {
		name string
		rule mapping.Rule
		want string
	}{
		{"clients", mapping.Rule{Who: pattern.MustParse("*._device.example.org"), Allow: true, DN: byDN}, "who names no users"},
		{"nobody", mapping.Rule{Allow: true, DN: byDN}, "who names no users"},
		{"a uid without a normal form", mapping.Rule{Who: pattern.MustParse("a=b@partner.test"), Allow: true, DN: byDN}, "uid has no normal form"},
		{"a deny that maps", mapping.Rule{Who: all, DN: byDN}, "a deny has nothing but who"},
		{"a deny of an operation", mapping.Rule{Who: all, Operations: mapping.Add}, "a deny has nothing but who"},
		{"no mapping", mapping.Rule{Who: all, Allow: true}, "one of dn, authzid"},
		{"two mappings", mapping.Rule{Who: all, Allow: true, DN: byDN, Authzid: "u:{uid}@{domain}"}, "one of dn, authzid"},
		{"half a search", mapping.Rule{Who: all, Allow: true, SearchBase: people}, "belong together"},
		{"nobody searches", mapping.Rule{Who: all, Allow: true, SearchBase: people, SearchFilter: "(mail={uid}@{domain})"}, "no directory"},

		{"no domain", mapping.Rule{Who: all, Allow: true, DN: "uid={uid}," + people}, "{domain} is missing"},
		{"no domain below a zone", mapping.Rule{Who: pattern.MustParse("*@*.partner.test"), Allow: true, DN: "uid={uid}," + people}, "{domain} is missing"},
		{"one uid of many domains", mapping.Rule{Who: pattern.MustParse("rick@any"), Allow: true, DN: "cn=rick,o=x"}, "{domain} is missing"},
		{"no uid", mapping.Rule{Who: one, Allow: true, DN: "cn=guests,ou={domain},o=x"}, "{uid} is missing"},
		{"a name without domain", mapping.Rule{Who: all, Allow: true, Authzid: "u:{uid}"}, "{domain} is missing"},
		{"a name without uid", mapping.Rule{Who: one, Allow: true, Authzid: "u:guest"}, "{uid} is missing"},
		{"a name that is none", mapping.Rule{Who: all, Allow: true, Authzid: "{uid}@{domain}"}, `begins with "u:"`},
		{"a DN as a name", mapping.Rule{Who: all, Allow: true, Authzid: "dn:uid={uid},ou={domain},o=x"}, `begins with "u:"`},

		{"no DN", mapping.Rule{Who: one, Allow: true, DN: "{uid}"}, "no distinguished name"},
		{"the empty DN", mapping.Rule{Who: one, Allow: true, DN: " "}, "it is empty"},
		{"a type", mapping.Rule{Who: one, Allow: true, DN: "{uid}=x,o=y"}, "no distinguished name"},
		{"another brace", mapping.Rule{Who: one, Allow: true, DN: "uid={user},o=x"}, "only {uid} and {domain}"},
		{"an open brace", mapping.Rule{Who: one, Allow: true, DN: "uid={uid},o={"}, "only {uid} and {domain}"},
		{"glued", mapping.Rule{Who: all, Allow: true, DN: "uid={uid}{domain},o=x"}, "between two placeholders"},
		{"a.b at c.d and a at b.c.d", mapping.Rule{Who: all, Allow: true, DN: "uid={uid}.{domain},o=x"}, "between two placeholders"},
		{"two in one RDN", mapping.Rule{Who: all, Allow: true, DN: "uid={uid}+uid={domain},o=x"}, "two parts of one RDN"},
		{"two domains", mapping.Rule{Who: all, Allow: true, DN: "uid={uid},{domain_dn},{domain_dn}"}, "stands twice"},
		{"a domain in a value", mapping.Rule{Who: all, Allow: true, DN: "uid={uid},ou=x{domain_dn},o=x"}, "only {uid} and {domain}"},
		{"long", mapping.Rule{Who: all, Allow: true, DN: byDN + strings.Repeat(",o=x", 500)}, "over 1000"},
		{"a long name", mapping.Rule{Who: all, Allow: true, Authzid: "u:{uid}@{domain}" + strings.Repeat("x", 1000)}, "over 1000"},
		{"a name glued", mapping.Rule{Who: all, Allow: true, Authzid: "u:{uid}-{domain}"}, "between two placeholders"},
	}
	for _, tt := range tests {
		tt.rule.Line = 7
		if _, err := mapping.New(mapping.Options{Rules: []mapping.Rule{tt.rule}}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "(line 7)") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestNewRefusesFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"(uid={uid})":                      "{domain} is missing",
		"(o={domain})":                     "{uid} is missing",
		"(mail={uid}@{domain}":             "no filter",
		"mail={uid}@{domain}":              "no filter",
		"({uid}={domain})":                 "stands where no value is",
		"(&{uid}(mail={domain}))":          "stands where no value is",
		"(&(objectClass=*){uid}@{domain})": "stands where no value is",
		"(mail={uid}{domain})":             "between two placeholders",
		"(mail={mail})":                    "only {uid} and {domain}",
		"(mail={uid}@{domain})(a=b)":       "no filter",
	} {
		if _, err := mapping.New(searching(&finder{}, filter)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", filter, err)
		}
	}
	o := searching(&finder{}, "(mail={uid}@{domain})")
	o.Rules[0].SearchBase = "people"
	if _, err := mapping.New(o); err == nil || !strings.Contains(err.Error(), "search_base") {
		t.Error(err)
	}
}

// TestPairs: two rules, each good alone, that make one of two users.
func TestPairs(t *testing.T) {
	tests := []struct {
		whoA, dnA, whoB, dnB string
		good                 bool
	}{
		{"*@a.test", "uid={uid},o=x", "*@b.test", "uid={uid},o=x", false},
		{"*@a.test", "uid={uid},o=x", "*@b.test", "UserID={uid}, O=X", false},
		{"*@a.test", "uid={uid},o=x", "*@b.test", "uid={uid},o=y", true},
		{"*@a.test", "uid={uid},ou={domain},o=x", "*@b.test", "uid={uid},ou={domain},o=x", true},
		{"*@a.test", "uid={uid},ou={domain},o=x", "*@b.test", "uid={uid},ou=a.test,o=x", false},
		{"*@a.test", "uid={uid},ou={domain},o=x", "*@b.test", "uid={uid},ou=b.test,o=x", true},
		{"*@*.test", "uid={uid},ou={domain},o=x", "*@b.test", "uid={uid},ou=staff,o=x", false}, // staff could be a domain, for all that is known
		{"*@*.test", "uid={uid},ou={domain},o=x", "*@b.test", "uid={uid},ou=staff,o=y", true},
		{"*@*.test", "uid={uid},ou={domain},o=x", "*@any", "uid={uid},ou={domain},o=x", true},
		{"*@*.test", "uid={uid}@{domain},o=x", "*@b.test", "uid={uid},o=x", false},
		{"*@*.test", "uid={uid},{domain_dn},o=x", "*@b.test", "uid={uid},dc=a,dc=test,o=x", false},
		{"*@*.test", "uid={uid},{domain_dn},o=x", "*@any", "uid={uid},{domain_dn},o=y", true},
		{"*@*.test", "uid={uid},{domain_dn},o=x", "*@any", "uid={uid},{domain_dn},o=x", true},
		{"*@a.test", "uid={uid},o=x", "*@b.test", "cn={uid},o=x", true},
		{"*@a.test", "uid=a{uid},o=x", "*@b.test", "uid=b{uid},o=x", true},
		{"*@a.test", "uid={uid}1,o=x", "*@b.test", "uid={uid}2,o=x", true},
		{"*@a.test", "uid={uid}1,o=x", "*@b.test", "uid={uid},o=x", false},
		{"*@a.test", "uid={uid}+l=r,o=x", "*@b.test", "uid={uid}+l=s,o=x", false}, // not looked into
		{"*@a.test", "uid={uid},o=x", "*@b.test", "uid={uid},o=y,o=x", true},
		{"*@a.test", "uid={uid},o=x", "rick@b.test", "uid=rick,o=x", true}, // whoever writes both out means it
		{"rick@*.test", "uid=rick,ou={domain},o=x", "*@b.test", "uid={uid},ou=c.test,o=x", false},
		{"rick@*.test", "uid=rick,ou={domain},o=x", "ann@*.test", "uid=ann,ou={domain},o=x", true},
		{"*@a.test", "uid={uid},o=x", "*@a.test", "uid={uid},o=x", true}, // the second never decides
	}
	for _, tt := range tests {
		rules := []mapping.Rule{allow(3, tt.whoA, tt.dnA), allow(9, tt.whoB, tt.dnB)}
		for range 2 {
			_, err := mapping.New(mapping.Options{Rules: rules})
			if (err == nil) != tt.good || err != nil && !(strings.HasPrefix(err.Error(), "ldap_rule "+`"`+tt.whoB+`" (line 9)`) && strings.Contains(err.Error(), "(line 3)")) {
				t.Errorf("%+v: %v", tt, err)
			}
			slices.Reverse(rules)
		}
	}
}

func TestPairsOfNames(t *testing.T) {
	name := func(line int, who, text string) mapping.Rule {
		return mapping.Rule{Who: pattern.MustParse(who), Allow: true, Authzid: text, Line: line}
	}
	for _, tt := range []struct {
		a, b mapping.Rule
		good bool
	}{
		{name(1, "*@a.test", "u:{uid}"), name(2, "*@b.test", "u:{uid}"), false},
		{name(1, "*@a.test", "u:{uid}"), name(2, "*@b.test", "u:{uid}@{domain}"), false}, // uids hold no @, but that is not seen
		{name(1, "*@a.test", "u:{uid}@{domain}"), name(2, "*@b.test", "u:{uid}@{domain}"), true},
		{name(1, "*@a.test", "u:a/{uid}"), name(2, "*@b.test", "u:b/{uid}"), true},
		{name(1, "*@a.test", "u:{uid}"), allow(2, "*@b.test", "uid={uid},o=x"), true},
	} {
		if _, err := mapping.New(mapping.Options{Rules: []mapping.Rule{tt.a, tt.b}}); (err == nil) != tt.good {
			t.Errorf("%s, %s: %v", tt.a.Authzid, tt.b.Authzid, err)
		}
	}
}

func TestPairsOfSearches(t *testing.T) {
	rule := func(line int, who, base, filter string) mapping.Rule {
		return mapping.Rule{Who: pattern.MustParse(who), Allow: true, SearchBase: base, SearchFilter: filter, Line: line}
	}
	for _, tt := range []struct {
		whoA, baseA, filterA, whoB, baseB, filterB string
		good                                       bool
	}{
		{"*@a.test", "o=x", "(uid={uid})", "*@b.test", "o=x", "(uid={uid})", false},
		{"*@a.test", "o=x", "(uid={uid})", "*@b.test", "ou=b, O=X", "(uid={uid})", false},
		{"*@a.test", "ou=a,o=x", "(uid={uid})", "*@b.test", "ou=b,o=x", "(uid={uid})", true},
		{"*@a.test", "o=x", "(uid={uid})", "*@b.test", "xo=x", "(uid={uid})", true},
		{"*@a.test", "o=x", "(mail={uid}@{domain})", "*@b.test", "o=x", "(mail={uid}@{domain})", true},
		{"*@*.test", "o=x", "(mail={uid}@{domain})", "*@any", "o=x", "(mail={uid}@{domain})", true},
		{"*@a.test", "o=x", "(uid={uid})", "*@b.test", "o=x", "(cn={uid})", true}, // cannot be told
		{"*@any", "ou={domain},o=x", "(uid={uid})", "*@*.test", "ou={domain},o=x", "(uid={uid})", true},
		{"*@any", "ou={domain},o=x", "(uid={uid})", "*@b.test", "o=x", "(uid={uid})", false},
		{"*@a.test", "ou={domain},o=x", "(uid={uid})", "*@b.test", "ou=b.test,o=x", "(uid={uid})", true},
		{"*@a.test", "ou={domain},o=x", "(uid={uid})", "*@b.test", "ou=a.test,o=x", "(uid={uid})", false},
		{"*@a.test", "{domain_dn},o=x", "(uid={uid})", "*@b.test", "dc=a,dc=test,o=x", "(uid={uid})", false},
		{"*@a.test", "o=x", "(uid={uid})", "*@a.test", "o=x", "(uid={uid})", true},
		{"*@a.test", "o=x", "(uid={uid})", "rick@b.test", "o=x", "(uid=rick)", true},
	} {
		_, err := mapping.New(mapping.Options{Searcher: &finder{}, Rules: []mapping.Rule{rule(1, tt.whoA, tt.baseA, tt.filterA), rule(2, tt.whoB, tt.baseB, tt.filterB)}})
		if (err == nil) != tt.good {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	m := newMapper(t, mapping.Options{Rules: []mapping.Rule{
		allow(1, "*@*.test", byDN),
		allow(2, "rick@old.test", "cn=rick,o=x"),
		deny(3, "*@old.test"),
		deny(4, "ann@old.test"),
		allow(5, "*@*.test", byDN),
		allow(6, "*@any", byDN),
	}})
	want := []string{
		`ldap_rule "rick@old.test" (line 2) can never decide: rule "*@old.test" (line 3) always does before it`,
		`ldap_rule "*@*.test" (line 5) can never decide: rule "*@*.test" (line 1) always does before it`,
	}
	if got := m.Unreachable(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if (*mapping.Mapper)(nil).Unreachable() != nil {
		t.Error("nil")
	}
}
