package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"dancemta/internal/mailaddr"
	"dancemta/saslext"
)

var staff = []Group{{"staff", "cn=Staff, ou=groups,dc=example,dc=org"}, {"press", "press"}, {"none", "cn=none,dc=example,dc=org"}}

func TestLookup(t *testing.T) {
	f := newFake(t, finding(entry(rickDN,
		"MemberOf=cn=staff,ou=Groups,dc=Example,dc=org|cn=others,dc=example,dc=org|PRESS|press",
		"mail=Rick@example.org| boss@example.org ", "alias=not an address|ü@example.org", "class=small")))
	d := newDirectory(t, Options{Groups: staff, GroupAttribute: "memberOf", AddressAttributes: []string{"mail", "alias"}, QuotaAttribute: "class"}, f)
	e, err := d.Lookup(t.Context(), user(t, "rick@bücher.example"))
	if got, want := show(e), `["press" "staff"] [Rick@example.org boss@example.org ü@example.org] "small"`; err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	f.mu.Lock()
	if s := f.got[1]; s.most != 2 || s.deref != 0 || s.timeLimit != 20 || fmt.Sprint(s.attributes) != "[mail alias class memberOf]" {
		t.Errorf("the search is %+v", s)
	}
	f.mu.Unlock()
	same(t, "asked", f.asked(), []string{"bind EXTERNAL ", "search ou=people,dc=example,dc=org (mail=rick@xn--bcher-kva.example)"})
}

// TestGroupSearch: groups that name their members.
func TestGroupSearch(t *testing.T) {
	f := newFake(t, func(r request) []*ber.Packet {
		switch {
		case r.op != "search":
			return usual(r)
		case r.dn == "ou=groups,dc=example,dc=org":
			return []*ber.Packet{entry("cn=staff,ou=groups,dc=example,dc=org"), entry("cn=none,dc=example,dc=org"), code(r.op, 0)}
		}
		return []*ber.Packet{entry(`uid=r\2a,ou=people,dc=example,dc=org`), code(r.op, 0)}
	})
	d := newDirectory(t, Options{Groups: staff, GroupBase: "ou=groups,dc=example,dc=org", GroupFilter: "(member={dn})"}, f)
	e, err := d.Lookup(t.Context(), user(t, "rick@example.org"))
	if got, want := show(e), `["none" "staff"] [] ""`; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	same(t, "asked", f.asked(), []string{"bind EXTERNAL ", "search ou=people,dc=example,dc=org (mail=rick@example.org)",
		`search ou=groups,dc=example,dc=org (member=uid=r\5c2a,ou=people,dc=example,dc=org)`})
}

