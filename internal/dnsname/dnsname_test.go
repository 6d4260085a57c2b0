package dnsname_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dancemta/internal/dnsname"
)

// name253 is as long as a name may be: 63.63.63.61.
func name253(last string) string {
	return strings.Join([]string{strings.Repeat("a", 63), strings.Repeat("b", 63), strings.Repeat("c", 63), strings.Repeat("d", 61-len(last)) + last}, ".")
}

func TestParse(t *testing.T) {
	tests := []struct {
		in, want string
		err      error
	}{
		{"example.org", "example.org", nil},
		{"EXAMPLE.Org", "example.org", nil},
		{"org", "org", nil},
		{"1.2.3.4", "1.2.3.4", nil},
		{"a-b.c--d.example", "a-b.c--d.example", nil},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", nil},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example", nil},
		{name253("x"), name253("x"), nil},

		{"", "", dnsname.ErrEmpty},
		{".", "", dnsname.ErrEmpty},
		{"example.org.", "", dnsname.ErrEmpty},
		{".example.org", "", dnsname.ErrEmpty},
		{"example..org", "", dnsname.ErrEmpty},
		{name253("x") + "y", "", dnsname.ErrTooLong},
		{strings.Repeat("a", 64) + ".org", "", dnsname.ErrTooLong},
		{"-a.org", "", dnsname.ErrHyphen},
		{"a-.org", "", dnsname.ErrHyphen},
		{"_user.example.org", "", dnsname.ErrCharacter},
		{"*.example.org", "", dnsname.ErrCharacter},
		{"a b.org", "", dnsname.ErrCharacter},
		{"a@b.org", "", dnsname.ErrCharacter},
		{`a\046b.org`, "", dnsname.ErrCharacter},
		{"a\x00.org", "", dnsname.ErrCharacter},
		{"bücher.example", "", dnsname.ErrNotASCII},
		{"\u212aelvin.example", "", dnsname.ErrNotASCII},
		{"a\xff.org", "", dnsname.ErrNotASCII},
		{"xn--.example", "", dnsname.ErrHyphen},
		{"xn--example-.example", "", dnsname.ErrHyphen}, // decodes to ASCII
		{"xn--abc.example", "", dnsname.ErrALabel},      // decodes to nothing valid
		{"xn--Bcher-KVA8445foa.example", "", dnsname.ErrALabel},
		{"xn--g6h.example", "", dnsname.ErrALabel}, // a heart: a symbol
	}
	for _, tt := range tests {
		n, err := dnsname.Parse(tt.in)
		if n.String() != tt.want || !errors.Is(err, tt.err) || n.IsZero() != (tt.err != nil) {
			t.Errorf("%.80q: got %q, %v; want %q, %v", tt.in, n, err, tt.want, tt.err)
		}
	}
}

func TestParseOwner(t *testing.T) {
	for _, s := range []string{"_user.example.org", "sensor7._device.example.org", "a_b.example.org", "_25._tcp.mx.example.org"} {
		n, err := dnsname.ParseOwner(strings.ToUpper(s))
		if n.String() != s || err != nil {
			t.Errorf("%q: got %q, %v", s, n, err)
		}
	}
	for _, s := range []string{"*._device.example.org", "_user..org", "_user.bücher.example", "a b._device.org", `_\095.org`} {
		if n, err := dnsname.ParseOwner(s); err == nil {
			t.Errorf("%q: got %q, no error", s, n)
		}
	}
}

func TestParseUnicode(t *testing.T) {
	tests := []struct{ in, want string }{
		{"example.org", "example.org"},
		{"Bücher.example", "xn--bcher-kva.example"},
		{"bu\u0308cher.example", "xn--bcher-kva.example"}, // NFD
		{"faß.de", "xn--fa-hia.de"},
		{"bücher。example", "xn--bcher-kva.example"}, // ideographic full stop
		{"col·lecció.example", "xn--collecci-ioa91d.example"},
		{"יש״י.example", ""}, // set below
		{"岡・田.example", ""},
	}
	for _, tt := range tests {
		n, err := dnsname.ParseUnicode(tt.in)
		if err != nil || tt.want != "" && n.String() != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.in, n, err, tt.want)
		}
		if again, err := dnsname.Parse(n.String()); again != n || err != nil {
			t.Errorf("%q: %q reads back as %q, %v", tt.in, n, again, err)
		}
	}
	for _, s := range []string{
		"", "a..b", "ü..b", "ü.", "\u2665.example", "\U0001f600.example", "ü\xff.example", "ü_b.example", "*.ü.example",
		"-ü.example", "ü@b.example", "ü b.example", "a·b.example", "a\u200db.example", "\u05f4א.example", "a・b.example",
		"\u0661\u06f2.example", "ـا.example", "ü" + strings.Repeat("a", 63) + ".example",
	} {
		if n, err := dnsname.ParseUnicode(s); err == nil || !n.IsZero() {
			t.Errorf("%.80q: got %q, %v; want an error", s, n, err)
		}
	}
}

