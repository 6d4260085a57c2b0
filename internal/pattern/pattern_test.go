package pattern_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
)

func TestMatchClient(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"sensor7._device.example.org", "sensor7._device.example.org", true},
		{"Sensor7._DEVICE.example.org", "sensor7._device.example.org", true},
		{"sensor7._device.example.org", "sensor8._device.example.org", false},
		{"*._device.example.org", "sensor7._device.example.org", true},
		{"*._device.example.org", "hall.sensor7._device.example.org", true},
		{"*._device.example.org", "_device.example.org", false},
		{"*._device.example.org", "_x._device.example.org", false},
		{"*._device.example.org", "a._x._device.example.org", false},
		{"*._device.example.org", "sensor7._device.evilexample.org", false},
		{"*._device.example.org", "sensor7._device.example.org.attacker.net", false},
		{"*._device.example.org", "sensor7.x_device.example.org", false},
		{"_smtp-client.*.example.org", "_smtp-client.mx.example.org", true},
		{"_smtp-client.*.example.org", "_smtp-client.a.b.example.org", true},
		{"_smtp-client.*.example.org", "_smtp-client.example.org", false},
		{"_smtp-client.*.example.org", "_smtp-client._device.example.org", false},
		{"*.example.org", "mx.example.org", true},
		{"*.example.org", "_smtp-client.mx.example.org", false},
		{"*.example.org", "a._device.example.org", false},
		{"*.example.org", "example.org", false},
		{"*.example.org", "mx.evilexample.org", false},
		{"example.org", "mx.example.org", false},
		{"*.*._device.example.org", "a.b._device.example.org", true},
		{"*.*._device.example.org", "a._device.example.org", false},
		{"*._device.*.example.org", "a.b._device.c.d.example.org", true},
		{"*._device.*.example.org", "a.b._device.example.org", false},
		{"_smtp-client.*.bücher.example", "_smtp-client.mx.xn--bcher-kva.example", true},
		{"any", "sensor7._device.example.org", true},
		{"*@example.org", "example.org", false},
		{"*@any", "example.org", false},
	}
	for _, tt := range tests {
		if got := pattern.MustParse(tt.pattern).MatchClient(dnsname.MustParse(tt.name)); got != tt.want {
			t.Errorf("%s, %s: %v", tt.pattern, tt.name, got)
		}
	}
	if (pattern.Pattern{}).MatchClient(dnsname.MustParse("a._device.example.org")) || pattern.MustParse("any").MatchClient(dnsname.Name{}) {
		t.Error("nothing matches")
	}
}

func TestMatchUser(t *testing.T) {
	tests := []struct {
		pattern, uid, domain string
		want                 bool
	}{
		{"rick@example.org", "rick", "example.org", true},
		{"Rick@EXAMPLE.org", "rick", "example.org", true},
		{"rick@example.org", "rick+x", "example.org", false},
		{"rick@example.org", "eve", "example.org", false},
		{"rick@example.org", "rick", "mail.example.org", false},
		{"*@example.org", "eve", "example.org", true},
		{"*@example.org", "eve", "mail.example.org", false},
		{"*@example.org", "eve", "evilexample.org", false},
		{"*@example.org", "eve", "example.org.attacker.net", false},
		{"*@*.example.org", "eve", "mail.example.org", true},
		{"*@*.example.org", "eve", "example.org", false},
		{"rick@*.example.org", "rick", "a.b.example.org", true},
		{"rick@bücher.example", "rick", "xn--bcher-kva.example", true},
		{"*@any", "eve", "example.org", true},
		{"rick@any", "rick", "example.org", true},
		{"rick@any", "eve", "example.org", false},
		{"any", "eve", "example.org", false},
		{"example.org", "eve", "example.org", false},
		{"*@example.org", "", "example.org", false},
		{"\u212aelvin@example.org", "kelvin", "example.org", false}, // its normal form is for WithUID
	}
	for _, tt := range tests {
		if got := pattern.MustParse(tt.pattern).MatchUser(tt.uid, dnsname.MustParse(tt.domain)); got != tt.want {
			t.Errorf("%s, %s@%s: %v", tt.pattern, tt.uid, tt.domain, got)
		}
	}
	if (pattern.Pattern{}).MatchUser("rick", dnsname.MustParse("example.org")) || pattern.MustParse("*@any").MatchUser("rick", dnsname.Name{}) {
		t.Error("nothing matches")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "*", "*.*", "*@*", "*@", "@example.org", "@", "a..b", ".example.org", "example.org.", "*.", "*x.example.org",
		"x*.example.org", "**.example.org", "*.*.*.example.org", "*._device.*.*.org", "a b.example.org", "ri*ck@example.org",
		"rick@evil.example@example.org", "rick@_user.example.org", "*@a._device.example.org", "ANY", "*@Any", "\xff@example.org",
		"xn--abc.example.org", "_ü.example.org", "-a.example.org",
	} {
		p, err := pattern.Parse(s)
		if !errors.Is(err, pattern.ErrSyntax) || !p.IsZero() {
			t.Errorf("%q: got %v, %v", s, p, err)
		}
	}
}

