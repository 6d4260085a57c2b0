package policy_test

import (
	"slices"
	"testing"
)

func TestUnreachable(t *testing.T) {
	hidden := func(rule, by string) string {
		return "rule " + rule + " can never decide: rule " + by + " always does before it"
	}
	tests := []struct {
		name, rules string
		want        []string
	}{
		{"none", `
			allow *@example.org
			allow rick@example.org from any
			deny eve@example.org
			allow *._device.example.org from any
			allow any from any
			deny *@any to @rival.test`, nil},
		{"the same twice", `
			allow rick@example.org
			allow Rick@EXAMPLE.org from any`,
			[]string{hidden(`"Rick@EXAMPLE.org" (line 2)`, `"rick@example.org" (line 1)`)}},
		{"the same twice, in A-labels", `
			allow *@bücher.example
			allow *@xn--bcher-kva.example`,
			[]string{hidden(`"*@xn--bcher-kva.example" (line 2)`, `"*@bücher.example" (line 1)`)}},
		{"one star covers two", `
			allow *._device.example.org from any
			allow *.*._device.example.org from any`,
			[]string{hidden(`"*.*._device.example.org" (line 2)`, `"*._device.example.org" (line 1)`)}},
		{"one star behind two", `
			allow *.*._device.example.org from any
			allow *._device.example.org from any`, nil},
		{"denied from behind", `
			allow rick@example.org
			deny *@example.org`,
			[]string{hidden(`"rick@example.org" (line 1)`, `"*@example.org" (line 2)`)}},
		{"denied on a condition", `
			allow rick@example.org
			deny *@example.org from any to @rival.test`, nil},
		{"deny behind an allow", `
			allow *@example.org
			deny *@example.org`,
			[]string{hidden(`"*@example.org" (line 1)`, `"*@example.org" (line 2)`)}},
		{"deny behind a deny", `
			deny eve@example.org
			deny eve@example.org from @example.org`,
			[]string{hidden(`"eve@example.org" (line 2)`, `"eve@example.org" (line 1)`)}},
		{"deny behind the same condition", `
			deny eve@example.org to @rival.test @other.test
			deny eve@example.org from own to @other.test`,
			[]string{hidden(`"eve@example.org" (line 2)`, `"eve@example.org" (line 1)`)}},
		{"deny behind another condition", `
			deny eve@example.org to @rival.test
			deny eve@example.org to @other.test`, nil},
		{"specific deny before a general one names itself", `
			deny eve@example.org
			deny *@example.org`, nil},
		{"other listener", `
			allow rick@example.org on relay
			allow rick@example.org on submission`, nil},
		{"fewer listeners", `
			allow rick@example.org on relay submission
			allow rick@example.org on submission`,
			[]string{hidden(`"rick@example.org" (line 2)`, `"rick@example.org" (line 1)`)}},
		{"all listeners behind one", `
			allow rick@example.org on relay
			allow rick@example.org`, nil},
		{"one listener behind all", `
			allow rick@example.org
			allow rick@example.org on relay`,
			[]string{hidden(`"rick@example.org" (line 2)`, `"rick@example.org" (line 1)`)}},
		{"client on a named listener", `
			allow a._device.example.org from any
			allow a._device.example.org on submission from any`, nil},
		{"no client has such a name", `
			allow mx.partner.test from any
			allow *.partner.test from any
			allow _smtp-client.mx.partner.test from any
			allow _user.partner.test from any
			deny *._tcp.partner.test
			allow _25.mx.partner.test from any
			allow _2a.partner.test from any`,
			[]string{
				`rule "mx.partner.test" (line 1) can never match: the name of a client has an underscore label; write for example _smtp-client.mx.partner.test`,
				`rule "*.partner.test" (line 2) can never match: the name of a client has an underscore label; write for example _smtp-client.*.partner.test`,
				`rule "_user.partner.test" (line 4) can never match: a name with the label _user is never a client`,
				`rule "*._tcp.partner.test" (line 5) can never match: a name with the label _tcp is never a client`,
				`rule "_25.mx.partner.test" (line 6) can never match: a name with the label _25 is never a client`,
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := newRules(t, tt.rules).Unreachable(); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
