package ldapbridge

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	"dancemta/ldapbridge/message"
)

func text(s string) *string { return &s }

// TestBinds: the codes of RFC 4513 5.2.3 and of the house, and who one is after it.
func TestBinds(t *testing.T) {
	const nobody, refused = "", "insufficientAccessRights"
	rick := userCert("rick@partner.test")
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		op   []byte
		code message.Code
		who  string
	}{
		{"credentials absent", rick, bindOp("EXTERNAL", nil), 0, "u:rick@partner.test"},
		{"credentials empty", rick, bindOp("EXTERNAL", text("")), 0, "u:rick@partner.test"},
		{"as himself", rick, bindOp("EXTERNAL", text("u:rick@partner.test")), 0, "u:rick@partner.test"},
		{"as himself, in capitals", rick, bindOp("EXTERNAL", text("u:Rick@PARTNER.test")), 0, "u:rick@partner.test"},
		{"by his DN", rick, bindOp("EXTERNAL", text("dn:UID=rick,OU=partner.test,"+people)), 0, "u:rick@partner.test"},
		{"as whom a rule says", userCert("boss@other.test"), bindOp("EXTERNAL", text("u:rick@partner.test")), 0, "u:rick@partner.test"},
		{"as his DN", userCert("boss@other.test"), bindOp("EXTERNAL", text("dn:uid=rick,ou=partner.test,"+people)), 0, "u:rick@partner.test"},
		{"as a namesake", rick, bindOp("EXTERNAL", text("u:rick@other.test")), 49, nobody},
		{"as the DN of a namesake", rick, bindOp("EXTERNAL", text("dn:uid=rick,ou=other.test,"+people)), 49, nobody},
		{"without a prefix", rick, bindOp("EXTERNAL", text("rick@partner.test")), 49, nobody},
		{"with an empty name", rick, bindOp("EXTERNAL", text("u:")), 49, nobody},
		{"with an empty DN", rick, bindOp("EXTERNAL", text("dn:")), 49, nobody},
		{"with NUL", rick, bindOp("EXTERNAL", text("u:rick@partner.test\x00")), 49, nobody},
		{"without UTF-8", rick, bindOp("EXTERNAL", text("u:rick\xff@partner.test")), 49, nobody},
		{"no certificate", nil, bindOp("EXTERNAL", nil), 48, nobody},
		{"no certificate, bad authzid", nil, bindOp("EXTERNAL", text("rick")), 48, nobody},
		{"no rule", userCert("rick@stranger.test"), bindOp("EXTERNAL", nil), 48, nobody},
		{"denied", userCert("gone@other.test"), bindOp("EXTERNAL", nil), 48, nobody},
		{"another mechanism", rick, bindOp("PLAIN", text("x")), 7, nobody},
		{"no mechanism", rick, bindOp("", nil), 7, nobody},
		{"in small letters", rick, bindOp("external", nil), 7, nobody},
		{"another choice", rick, []byte(element(0x60, "\x02\x01\x03", element(4), element(0x81, "x"))), 7, nobody},
		{"version 2", rick, []byte(element(0x60, "\x02\x01\x02", element(4), element(0x80))), 2, nobody},
		{"anonymous", rick, simpleOp("", ""), 0, nobody},
		{"a name without a password", rick, simpleOp("cn=admin", ""), 53, nobody},
		{"a password", rick, simpleOp("cn=admin", "secret"), 7, nobody},
		{"a password without a name", rick, simpleOp("", "secret"), 7, nobody},
		{"no choice", rick, []byte(element(0x60, "\x02\x01\x03", element(4))), 2, nobody},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			client := w.ldaps(c.cert)
			if got := client.code(c.op); got != c.code {
				t.Errorf("%s: %d, want %d\n%s", c.name, got, c.code, w.log.take())
			}
			if got := client.whoAmI(); got != c.who {
				t.Errorf("%s: is %q, want %q", c.name, got, c.who)
			}
			if c.who == nobody {
				if got := client.code(searchOp(people, 1)); got.String() != refused || w.server.take() != "" {
					t.Errorf("%s: a search gave %v", c.name, got)
				}
			}
			client.close()
			w.shut()
		})
	}
}

// TestBindsInClear: what nobody may do without TLS.
func TestBindsInClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.dial("ldap").listen()
		for _, c := range []struct {
			op   []byte
			code message.Code
		}{
			{bindOp("EXTERNAL", nil), 48}, {simpleOp("cn=admin", "secret"), 13}, {simpleOp("cn=admin", ""), 53}, {simpleOp("", ""), 0},
		} {
			if got := client.code(c.op); got != c.code {
				t.Errorf("%v, want %v", got, c.code)
			}
		}
		client.close()
		w.shut()
	})
}