func TestUID(t *testing.T) {
	tests := []struct {
		pattern, uid string
		ok           bool
	}{
		{"Rick@example.org", "rick", true}, {"JÜRGEN@example.org", "jÜrgen", true},
		{"*@example.org", "*", false}, {"*._device.example.org", "", false}, {"any", "", false},
	}
	for _, tt := range tests {
		if uid, ok := pattern.MustParse(tt.pattern).UID(); uid != tt.uid || ok != tt.ok {
			t.Errorf("%s: %q, %v", tt.pattern, uid, ok)
		}
	}
	domain := dnsname.MustParse("example.org")
	if p := pattern.MustParse("JÜRGEN@example.org").WithUID("jürgen"); !p.MatchUser("jürgen", domain) || p.MatchUser("jÜrgen", domain) || p.String() != "JÜRGEN@example.org" {
		t.Errorf("WithUID: %v", p)
	}
	if p := pattern.MustParse("*@example.org").WithUID("rick"); !p.MatchUser("eve", domain) {
		t.Error("WithUID replaced a star")
	}
}

func TestCompare(t *testing.T) {
	inOrder := []string{
		"a.b._device.example.org", "a._device.example.org", "rick@example.org",
		"*._device.mail.example.org", "*._device.example.org", "_smtp-client.*.example.org", "*@*.mail.example.org",
		"*@*.example.org", "*@example.org", "*.org", "*@org", "rick@any", "any", "*@any",
	}
	// rick@example.org counts three literals, as *.org counts one; equals keep their order.
	shuffled := slices.Clone(inOrder)
	slices.SortStableFunc(shuffled, func(a, b string) int { return pattern.Compare(pattern.MustParse(a), pattern.MustParse(b)) })
	if !slices.Equal(shuffled, inOrder) {
		t.Errorf("got  %q\nwant %q", shuffled, inOrder)
	}
	slices.Reverse(shuffled)
	slices.SortStableFunc(shuffled, func(a, b string) int { return pattern.Compare(pattern.MustParse(a), pattern.MustParse(b)) })
	if shuffled[0] != inOrder[0] || !strings.Contains(strings.Join(shuffled[len(shuffled)-2:], " "), "any") {
		t.Errorf("from behind: %q", shuffled)
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		p, q string
		want bool
	}{
		{"*._device.example.org", "sensor7._device.example.org", true},
		{"sensor7._device.example.org", "*._device.example.org", false},
		{"*._device.example.org", "*._device.example.org", true},
		{"*._device.example.org", "*.*._device.example.org", true},
		{"*.*._device.example.org", "*._device.example.org", false},
		{"*._device.example.org", "*.hall._device.example.org", true},
		{"*.example.org", "_smtp-client.*.example.org", false},
		{"any", "*._device.example.org", true},
		{"any", "any", true},
		{"*._device.example.org", "any", false},
		{"any", "*@example.org", false},
		{"*@any", "sensor7._device.example.org", false},
		{"*@any", "rick@example.org", true},
		{"*@example.org", "rick@example.org", true},
		{"rick@example.org", "Rick@EXAMPLE.org", true},
		{"rick@example.org", "eve@example.org", false},
		{"rick@example.org", "*@example.org", false},
		{"rick@any", "*@example.org", false},
		{"rick@any", "rick@*.example.org", true},
	}
	for _, tt := range tests {
		if got := pattern.MustParse(tt.p).Covers(pattern.MustParse(tt.q)); got != tt.want {
			t.Errorf("%s covers %s: %v", tt.p, tt.q, got)
		}
	}
	var zero pattern.Pattern
	if zero.Covers(pattern.MustParse("any")) || pattern.MustParse("any").Covers(zero) || zero.Covers(zero) {
		t.Error("the zero Pattern covers, or is covered")
	}
}

