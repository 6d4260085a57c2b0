package policy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/smtpd/policy"
)

// noon is the time of these tests.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// furtherRule reads "allow|deny WHO|- KEY=VALUE,VALUE…" with the keys on, from, to, author,
// group, proved, net, as, until (hours from noon).
func furtherRule(t testing.TB, line int, text string) policy.Rule {
	t.Helper()
	words := strings.Fields(text)
	r := policy.Rule{Allow: words[0] == "allow", Line: line}
	if words[1] != "-" {
		r.Who = pattern.MustParse(words[1])
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		for v := range strings.SplitSeq(value, ",") {
			setFurther(t, &r, key, v)
		}
	}
	return r
}

func setFurther(t testing.TB, r *policy.Rule, key, v string) {
	t.Helper()
	switch key {
	case "on":
		r.Listeners = append(r.Listeners, v)
	case "group":
		r.Group = v
	case "proved":
		r.Proved = append(r.Proved, map[string]policy.Proof{"certificate": policy.ByCertificate, "extension": policy.ByExtension}[v])
	case "net":
		r.Networks = append(r.Networks, netip.MustParsePrefix(v))
	case "as":
		r.As = mailaddr.MustParse(v)
	case "until":
		hours, err := time.ParseDuration(v)
		if err != nil {
			t.Fatal(err)
		}
		r.Until = noon.Add(hours)
	default:
		p, err := policy.ParseAddressPattern(v)
		if err != nil {
			t.Fatal(err)
		}
		list := map[string]*[]policy.AddressPattern{"from": &r.From, "to": &r.To, "author": &r.Authors}[key]
		*list = append(*list, p)
	}
}

func furtherRules(t testing.TB, text string) *policy.Rules {
	t.Helper()
	o := policy.Options{
		Now: func() time.Time { return noon },
		Subaddresses: []policy.Subaddresses{{Domains: pattern.MustParse("*@example.org"), Delimiter: "+"},
			{Domains: pattern.MustParse("*@*.minus.test"), Delimiter: "-"}},
		RelayDomains: []policy.RelayDomain{{Domain: dnsname.MustParse("example.org"), Recipients: map[string]bool{"rick@example.org": true}}},
	}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		o.Rules = append(o.Rules, furtherRule(t, i+1, line))
	}
	r, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asker reads "NAME [group=G,…] [by=PROOF] [at=ADDRESS]"; "-" is nobody. Without group
// no group is known; "group=" means that there is none.
func asker(t testing.TB, l policy.Listener, text string) policy.Subject {
	t.Helper()
	words := strings.Fields(text)
	s := policy.Subject{Listener: l}
	if words[0] != "-" {
		s = subject(t, l, words[0])
	}
	for _, w := range words[1:] {
		switch key, v, _ := strings.Cut(w, "="); key {
		case "group":
			s.Groups = strings.FieldsFunc(v, func(r rune) bool { return r == ',' })
			if s.Groups == nil {
				s.Groups = []string{}
			}
		case "by":
			s.Proved = map[string]policy.Proof{"certificate": policy.ByCertificate, "extension": policy.ByExtension}[v]
		case "at":
			s.Remote = netip.MustParseAddr(v)
		}
	}
	return s
}

const conditions = `
allow *@example.org group=staff from=any
allow *@example.org
deny *@example.org group=guests to=@remote.test
allow *@out.test group=staff
allow *._device.example.org proved=extension from={label}@alerts.example.org
allow *._device.net.test net=192.0.2.0/24,2001:db8::/32 from=any
allow _smtp-client.mx.partner.test as=partner@example.org from=own,@partner.test
allow _smtp-client.old.partner.test from=any until=-1h
allow _smtp-client.new.partner.test from=any until=1h
deny _smtp-client.ex.partner.test until=0h
allow _smtp-client.*.partner.test from=any
allow - net=198.51.100.0/24 from=@printers.test
allow - net=198.51.100.7/32 from=any
deny - net=198.51.100.9/32
allow - net=203.0.113.0/24 from=any on=submission
allow *@uid.test from=list-{uid}@uid.test
deny *._device.example.org net=192.0.2.66/32`

