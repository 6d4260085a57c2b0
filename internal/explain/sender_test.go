package explain

import (
	"context"
	"errors"
	"strings"
	"testing"

	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// entryOf is a directory of one entry, or one that fails.
type entryOf struct {
	policy.Entry
	err error
}

func (e entryOf) Lookup(context.Context, saslext.Identity) (policy.Entry, error) {
	return e.Entry, e.err
}

// TestSenderShowsTheEntry: what the directory has of a user, and what becomes of mail
// while it has nothing to say.
func TestSenderShowsTheEntry(t *testing.T) {
	listed, err := policy.ParseAddressPattern("directory")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.New(policy.Options{
		Rules:   []policy.Rule{{Who: pattern.MustParse("*@example.org"), Group: "staff", Allow: true, From: []policy.AddressPattern{listed}, Line: 1}},
		Classes: map[string][]policy.Quota{"small": nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	rick, err := saslext.ParseIdentity("rick@example.org")
	if err != nil {
		t.Fatal(err)
	}
	boss := mailaddr.MustParse("boss@example.org")
	for _, c := range []struct {
		name      string
		directory policy.Directory
		verdict   string
		shown     []string
	}{
		{"all", entryOf{Entry: policy.Entry{Groups: []string{"staff"}, Addresses: []mailaddr.Address{boss}, Quota: "small"}}, Accepted,
			[]string{"group", "staff", "address", "boss@example.org", "class of quotas", "small"}},
		{"nothing", entryOf{}, Refused, []string{"no-rule"}},
		{"away", entryOf{err: errors.New("no\nanswer")}, Temporary, []string{"no-directory", "no?answer"}},
		{"another class", entryOf{Entry: policy.Entry{Quota: "huge"}}, Temporary, []string{"no-directory", `no class of quotas is called "huge"`}},
		{"none", nil, Refused, []string{"no-rule"}},
	} {
		e := SenderExplainer{Rules: rules, Directory: c.directory, Reply: func(string, policy.Verdict, string) string { return "550" }}
		r := e.Explain(t.Context(), policy.Subject{User: rick, Proved: policy.ByPassword}, boss, mailaddr.MustParse("ann@example.net"), boss)
		var out strings.Builder
		if err := r.Print(&out); err != nil {
			t.Fatal(err)
		}
		if r.Verdict != c.verdict {
			t.Errorf("%s: %s, want %s", c.name, r.Verdict, c.verdict)
		}
		for _, s := range c.shown {
			if !strings.Contains(out.String(), s) {
				t.Errorf("%s: %q is not shown:\n%s", c.name, s, &out)
			}
		}
	}
}