func TestText(t *testing.T) {
	var p pattern.Pattern
	if err := p.UnmarshalText([]byte("*._device.example.org")); err != nil || p.String() != "*._device.example.org" || p.IsUser() {
		t.Errorf("got %v, %v", p, err)
	}
	if got := strings.Join(p.Labels(), " "); got != "* _device example org" {
		t.Errorf("labels %q", got)
	}
	if err := p.UnmarshalText([]byte("*")); err == nil || p.String() != "*._device.example.org" {
		t.Errorf("got %v, %v", p, err)
	}
	// UTS 46 knows an ideographic dot: two labels, not one with a dot inside.
	if !pattern.MustParse("*._device.bücher。example").MatchClient(dnsname.MustParse("a._device.xn--bcher-kva.example")) {
		t.Error("an ideographic dot does not part labels")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse did not panic")
		}
	}()
	pattern.MustParse("*")
}

// matchSlow is the meaning of a pattern, said in another way: the names of all
// lengths that a star can stand for are tried.
func matchSlow(p, name []string) bool {
	switch {
	case len(p) == 0 || len(name) == 0:
		return len(p) == len(name)
	case p[0] != "*":
		return p[0] == name[0] && matchSlow(p[1:], name[1:])
	case strings.HasPrefix(name[0], "_"):
		return false
	}
	return matchSlow(p[1:], name[1:]) || matchSlow(p, name[1:])
}

func TestMatchProperty(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "_x", "_device"})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(label, rapid.Just("*")), 1, 5).Draw(t, "pattern")
		labels := rapid.SliceOfN(label, 1, 6).Draw(t, "name")
		p, err := pattern.Parse(strings.Join(parts, "."))
		if err != nil {
			return
		}
		name := dnsname.MustParse(strings.Join(labels, "."))
		want := matchSlow(parts, labels)
		if got := p.MatchClient(name); got != want {
			t.Fatalf("%s, %s: %v", p, name, got)
		}
		others := rapid.SliceOfN(rapid.OneOf(label, rapid.Just("*")), 1, 5).Draw(t, "other pattern")
		if q, err := pattern.Parse(strings.Join(others, ".")); err == nil && q.Covers(p) && want && !q.MatchClient(name) {
			t.Fatalf("%s covers %s, but not %s", q, p, name)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"any", "*._device.example.org", "rick@example.org", "*@*.bücher.example", "*@any", "_smtp-client.*.a.*.b", "\u212a@a.b"} {
		f.Add(s, "a._device.example.org", "rick")
	}
	f.Fuzz(func(t *testing.T, s, name, uid string) {
		p, err := pattern.Parse(s)
		if err != nil {
			if !p.IsZero() {
				t.Fatalf("%v with an error", p)
			}
			return
		}
		again, err := pattern.Parse(p.String())
		if err != nil || !slices.Equal(again.Labels(), p.Labels()) || again.IsUser() != p.IsUser() || pattern.Compare(p, again) != 0 || !p.Covers(again) {
			t.Fatalf("%v reads back as %v, %v", p, again, err)
		}
		n, err := dnsname.ParseOwner(name)
		if err != nil {
			return
		}
		if p.MatchClient(n) && (p.IsUser() || n.IsZero()) || p.MatchUser(uid, n) && (!p.IsUser() || uid == "") {
			t.Fatalf("%v matches %q, %q", p, n, uid)
		}
	})
}

// Only the word any is any, alone or as the domain of users.
func TestIsAny(t *testing.T) {
	for text, want := range map[string]bool{
		"any": true, "*@any": true, "rick@any": true,
		"any.org": false, "*._device.any": false, "any@example.org": false, "*@*.any": false,
	} {
		if got := pattern.MustParse(text).IsAny(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if (pattern.Pattern{}).IsAny() {
		t.Error("the zero Pattern matches nothing")
	}
}