func TestConditions(t *testing.T) {
	r := furtherRules(t, conditions)
	for _, c := range []struct {
		who, from, to string
		want          string // the line of the rule and the reason, "" for an allow
	}{
		{"rick@example.org group=staff", "ceo@example.org", "x@remote.test", "1"},
		{"rick@example.org group=other,staff", "ceo@example.org", "x@remote.test", "1"},
		{"rick@example.org group=", "ceo@example.org", "x@remote.test", "2 sender-refused"},
		{"rick@example.org group=", "rick@example.org", "x@remote.test", "2"},
		{"rick@example.org", "ceo@example.org", "x@remote.test", "2 sender-refused"}, // what is not known gives nothing
		{"rick@example.org group=staff,guests", "rick@example.org", "x@remote.test", "3 denied"},
		{"rick@example.org group=guests", "rick@example.org", "x@example.org", "2"},
		{"rick@example.org", "rick@example.org", "x@remote.test", "2"}, // the deny is not known to hold
		{"eve@out.test group=", "eve@out.test", "x@remote.test", " no-rule"},
		{"eve@out.test group=staff", "eve@out.test", "x@remote.test", "4"},

		{"hall.s7._device.example.org by=extension", "hall.s7@alerts.example.org", "x@remote.test", "5"},
		{"s7._device.example.org by=extension", "S7@alerts.example.org", "x@remote.test", "5"},
		{"s7._device.example.org by=extension", "s8@alerts.example.org", "x@remote.test", "5 sender-refused"},
		{"s7._device.example.org by=extension", "s7@example.org", "x@remote.test", "5 sender-refused"},
		{"s7._device.example.org by=extension", "", "x@remote.test", "5"},
		{"s7._device.example.org by=certificate", "s7@alerts.example.org", "x@remote.test", " no-rule"},
		{"s7._device.example.org", "s7@alerts.example.org", "x@remote.test", " no-rule"},
		{"s7._device.example.org by=extension at=192.0.2.66", "s7@alerts.example.org", "x@remote.test", "17 denied"},

		{"a._device.net.test at=192.0.2.7", "x@y.test", "x@remote.test", "6"},
		{"a._device.net.test at=::ffff:192.0.2.7", "x@y.test", "x@remote.test", "6"},
		{"a._device.net.test at=2001:db8::1", "x@y.test", "x@remote.test", "6"},
		{"a._device.net.test at=192.0.3.7", "x@y.test", "x@remote.test", " no-rule"},
		{"a._device.net.test", "x@y.test", "x@remote.test", " no-rule"},

		{"_smtp-client.mx.partner.test", "partner@example.org", "x@remote.test", "7"},
		{"_smtp-client.mx.partner.test", "partner+x@example.org", "x@remote.test", "7"},
		{"_smtp-client.mx.partner.test", "anybody@partner.test", "x@remote.test", "7"},
		{"_smtp-client.mx.partner.test", "rick@example.org", "x@remote.test", "7 sender-refused"},

		{"_smtp-client.old.partner.test", "x@y.test", "x@remote.test", "11"},
		{"_smtp-client.new.partner.test", "x@y.test", "x@remote.test", "9"},
		{"_smtp-client.ex.partner.test", "x@y.test", "x@remote.test", "11"}, // over at the very moment

		{"- at=198.51.100.1", "a@printers.test", "x@remote.test", "12"},
		{"- at=198.51.100.1", "a@y.test", "x@remote.test", "12 sender-refused"},
		{"- at=198.51.100.7", "a@y.test", "x@remote.test", "13"}, // the smaller network
		{"- at=198.51.100.9", "a@printers.test", "x@remote.test", "14 denied"},
		{"- at=192.0.2.1", "a@printers.test", "x@remote.test", " no-rule"},
		{"- at=203.0.113.1", "a@printers.test", "x@remote.test", " no-rule"}, // on another listener
		{"-", "a@printers.test", "x@remote.test", " no-identity"},
		{"b._device.other.test at=198.51.100.1", "a@printers.test", "x@remote.test", " no-rule"}, // a network is for those without an identity

		{"rick@example.org group=", "rick+lists@example.org", "x@remote.test", "2"},
		{"rick@example.org group=", "rick+@example.org", "x@remote.test", "2"},
		{"rick@example.org group=", "+rick@example.org", "x@remote.test", "2 sender-refused"},
		{"rick@example.org group=", "rick-lists@example.org", "x@remote.test", "2 sender-refused"},
		{"rick@example.org group=", "ricky@example.org", "x@remote.test", "2 sender-refused"},
		{"rick@example.org group=", "rick+lists@remote.test", "x@remote.test", "2 sender-refused"},

		{"rick@uid.test", "list-rick@uid.test", "x@remote.test", "16"},
		{"rick@uid.test", "list-eve@uid.test", "x@remote.test", "16 sender-refused"},
		{"rick@uid.test", "rick@uid.test", "x@remote.test", "16 sender-refused"},
	} {
		s := asker(t, relay, c.who)
		from := mailaddr.Address{}
		if c.from != "" {
			from = mailaddr.MustParse(c.from)
		}
		v := r.Recipient(s, from, mailaddr.MustParse(c.to))
		line, reason, _ := strings.Cut(c.want, " ")
		if v.Allow != (reason == "") || v.Reason.String() != reason || !strings.HasSuffix(v.Rule, "(line "+line+")") && line != "" || line == "" && v.Rule != "" {
			t.Errorf("%s, from %q: %+v, want %s", c.who, c.from, v, c.want)
		}
		if terms := r.Terms(s); terms.Rule != v.Rule && v.Allow {
			t.Errorf("%s: terms of %s, rule %s", c.who, terms.Rule, v.Rule)
		}
	}
}

