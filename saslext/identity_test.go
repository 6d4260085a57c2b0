package saslext_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"dancemta/internal/dnsname"
	"dancemta/saslext"
)

func TestParseIdentity(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		in, want, ascii string
	}{
		{"rick@example.org", "rick@example.org", "rick@example.org"},
		{"Rick@EXAMPLE.org", "rick@example.org", "rick@example.org"},
		{"+mail+archive@example.org", "+mail+archive@example.org", "+mail+archive@example.org"},
		{"rick+x@example.org", "rick+x@example.org", "rick+x@example.org"},
		{"o'neill.j_r-2!~@example.org", "o'neill.j_r-2!~@example.org", "o'neill.j_r-2!~@example.org"},
		{"rick@Bücher.example", "rick@bücher.example", "rick@xn--bcher-kva.example"},
		{"rick@xn--bcher-kva.example", "rick@bücher.example", "rick@xn--bcher-kva.example"},
		{"Jürgen@example.org", "jürgen@example.org", "jürgen@example.org"},
		{"ju\u0308rgen@example.org", "jürgen@example.org", "jürgen@example.org"}, // NFD
		{"Иван@example.org", "иван@example.org", "иван@example.org"},
		{"straße@example.org", "straße@example.org", "straße@example.org"},
		{"岡田@example.org", "岡田@example.org", "岡田@example.org"},
		{"岡田rick@example.org", "岡田rick@example.org", "岡田rick@example.org"}, // Han and Latin do not look alike
		{long + "@example.org", long + "@example.org", long + "@example.org"},
	}
	for _, tt := range tests {
		id, err := saslext.ParseIdentity(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if id.String() != tt.want || id.ASCIIDomain() != tt.ascii || id.IsZero() {
			t.Errorf("%q: got %q, %q; want %q, %q", tt.in, id.String(), id.ASCIIDomain(), tt.want, tt.ascii)
		}
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	type test struct {
		in  string
		err error
	}
	tests := []test{
		{"", saslext.ErrSyntax},
		{"rick", saslext.ErrSyntax},
		{"rick\xff@example.org", saslext.ErrSyntax},
		{"rick@example\xff.org", saslext.ErrSyntax},
		{strings.Repeat("a", 989) + "@example.org", saslext.ErrSyntax}, // 1001 octets
		{strings.Repeat("a", 988) + "@example.org", saslext.ErrUID},
		{"@example.org", saslext.ErrUID},
		{"rick@", saslext.ErrDomain},
		{"rick@org", saslext.ErrDomain},
		{"rick@example..org", saslext.ErrDomain},
		{"rick@.example.org", saslext.ErrDomain},
		{"rick@example.org.", saslext.ErrDomain},
		{"rick@_user.example.org", saslext.ErrDomain},
		{"rick@*.example.org", saslext.ErrDomain},
		{"rick@[127.0.0.1]", saslext.ErrDomain},
		{"rick@127.0.0.1", saslext.ErrDomain},
		{"rick@xn--abc.example", saslext.ErrDomain},                          // a fake A-label
		{"rick@xn--example-.example", saslext.ErrDomain},                     // ASCII behind xn--
		{"rick@\u2665.example", saslext.ErrDomain},                           // IDNA2008 has no symbols
		{"rick@exa\u00admple.org\x00", saslext.ErrDomain},                    // NUL
		{"rick@" + strings.Repeat("a.", 122) + "example", saslext.ErrDomain}, // no room for _user
		{strings.Repeat("a", 65) + "@example.org", saslext.ErrUID},
		{strings.Repeat("ü", 33) + "@example.org", saslext.ErrUID},
		{".rick@example.org", saslext.ErrUID},
		{"rick.@example.org", saslext.ErrUID},
		{"r..ick@example.org", saslext.ErrUID},
		{"ü\uff0e\uff0ex@example.org", saslext.ErrUID},  // fullwidth dots
		{"\u212aelvin@example.org", saslext.ErrUID},     // the Kelvin sign becomes k
		{"\uff52\uff49ck@example.org", saslext.ErrUID},  // fullwidth ri
		{"\u212a\u00e9vin@example.org", saslext.ErrUID}, // the Kelvin sign beside what stays
		{"ren\u00e9\uff12@example.org", saslext.ErrUID}, // fullwidth 2, the same
		{"r\u0456ck@example.org", saslext.ErrUID},       // Cyrillic i among Latin
		{"\u03bfscar@example.org", saslext.ErrUID},      // Greek o among Latin
		{"\u03b1\u0431@example.org", saslext.ErrUID},    // Greek and Cyrillic
		{"\ufb01n@example.org", saslext.ErrUID},         // ligature fi
		{"ri\u00adck@example.org", saslext.ErrUID},      // soft hyphen
		{"ri\u200bck@example.org", saslext.ErrUID},      // zero width space
		{"\u202erick@example.org", saslext.ErrUID},      // bidi override
		{"\u05d0a@example.org", saslext.ErrUID},         // bidi rule
		{"u:rick@example.org", saslext.ErrUID},          // the prefix of LDAP
		{"dn:uid=rick@example.org", saslext.ErrUID},
		{"rick@evil.example@example.org", saslext.ErrUID},
		{"\"rick\"@example.org", saslext.ErrUID},
		{"rick \n@example.org", saslext.ErrUID},
		{"x\r\nBcc:y@example.org", saslext.ErrUID},
		{"rick\x00@example.org", saslext.ErrUID},
		{"*)(uid=*@example.org", saslext.ErrUID},
	}
	for _, c := range "@/\\:,;<>()[]\"=*%?# \t\r\n\x00\x7f" {
		tests = append(tests, test{"ri" + string(c) + "ck@example.org", saslext.ErrUID})
	}
	for _, tt := range tests {
		if id, err := saslext.ParseIdentity(tt.in); !errors.Is(err, tt.err) || !id.IsZero() {
			t.Errorf("%.80q: got %q, %v; want %v", tt.in, id, err, tt.err)
		}
	}
}

// What a certificate says is not mapped in its domain.
func TestNewIdentity(t *testing.T) {
	tests := []struct {
		uid, domain, want string
		err               error
	}{
		{"Rick", "Example.ORG", "rick@example.org", nil},
		{"rick", "xn--bcher-kva.example", "rick@bücher.example", nil},
		{"rick", "bücher.example", "", saslext.ErrDomain},
		{"rick", "_user.example.org", "", saslext.ErrDomain},
		{"rick", "*.example.org", "", saslext.ErrDomain},
		{"rick", "192.0.2.1", "", saslext.ErrDomain},
		{"rick", "org", "", saslext.ErrDomain},
		{"rick", "", "", saslext.ErrDomain},
		{"", "example.org", "", saslext.ErrUID},
		{"a@b", "example.org", "", saslext.ErrUID},
		{"rick@example.org", "example.org", "", saslext.ErrUID},
	}
	for _, tt := range tests {
		id, err := saslext.NewIdentity(tt.uid, tt.domain)
		if id.String() != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q, %q: got %q, %v; want %q, %v", tt.uid, tt.domain, id, err, tt.want, tt.err)
		}
	}
}