// TestEscapes: what a stranger writes before the @ stays one value.
func TestEscapes(t *testing.T) {
	for address, want := range map[string]string{
		`"*)(uid=*"@example.org`:    `search ou=example.org,dc=test (|(mail=\2a\29\28uid=\2a@example.org)(uid=\2a\29\28uid=\2a))`,
		"+mail+archive@example.org": `search ou=example.org,dc=test (|(mail=+mail+archive@example.org)(uid=+mail+archive))`,
		`"{address}"@example.org`:   `search ou=example.org,dc=test (|(mail={address}@example.org)(uid={address}))`,
		"jürgen@bücher.example":     `search ou=xn--bcher-kva.example,dc=test (|(mail=j\c3\bcrgen@xn--bcher-kva.example)(uid=j\c3\bcrgen))`,
		`"a\\b"@example.org`:        `search ou=example.org,dc=test (|(mail=a\5cb@example.org)(uid=a\5cb))`,
	} {
		f := newFake(t, usual)
		d := newDirectory(t, Options{RecipientBase: "ou={domain},dc=test", RecipientFilter: "(|(mail={address})(uid={uid}))"}, f)
		if ok, err := d.Exists(t.Context(), mailaddr.MustParse(address)); ok || err != nil {
			t.Errorf("%s: %v, %v", address, ok, err)
		}
		same(t, address, f.asked()[1:], []string{want})
	}
	for value, want := range map[string]string{
		"#x ": `uid=\#x\ ,ou=d`, " x": `uid=\ x,ou=d`, `a,b+c"\;<>=`: `uid=a\,b\+c\"\\\;\<\>=,ou=d`, "x\x00y": `uid=x\00y,ou=d`,
	} {
		if got := (template{base: "uid={uid},ou={domain}"}).baseFor(values{uid: value, domain: "d"}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// TestTrouble: no code, no silence and no oddity of a server says that there is nobody.
func TestTrouble(t *testing.T) {
	many := strings.Repeat("x|", maxValues) + "x"
	large := strings.TrimSuffix(strings.Repeat(strings.Repeat("y", maxValue)+"|", maxOperation/maxValue), "|") // each value is within bounds
	answers := map[string]func(request) []*ber.Packet{
		"referrals":       finding(referral("ldap://elsewhere.test/")),
		"two entries":     finding(entry(rickDN), entry("uid=rick,ou=other,dc=example,dc=org")),
		"many values":     finding(entry(rickDN, "memberOf="+many)),
		"a long value":    finding(entry(rickDN, "memberOf="+strings.Repeat("x", maxValue+1))),
		"two classes":     finding(entry(rickDN, "class=a|b")),
		"too much":        finding(entry(rickDN, "x="+large)),
		"no answer to it": func(r request) []*ber.Packet { return []*ber.Packet{code("bind", 0)} },
	}
	for result := range 125 { // of RFC 4511 4.1.9 and its kin
		if result == 0 || result == 14 { // success; saslBindInProgress, which no search has
			continue
		}
		answers[fmt.Sprint("code ", result)] = func(r request) []*ber.Packet {
			if r.op == "bind" {
				return usual(r)
			}
			return []*ber.Packet{code(r.op, result, "dc=example,dc=org")}
		}
		answers[fmt.Sprint("our bind ", result)] = func(r request) []*ber.Packet { return []*ber.Packet{code(r.op, result)} }
	}
	for name, answer := range answers {
		f := newFake(t, answer)
		d := newDirectory(t, Options{Groups: staff, GroupAttribute: "memberOf", QuotaAttribute: "class"}, f)
		if name != "no answer to it" {
			e, err := d.Lookup(t.Context(), user(t, "rick@example.org"))
			isTrouble(t, name+": user", err)
			if e.Groups != nil {
				t.Errorf("%s: %v", name, e)
			}
		}
		switch name {
		case "two entries", "many values", "a long value", "two classes", "no answer to it": // a mailbox may have more than one, and of a password only the DN matters
			continue
		}
		_, err := d.Exists(t.Context(), mailaddr.MustParse("rick@example.org"))
		isTrouble(t, name+": mailbox", err)
		isTrouble(t, name+": password", d.CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, "secret")))
	}
}

// TestAbsence: that there is no base is an answer where its name was made of a domain,
// and the server has shown that it knows what stands above.
func TestAbsence(t *testing.T) {
	for _, c := range []struct {
		base, matched string
		none          bool
	}{
		{"ou={domain},ou=people,dc=example,dc=org", "OU=people, dc=example,dc=org", true},
		{"uid={uid},ou={domain},ou=people,dc=example,dc=org", "ou=example.net,ou=people,dc=example,dc=org", true},
		{"ou={domain},ou=people,dc=example,dc=org", "dc=example,dc=org", false}, // ou=people is a mistake
		{"ou={domain},ou=people,dc=example,dc=org", "", false},                  // it does not tell us
		{"ou={domain},ou=people,dc=example,dc=org", "ou=people,dc=example,dc=net", false},
		{"ou={domain},ou=people,dc=example,dc=org", "no DN", false},
		{"ou=people,dc=example,dc=org", "dc=example,dc=org", false},
		{"ou={domain}", "", false},
	} {
		f := newFake(t, func(r request) []*ber.Packet {
			if r.op == "bind" {
				return usual(r)
			}
			return []*ber.Packet{code(r.op, 32, c.matched)}
		})
		d := newDirectory(t, Options{Base: c.base}, f)
		ok, err := d.Exists(t.Context(), mailaddr.MustParse("x@example.net"))
		if ok || (err == nil) != c.none {
			t.Errorf("%s, matched %q: %v, %v", c.base, c.matched, ok, err)
		}
		err = d.CheckPassword(t.Context(), user(t, "x@example.net"), password(t, "secret"))
		if errors.Is(err, saslext.ErrPassword) != c.none {
			t.Errorf("%s, matched %q: password: %v", c.base, c.matched, err)
		}
	}
}

// TestCache: each answer holds for its time and no longer; what is not known is asked
// again.
func TestCache(t *testing.T) {
	var mu sync.Mutex
	now, results := time.Unix(1000, 0), []*ber.Packet{entry(rickDN, "memberOf=press")}
	set := func(wait time.Duration, to ...*ber.Packet) {
		mu.Lock()
		defer mu.Unlock()
		now, results = now.Add(wait), to
	}
	f := newFake(t, func(r request) []*ber.Packet {
		mu.Lock()
		defer mu.Unlock()
		return finding(results...)(r)
	})
	var counted []string
	d := newDirectory(t, Options{Groups: staff, GroupAttribute: "memberOf", Cache: time.Minute, Negative: 10 * time.Second,
		Now:   func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		Count: func(q Question, r Result, cached bool) { counted = append(counted, fmt.Sprint(q, " ", r, " ", cached)) },
	}, f)
	for i, c := range []struct {
		wait   time.Duration
		found  []*ber.Packet
		groups string
		asked  int
	}{
		{0, results, "[press]", 1},
		{time.Minute - 1, nil, "[press]", 1},
		{1, nil, "[]", 2},
		{10*time.Second - 1, results, "[]", 2},
		{1, results, "[press]", 3},
	} {
		set(c.wait, c.found...)
		e, err := d.Lookup(t.Context(), user(t, "rick@example.org"))
		exists, err2 := d.Exists(t.Context(), mailaddr.MustParse("RICK@example.org"))
		if got := fmt.Sprint(e.Groups); got != c.groups || err != nil || err2 != nil || exists != (c.groups != "[]") {
			t.Errorf("step %d: %s, %v, %v, %v, want %s", i, got, exists, err, err2, c.groups)
		}
		f.mu.Lock()
		if got := len(f.got); got != 1+2*c.asked {
			t.Errorf("step %d: %d requests, want %d", i, got, 1+2*c.asked)
		}
		f.mu.Unlock()
	}
	same(t, "counted", counted, []string{"user found false", "recipient found false", "user found true", "recipient found true",
		"user none false", "recipient none false", "user none true", "recipient none true", "user found false", "recipient found false"})
}

// TestPassword: the bind is made as the entry that was found, by a connection that
// nothing else uses, and each time anew.
func TestPassword(t *testing.T) {
	f := newFake(t, func(r request) []*ber.Packet {
		switch {
		case r.op == "search":
			return []*ber.Packet{entry(rickDN), code(r.op, 0)}
		case r.dn == rickDN && r.password != "right":
			return []*ber.Packet{code(r.op, 49)}
		}
		return usual(r)
	})
	d := newDirectory(t, Options{}, f)
	rick := user(t, "rick@example.org")
	for range 2 {
		if err := d.CheckPassword(t.Context(), rick, password(t, "right")); err != nil {
			t.Error(err)
		}
		if err := d.CheckPassword(t.Context(), rick, password(t, "wrong")); !errors.Is(err, saslext.ErrPassword) || strings.Contains(err.Error(), "wrong") {
			t.Error(err)
		}
	}
	search := "search ou=people,dc=example,dc=org (mail=rick@example.org)"
	same(t, "asked", f.asked(), []string{"bind EXTERNAL ", search, "bind " + rickDN + " right", search, "bind " + rickDN + " wrong",
		search, "bind " + rickDN + " right", search, "bind " + rickDN + " wrong"})
	if ever, _ := f.connections(); ever != 2 {
		t.Errorf("%d connections", ever)
	}
}

// TestEmptyPassword: a server takes a name without a password for nobody, and says
// success (RFC 4513 5.1.2). It is never asked.
func TestEmptyPassword(t *testing.T) {
	f := newFake(t, finding(entry(rickDN)))
	d := newDirectory(t, Options{}, f)
	if err := d.CheckPassword(t.Context(), user(t, "rick@example.org"), saslext.Password{}); !errors.Is(err, saslext.ErrPassword) {
		t.Errorf("an empty password: %v", err)
	}
	if asked := f.asked(); len(asked) > 0 {
		t.Errorf("asked %q", asked)
	}
	f = newFake(t, finding(entry(" "))) // nor for nobody's
	d = newDirectory(t, Options{}, f)
	isTrouble(t, "no DN", d.CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, "x")))
	same(t, "asked", f.asked(), []string{"bind EXTERNAL ", "search ou=people,dc=example,dc=org (mail=rick@example.org)"})
}