// Before the login an allow that may come to fit counts, and a deny does not.
func TestConditionsBeforeTheLogin(t *testing.T) {
	r := furtherRules(t, conditions)
	for _, c := range []struct {
		who  string
		want bool
	}{
		{"eve@out.test", true}, {"eve@out.test group=", false}, {"rick@example.org", true},
		{"s7._device.example.org", true}, {"s7._device.example.org by=certificate", false}, {"s7._device.example.org by=extension", true},
		{"a._device.net.test", true}, {"a._device.net.test at=192.0.3.1", false},
		{"s7._device.example.org at=192.0.2.66", false},
		{"- at=198.51.100.1", true}, {"- at=198.51.100.9", false}, {"- at=203.0.113.1", false}, {"- at=192.0.2.1", false},
	} {
		if v := r.Admits(asker(t, relay, c.who)); v.Allow != c.want {
			t.Errorf("%s: %+v", c.who, v)
		}
	}
	if !r.Admits(asker(t, submission, "- at=203.0.113.1")).Allow {
		t.Error("a rule for a network that names the listener")
	}
}

func TestAuthor(t *testing.T) {
	r := furtherRules(t, `
allow *@example.org
allow boss@example.org from=any author=own,@example.org
allow *._device.example.org from=@example.org
allow _smtp-client.mx.partner.test from=any author=@partner.test
deny *@example.org from=ceo@example.org
deny *@example.org from=cfo@example.org to=@remote.test`)
	for _, c := range []struct{ who, author, want string }{
		{"rick@example.org", "rick@example.org", "1"},
		{"rick@example.org", "Rick+x@Example.ORG", "1"},
		{"rick@example.org", "eve@example.org", "1 author-refused"},
		{"rick@example.org", "ceo@example.org", "5 denied"},
		{"boss@example.org", "eve@example.org", "2"},
		{"boss@example.org", "eve@remote.test", "2 author-refused"}, // though he may send as anybody
		{"boss@example.org", "ceo@example.org", "5 denied"},
		{"boss@example.org", "cfo@example.org", "2"},       // that one is about recipients
		{"s7._device.example.org", "eve@remote.test", "3"}, // clients carry the mail of others
		{"_smtp-client.mx.partner.test", "eve@remote.test", "4 author-refused"},
		{"_smtp-client.mx.partner.test", "eve@partner.test", "4"},
		{"x@stranger.test", "x@stranger.test", " no-rule"},
		{"-", "x@stranger.test", " no-identity"},
	} {
		v := r.Author(asker(t, relay, c.who), mailaddr.MustParse(c.author))
		line, reason, _ := strings.Cut(c.want, " ")
		if v.Allow != (reason == "") || v.Reason.String() != reason || line != "" && !strings.HasSuffix(v.Rule, "(line "+line+")") {
			t.Errorf("%s as %s: %+v, want %s", c.who, c.author, v, c.want)
		}
	}
}

