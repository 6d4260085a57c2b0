package policy_test

import (
	"slices"
	"testing"

	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/smtpd/policy"
)

// matchesSender asks a deny, whose from is a plain condition: what it matches is
// denied.
func matchesSender(t testing.TB, p policy.AddressPattern, address string) bool {
	t.Helper()
	rules := options(t, "allow *@example.net from any").Rules
	rules = append(rules, policy.Rule{Who: pattern.MustParse("*@example.net"), From: []policy.AddressPattern{p}})
	r, err := policy.New(policy.Options{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	v := r.Sender(subject(t, relay, "me@example.net"), mailaddr.MustParse(address))
	if !v.Allow && v.Reason != policy.Denied {
		t.Fatalf("%+v", v)
	}
	return !v.Allow
}

func TestAddressPattern(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"any", []string{"", "a@example.org", "a@[192.0.2.1]"}, nil},
		{"own", []string{"me@example.net", "ME@Example.NET", `"me"@example.net`},
			[]string{"", "me+x@example.net", "me@example.org", "you@example.net", "me@[192.0.2.1]"}},
		{"rick@example.org", []string{"rick@example.org", "RICK@Example.org", `"rick"@example.org`},
			[]string{"", "rick+x@example.org", "rick@mail.example.org", "eve@example.org", "rick@evilexample.org"}},
		{"@example.org", []string{"rick@example.org", `"a b"@EXAMPLE.org`},
			[]string{"", "rick@mail.example.org", "rick@evilexample.org", "rick@example.org.attacker.net", "rick@[192.0.2.1]", `"x@example.org"@attacker.net`}},
		{"*@example.org", []string{"rick@example.org"}, []string{"", "rick@mail.example.org", "rick@evilexample.org"}},
		{"*@*.example.org", []string{"rick@mail.example.org", "rick@a.b.example.org"},
			[]string{"", "rick@example.org", "rick@evilexample.org", "rick@mail.example.net"}},
		{"@*.example.org", []string{"rick@mail.example.org"}, []string{"rick@example.org"}},
		{"@bücher.example", []string{"rick@xn--bcher-kva.example"}, []string{"rick@bucher.example"}},
		{"rick@Bücher.example", []string{"rick@xn--bcher-kva.example"}, []string{"rick@bucher.example"}},
		{"rick@[192.0.2.1]", []string{"rick@[192.0.2.1]"}, []string{"rick@[192.0.2.2]", "rick@example.org"}},
		{"jürgen@example.org", []string{"jürgen@example.org", "ju\u0308rgen@EXAMPLE.org"}, []string{"jurgen@example.org", "JÜRGEN@example.org", "rick@example.org"}},
		{`"a b"@example.org`, []string{`"A b"@example.org`}, []string{"a@example.org"}},
	}
	for _, tt := range tests {
		p, err := policy.ParseAddressPattern(tt.pattern)
		if err != nil || p.String() != tt.pattern {
			t.Errorf("%q: %q, %v", tt.pattern, p, err)
			continue
		}
		for _, s := range slices.Concat(tt.yes, tt.no) {
			if got := matchesSender(t, p, s); got != slices.Contains(tt.yes, s) {
				t.Errorf("%q, %q: %v", tt.pattern, s, got)
			}
		}
	}
}

func TestParseAddressPatternRefuses(t *testing.T) {
	for _, s := range []string{
		"", "rick", "example.org", "ANY", "Own", "@", "*", "*@", "rick@", "@any", "*@any", "*@ANY", "*@*", "@*.*", "rick@*.example.org", "r*@example.org@",
		"a b@example.org", "@example..org", "@example.org.", "@_user.example.org", "@[192.0.2.1]", "rick@exa mple.org", "j\xfcrgen@example.org", "a\u202eb@example.org", "@*x.example.org",
		"a\r\n@example.org", "\xff@example.org",
	} {
		if p, err := policy.ParseAddressPattern(s); err == nil || p.String() != "" {
			t.Errorf("%q: got %q, no error", s, p)
		}
	}
}

func FuzzAddressPattern(f *testing.F) {
	for _, s := range []string{"any", "own", "rick@example.org", "@example.org", "*@*.bücher.example", `"a b"@[192.0.2.1]`} {
		f.Add(s, "rick@example.org")
	}
	f.Fuzz(func(t *testing.T, s, address string) {
		p, err := policy.ParseAddressPattern(s)
		if err != nil {
			return
		}
		if again, err := policy.ParseAddressPattern(p.String()); err != nil || again.String() != s {
			t.Fatalf("%q reads back as %q, %v", s, again, err)
		}
		a, err := mailaddr.Parse(address)
		if err != nil {
			return
		}
		if got := matchesSender(t, p, a.String()); got && a.IsNull() && s != "any" {
			t.Fatalf("%q matches the null sender", s)
		}
	})
}

// TestOwnUTF8: a user's own address is one in whatever composition his program writes
// it; letters of other alphabets are other users.
func TestOwnUTF8(t *testing.T) {
	for address, want := range map[string]bool{
		"jürgen@example.net":           true,
		"ju\u0308rgen@EXAMPLE.net":     true,
		"jurgen@example.net":           false,
		"jürgen@example.org":           false,
		"j\u00fcrg\u0435n@example.net": false, // a Cyrillic e
	} {
		r := newRules(t, "allow *@example.net from own")
		v := r.Sender(subject(t, submission, "jürgen@example.net"), mailaddr.MustParse(address))
		if v.Allow != want {
			t.Errorf("%q: %v", address, v.Allow)
		}
	}
}
