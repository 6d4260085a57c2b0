package directory

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
)

// FuzzTemplate: whatever stands for a user, the filter and the base keep their form, and
// the value comes back as it was.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"rick", "*)(uid=*", "+mail+archive", "#x", " x ", `a\b`, "jürgen", "x\x00y", "{domain}", `"<>;,=`, "ends in \\", "  "} {
		f.Add(s)
	}
	t1, err := newTemplate("uid={uid},ou={domain},dc=test", "(&(objectClass=person)(|(uid={uid})(mail={address})))", false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" || !utf8.ValidString(value) {
			return // no identity and no address is like that
		}
		v := values{uid: value, domain: "example.org", address: value + "@example.org"}
		p, err := ldap.CompileFilter(t1.filterFor(v))
		if err != nil {
			t.Fatalf("%q: %v", t1.filterFor(v), err)
		}
		or := p.Children[1]
		if len(p.Children) != 2 || len(or.Children) != 2 || or.Children[0].Tag != ldap.FilterEqualityMatch || or.Children[1].Tag != ldap.FilterEqualityMatch {
			t.Fatalf("%q has another form", t1.filterFor(v))
		}
		for i, want := range []string{v.uid, v.address} {
			if got := or.Children[i].Children[1].Data.String(); got != want {
				t.Fatalf("%q asks for %q", want, got)
			}
		}
		dn, err := ldap.ParseDN(t1.baseFor(v))
		if err != nil || len(dn.RDNs) != 3 || len(dn.RDNs[0].Attributes) != 1 {
			t.Fatalf("%q: %v, %v", t1.baseFor(v), dn, err)
		}
		if got := dn.RDNs[0].Attributes[0].Value; got != value {
			t.Fatalf("%q is %q in the DN %q", value, got, t1.baseFor(v))
		}
	})
}

func TestFixedPart(t *testing.T) {
	for base, want := range map[string]int{
		"dc=example,dc=org": 2, "ou={domain},dc=example,dc=org": 2, "ou=x,uid={uid},dc=org": 1, "ou={domain}": 0, "dc={domain}+ou=x,dc=org": 1,
	} {
		got, err := newTemplate(base, "(mail={address})", false)
		if err != nil || got.fixed != want {
			t.Errorf("%s: %d, %v, want %d", base, got.fixed, err, want)
		}
	}
	if _, err := newTemplate("dc=x", strings.Repeat("(", 50)+"{uid}", false); err == nil {
		t.Error("half a filter")
	}
}