// TestPasswordCodes: two codes refuse, no other does.
func TestPasswordCodes(t *testing.T) {
	for result := range 125 {
		f := newFake(t, func(r request) []*ber.Packet {
			switch {
			case r.op == "search":
				return []*ber.Packet{entry(rickDN), code(r.op, 0)}
			case r.mechanism != "":
				return usual(r)
			}
			return []*ber.Packet{code(r.op, result)}
		})
		err := newDirectory(t, Options{}, f).CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, "secret"))
		switch {
		case result == 0 && err == nil, (result == 49 || result == 48) == errors.Is(err, saslext.ErrPassword) && err != nil:
		default:
			t.Errorf("code %d: %v", result, err)
		}
	}
}

// TestMailboxesAlike: what a server would take for another mailbox is none, and nobody
// asks about it; names that are merely rare are asked about.
func TestMailboxesAlike(t *testing.T) {
	f := newFake(t, finding(entry(rickDN)))
	d := newDirectory(t, Options{}, f)
	for local, want := range map[string]bool{
		`" rick"`: false, `"rick "`: false, `"ri  ck"`: false, "\ufb01nn": false, "\uff52ick": false, "ri\ufe0fck": false,
		`"ri ck"`: true, "rick+x": true, "\u00fcx": true, "u\u0308x": true, "rick": true,
	} {
		if ok, err := d.Exists(t.Context(), mailaddr.MustParse(local+"@example.org")); ok != want || err != nil {
			t.Errorf("%+q: %v, %v, want %v", local, ok, err, want)
		}
	}
}

