package policy_test

import (
	"slices"
	"strings"
	"testing"

	"dancemta/smtpd/policy"
)

func TestGroups(t *testing.T) {
	read := func(text string) policy.Groups {
		staff, err := policy.ParseMembers(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		rick, err := policy.ParseMembers(strings.NewReader("rick@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		return policy.Groups{"staff": staff, "all": rick}
	}
	g := read("# the house\n\nRick@example.org\n*@sales.example.org   # all of sales\njürgen@bücher.example\n")
	for who, want := range map[string][]string{
		"rick@example.org": {"all", "staff"}, "eve@example.org": {}, "x@sales.example.org": {"staff"},
		"x@sub.sales.example.org": {}, "jürgen@xn--bcher-kva.example": {"staff"},
	} {
		got, err := g.Lookup(t.Context(), user(t, who))
		if err != nil || got.Groups == nil || !slices.Equal(got.Groups, want) {
			t.Errorf("%s: %q, %v, want %q", who, got.Groups, err, want)
		}
	}
	for text, want := range map[string]string{
		"rick@example.org\nsensor._device.example.org": "line 2: ", "a@b.test c@d.test": "line 1: ", "\n\nrick@": "line 3: ",
		"x@y.test\n" + strings.Repeat("x", 5000): "line 2: ",
	} {
		if _, err := policy.ParseMembers(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseMembers(f *testing.F) {
	f.Add("rick@example.org # x\n*@*.example.org\n")
	f.Fuzz(func(t *testing.T, text string) {
		members, err := policy.ParseMembers(strings.NewReader(text))
		if err != nil && members != nil {
			t.Fatal("an error and members")
		}
		for _, m := range members {
			if !m.IsUser() {
				t.Fatalf("%s is a member", m)
			}
		}
	})
}
