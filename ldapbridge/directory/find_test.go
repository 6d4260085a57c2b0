package directory

import (
	"slices"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// TestFind: what is found is told, and what is not known is an error.
func TestFind(t *testing.T) {
	const base, filter = "ou=people,dc=example,dc=org", "(mail={uid}@example.org)" // {uid} is a legal uid
	one, two := entry("cn=a,dc=x"), entry("cn=b,dc=x")
	for _, c := range []struct {
		name    string
		results []*ber.Packet
		want    []string // nil: an error
	}{
		{"none", []*ber.Packet{code("search", 0)}, []string{}},
		{"one", []*ber.Packet{one, code("search", 0)}, []string{"cn=a,dc=x"}},
		{"two", []*ber.Packet{one, two, code("search", 0)}, []string{"cn=a,dc=x", "cn=b,dc=x"}},
		{"two, and more", []*ber.Packet{one, two, code("search", 4)}, []string{"cn=a,dc=x", "cn=b,dc=x"}},
		{"one, and a limit of the server's", []*ber.Packet{one, code("search", 4)}, nil},
		{"a limit of the server's", []*ber.Packet{code("search", 4)}, nil},
		{"one in time", []*ber.Packet{one, code("search", 3)}, nil},
		{"no base", []*ber.Packet{code("search", 32, "dc=example,dc=org")}, nil},
		{"forbidden", []*ber.Packet{code("search", 50)}, nil},
		{"elsewhere", []*ber.Packet{referral("ldap://other.example/"), code("search", 0)}, nil},
	} {
		f := newFake(t, func(r request) []*ber.Packet {
			if r.op != "search" {
				return usual(r)
			}
			return c.results
		})
		got, err := newDirectory(t, Options{}, f).Find(t.Context(), base, filter)
		if (err == nil) != (c.want != nil) || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if asked := f.asked(); !slices.Contains(asked, "search "+base+" "+filter) {
			t.Errorf("%s: asked %q", c.name, asked)
		}
	}
}
