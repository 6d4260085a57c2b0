package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/smtpd/policy"
)

func known(t *testing.T, r *policy.Rules, who string, e policy.Entry) policy.Subject {
	t.Helper()
	s := policy.Subject{Listener: policy.Listener{Name: "sub"}, User: user(t, who), Proved: policy.ByPassword}
	if err := r.Know(&s, e); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestListed: "directory" means the addresses in the user's entry, whatever their case,
// their subaddresses, and no others.
func TestListed(t *testing.T) {
	listed, err := policy.ParseAddressPattern("directory")
	if err != nil || listed.String() != policy.Listed {
		t.Fatal(listed, err)
	}
	own, err := policy.ParseAddressPattern(policy.Own)
	if err != nil {
		t.Fatal(err)
	}
	rule := policy.Rule{Who: pattern.MustParse("*@example.org"), Allow: true, From: []policy.AddressPattern{listed}, Line: 1}
	both := rule
	both.Who, both.From = pattern.MustParse("both@example.org"), []policy.AddressPattern{own, listed}
	r, err := policy.New(policy.Options{Rules: []policy.Rule{rule, both},
		Subaddresses: []policy.Subaddresses{{Domains: pattern.MustParse("*@example.org"), Delimiter: "+"}}})
	if err != nil {
		t.Fatal(err)
	}
	entry := policy.Entry{Addresses: []mailaddr.Address{mailaddr.MustParse("Boss@Example.org"), {}, mailaddr.MustParse("info@bücher.example")}}
	for _, c := range []struct {
		who, from string
		entry     policy.Entry
		want      bool
	}{
		{"rick@example.org", "boss@example.org", entry, true},
		{"rick@example.org", "boss+x@example.org", entry, true},
		{"rick@example.org", "info@xn--bcher-kva.example", entry, true},
		{"rick@example.org", "info+x@xn--bcher-kva.example", entry, false},
		{"rick@example.org", "rick@example.org", entry, false}, // own is another word
		{"both@example.org", "both@example.org", entry, true},
		{"both@example.org", "boss@example.org", entry, true},
		{"rick@example.org", "boss@example.org", policy.Entry{}, false},
		{"rick@example.org", "bossy@example.org", entry, false},
		{"rick@example.org", "", entry, true}, // the null sender always passes
	} {
		s := known(t, r, c.who, c.entry)
		from := mailaddr.Address{}
		if c.from != "" {
			from = mailaddr.MustParse(c.from)
		}
		if got := r.Sender(s, from).Allow; got != c.want {
			t.Errorf("%s from <%s>: %v, want %v", c.who, c.from, got, c.want)
		}
		if got := r.Author(s, from).Allow; got != c.want && c.from != "" {
			t.Errorf("%s wrote <%s> in From: %v, want %v", c.who, c.from, got, c.want)
		}
	}
	for who, from := range map[string]string{"*._device.example.org": "directory", "any": "directory"} {
		p, err := policy.ParseAddressPattern(from)
		if err != nil {
			t.Fatal(err)
		}
		bad := policy.Rule{Who: pattern.MustParse(who), Allow: true, From: []policy.AddressPattern{p}, Line: 1}
		if _, err := policy.New(policy.Options{Rules: []policy.Rule{bad}}); err == nil {
			t.Errorf("%s from %s: no error", who, from)
		}
	}
}

// TestClasses: the quotas of a class stand in place of those for each identity, and no
// others; a class that nobody knows is trouble.
func TestClasses(t *testing.T) {
	quota := func(each string, n int) policy.Quota {
		return policy.Quota{Of: policy.Messages, Each: each, N: n, Per: time.Hour}
	}
	rule := policy.Rule{Who: pattern.MustParse("*@example.org"), Allow: true, Line: 1,
		Quotas: []policy.Quota{quota(policy.EachIdentity, 10), quota(policy.EachDomain, 20), quota(policy.EachAddress, 30)}}
	o := policy.Options{Rules: []policy.Rule{rule}, Classes: map[string][]policy.Quota{"small": {quota(policy.EachIdentity, 1)}, "free": nil}}
	r, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for class, want := range map[string]string{
		"": "10 20 30", "small": "20 30 1", "free": "20 30",
	} {
		var got []string
		for _, q := range r.Terms(known(t, r, "rick@example.org", policy.Entry{Quota: class})).Quotas {
			got = append(got, fmt.Sprint(q.N))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("class %q: %s, want %s", class, s, want)
		}
	}
	s := policy.Subject{User: user(t, "rick@example.org")}
	if err := r.Know(&s, policy.Entry{Quota: "huge"}); err == nil {
		t.Error("a class that nobody knows")
	}
	o.Classes["bad"] = []policy.Quota{{}}
	if _, err := policy.New(o); err == nil {
		t.Error("an empty quota in a class")
	}
}

// TestNeedsDirectory: only those whom a rule may concern that asks for more than a name.
func TestNeedsDirectory(t *testing.T) {
	listed, err := policy.ParseAddressPattern("directory")
	if err != nil {
		t.Fatal(err)
	}
	all := []policy.AddressPattern{listed}
	plain := policy.Rule{Who: pattern.MustParse("*@example.org"), Allow: true, Line: 1}
	for name, c := range map[string]struct {
		change func(*policy.Options)
		want   bool
	}{
		"nothing": {func(*policy.Options) {}, false},
		"group":   {func(o *policy.Options) { o.Rules[0].Group = "x" }, true},
		"from":    {func(o *policy.Options) { o.Rules[0].From = all }, true},
		"to":      {func(o *policy.Options) { o.Rules[0].To = all }, true},
		"author":  {func(o *policy.Options) { o.Rules[0].Authors = all }, true},
		"classes": {func(o *policy.Options) { o.Classes = map[string][]policy.Quota{"x": nil} }, true},
	} {
		o := policy.Options{Rules: []policy.Rule{plain}}
		c.change(&o)
		r, err := policy.New(o)
		if err != nil {
			t.Fatal(err)
		}
		rick := policy.Subject{User: user(t, "rick@example.org"), Proved: policy.ByPassword}
		if got := r.NeedsDirectory(rick); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		others := policy.Subject{User: user(t, "rick@example.net")}
		if got := r.NeedsDirectory(others); got != (c.want && name == "classes") {
			t.Errorf("%s: users of another domain: %v", name, got)
		}
		rules := o
		rules.Rules[0].Proved = []policy.Proof{policy.ByCertificate}
		if r, err = policy.New(rules); err != nil {
			t.Fatal(err)
		}
		if got := r.NeedsDirectory(rick); got != (c.want && name == "classes") {
			t.Errorf("%s: a user proved otherwise: %v", name, got)
		}
		if r.NeedsDirectory(policy.Subject{}) {
			t.Errorf("%s: nobody", name)
		}
	}
	if (*policy.Rules)(nil).NeedsDirectory(policy.Subject{User: user(t, "rick@example.org")}) {
		t.Error("no rules need it")
	}
}

// TestKnowIsKnown: somebody of whom nothing is known is in no group, which is another
// thing than that nobody has asked.
func TestKnowIsKnown(t *testing.T) {
	r, err := policy.New(policy.Options{Rules: []policy.Rule{{Who: pattern.MustParse("*@example.org"), Group: "staff", Allow: true, Line: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	s := policy.Subject{User: user(t, "rick@example.org")}
	if !r.Admits(s).Allow {
		t.Error("before the login he may be in the group")
	}
	if s = known(t, r, "rick@example.org", policy.Entry{}); r.Admits(s).Allow {
		t.Error("he is not in the group")
	}
	if s = known(t, r, "rick@example.org", policy.Entry{Groups: []string{"staff"}}); !r.Admits(s).Allow {
		t.Error("he is in the group")
	}
}