// A certificate may hold a huge uid; it is refused unmapped.
func TestNewIdentityBounds(t *testing.T) {
	_, err := saslext.NewIdentity(strings.Repeat("a", 1001), "example.org")
	if !errors.Is(err, saslext.ErrUID) || !strings.Contains(err.Error(), "before mapping") {
		t.Errorf("got %v", err)
	}
}

func TestIdentityDiffers(t *testing.T) {
	pairs := [][2]string{
		{"rick@example.org", "rick+x@example.org"},
		{"rick@example.org", "rick@mail.example.org"},
		{"rick@example.org", "r.ick@example.org"},
		{"strasse@example.org", "straße@example.org"},
		{"i@example.org", "ı@example.org"}, // dotless i
		{"rick@example.org", "rick@ex\u0430mple.org"},
	}
	for _, p := range pairs {
		a, errA := saslext.ParseIdentity(p[0])
		b, errB := saslext.ParseIdentity(p[1])
		if errA != nil || errB != nil || a == b {
			t.Errorf("%q and %q: %v, %v, equal %v", p[0], p[1], errA, errB, a == b)
		}
	}
}

func TestLogString(t *testing.T) {
	tests := []struct{ in, want string }{
		{"rick@example.org", "rick@example.org"},
		{"jürgen@example.org", "jürgen@example.org"},
		{"rick@bücher.example", "rick@bücher.example (rick@xn--bcher-kva.example)"},
	}
	for _, tt := range tests {
		id, err := saslext.ParseIdentity(tt.in)
		if err != nil || id.LogString() != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.in, id.LogString(), err, tt.want)
		}
	}
	if s := (saslext.Identity{}).LogString(); s != "" {
		t.Errorf("nobody is called %q", s)
	}
}

