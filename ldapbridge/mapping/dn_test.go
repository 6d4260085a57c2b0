package mapping_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"pgregory.net/rapid"

	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
)

func TestSameDN(t *testing.T) {
	tests := []struct {
		a, b string
		same bool
	}{
		{"uid=rick,dc=x", "uid=rick,dc=x", true},
		{"uid=rick,dc=x", "UID=Rick,DC=X", true},
		{"uid=rick,dc=x", "userid = rick , dc = x", true},
		{"uid=rick,dc=x", "0.9.2342.19200300.100.1.1=rick;0.9.2342.19200300.100.1.25=x", true},
		{"uid=rick,dc=x", `uid=\72ick,dc=x`, true},
		{"cn=a b,dc=x", "cn=  A   b ,dc=x", true},
		{"cn=a b,dc=x", `cn=\20a\20\20b\ ,dc=x`, true},
		{"cn=a+l=b,dc=x", "L=B+commonName=A,dc=x", true},
		{`uid=\+mail\+archive,dc=x`, `uid=\2Bmail\2barchive,dc=x`, true},
		{"uid=jürgen,dc=x", `uid=j\c3\bcrgen,dc=x`, true},
		{"", " ", true},

		{"uid=rick,dc=x", "uid=rick,dc=y", false},
		{"uid=rick,dc=x", "uid=rick", false},
		{"uid=rick,dc=x", "dc=x,uid=rick", false},
		{"uid=rick,dc=x", "cn=rick,dc=x", false},
		{"uid=rick,dc=x", "uid=ric k,dc=x", false},
		{"uid=rick,dc=x", "uid=rick+uid=rick,dc=x", false},
		{"cn=a+cn=a+cn=b,dc=x", "cn=a+cn=b+cn=b,dc=x", false},
		{`cn=a\,dc\=b,dc=x`, "cn=a,dc=b,dc=x", false},
		{"uid=kelvin,dc=x", "uid=\u212aelvin,dc=x", false}, // ldap.DN.EqualFold says yes
		{"uid=σασ,dc=x", "uid=σας,dc=x", false},            // so here
		{"uid=\u0432,dc=x", "uid=\u1c80,dc=x", false},      // and here
		{"uid=straße,dc=x", "uid=strasse,dc=x", false},     // RFC 4518 2.2 folds them
		{"uid=jürgen,dc=x", "uid=JÜRGEN,dc=x", false},      // only ASCII is folded
		{"uid=rick\u00a0x,dc=x", "uid=rick x,dc=x", false}, // no space but U+0020
		{"uid=#0404726963b6,dc=x", "uid=#0404726963b6,dc=x", false},
		{"uid=rick\xff,dc=x", "uid=rick\xff,dc=x", false},
		{`uid=rick\ff,dc=x`, `uid=rick\ff,dc=x`, false},
		{"rick", "rick", false},
		{"uid;lang-en=rick,dc=x", "uid;lang-en=rick,dc=x", false},
	}
	for _, tt := range tests {
		if mapping.SameDN(tt.a, tt.b) != tt.same || mapping.SameDN(tt.b, tt.a) != tt.same {
			t.Errorf("%q and %q: want %v", tt.a, tt.b, tt.same)
		}
	}
}

// runes are those that mean something to DNs, filters, templates or folding.
const runes = "aAkKé\u212aßsς\u0432\u1c80岡 +,;<>\"\\=#*()\x00\x01\x7f{}.-@_'~"

func anyText() *rapid.Generator[string] {
	return rapid.StringOfN(rapid.RuneFrom([]rune(runes)), 1, 8, -1)
}

// TestEscapes: what the library escapes it reads back, and the normal form of it is one.
func TestEscapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyText().Draw(t, "value")
		dn, err := ldap.ParseDN("uid=" + ldap.EscapeDN(v) + ",ou=x")
		if err != nil || len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != v {
			t.Fatalf("%q: %v, %v", v, dn, err)
		}
		checkNormalDN(t, "uid="+ldap.EscapeDN(v)+",ou=x")
		f, err := ldap.CompileFilter("(uid=" + ldap.EscapeFilter(v) + ")")
		if err != nil || f.Tag != ldap.FilterEqualityMatch || f.Children[1].Data.String() != v {
			t.Fatalf("%q: %v, %v", v, f, err)
		}
	})
}