// Rules that would not do what they seem to say.
func TestBadConditions(t *testing.T) {
	for text, want := range map[string]string{
		"allow *._device.example.org group=staff from=any":             "groups are of users",
		"allow - net=192.0.2.0/24 proved=extension from=any":           "proves nobody",
		"allow - net=192.0.2.0/24":                                     `allows a network must say from`,
		"allow - net=192.0.2.0/24 from=own":                            `"own" is for users`,
		"allow *._device.example.org as=x@example.org from=own":        "no star",
		"allow any as=x@example.org from=own":                          "no star",
		"allow *@example.org as=x@example.org":                         "no star",
		"deny _smtp-client.mx.partner.test as=x@example.org":           "a rule that allows",
		"allow _smtp-client.mx.partner.test as=x@[192.0.2.1] from=own": "in a domain",
		"allow _smtp-client.mx.partner.test from=own":                  `"own" is for users`,
		"allow *@example.org from={label}@example.org":                 "{label} is for clients",
		"allow *._device.*.example.org from={label}@example.org":       "one star",
		"allow sensor._device.example.org from={label}@example.org":    "one star",
		"allow any from={label}@example.org":                           "one star",
		"allow *@*.example.org from={uid}@example.org":                 "two of them had one address",
		"allow rick@example.org from={uid}@example.org":                "all users of one domain",
		"allow *._device.example.org from={uid}@example.org":           "all users of one domain",
		"allow *@any from={uid}@example.org":                           "two of them had one address",
	} {
		_, err := policy.New(policy.Options{Rules: []policy.Rule{furtherRule(t, 7, text)}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(line 7)") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, q := range []policy.Quota{{}, {Of: policy.Messages, Each: policy.EachDomain, N: 0, Per: time.Hour}, {Of: policy.Messages, N: 1, Per: time.Hour}} {
		r := furtherRule(t, 1, "allow *@example.org")
		r.Quotas = []policy.Quota{q}
		if _, err := policy.New(policy.Options{Rules: []policy.Rule{r}}); err == nil {
			t.Errorf("quota %+v was taken", q)
		}
	}
	for _, s := range []policy.Subaddresses{{}, {Domains: pattern.MustParse("*@example.org")}, {Domains: pattern.MustParse("a._device.example.org"), Delimiter: "+"}} {
		if _, err := policy.New(policy.Options{Subaddresses: []policy.Subaddresses{s}}); err == nil {
			t.Errorf("subaddresses %+v were taken", s)
		}
	}
}

func TestTemplates(t *testing.T) {
	for text, ok := range map[string]bool{
		"{label}@alerts.example.org": true, "a-{label}-b@example.org": true, "{uid}@example.org": true,
		"{label}{uid}@example.org": false, "{label}{label}@example.org": false, "{name}@example.org": false,
		"{label@example.org": false, "x@{label}.example.org": false, "{label}@": false, "{label}@*.example.org": false, "a b{uid}c\x00@example.org": false,
	} {
		p, err := policy.ParseAddressPattern(text)
		if (err == nil) != ok || ok && p.String() != text {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

func TestSubaddressesOfRecipients(t *testing.T) {
	r := furtherRules(t, "allow *@example.org")
	for to, want := range map[string]bool{
		"rick@example.org": true, "rick+x@example.org": true, "rick+x+y@example.org": true, "+rick@example.org": false,
		"rick-x@example.org": false, "eve+x@example.org": false,
	} {
		if known, v := r.RelayRecipient(mailaddr.MustParse(to)); !known || v.Allow != want {
			t.Errorf("%s: %v, %+v", to, known, v)
		}
	}
}

func TestQuotaKeys(t *testing.T) {
	for _, c := range []struct{ who, identity, domain, address string }{
		{"rick@mail.example.org at=192.0.2.7", "user rick@mail.example.org", "domain example.org", "address 192.0.2.7/32"},
		{"s7._device.hall.example.co.uk at=2001:db8:1:2:3::4", "client s7._device.hall.example.co.uk", "domain example.co.uk", "address 2001:db8:1:2::/64"},
		{"_smtp-client.mx.partner.test", "client _smtp-client.mx.partner.test", "domain partner.test", ""},
		{"- at=::ffff:192.0.2.7", "address 192.0.2.7/32", "", "address 192.0.2.7/32"},
	} {
		s := asker(t, relay, c.who)
		for each, want := range map[string]string{policy.EachIdentity: c.identity, policy.EachDomain: c.domain, policy.EachAddress: c.address} {
			if got := (policy.Quota{Each: each}).Key(s); got != want {
				t.Errorf("%s, each %s: %q, want %q", c.who, each, got, want)
			}
		}
	}
	if got, want := (policy.Quota{Of: policy.Recipients, Each: policy.EachDomain, N: 1000, Per: 24 * time.Hour}).Text(), "1000/d recipients of one domain"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEndedRules(t *testing.T) {
	r := furtherRules(t, "allow _smtp-client.old.partner.test from=any until=-12h\nallow *@example.org until=1h\nallow rick@example.org")
	want := `rule "_smtp-client.old.partner.test" (line 1) ended with 2026-11-23`
	if got := r.Unreachable(); len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s := (policy.Subject{User: user(t, "rick@example.org")}); r.NeedsDirectory(s) || !furtherRules(t, conditions).NeedsDirectory(s) {
		t.Error("groups")
	}
}