func TestWithin(t *testing.T) {
	tests := []struct {
		name, zone string
		want       bool
	}{
		{"example.org", "example.org", true},
		{"mx.example.org", "example.org", true},
		{"a.b.example.org", "example.org", true},
		{"evilexample.org", "example.org", false},
		{"example.org.attacker.net", "example.org", false},
		{"org", "example.org", false},
	}
	for _, tt := range tests {
		if got := dnsname.MustParse(tt.name).Within(dnsname.MustParse(tt.zone)); got != tt.want {
			t.Errorf("%s within %s: %v", tt.name, tt.zone, got)
		}
	}
	var zero dnsname.Name
	if dnsname.MustParse("org").Within(zero) || zero.Within(zero) || zero.Within(dnsname.MustParse("org")) {
		t.Error("the zero Name is a zone, or in one")
	}
}

func TestParts(t *testing.T) {
	n := dnsname.MustParse("_user.mx.example.org")
	first, rest := n.Cut()
	if first != "_user" || rest.String() != "mx.example.org" {
		t.Errorf("Cut: %q, %q", first, rest)
	}
	if _, rest := dnsname.MustParse("org").Cut(); !rest.IsZero() {
		t.Errorf("behind a single label: %q", rest)
	}
	if got := strings.Join(n.Labels(), " "); got != "_user mx example org" {
		t.Errorf("Labels: %q", got)
	}
	if labels := (dnsname.Name{}).Labels(); labels != nil {
		t.Errorf("labels of nothing: %q", labels)
	}
	if back, err := rest.Prepend("_user"); back != n || err != nil {
		t.Errorf("Prepend: %q, %v", back, err)
	}
	if _, err := dnsname.MustParse(name253("x")).Prepend("a"); err == nil {
		t.Error("Prepend made a name that is too long")
	}
	if _, err := (dnsname.Name{}).Prepend("_user"); err == nil {
		t.Error("Prepend made a name of nothing")
	}
	for s, want := range map[string]bool{"_user.org": true, "a._device.org": true, "a_b.org": false, "example.org": false} {
		if dnsname.MustParse(s).HasUnderscore() != want {
			t.Errorf("%s has an underscore label: %v", s, !want)
		}
	}
}

func TestUnicode(t *testing.T) {
	for in, want := range map[string]string{
		"xn--bcher-kva.example": "bücher.example", "example.org": "example.org",
		"_user.xn--bcher-kva.example": "_user.bücher.example", "xn--fa-hia.de": "faß.de",
	} {
		if got := dnsname.MustParse(in).Unicode(); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestText(t *testing.T) {
	var n dnsname.Name
	if err := n.UnmarshalText([]byte("Bücher.example")); err != nil || n.String() != "xn--bcher-kva.example" {
		t.Errorf("got %q, %v", n, err)
	}
	if b, err := n.MarshalText(); string(b) != "xn--bcher-kva.example" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	before := n
	if err := n.UnmarshalText([]byte("_user.example.org")); err == nil || n != before {
		t.Errorf("got %q, %v", n, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse did not panic")
		}
	}()
	dnsname.MustParse("a..b")
}

// Parsing twice changes nothing, in either form.
func checkName(t interface{ Fatalf(string, ...any) }, n dnsname.Name) {
	again, err := dnsname.ParseOwner(n.String())
	if err != nil || again != n {
		t.Fatalf("%q reads back as %q, %v", n, again, err)
	}
	if len(n.String()) > 253 || strings.ToLower(n.String()) != n.String() {
		t.Fatalf("%q is not in normal form", n)
	}
	// The bidi rule of a whole name may refuse what its labels allow one by one.
	if again, err := dnsname.ParseUnicode(n.Unicode()); err == nil && again != n {
		t.Fatalf("%q is shown as %q, which reads as %q", n, n.Unicode(), again)
	}
}

func TestParseProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune("aBz0-_.ßüÜ\u0308岡Кα\u212a\u2665א٣۳・·l")), 1, 12, -1).Draw(t, "name")
		if n, err := dnsname.ParseUnicode(s); err == nil {
			checkName(t, n)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"example.org", "_user.EXAMPLE.org", "xn--bcher-kva.example", "bücher.example", "a..b", "xn--a", "faß.de", "岡・田.example", "\u212a.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (dnsname.Name, error){dnsname.Parse, dnsname.ParseOwner, dnsname.ParseUnicode} {
			n, err := parse(s)
			if err != nil {
				if !n.IsZero() {
					t.Fatalf("%q with an error", n)
				}
				continue
			}
			checkName(t, n)
		}
	})
}