// TestServerTellsPasswords: a server that repeats what it was told is not believed in the
// log; it says "said so" of all.
func TestServerTellsPasswords(t *testing.T) {
	for result, broken := range map[int]bool{53: false, 51: true} {
		for secret, want := range map[string]string{"said so": "the password in it", "secret": "said so"} {
			f := newFake(t, func(r request) []*ber.Packet {
				if r.op == "search" {
					return []*ber.Packet{entry(rickDN), code(r.op, 0)}
				}
				return []*ber.Packet{code(r.op, map[bool]int{true: result}[r.mechanism == ""])}
			})
			err := newDirectory(t, Options{}, f).CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, secret))
			if isTrouble(t, secret, err); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) || isBroken(err) != broken {
				t.Errorf("code %d, password %q: %v, broken: %v", result, secret, err, isBroken(err))
			}
		}
	}
}

// TestNobody: no entry and a wrong password are one thing.
func TestNobody(t *testing.T) {
	f := newFake(t, usual)
	d := newDirectory(t, Options{}, f)
	if err := d.CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, "x")); !errors.Is(err, saslext.ErrPassword) {
		t.Error(err)
	}
	if e, err := d.Lookup(t.Context(), user(t, "rick@example.org")); err != nil || e.Groups == nil || len(e.Groups) > 0 {
		t.Errorf("%v, %v", e, err)
	}
	for _, a := range []string{"", "x@[192.0.2.1]"} {
		address := mailaddr.Address{}
		if a != "" {
			address = mailaddr.MustParse(a)
		}
		if ok, err := d.Exists(t.Context(), address); ok || err != nil {
			t.Errorf("%q: %v, %v", a, ok, err)
		}
	}
}

// TestLeaver: whoever does not wait gets no answer, and the question goes on.
func TestLeaver(t *testing.T) {
	let := make(chan struct{})
	f := newFake(t, func(r request) []*ber.Packet {
		if r.op == "search" {
			<-let
		}
		return finding(entry(rickDN))(r)
	})
	d := newDirectory(t, Options{}, f)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var wait sync.WaitGroup
	for range 5 { // more than open the breaker
		wait.Go(func() {
			if err := d.CheckPassword(ctx, user(t, "rick@example.org"), password(t, "x")); err != nil {
				t.Errorf("a check that had begun: %v", err)
			}
		})
	}
	close(let)
	wait.Wait()
	if ok, err := d.Exists(t.Context(), mailaddr.MustParse("rick@example.org")); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := func() Options {
		return Options{Servers: []Server{{Network: "unix", Address: "/x"}}, Base: "dc=x", Filter: "(uid={uid})"}
	}
	for name, change := range map[string]func(*Options){
		"no server":           func(o *Options) { o.Servers = nil },
		"no network":          func(o *Options) { o.Servers[0].Network = "udp" },
		"nothing verifies":    func(o *Options) { o.Servers[0].Network = "tcp" },
		"no base":             func(o *Options) { o.Base = "" },
		"base is no DN":       func(o *Options) { o.Base = "people" },
		"unknown placeholder": func(o *Options) { o.Filter = "(uid={user})" },
		"half a placeholder":  func(o *Options) { o.Filter = "(uid={uid)" },
		"no placeholder":      func(o *Options) { o.Filter = "(uid=rick)" },
		"no filter":           func(o *Options) { o.Filter = "uid={uid}" },
		"dn of nobody":        func(o *Options) { o.Filter = "(member={dn})" },
		"group base":          func(o *Options) { o.GroupFilter, o.GroupBase = "(member={dn})", "x" },
		"recipients":          func(o *Options) { o.RecipientFilter = "(mail=*" },
		"DN without password": func(o *Options) { o.Bind.DN = "cn=x" },
		"password without DN": func(o *Options) { o.Bind.Password = "x" },
		"time":                func(o *Options) { o.Timeout = -1 },
	} {
		o := good()
		if change(&o); true {
			if _, err := New(o); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	if _, err := New(good()); err != nil {
		t.Error(err)
	}
}
