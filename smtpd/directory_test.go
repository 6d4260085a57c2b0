package smtpd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/internal/limit"
	"dancemta/internal/mailaddr"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// people are entries by user.
type people map[string]policy.Entry

func (p people) Lookup(_ context.Context, id saslext.Identity) (policy.Entry, error) {
	e := p[id.ASCIIDomain()]
	if e.Quota == "away" {
		return policy.Entry{}, errors.New("ldap is away")
	}
	return e, nil
}

// TestDirectory: the addresses and the class of the entry hold, whoever proved the user;
// trouble is 454, at MAIL and at a RCPT that finds out who sends.
func TestDirectory(t *testing.T) {
	boss := []mailaddr.Address{mailaddr.MustParse("boss@partner.test")}
	entries := people{
		"rick@partner.test":  {Addresses: boss, Quota: "small"},
		"eve@partner.test":   {},
		"robin@partner.test": {Quota: "away"},
		"jim@partner.test":   {Quota: "huge"},
	}
	w := newWorld(t, func(o *Options) {
		o.Quotas = limit.NewQuotas(100, func() time.Time { return start })
		o.Directory = func() policy.Directory { return entries }
	})
	verified(w.verifier, start.Add(time.Hour))
	o := standardRules()
	o.Rules[2].From = addresses("own", "directory")
	o.Rules[2].Quotas = []policy.Quota{{Of: policy.Messages, Each: policy.EachIdentity, N: 2, Per: time.Hour}}
	o.Classes = map[string][]policy.Quota{"small": {{Of: policy.Messages, Each: policy.EachIdentity, N: 1, Per: time.Hour}}}
	w.setRules(o)
	const trouble = "454 4.7.0 Cannot find out now what you may send, try again later"
	for _, c := range []struct {
		user, from string
		mail       string
		rcpt       []string // of one message each
	}{
		{"rick", "boss@partner.test", "250", []string{"250", "450 4.7.1 Over quota, try again later: 1/h messages of one identity"}},
		{"eve", "boss@partner.test", "553 5.7.1 This sender address is not for eve@partner.test", nil},
		{"eve", "eve@partner.test", "250", []string{"250", "250", "450 4.7.1 Over quota, try again later: 2/h messages of one identity"}},
		{"robin", "robin@partner.test", trouble, nil},
		{"jim", "jim@partner.test", trouble, nil},
	} {
		k := w.talk("sub", userPeer(c.user))
		k.expect(c.user+": AUTH", k.auth(""), "235")
		k.expect(c.user+": MAIL", k.mail(c.from), c.mail)
		for i, want := range c.rcpt {
			if i > 0 {
				k.Reset()
				k.mail(c.from)
			}
			if got := cut(k.rcpt("ann@remote.test")); !strings.HasPrefix(got, want) {
				t.Errorf("%s: message %d: %q, want %q", c.user, i, got, want)
			}
		}
	}
	if log := w.log.String(); !strings.Contains(log, "reason=no-directory") || !strings.Contains(log, "ldap is away") || !strings.Contains(log, "no class of quotas") {
		t.Errorf("the log is %s", log)
	}
}
