package policy_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

var (
	relay      = policy.Listener{Name: "relay", TakesClients: true}
	submission = policy.Listener{Name: "submission"}
)

// parseRule reads "allow|deny WHO [on NAME…] [from PATTERN…] [to PATTERN…]".
func parseRule(t testing.TB, line int, text string) policy.Rule {
	t.Helper()
	words := strings.Fields(text)
	r := policy.Rule{Allow: words[0] == "allow", Who: pattern.MustParse(words[1]), Line: line}
	key := ""
	for _, w := range words[2:] {
		switch {
		case w == "on" || w == "from" || w == "to":
			key = w
		case key == "on":
			r.Listeners = append(r.Listeners, w)
		default:
			p, err := policy.ParseAddressPattern(w)
			if err != nil {
				t.Fatal(err)
			}
			if key == "from" {
				r.From = append(r.From, p)
			} else {
				r.To = append(r.To, p)
			}
		}
	}
	return r
}

// options reads one rule per line; the first line is line 1.
func options(t testing.TB, rules string) policy.Options {
	t.Helper()
	var o policy.Options
	for i, text := range strings.Split(strings.TrimSpace(rules), "\n") {
		if text = strings.TrimSpace(text); text != "" {
			o.Rules = append(o.Rules, parseRule(t, i+1, text))
		}
	}
	return o
}

