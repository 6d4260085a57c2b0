package policy_test

import (
	"testing"

	"dancemta/smtpd/policy"
)

// Admits names the rule behind AllowsClient and AllowsUser, and says the same.
func TestAdmits(t *testing.T) {
	r := newRules(t, `
		allow *._device.example.org from any
		deny broken._device.example.org
		deny noisy._device.example.org to @example.net
		allow sensor7._device.example.org from any
		allow *@example.org
		deny eve@example.org`)
	for _, c := range []struct {
		listener policy.Listener
		who      string
		want     policy.Verdict
	}{
		{relay, "x._device.example.org", policy.Verdict{Allow: true, Rule: `"*._device.example.org" (line 1)`}},
		{relay, "broken._device.example.org", policy.Verdict{Reason: policy.Denied, Rule: `"broken._device.example.org" (line 2)`}},
		{relay, "noisy._device.example.org", policy.Verdict{Allow: true, Rule: `"*._device.example.org" (line 1)`}},
		{relay, "sensor7._device.example.org", policy.Verdict{Allow: true, Rule: `"sensor7._device.example.org" (line 4)`}},
		{submission, "sensor7._device.example.org", policy.Verdict{Reason: policy.NoRule}},
		{relay, "x._device.example.net", policy.Verdict{Reason: policy.NoRule}},
		{submission, "rick@example.org", policy.Verdict{Allow: true, Rule: `"*@example.org" (line 5)`}},
		{submission, "eve@example.org", policy.Verdict{Reason: policy.Denied, Rule: `"eve@example.org" (line 6)`}},
		{relay, "", policy.Verdict{Reason: policy.NoIdentity}},
	} {
		s := subject(t, c.listener, c.who)
		got := r.Admits(s)
		if got != c.want {
			t.Errorf("%s on %s: %+v, want %+v", c.who, c.listener.Name, got, c.want)
		}
		if asked := r.AllowsClient(s.Listener, s.Client) || r.AllowsUser(s.Listener, s.User); asked != got.Allow {
			t.Errorf("%s on %s: the allow list says %v", c.who, c.listener.Name, asked)
		}
	}
	var none *policy.Rules
	if v := none.Admits(subject(t, relay, "x._device.example.org")); v.Allow || v.Reason != policy.NoRule {
		t.Errorf("nil admits: %+v", v)
	}
}