// The normal form is one: whatever is read, its text reads back as itself.
func checkNormal(t interface{ Fatalf(string, ...any) }, id saslext.Identity) {
	again, err := saslext.NewIdentity(id.UID, id.Domain.String())
	if err != nil || again != id {
		t.Fatalf("%q is not stable: %q, %v", id.ASCIIDomain(), again.ASCIIDomain(), err)
	}
	again, err = saslext.ParseIdentity(id.ASCIIDomain())
	if err != nil || again != id {
		t.Fatalf("%q is not stable: %q, %v", id.ASCIIDomain(), again.ASCIIDomain(), err)
	}
	if len(id.UID) > 64 || strings.ContainsAny(id.UID, "@/\\:,;<>()[]\"=*%?# \t\r\n\x00") || !utf8.ValidString(id.UID) {
		t.Fatalf("uid %q", id.UID)
	}
	if _, err := dnsname.ParseOwner("_user." + id.Domain.String()); err != nil {
		t.Fatalf("no owner name: %v", err)
	}
}

func TestNormalFormProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		uid := rapid.StringOfN(rapid.RuneFrom([]rune("aAkK.+-_'üÜ\u0308\u212a\uff52ßıİяЯωΩ岡ｒא1٣")), 1, 12, -1).Draw(t, "uid")
		id, err := saslext.NewIdentity(uid, "example.org")
		if err != nil {
			return
		}
		checkNormal(t, id)
		upper, err := saslext.NewIdentity(strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r - 'a' + 'A'
			}
			return r
		}, uid), "EXAMPLE.ORG")
		if err != nil || upper != id {
			t.Fatalf("%q in upper case: %q, %v", uid, upper, err)
		}
	})
}

func FuzzNewIdentity(f *testing.F) {
	for _, s := range []string{"rick", "Jürgen", "ju\u0308rgen", "\u212aelvin", "İ", "岡田", "\u05d0\u05d1", "+mail+archive", "a..b", "ﬁ"} {
		f.Add(s, "example.org")
		f.Add("rick", s+".example")
	}
	f.Fuzz(func(t *testing.T, uid, domain string) {
		if id, err := saslext.NewIdentity(uid, domain); err == nil {
			checkNormal(t, id)
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	for _, s := range []string{"rick@example.org", "u:rick@example.org", "rick@bücher.example", "a@b@c.d", "rick@xn--bcher-kva.example", "\x00@a.b", "א@אב.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, authzid string) {
		id, err := saslext.ParseIdentity(authzid)
		if err != nil {
			if !id.IsZero() {
				t.Fatalf("an identity with an error: %q", id)
			}
			return
		}
		checkNormal(t, id)
		if again, err := saslext.ParseIdentity(id.String()); err == nil && again != id {
			t.Fatalf("%q reads back as %q", id, again)
		}
	})
}