func newRules(t testing.TB, rules string) *policy.Rules {
	t.Helper()
	r, err := policy.New(options(t, rules))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func user(t testing.TB, s string) saslext.Identity {
	t.Helper()
	id, err := saslext.ParseIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// subject reads a user when there is an @, else a client; "" is nobody.
func subject(t testing.TB, l policy.Listener, who string) policy.Subject {
	t.Helper()
	switch {
	case who == "":
		return policy.Subject{Listener: l}
	case strings.Contains(who, "@"):
		return policy.Subject{Listener: l, User: user(t, who)}
	default:
		return policy.Subject{Listener: l, Client: dnsname.MustParse(who)}
	}
}

func TestAllowList(t *testing.T) {
	r := newRules(t, `
		allow *._device.example.org from any
		allow _smtp-client.mx.partner.test from @partner.test
		deny broken._device.example.org
		deny noisy._device.example.org to @example.net
		allow *@example.org
		deny eve@example.org
		allow _smtp-client.sub.example.org on submission from any
		allow rick@relay.test on relay
		allow jürgen@bücher.example
		deny *@denied.test
		allow rick@denied.test`)
	tests := []struct {
		listener policy.Listener
		who      string
		want     bool
	}{
		{relay, "sensor7._device.example.org", true},
		{relay, "sensor7._device.example.org.attacker.net", false},
		{relay, "sensor7._device.evilexample.org", false},
		{relay, "broken._device.example.org", false},
		{relay, "noisy._device.example.org", true}, // the deny is a condition on mail
		{relay, "_smtp-client.mx.partner.test", true},
		{relay, "_smtp-client.mx2.partner.test", false},
		{submission, "sensor7._device.example.org", false}, // users only
		{submission, "_smtp-client.sub.example.org", true}, // but for the rule that names it
		{relay, "_smtp-client.sub.example.org", false},
		{submission, "rick@example.org", true},
		{relay, "rick@example.org", true},
		{relay, "rick@evilexample.org", false},
		{relay, "rick@example.org.attacker.net", false},
		{relay, "rick@mail.example.org", false},
		{submission, "eve@example.org", false},
		{submission, "Eve@example.org", false},
		{relay, "rick@relay.test", true},
		{submission, "rick@relay.test", false},
		{submission, "Jürgen@xn--bcher-kva.example", true},
		{submission, "rick@denied.test", false}, // a deny wins although it is less specific
		{relay, "example.org", false},
		{relay, "", false},
	}
	for _, tt := range tests {
		s := subject(t, tt.listener, tt.who)
		got := r.AllowsClient(tt.listener, s.Client)
		if strings.Contains(tt.who, "@") {
			if got {
				t.Errorf("no client is allowed on %s", tt.listener.Name)
			}
			got = r.AllowsUser(tt.listener, s.User)
		}
		if got != tt.want {
			t.Errorf("%s on %s: %v", tt.who, tt.listener.Name, got)
		}
	}
}

func TestNilRulesRefuse(t *testing.T) {
	rick := user(t, "rick@example.org")
	client := dnsname.MustParse("a._device.example.org")
	from := mailaddr.MustParse("rick@example.org")
	empty := newRules(t, "")
	for name, r := range map[string]*policy.Rules{"nil": nil, "empty": empty} {
		if r.AllowsUser(relay, rick) || r.AllowsClient(relay, client) || r.MayActAs(rick, user(t, "eve@example.org")) {
			t.Errorf("%s rules allow", name)
		}
		if v := r.Sender(policy.Subject{Listener: relay, User: rick}, from); v.Allow || v.Reason != policy.NoRule {
			t.Errorf("%s rules: %+v", name, v)
		}
		if v := r.Recipient(policy.Subject{Listener: relay, Client: client}, from, from); v.Allow || v.Reason != policy.NoRule {
			t.Errorf("%s rules: %+v", name, v)
		}
		if known, v := r.RelayRecipient(from); known || v.Allow || v.Reason != policy.NotRelayDomain {
			t.Errorf("%s rules: %v, %+v", name, known, v)
		}
		if s := r.Unreachable(); s != nil {
			t.Errorf("%s rules: %q", name, s)
		}
	}
}

func TestMail(t *testing.T) {
	r := newRules(t, `
		allow *@example.org
		allow rick@example.org from own sales@example.org @lists.example.org
		allow *._device.example.org from @example.org *@*.example.org to @example.org boss@partner.test
		allow sensor7._device.example.org from any
		deny *@example.org to @rival.test
		deny rick@example.org from @lists.example.org to @partner.test
		deny *._device.example.org from root@example.org
		allow eve@example.org on relay from any
		allow *@bücher.example
		allow to-own@example.net to own`)
	tests := []struct {
		who, from, to string
		sender        policy.Reason
		recipient     policy.Reason
		rule          string // of the recipient's verdict
	}{
		// own
		{"bob@example.org", "bob@example.org", "x@remote.test", 0, 0, `"*@example.org" (line 1)`},
		{"bob@example.org", "BOB@Example.ORG", "x@remote.test", 0, 0, `"*@example.org" (line 1)`},
		{"bob@example.org", `"bob"@example.org`, "x@remote.test", 0, 0, `"*@example.org" (line 1)`},
		{"bob@example.org", "", "x@remote.test", 0, 0, `"*@example.org" (line 1)`},
		{"bob@example.org", "bob+x@example.org", "x@remote.test", policy.SenderRefused, policy.SenderRefused, `"*@example.org" (line 1)`},
		{"bob@example.org", "rick@example.org", "x@remote.test", policy.SenderRefused, policy.SenderRefused, `"*@example.org" (line 1)`},
		{"bob@example.org", "bob@mail.example.org", "x@remote.test", policy.SenderRefused, policy.SenderRefused, `"*@example.org" (line 1)`},
		{"bob@example.org", "bob@[192.0.2.1]", "x@remote.test", policy.SenderRefused, policy.SenderRefused, `"*@example.org" (line 1)`},
		{"bob@example.org", `"bob@example.org"@example.org`, "x@remote.test", policy.SenderRefused, policy.SenderRefused, `"*@example.org" (line 1)`},
		{"jo@bücher.example", "jo@xn--bcher-kva.example", "x@remote.test", 0, 0, `"*@bücher.example" (line 9)`},
		{"jo@xn--bcher-kva.example", "Jo@Bücher.example", "x@remote.test", 0, 0, `"*@bücher.example" (line 9)`},

		// the most specific rule, and no other
		{"rick@example.org", "Sales@example.org", "x@remote.test", 0, 0, `"rick@example.org" (line 2)`},
		{"rick@example.org", "a@lists.example.org", "x@remote.test", 0, 0, `"rick@example.org" (line 2)`},
		{"rick@example.org", "a@x.lists.example.org", "x@remote.test", policy.SenderRefused, policy.SenderRefused, `"rick@example.org" (line 2)`},
		{"sensor7._device.example.org", "anybody@anywhere.test", "x@remote.test", 0, 0, `"sensor7._device.example.org" (line 4)`},
		{"sensor7._device.example.org", "anybody@anywhere.test", "", 0, policy.RecipientRefused, `"sensor7._device.example.org" (line 4)`},

		// demands of an allow on sender and recipient
		{"a._device.example.org", "a@example.org", "b@example.org", 0, 0, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "a@x.y.example.org", "boss@partner.test", 0, 0, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "", "boss@partner.test", 0, 0, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "a@evilexample.org", "b@example.org", policy.SenderRefused, policy.SenderRefused, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "a@example.org", "b@mail.example.org", 0, policy.RecipientRefused, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "a@example.org", "other@partner.test", 0, policy.RecipientRefused, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "a@example.org", "b@[192.0.2.1]", 0, policy.RecipientRefused, `"*._device.example.org" (line 3)`},
		{"a._device.example.org", "a@example.org", "", 0, policy.RecipientRefused, `"*._device.example.org" (line 3)`},
		{"to-own@example.net", "to-own@example.net", "To-Own@example.net", 0, 0, `"to-own@example.net" (line 10)`},
		{"to-own@example.net", "to-own@example.net", "b@example.net", 0, policy.RecipientRefused, `"to-own@example.net" (line 10)`},

		// denies
		{"bob@example.org", "bob@example.org", "x@rival.test", 0, policy.Denied, `"*@example.org" (line 5)`},
		{"rick@example.org", "rick@example.org", "x@rival.test", 0, policy.Denied, `"*@example.org" (line 5)`},
		{"rick@example.org", "a@lists.example.org", "x@partner.test", 0, policy.Denied, `"rick@example.org" (line 6)`},
		{"rick@example.org", "rick@example.org", "x@partner.test", 0, 0, `"rick@example.org" (line 2)`},
		{"a._device.example.org", "Root@example.org", "b@example.org", policy.Denied, policy.Denied, `"*._device.example.org" (line 7)`},
		{"sensor7._device.example.org", "root@example.org", "b@example.org", policy.Denied, policy.Denied, `"*._device.example.org" (line 7)`},
		{"a._device.example.org", "", "b@example.org", 0, 0, `"*._device.example.org" (line 3)`}, // the null sender is not root

		// no rule, nobody
		{"a._device.example.net", "a@example.org", "b@example.org", policy.NoRule, policy.NoRule, ""},
		{"a._device.example.net", "", "b@example.org", policy.NoRule, policy.NoRule, ""},
		{"", "a@example.org", "b@example.org", policy.NoIdentity, policy.NoIdentity, ""},
		{"", "", "b@example.org", policy.NoIdentity, policy.NoIdentity, ""},
	}
	for _, tt := range tests {
		s := subject(t, relay, tt.who)
		from, to := mailaddr.MustParse(tt.from), mailaddr.MustParse(tt.to)
		if v := r.Sender(s, from); v.Reason != tt.sender || v.Allow != (tt.sender == 0) {
			t.Errorf("%s from %q: %+v, want %v", tt.who, tt.from, v, tt.sender)
		}
		if v := r.Recipient(s, from, to); v.Reason != tt.recipient || v.Allow != (tt.recipient == 0) || v.Rule != tt.rule {
			t.Errorf("%s from %q to %q: %+v, want %v by %s", tt.who, tt.from, tt.to, v, tt.recipient, tt.rule)
		}
	}
}

func TestListenersChoose(t *testing.T) {
	r := newRules(t, `
		allow rick@example.org on submission from any
		allow *@example.org
		deny *@example.org on relay from boss@example.org
		allow *._device.example.org on submission relay from any`)
	boss, rick := mailaddr.MustParse("boss@example.org"), mailaddr.MustParse("rick@example.org")
	tests := []struct {
		listener policy.Listener
		who      string
		from     mailaddr.Address
		want     policy.Reason
		rule     string
	}{
		{submission, "rick@example.org", boss, 0, `"rick@example.org" (line 1)`},
		{relay, "rick@example.org", rick, 0, `"*@example.org" (line 2)`},
		{relay, "rick@example.org", mailaddr.MustParse("eve@example.org"), policy.SenderRefused, `"*@example.org" (line 2)`},
		{relay, "boss@example.org", boss, policy.Denied, `"*@example.org" (line 3)`},
		{submission, "boss@example.org", boss, 0, `"*@example.org" (line 2)`},
		{submission, "a._device.example.org", boss, 0, `"*._device.example.org" (line 4)`},
		{policy.Listener{Name: "other", TakesClients: true}, "a._device.example.org", boss, policy.NoRule, ""},
	}
	for _, tt := range tests {
		v := r.Sender(subject(t, tt.listener, tt.who), tt.from)
		if v.Reason != tt.want || v.Rule != tt.rule {
			t.Errorf("%s on %s from %s: %+v, want %v by %s", tt.who, tt.listener.Name, tt.from, v, tt.want, tt.rule)
		}
	}
}

func TestNamesUsers(t *testing.T) {
	r := newRules(t, `
		allow rick@example.org on submission
		allow *@example.org
		deny eve@example.org on relay
		allow a._device.example.org on relay from any`)
	for listener, want := range map[string]bool{"submission": true, "relay": false, "other": false} {
		if got := r.NamesUsers(listener); got != want {
			t.Errorf("%s: %v", listener, got)
		}
	}
	if (*policy.Rules)(nil).NamesUsers("submission") {
		t.Error("nil rules name users")
	}
}

// A peer that is a client and a user is nobody.
func TestBothIsNobody(t *testing.T) {
	r := newRules(t, "allow any from any\nallow *@any from any")
	s := subject(t, relay, "rick@example.org")
	s.Client = dnsname.MustParse("a._device.example.org")
	from := mailaddr.MustParse("rick@example.org")
	if v := r.Sender(s, from); v.Allow || v.Reason != policy.NoIdentity {
		t.Errorf("%+v", v)
	}
	if v := r.Recipient(s, from, from); v.Allow || v.Reason != policy.NoIdentity {
		t.Errorf("%+v", v)
	}
}

// Of equal patterns the first in the file decides, in whatever order they come.
func TestFileOrder(t *testing.T) {
	o := options(t, "allow *@example.org from any\nallow *@example.org from own")
	o.Rules[0], o.Rules[1] = o.Rules[1], o.Rules[0]
	r, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	v := r.Sender(subject(t, relay, "rick@example.org"), mailaddr.MustParse("eve@example.net"))
	if !v.Allow || v.Rule != `"*@example.org" (line 1)` {
		t.Errorf("%+v", v)
	}
}

func TestMayActAs(t *testing.T) {
	var o policy.Options
	for i, p := range [][2]string{{"rick@example.org", "sales@example.org"}, {"Admin@example.org", "*@example.org"}, {"*@*.example.org", "relay@bücher.example"}} {
		o.Authzid = append(o.Authzid, policy.Authzid{From: pattern.MustParse(p[0]), To: pattern.MustParse(p[1]), Line: i + 1})
	}
	r, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		from, to string
		want     bool
	}{
		{"rick@example.org", "rick@example.org", true},
		{"rick@example.org", "Sales@example.org", true},
		{"rick@example.org", "sales@example.net", false},
		{"rick@example.org", "sales+x@example.org", false},
		{"rick@example.org", "eve@example.org", false},
		{"sales@example.org", "rick@example.org", false},
		{"admin@example.org", "rick@example.org", true},
		{"admin@example.org", "rick@mail.example.org", false},
		{"admin@example.net", "rick@example.net", false},
		{"a@mail.example.org", "relay@xn--bcher-kva.example", true},
		{"a@example.org", "relay@bücher.example", false},
	}
	for _, tt := range tests {
		if got := r.MayActAs(user(t, tt.from), user(t, tt.to)); got != tt.want {
			t.Errorf("%s as %s: %v", tt.from, tt.to, got)
		}
	}
	var nobody saslext.Identity
	if r.MayActAs(nobody, nobody) || r.MayActAs(nobody, user(t, "sales@example.org")) || r.MayActAs(user(t, "admin@example.org"), nobody) {
		t.Error("nobody acts, or is acted as")
	}
}

func TestNewRefuses(t *testing.T) {
	own, err := policy.ParseAddressPattern("own")
	if err != nil {
		t.Fatal(err)
	}
	who := pattern.MustParse
	client, alice := who("*._device.example.org"), who("alice@example.org")
	domain := policy.RelayDomain{Domain: dnsname.MustParse("example.org")}
	tests := []struct {
		name    string
		options policy.Options
		want    string
	}{
		{"client without from", policy.Options{Rules: []policy.Rule{{Who: client, Allow: true, Line: 7}}}, `rule "*._device.example.org" (line 7): a rule that allows a client must say from`},
		{"own for a client", policy.Options{Rules: []policy.Rule{{Who: client, Allow: true, From: []policy.AddressPattern{own}}}}, `"own" is for users`},
		{"own for a client that is denied", policy.Options{Rules: []policy.Rule{{Who: client, To: []policy.AddressPattern{own}}}}, `"own" is for users`},
		{"no pattern", policy.Options{Rules: []policy.Rule{{Allow: true, Line: 3}}}, `(line 3): no pattern`},
		{"empty address pattern", policy.Options{Rules: []policy.Rule{{Who: alice, From: make([]policy.AddressPattern, 1)}}}, "an empty address pattern"},
		{"uid without a normal form", policy.Options{Rules: []policy.Rule{{Who: who("u:rick@example.org"), Line: 4}}}, `rule "u:rick@example.org" (line 4)`},
		{"uid of a Kelvin sign", policy.Options{Rules: []policy.Rule{{Who: who("\u212aelvin@example.org"), Line: 4}}}, "not ASCII, but becomes so"},
		{"authzid from a client", policy.Options{Authzid: []policy.Authzid{{From: client, To: alice, Line: 5}}}, `authzid "*._device.example.org" (line 5): both sides must name users`},
		{"authzid to a client", policy.Options{Authzid: []policy.Authzid{{From: alice, To: client}}}, "both sides must name users"},
		{"authzid from a bad uid", policy.Options{Authzid: []policy.Authzid{{From: who("a:b@example.org"), To: alice}}}, "uid has no normal form"},
		{"authzid to a bad uid", policy.Options{Authzid: []policy.Authzid{{From: alice, To: who("a:b@example.org")}}}, "uid has no normal form"},
		{"relay domain twice", policy.Options{RelayDomains: []policy.RelayDomain{domain, domain}}, `relay domain "example.org"`},
		{"relay domain without a name", policy.Options{RelayDomains: []policy.RelayDomain{{Any: true}}}, `relay domain ""`},
	}
	for _, tt := range tests {
		r, err := policy.New(tt.options)
		if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A uid in a pattern is brought to the normal form of uids, so that a deny holds
// however it was written.
func TestPatternsInNormalForm(t *testing.T) {
	r := newRules(t, "allow *@example.org\ndeny JU\u0308RGEN@example.org")
	if r.AllowsUser(relay, user(t, "jürgen@example.org")) {
		t.Error("the deny does not hold")
	}
}

// Whatever the caller does with its slices later, the rules stay as they are.
func TestRulesDoNotChange(t *testing.T) {
	o := options(t, "allow a._device.example.org on relay from @example.org")
	r, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Rules[0].Listeners[0] = "other"
	o.Rules[0].From[0], err = policy.ParseAddressPattern("any")
	if err != nil {
		t.Fatal(err)
	}
	s := subject(t, relay, "a._device.example.org")
	if v := r.Sender(s, mailaddr.MustParse("a@example.org")); !v.Allow {
		t.Errorf("%+v", v)
	}
	if v := r.Sender(s, mailaddr.MustParse("a@example.net")); v.Reason != policy.SenderRefused {
		t.Errorf("%+v", v)
	}
}

func TestReasonWords(t *testing.T) {
	for reason, want := range map[policy.Reason]string{
		0: "", policy.NoIdentity: "no-identity", policy.NoRule: "no-rule", policy.Denied: "denied",
		policy.SenderRefused: "sender-refused", policy.RecipientRefused: "recipient-refused",
		policy.NotRelayDomain: "not-a-relay-domain", policy.UnknownMailbox: "unknown-mailbox", 200: "unknown",
	} {
		if reason.String() != want {
			t.Errorf("%d: %q, want %q", reason, reason, want)
		}
	}
}

// Whatever the rules: what is allowed is so by a rule that fits, nothing gets
// past the allow list, and a deny for everybody leaves nothing.
func TestDecideProperty(t *testing.T) {
	whos := rapid.SampledFrom([]string{"any", "*@any", "*@example.org", "rick@example.org", "*@*.example.org", "*._device.example.org", "a._device.example.org"})
	addresses := rapid.SampledFrom([]string{"", " from any", " from @example.org", " from any to @example.org", " from rick@example.org to any"})
	listeners := rapid.SampledFrom([]string{"", " on relay", " on submission"})
	actions := rapid.SampledFrom([]string{"allow ", "deny "})
	rapid.Check(t, func(rt *rapid.T) {
		var lines []string
		for range rapid.IntRange(1, 5).Draw(rt, "rules") {
			lines = append(lines, actions.Draw(rt, "action")+whos.Draw(rt, "who")+listeners.Draw(rt, "on")+addresses.Draw(rt, "addresses"))
		}
		o := options(t, strings.Join(lines, "\n"))
		r, err := policy.New(o)
		if err != nil {
			return
		}
		l := rapid.SampledFrom([]policy.Listener{relay, submission}).Draw(rt, "listener")
		s := subject(t, l, rapid.SampledFrom([]string{"rick@example.org", "eve@a.example.org", "a._device.example.org", "_smtp-client.mx.test"}).Draw(rt, "subject"))
		from := mailaddr.MustParse(rapid.SampledFrom([]string{"", "rick@example.org", "x@test"}).Draw(rt, "from"))
		to := mailaddr.MustParse(rapid.SampledFrom([]string{"b@example.org", "b@remote.test"}).Draw(rt, "to"))
		sender, rcpt := r.Sender(s, from), r.Recipient(s, from, to)
		listed := r.AllowsClient(l, s.Client) || r.AllowsUser(l, s.User)
		if (sender.Allow || rcpt.Allow) && !listed {
			rt.Fatalf("%q: allowed behind the allow list: %+v, %+v", lines, sender, rcpt)
		}
		if rcpt.Allow && !sender.Allow {
			rt.Fatalf("%q: the recipient without the sender: %+v, %+v", lines, sender, rcpt)
		}
		if rcpt.Allow != (rcpt.Reason == 0) || rcpt.Allow && rcpt.Rule == "" {
			rt.Fatalf("%q: %+v", lines, rcpt)
		}
		o.Rules = append(o.Rules, policy.Rule{Who: pattern.MustParse("any"), Listeners: []string{l.Name}}, policy.Rule{Who: pattern.MustParse("*@any")})
		if r, err = policy.New(o); err != nil {
			rt.Fatal(err)
		}
		if v := r.Recipient(s, from, to); v.Reason != policy.Denied || r.AllowsClient(l, s.Client) || r.AllowsUser(l, s.User) {
			rt.Fatalf("%q and a deny for everybody: %+v", lines, v)
		}
	})
}