// TestBindTrouble: DNS that does not answer is never the credentials' fault, and
// refusals for good have one text.
func TestBindTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.ldaps(userCert("rick@partner.test"))
		texts := map[string]bool{}
		for _, c := range []struct {
			err  error
			code message.Code
		}{
			{&daneclient.Error{Reason: daneclient.FailedDNS}, 52},
			{&daneclient.Error{Reason: daneclient.BogusDNS}, 52},
			{&daneclient.Error{Reason: daneclient.Overloaded}, 52},
			{errors.New("unknown"), 52},
			{&daneclient.Error{Reason: daneclient.NoMatch}, 48},
			{&daneclient.Error{Reason: daneclient.NoRecord}, 48},
			{&daneclient.Error{Reason: daneclient.Insecure}, 48},
		} {
			w.verifier.answer(func(string) (time.Time, error) { return time.Time{}, c.err })
			r := client.result(bindOp("EXTERNAL", nil))
			if r.Code != c.code {
				t.Errorf("%v: %v, want %v", c.err, r.Code, c.code)
			}
			if texts[r.Diagnostic] = true; c.code == 48 && !strings.Contains(r.Diagnostic, "session ") {
				t.Errorf("%q names no session", r.Diagnostic)
			}
		}
		if len(texts) != 2 {
			t.Errorf("more than one text: %v", texts)
		}
		if log := w.log.take(); !strings.Contains(log, "reason=no-match") || !strings.Contains(log, "leaf_sha256=") || !strings.Contains(log, `result=inappropriateAuthentication`) {
			t.Error(log)
		}
		client.close()
		w.shut()
	})
}

// TestNoQueryBeforeTheRules: whom no rule lets in costs no look-up.
func TestNoQueryBeforeTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, id := range []string{"rick@stranger.test", "gone@other.test"} {
			client := w.ldaps(userCert(id))
			client.bind(nil)
			client.close()
		}
		if n := w.verifier.questions(); n != 0 {
			t.Errorf("%d questions", n)
		}
		w.shut()
	})
}

// TestRebind: a bind takes the old identity away first, whatever becomes of it.
func TestRebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.bound("rick@partner.test")
		for _, op := range [][]byte{simpleOp("cn=admin", "secret"), simpleOp("", ""), bindOp("EXTERNAL", text("u:boss@other.test")), bindOp("PLAIN", nil),
			[]byte(element(0x60, "\x02\x01\x03"))} {
			if got := client.bind(nil); got != message.Success {
				t.Fatal(got)
			}
			client.code(op)
			if got := client.whoAmI(); got != "" {
				t.Errorf("% x: still %q", op, got)
			}
			if got := client.code(searchOp(people, 1)); got != message.InsufficientAccessRights {
				t.Errorf("% x: %v", op, got)
			}
		}
		if got := w.server.take(); got != "" {
			t.Error(got)
		}
		client.close()
		w.shut()
	})
}

// TestRebindAbandons: operations that are outstanding at a bind never come to an end,
// and nothing of them is run under the new identity.
func TestRebindAbandons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var late func() error
		w.server.say(func(s *server) {
			s.handle = func(m message.Message, write func([]byte) error) bool {
				if m.Tag() != message.SearchRequest {
					return false
				}
				late = func() error { return s.reply(m, write) }
				return true
			}
		})
		client := w.bound("rick@partner.test")
		client.send(searchOp(people, 1))
		if got := client.bind(nil); got != message.Success {
			t.Error(got)
		}
		if got, want := w.server.take(), "search dn:uid=rick,ou=partner.test,"+people+", abandon"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		_ = late()
		if got := client.take(); len(got) != 0 {
			t.Errorf("%d messages of before the bind", len(got))
		}
		w.server.say(func(s *server) { s.handle = nil })
		if got := client.code(searchOp(people, 1)); got != message.Success {
			t.Error(got)
		}
		client.close()
		w.shut()
	})
}

// TestIdentityEnds: an identity is judged again when its proof is over, and when the
// rules have changed; trouble of DNS then is no refusal.
func TestIdentityEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Limits.Idle = 24 * time.Hour })
		client := w.bound("rick@partner.test")
		if client.code(searchOp(people, 1)) != 0 || w.verifier.questions() != 1 {
			t.Error("the identity is asked for too soon")
		}
		time.Sleep(time.Hour)
		if client.code(searchOp(people, 1)) != 0 || w.verifier.questions() != 2 {
			t.Error("the identity is not asked for again")
		}
		time.Sleep(time.Hour)
		w.verifier.answer(func(string) (time.Time, error) { return time.Time{}, &daneclient.Error{Reason: daneclient.FailedDNS} })
		if got := client.code(searchOp(people, 1)); got != message.Unavailable {
			t.Errorf("DNS in trouble: %v", got)
		}
		w.verifier.answer(func(string) (time.Time, error) { return time.Time{}, &daneclient.Error{Reason: daneclient.NoRecord} })
		w.server.take()
		if got := client.code(searchOp(people, 1)); got != message.InsufficientAccessRights || client.whoAmI() != "insufficientAccessRights" {
			t.Errorf("the record is gone: %v", got)
		}
		if got := w.server.take(); got != "" {
			t.Error(got)
		}
		w.verifier.answer(func(string) (time.Time, error) { return time.Now().Add(time.Hour), nil })
		if got := client.code(searchOp(people, 1)); got != message.Success {
			t.Errorf("the record is back: %v", got)
		}
		client.close()
		w.shut()
	})
}

// TestReload: new rules hold within open sessions.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.bound("rick@partner.test")
		o := standardRules()
		o.Rules[0].DN = "cn={uid},ou={domain},dc=new"
		w.setRules(o)
		client.code(searchOp(people, 1))
		if got := w.server.take(); got != "search dn:cn=rick,ou=partner.test,dc=new" {
			t.Error(got)
		}
		o.Rules = o.Rules[1:]
		w.setRules(o)
		if got := client.code(searchOp(people, 1)); got != message.InsufficientAccessRights || w.server.take() != "" {
			t.Error(got)
		}
		client.close()
		w.shut()
	})
}