// checkNormalDN: the normal form is that of itself, and the same DN.
func checkNormalDN(t interface{ Fatalf(string, ...any) }, s string) {
	normal, err := mapping.NormalDN(s)
	if err != nil {
		if normal != "" || mapping.SameDN(s, s) {
			t.Fatalf("%q: %q and %v", s, normal, err)
		}
		return
	}
	again, err := mapping.NormalDN(normal)
	if len(normal) <= 4096 && (err != nil || again != normal || !mapping.SameDN(s, normal)) || !utf8.ValidString(normal) {
		t.Fatalf("%q: %q, then %q, %v", s, normal, again, err)
	}
}

func anyIdentity(t *rapid.T, label string) (saslext.Identity, bool) {
	uid := rapid.StringOfN(rapid.RuneFrom([]rune("aAkb.+-_'{}!&~|`^$éßsςσ\u0432\u1c80岡")), 1, 6, -1).Draw(t, label+" uid")
	if rapid.IntRange(0, 9).Draw(t, label+" odd") == 0 {
		uid = rapid.SampledFrom([]string{"{domain}", "{uid}", "+mail+archive", "a.b", "xn--a"}).Draw(t, label+" odd uid")
	}
	domain := rapid.SampledFrom([]string{"a.test", "b.a.test", "b.test", "a.b.test", "xn--bcher-kva.test", "test.a", "a-b.test"}).Draw(t, label+" domain")
	id, err := saslext.NewIdentity(uid, domain)
	return id, err == nil
}

// templates are such as New takes for everybody.
var templates = []string{
	byDN, "uid={uid},{domain_dn}," + people, "uid={uid}@{domain},o=x", "ou={domain}+l=x,uid={uid},o=x",
	"{domain_dn},uid={uid}", `cn=\#{uid} \+ {domain},o=x`, "cn={domain}/{uid},o=x", "uid={uid},ou={uid}\\,{domain},o=x",
}

// TestUsersDiffer: two identities never have one DN, name or filter, and each is read back.
func TestUsersDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, okA := anyIdentity(t, "a")
		b, okB := anyIdentity(t, "b")
		if !okA || !okB {
			return
		}
		m := mapperFor(t, mapping.Rule{DN: rapid.SampledFrom(templates).Draw(t, "template")})
		x, errX := m.Map(t.Context(), a)
		y, errY := m.Map(t.Context(), b)
		if errX != nil || errY != nil || mapping.SameDN(x.DN, y.DN) != (a == b) {
			t.Fatalf("%s has %q and %s has %q: %v, %v", a, x.DN, b, y.DN, errX, errY)
		}
		r, err := mapping.ParseAuthzid(string(x.Authzid))
		if err != nil {
			t.Fatalf("%s: %v", x.Authzid, err)
		}
		if as, err := m.As(t.Context(), a, r); err != nil || as != x {
			t.Fatalf("%s is not %s: %v", a, x.Authzid, err)
		}
		if _, err := m.As(t.Context(), b, r); (err == nil) != (a == b) {
			t.Fatalf("%s as %s: %v", b, x.Authzid, err)
		}
	})
}

// TestServiceIsOthers: whoever may be anybody is whose DN it names, and nobody else.
func TestServiceIsOthers(t *testing.T) {
	service, err := saslext.NewIdentity("service", "proxy.example")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, ok := anyIdentity(t, "a")
		if !ok {
			return
		}
		m := mapperFor(t, mapping.Rule{DN: rapid.SampledFrom(templates).Draw(t, "template")})
		x, err := m.Map(t.Context(), a)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		r, err := mapping.ParseAuthzid("dn:" + strings.ReplaceAll(x.DN, ",", " , "))
		if err != nil {
			return // the comma was of a value
		}
		as, err := m.As(t.Context(), service, r)
		if strings.Contains(x.DN, `\,`) {
			return
		}
		if err != nil || as != x {
			t.Fatalf("%s: %+v, %v", x.DN, as, err)
		}
	})
}

func mapperFor(t interface{ Fatalf(string, ...any) }, r mapping.Rule) *mapping.Mapper {
	r.Who, r.Allow = pattern.MustParse("*@any"), true
	m, err := mapping.New(mapping.Options{Rules: []mapping.Rule{r}, MayActAs: func(from, to saslext.Identity) bool {
		return from.UID == "service"
	}})
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return m
}

