package mailaddr_test

import (
	"errors"
	"strings"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

func TestParse(t *testing.T) {
	tests := []struct {
		in, local, out string
	}{
		{"rick@example.org", "rick", "rick@example.org"},
		{"Rick@EXAMPLE.org", "Rick", "Rick@example.org"},
		{"a.b+c=d{e}@example.org", "a.b+c=d{e}", "a.b+c=d{e}@example.org"},
		{"rick@Bücher.example", "rick", "rick@xn--bcher-kva.example"},
		{`"rick"@example.org`, "rick", "rick@example.org"},
		{`"\r\i\ck"@example.org`, "rick", "rick@example.org"},
		{`"a b"@example.org`, "a b", `"a b"@example.org`},
		{`"a@b"@example.org`, "a@b", `"a@b"@example.org`},
		{`"a\"b\\c"@example.org`, `a"b\c`, `"a\"b\\c"@example.org`},
		{`".."@example.org`, "..", `".."@example.org`},
		{`"a b> NOTIFY=NEVER <c"@example.org`, "a b> NOTIFY=NEVER <c", `"a b> NOTIFY=NEVER <c"@example.org`},
		{"rick@[192.0.2.1]", "rick", "rick@[192.0.2.1]"},
		{"rick@[ipv6:2001:DB8::1]", "rick", "rick@[IPv6:2001:db8::1]"},
		{"rick@[IPv6:::ffff:192.0.2.1]", "rick", "rick@[IPv6:::ffff:192.0.2.1]"},
		{"jürgen@Bücher.example", "jürgen", "jürgen@xn--bcher-kva.example"},
		{"\"jürgen \"@example.org", "jürgen ", "\"jürgen \"@example.org"},
		{"ju\u0308rgen@example.org", "ju\u0308rgen", "ju\u0308rgen@example.org"}, // octets as they came
		{"用户@例子.example", "用户", "用户@xn--fsqu00a.example"},
		{"نامه\u200cای@example.org", "نامه\u200cای", "نامه\u200cای@example.org"},
		{strings.Repeat("ü", 32) + "@example.org", strings.Repeat("ü", 32), strings.Repeat("ü", 32) + "@example.org"},
		{strings.Repeat("a", 64) + "@example.org", strings.Repeat("a", 64), strings.Repeat("a", 64) + "@example.org"},
		{"", "", ""},
	}
	for _, tt := range tests {
		a, err := mailaddr.Parse(tt.in)
		if err != nil || a.Local() != tt.local || a.String() != tt.out || a.IsNull() != (tt.in == "") {
			t.Errorf("%q: got %q, %q, %v; want %q, %q", tt.in, a.Local(), a, err, tt.local, tt.out)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("a23456789.", 20) // 200 octets
	tests := []struct {
		in  string
		err error
	}{
		{"rick", mailaddr.ErrSyntax},
		{"@example.org", mailaddr.ErrSyntax},
		{`""@example.org`, mailaddr.ErrSyntax},
		{"a b@example.org", mailaddr.ErrSyntax},
		{".a@example.org", mailaddr.ErrSyntax},
		{"a.@example.org", mailaddr.ErrSyntax},
		{"a..b@example.org", mailaddr.ErrSyntax},
		{"<a@example.org>", mailaddr.ErrSyntax},
		{`"a@example.org`, mailaddr.ErrSyntax},
		{`"a\`, mailaddr.ErrSyntax},
		{`"a"b@example.org`, mailaddr.ErrSyntax},
		{`"a"`, mailaddr.ErrSyntax},
		{"rick@[192.0.2.1", mailaddr.ErrSyntax},
		{"rick@[192.0.2.1]x", mailaddr.ErrSyntax},
		{"rick@[192.0.2]", mailaddr.ErrSyntax},
		{"rick@[2001:db8::1]", mailaddr.ErrSyntax},
		{"rick@[IPv6:192.0.2.1]", mailaddr.ErrSyntax},
		{"rick@[IPv6:fe80::1%eth0]", mailaddr.ErrSyntax},
		{"rick@[IPv6:]", mailaddr.ErrSyntax},
		{"rick@[]", mailaddr.ErrSyntax},
		{"rick\r\n@example.org", mailaddr.ErrSyntax},
		{"\"a\r\nb\"@example.org", mailaddr.ErrControl},
		{"\"a\\\r\"@example.org", mailaddr.ErrControl},
		{"\"a\x00b\"@example.org", mailaddr.ErrControl},
		{"\"a\x7fb\"@example.org", mailaddr.ErrControl},
		{"\"a\u0085b\"@example.org", mailaddr.ErrControl}, // C1: a line end for some
		{"j\xfcrgen@example.org", mailaddr.ErrCharacter},
		{"a\u202eb@example.org", mailaddr.ErrCharacter}, // right-to-left override
		{"a\u2066b@example.org", mailaddr.ErrCharacter},
		{"a\u200eb@example.org", mailaddr.ErrCharacter},
		{"a\u061cb@example.org", mailaddr.ErrCharacter},
		{"a\u200bb@example.org", mailaddr.ErrCharacter}, // zero width space
		{"a\ufeffb@example.org", mailaddr.ErrCharacter},
		{"a\u00a0b@example.org", mailaddr.ErrCharacter},
		{"a\u3000b@example.org", mailaddr.ErrCharacter},
		{"a\u2028b@example.org", mailaddr.ErrCharacter},
		{"a\ufffeb@example.org", mailaddr.ErrCharacter},
		{"\u212aelvin@example.org", mailaddr.ErrCharacter}, // the Kelvin sign
		{"a\u037eb@example.org", mailaddr.ErrCharacter},    // the Greek question mark, a semicolon
		{strings.Repeat("ü", 33) + "@example.org", mailaddr.ErrTooLong},
		{"rick@", dnsname.ErrEmpty},
		{"rick@example.org.", dnsname.ErrEmpty},
		{"rick@example.org>", dnsname.ErrCharacter},
		{"rick@a@example.org", dnsname.ErrCharacter},
		{"rick@_user.example.org", dnsname.ErrCharacter},
		{strings.Repeat("a", 65) + "@example.org", mailaddr.ErrTooLong},
		{strings.Repeat("a", 50) + "@" + long + "org", nil},
		{strings.Repeat("a", 51) + "@" + long + "org", mailaddr.ErrTooLong},
		{`"` + strings.Repeat(`\"`, 26) + `"@` + long + "org", mailaddr.ErrTooLong},
	}
	for _, tt := range tests {
		if a, err := mailaddr.Parse(tt.in); !errors.Is(err, tt.err) || err != nil && !a.IsNull() {
			t.Errorf("%.80q: got %q, %v; want %v", tt.in, a, err, tt.err)
		}
	}
}

// What go-smtp hands over has lost its quotes; they come back.
func TestFromUnquoted(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"rick@example.org", "rick@example.org"},
		{"a b> NOTIFY=NEVER <c@example.org", `"a b> NOTIFY=NEVER <c"@example.org`},
		{"a@b@example.org", `"a@b"@example.org`},
		{`a"b@example.org`, `"a\"b"@example.org`},
		{"..@example.org", `".."@example.org`},
		{"rick@[192.0.2.1]", "rick@[192.0.2.1]"},
	}
	for _, tt := range tests {
		if a, err := mailaddr.FromUnquoted(tt.in); err != nil || a.String() != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.in, a, err, tt.want)
		}
	}
	for _, s := range []string{"rick", "@example.org", "a\rb@example.org", "a\x00@example.org", "j\xfc@example.org", "rick@exa mple.org"} {
		if a, err := mailaddr.FromUnquoted(s); err == nil || !a.IsNull() {
			t.Errorf("%q: got %q, no error", s, a)
		}
	}
}

func TestKey(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Rick@EXAMPLE.org", "rick@example.org"},
		{`"Rick"@example.org`, "rick@example.org"},
		{`"A b"@example.org`, `"a b"@example.org`},
		{"rick+X@example.org", "rick+x@example.org"},
		{"JÜRGEN@example.org", "jÜrgen@example.org"},
		{"ju\u0308rgen@example.org", "jürgen@example.org"},
		{"rick@[IPv6:2001:DB8:0::1]", "rick@[IPv6:2001:db8::1]"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := mailaddr.MustParse(tt.in).Key(); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestASCII(t *testing.T) {
	tests := []struct{ in, want string }{
		{"rick@example.org", "rick@example.org"},
		{`"a\\b"@example.org`, `"a\\b"@example.org`},
		{"jürgen@bücher.example", `j\x{FC}rgen@xn--bcher-kva.example`},
		{"\"ü\\\\\"@example.org", `"\x{FC}\x{5C}\x{5C}"@example.org`},
		{"😀@example.org", `\x{1F600}@example.org`},
		{"", ""},
	}
	for _, tt := range tests {
		a := mailaddr.MustParse(tt.in)
		if got := a.ASCII(); got != tt.want || a.IsASCII() != (got == a.String()) {
			t.Errorf("%q: got %q (%v), want %q", tt.in, got, a.IsASCII(), tt.want)
		}
	}
}

func TestParts(t *testing.T) {
	a := mailaddr.MustParse("rick@[192.0.2.1]")
	if a.Literal().String() != "192.0.2.1" || !a.Domain().IsZero() {
		t.Errorf("literal: %v, %q", a.Literal(), a.Domain())
	}
	a = mailaddr.MustParse("rick@example.org")
	if a.Literal().IsValid() || a.Domain().String() != "example.org" {
		t.Errorf("domain: %v, %q", a.Literal(), a.Domain())
	}
	if a != mailaddr.MustParse(`"rick"@EXAMPLE.ORG`) {
		t.Error("one mailbox is two")
	}
	var b mailaddr.Address
	if err := b.UnmarshalText([]byte(`"a b"@example.org`)); err != nil {
		t.Error(err)
	}
	if text, err := b.MarshalText(); string(text) != `"a b"@example.org` || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	if err := b.UnmarshalText([]byte("nobody")); err == nil || b.Local() != "a b" {
		t.Errorf("got %q, %v", b, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse did not panic")
		}
	}()
	mailaddr.MustParse("nobody")
}

// Parsing twice changes nothing, and nothing gets out of the angle brackets.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"rick@example.org", `"a b"@example.org`, `"a\"b"@bücher.example`, "rick@[192.0.2.1]", "a@b@[IPv6:::1]", "jürgen@bücher.example", "ju\u0308rgen@a.b", "\u212a@a.b", "<\u0338@a.b", "a b> X=<c@d.e", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (mailaddr.Address, error){mailaddr.Parse, mailaddr.FromUnquoted} {
			a, err := parse(s)
			if err != nil {
				if !a.IsNull() {
					t.Fatalf("%q with an error", a)
				}
				continue
			}
			for _, text := range []string{a.String(), upperASCII(a.String())} {
				again, err := mailaddr.Parse(text)
				sameKey := again.Key() == a.Key() || !a.IsASCII() && text != a.String() // a capital U may belong to a sign behind it
				if err != nil || !sameKey || text == a.String() && again != a {
					t.Fatalf("%q reads back as %q, %v", text, again, err)
				}
			}
			domain := a.String()[strings.LastIndexByte(a.String(), '@')+1:]
			if unquoted, err := mailaddr.FromUnquoted(a.Local() + "@" + domain); !a.IsNull() && (err != nil || unquoted != a) {
				t.Fatalf("%q without quotes is %q, %v", a, unquoted, err)
			}
			key, err := mailaddr.Parse(a.Key()) // NFC may be longer
			if !errors.Is(err, mailaddr.ErrTooLong) && (err != nil || key.Key() != a.Key() || a.IsASCII() && !key.IsASCII()) {
				t.Fatalf("%q has the key %q, %v", a, a.Key(), err)
			}
			if strings.ContainsFunc(a.ASCII(), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%q", a.ASCII())
			}
			if out := a.String(); len(out) > 254 || strings.ContainsAny(out, "\r\n\x00") || !strings.HasPrefix(out, `"`) && strings.ContainsAny(out, " <>") {
				t.Fatalf("%q", out)
			}
		}
	})
}

func upperASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