// TestNamesAndFiltersDiffer: so it is with the other two forms.
func TestNamesAndFiltersDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, okA := anyIdentity(t, "a")
		b, okB := anyIdentity(t, "b")
		if !okA || !okB {
			return
		}
		byName := mapperFor(t, mapping.Rule{Authzid: "u:{uid}@{domain}"})
		x, _ := byName.Map(t.Context(), a)
		y, _ := byName.Map(t.Context(), b)
		if (x.Authzid == y.Authzid) != (a == b) || x.Authzid == "" {
			t.Fatalf("%s and %s: %s and %s", a, b, x.Authzid, y.Authzid)
		}
		f := &finder{dns: []string{"cn=x"}}
		m, err := mapping.New(searching(f, "(&(uid={uid})(o={domain}))"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Map(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		filter, err := ldap.CompileFilter(f.filter)
		if err != nil || len(filter.Children) != 2 || filter.Children[0].Children[1].Data.String() != a.UID ||
			filter.Children[1].Children[1].Data.String() != a.Domain.String() {
			t.Fatalf("%s: %q, %v", a, f.filter, err)
		}
	})
}

// Identities in normal form hold nothing that a filter could be broken with; whoever
// makes one by hand is escaped all the same.
func TestBuildersEscapeAnyway(t *testing.T) {
	uid := `*)(uid=*\ ,o=y` + "\x00 "
	id := saslext.Identity{UID: uid, Domain: dnsname.MustParse("partner.test")}
	f := &finder{dns: []string{"cn=x"}}
	if _, err := newMapper(t, searching(f, "(&(uid={uid})(o={domain}))")).Map(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if want := `(&(uid=\2a\29\28uid=\2a\5c ,o=y\00 )(o=partner.test))`; f.filter != want {
		t.Errorf("got %s, want %s", f.filter, want)
	}
	m := newMapper(t, mapping.Options{Rules: []mapping.Rule{allow(1, "*@any", byDN)}})
	got, err := m.Map(t.Context(), id)
	if want := `uid=*)(uid=*\\ \,o=y\00\ ,ou=partner.test,` + people; err != nil || got.DN != want {
		t.Errorf("got %s, want %s; %v", got.DN, want, err)
	}
	id.UID = "#0401"
	if got, err = m.Map(t.Context(), id); err != nil || got.DN != `uid=\#0401,ou=partner.test,`+people {
		t.Errorf("got %s, %v", got.DN, err)
	}
}

func FuzzSameDN(f *testing.F) {
	for _, s := range []string{"uid=rick,ou=partner.test,dc=x", "UID = Rick ; dc=x", `cn=\#a\20+l=\c3\bc,dc=x`, "uid=#0404", "=x", `cn=\`, "cn=a=#b", "dc=a,", "1.2.3=x"} {
		f.Add(s, "uid=rick,ou=partner.test,dc=x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		checkNormalDN(t, a)
		checkNormalDN(t, b)
		if mapping.SameDN(a, b) != mapping.SameDN(b, a) {
			t.Fatalf("%q and %q: not the same both ways", a, b)
		}
		if mapping.SameDN(a, b) { // never laxer than the library, but for spaces and other names of types
			x, errX := ldap.ParseDN(a)
			y, errY := ldap.ParseDN(b)
			if errX != nil || errY != nil || len(x.RDNs) != len(y.RDNs) {
				t.Fatalf("%q and %q: %v, %v", a, b, errX, errY)
			}
		}
	})
}

func FuzzParseAuthzid(f *testing.F) {
	id, err := saslext.NewIdentity("rick", "partner.test")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"u:rick@partner.test", "dn:uid=rick,ou=partner.test," + people, "dn:uid=ann,ou=partner.test," + people, "dn:", "u:\x00@a.b", "x"} {
		f.Add(s)
	}
	own := "uid=rick,ou=partner.test," + people
	f.Fuzz(func(t *testing.T, s string) {
		r, err := mapping.ParseAuthzid(s)
		if err != nil {
			return
		}
		m := mapperFor(t, mapping.Rule{DN: byDN})
		// Rick is Rick, whatever he says, or he is refused.
		if as, err := m.As(t.Context(), id, r); err == nil && (as.Identity != id || as.DN != own) {
			t.Fatalf("%q is %+v", s, as)
		}
	})
}
