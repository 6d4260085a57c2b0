package smtpd

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/internal/limit"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/saslext"
	"dancemta/smtpd/policy"
)

// groupList is a directory of one group, or one that fails.
type groupList struct {
	staff string
	err   error
}

func (g groupList) Lookup(_ context.Context, id saslext.Identity) (policy.Entry, error) {
	if id.ASCIIDomain() == g.staff {
		return policy.Entry{Groups: []string{"staff"}}, g.err
	}
	return policy.Entry{}, g.err
}

// ruled is a world where these rules stand before the usual ones.
func ruled(t *testing.T, rules ...policy.Rule) *world {
	w := newWorld(t, func(o *Options) {
		o.Quotas = limit.NewQuotas(100, func() time.Time { return start })
	})
	verified(w.verifier, start.Add(time.Hour))
	o := standardRules()
	o.Rules = append(rules, o.Rules...)
	w.setRules(o)
	return w
}

func user(who string) policy.Rule {
	return policy.Rule{Who: pattern.MustParse(who), Allow: true, Line: 90}
}

// TestGroups: a rule with a group holds for its members, and nobody gets anywhere
// while the groups are not known.
func TestGroups(t *testing.T) {
	for _, c := range []struct {
		name      string
		directory policy.Directory
		want      string // to MAIL as somebody else
		own       string // to MAIL as himself
	}{
		{"member", groupList{staff: "rick@partner.test"}, "250", "250"},
		{"no member", groupList{staff: "eve@partner.test"}, "553 5.7.1 This sender address is not for rick@partner.test", "250"},
		{"unknown", groupList{err: errors.New("ldap is away")}, "454 4.7.0", "454 4.7.0"},
		{"member, and trouble", groupList{staff: "rick@partner.test", err: errors.New("ldap is away")}, "454 4.7.0", "454 4.7.0"},
		{"no directory", nil, "454 4.7.0", "454 4.7.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := user("*@partner.test")
			r.Group, r.From = "staff", addresses("@partner.test")
			w := ruled(t, r)
			if c.directory != nil {
				w.opts.Directory = func() policy.Directory { return c.directory }
			}
			k := w.talk("sub", userPeer("rick"))
			k.expect("AUTH", k.auth(""), "235")
			k.expect("MAIL", k.mail("ceo@partner.test"), c.want)
			k.Reset()
			k.expect("MAIL", k.mail("rick@partner.test"), c.own)
			if c.own != "250" && (!strings.Contains(w.log.String(), "reason=no-directory") || strings.Contains(k.mail("x@y.test"), "ldap")) {
				t.Errorf("the log is %s", w.log)
			}
		})
	}
}

// TestProved: a rule may demand how a client was proved.
func TestProved(t *testing.T) {
	r := policy.Rule{Who: pattern.MustParse(device), Allow: true, From: addresses("any"), Proved: []policy.Proof{policy.ByExtension}, Line: 90}
	for _, told := range []bool{false, true} {
		w := ruled(t, r)
		k := w.talk("mx", clientPeer(device))
		k.checks.Wait() // the verdict reads it
		k.cred.Named = told
		k.expect("MAIL", k.mail("x@elsewhere.test"), "250")
		want := "553 5.7.1"
		if told {
			want = "250"
		}
		k.expect("RCPT", k.rcpt("a@remote.test"), want)
	}
}

// TestNetworks: a peer without an identity sends by a rule for its network, and gets
// no identity by it.
func TestNetworks(t *testing.T) {
	rule := func(network string) policy.Rule {
		return policy.Rule{Networks: []netip.Prefix{netip.MustParsePrefix(network)}, Allow: true, From: addresses("@printers.test"), Listeners: []string{"mx", "sub"}, Line: 90}
	}
	for _, c := range []struct{ name, network, from, mail, rcpt string }{
		{"in it", "192.0.2.0/24", "a@printers.test", "250", "250"},
		{"as somebody else", "192.0.2.0/24", "a@partner.test", "553 5.7.1", "503"},
		{"elsewhere", "192.0.3.0/24", "a@printers.test", "530 5.7.0", "503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ruled(t, rule(c.network))
			k := w.talk("sub", plainPeer())
			k.expect("MAIL at submission", k.mail(c.from), c.mail)
			k.expect("RCPT at submission", k.rcpt("a@remote.test"), c.rcpt)
			k = w.talk("mx", plainPeer())
			k.expect("MAIL", k.mail(c.from), "250")
			want := map[string]string{"250": "250", "553 5.7.1": "553 5.7.1", "530 5.7.0": "550 5.7.1 Relaying denied"}[c.mail]
			k.expect("RCPT", k.rcpt("a@remote.test"), want)
			if want != "250" {
				return
			}
			k.expect("DATA", k.data("From: x@y.test\r\n\r\n"), "250")
			if m := w.queue.messages()[0]; m.Identity != "" {
				t.Errorf("the identity is %q", m.Identity)
			}
			if log := w.log.String(); !strings.Contains(log, `rule="\"192.0.2.0/24\" (line 90)"`) {
				t.Errorf("the log is %s", log)
			}
		})
	}
	w := ruled(t, rule("192.0.2.0/24")) // a refused certificate takes nothing away
	refused(w.verifier, 1)
	k := w.talk("mx", clientPeer(device))
	k.expect("MAIL", k.mail("a@printers.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
}

// TestAs: a far client has a local name, for the queue and the log, and may send as it.
func TestAs(t *testing.T) {
	w := ruled(t, policy.Rule{Who: pattern.MustParse(mtaName), Allow: true, From: addresses("own"), As: mailaddr.MustParse("partner@example.test"), Line: 90})
	k := w.talk("mx", clientPeer(mtaName))
	k.expect("MAIL", k.mail("x@partner.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "553 5.7.1 This sender address is not for partner@example.test")
	k.Reset()
	k.expect("MAIL", k.mail("partner@example.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	k.expect("DATA", k.data("From: x@y.test\r\n\r\n"), "250")
	if m := w.queue.messages()[0]; m.Identity != "partner@example.test" {
		t.Errorf("the identity is %q", m.Identity)
	}
}

// TestSizes: a rule's size holds from the moment when it is known.
func TestSizes(t *testing.T) {
	r := user("rick@partner.test")
	r.Size = 1000
	client := policy.Rule{Who: pattern.MustParse(mtaName), Allow: true, From: addresses("any"), Size: 1000, Line: 91}
	w := ruled(t, r, client)
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "235")
	k.expect("MAIL", text(k.Mail("rick@partner.test", &smtp.MailOptions{Size: 1001})), "552 5.3.4")
	k.expect("MAIL", text(k.Mail("rick@partner.test", &smtp.MailOptions{Size: 1000})), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	k.expect("DATA", k.data("From: rick@partner.test\r\n\r\n"+strings.Repeat("x", 1000)), "552 5.3.4")
	k = w.talk("mx", clientPeer(mtaName))
	k.expect("MAIL", text(k.Mail("x@partner.test", &smtp.MailOptions{Size: 1001})), "250")
	k.expect("RCPT of ours", k.rcpt("info@example.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "552 5.3.4")
	if n := len(w.queue.messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestAuthors: what a user writes in From is checked as his sender is.
func TestAuthors(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"From: rick@partner.test\r\n", "250"},
		{"From: \"CEO\" <Rick@Partner.Test>\r\n", "250"},
		{"Subject: none\r\n", "250"},
		{"From: robin@partner.test\r\n", "550 5.7.1 This address in the From field is not for rick@partner.test"},
		{"From: rick@partner.test, robin@partner.test\r\n", "550 5.7.1"},
		{"From: rick@partner.test\r\nFrom: robin@partner.test\r\n", "550 5.7.1"},
		{"From : robin@partner.test\r\n", "550 5.7.1"},
		{"From: rick\r\n", "550 5.7.1"},
		{"X: " + strings.Repeat("x", maxHead) + "\r\nFrom: robin@partner.test\r\n", "552 5.3.4 Header is too long"},
	} {
		w := ruled(t)
		k := w.talk("sub", userPeer("rick"))
		k.expect("AUTH", k.auth(""), "235")
		k.expect("MAIL", k.mail("rick@partner.test"), "250")
		k.expect("RCPT", k.rcpt("a@remote.test"), "250")
		k.expect("DATA with "+c.header[:min(len(c.header), 60)], k.data(c.header+"\r\nbody\r\n"), c.want)
		if n := len(w.queue.messages()); (n == 1) != (c.want == "250") {
			t.Errorf("%q: %d messages", c.header[:min(len(c.header), 60)], n)
		}
	}
	w := ruled(t) // a client carries the mail of others
	k := w.talk("mx", clientPeer(mtaName))
	k.expect("MAIL", k.mail("x@partner.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	k.expect("DATA", k.data("From: x@elsewhere.test\r\n\r\n"), "250")
}

// TestQuotas: who is over a quota hears which, for now, and the log says whose.
func TestQuotas(t *testing.T) {
	r := user("rick@partner.test")
	r.Quotas = []policy.Quota{
		{Of: policy.Messages, Each: policy.EachIdentity, N: 2, Per: time.Hour},
		{Of: policy.Recipients, Each: policy.EachDomain, N: 4, Per: 24 * time.Hour},
	}
	w := ruled(t, r)
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "235")
	for i, want := range []string{"250", "250", "450 4.7.1 Over quota, try again later: 2/h messages of one identity ["} {
		k.expect("MAIL", k.mail("rick@partner.test"), "250")
		k.expect("RCPT "+string(rune('1'+i)), k.rcpt("a@remote.test"), want)
		if want == "250" {
			k.expect("the same message", k.rcpt("b@remote.test"), "250")
		}
		k.Reset()
	}
	if log := w.log.String(); strings.Count(log, "reason=over-quota") != 1 || !strings.Contains(log, "user rick@partner.test 2/h messages of one identity") {
		t.Errorf("the log is %s", log)
	}
	r.Quotas = r.Quotas[1:] // a reload does not give back what was taken
	o := standardRules()
	o.Rules = append(o.Rules, r)
	w.setRules(o)
	k.expect("MAIL", k.mail("rick@partner.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "450 4.7.1 Over quota, try again later: 4/d recipients of one domain [")
	w.opts.Quotas = nil // nothing is left where nobody counts
	k.expect("RCPT", k.rcpt("a@remote.test"), "450 4.7.1")
}

// TestOnOverQuota: of a quota of a rule somebody hears, of strangers' nobody, who could
// make him hear what they like.
func TestOnOverQuota(t *testing.T) {
	r := user("rick@partner.test")
	r.Quotas = []policy.Quota{{Of: policy.Messages, Each: policy.EachIdentity, N: 1, Per: time.Hour}}
	w := ruled(t, r)
	w.opts.StrangerQuotas = []policy.Quota{{Of: policy.Recipients, Each: policy.EachAddress, N: 1, Per: time.Hour}}
	var heard []OverQuota
	w.opts.OnOverQuota = func(o OverQuota) { heard = append(heard, o) }
	c := &tallies{seen: map[string]int{}}
	w.opts.Counters = c
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "235")
	for _, want := range []string{"250", "450"} {
		k.expect("MAIL", k.mail("rick@partner.test"), "250")
		k.expect("RCPT", k.rcpt("a@remote.test"), want)
		k.Reset()
	}
	k = w.talk("mx", plainPeer())
	k.expect("MAIL", k.mail("x@elsewhere.test"), "250")
	for _, want := range []string{"250", "450"} {
		k.expect("RCPT", k.rcpt("info@example.test"), want)
	}
	if len(heard) != 1 || heard[0].Account != "user rick@partner.test" || heard[0].Quota != r.Quotas[0] || !strings.Contains(heard[0].Rule, "rick@partner.test") {
		t.Errorf("heard %+v", heard)
	}
	if c.seen["over quota messages identity"] != 1 || c.seen["over quota recipients address"] != 1 {
		t.Errorf("counted %v", c.seen)
	}
}

// TestStrangerQuotas are for those who have no identity.
func TestStrangerQuotas(t *testing.T) {
	w := ruled(t)
	w.opts.StrangerQuotas = []policy.Quota{{Of: policy.Recipients, Each: policy.EachAddress, N: 2, Per: time.Hour}}
	k := w.talk("mx", plainPeer())
	k.expect("MAIL", k.mail("x@elsewhere.test"), "250")
	for _, want := range []string{"250", "250", "450 4.7.1 Over quota, try again later: 2/h recipients of one address"} {
		k.expect("RCPT", k.rcpt("info@example.test"), want)
	}
	k = w.talk("mx", clientPeer(mtaName))
	k.expect("MAIL", k.mail("x@partner.test"), "250")
	waitFor(t, "the verdict", func() bool { _, ok := k.provenClient(); return ok })
	k.expect("RCPT of a client", k.rcpt("info@example.test"), "250")
}

// TestRuleReply: what is foretold is what a session says.
func TestRuleReply(t *testing.T) {
	w := ruled(t)
	k := w.talk("sub", userPeer("limited"))
	k.expect("AUTH", k.auth(""), "235")
	who := policy.Subject{Listener: k.listener(), User: k.user.Identity, Proved: policy.ByCertificate}
	rules := w.rules.Load()
	me, other, far, author := mailaddr.MustParse("limited@partner.test"), mailaddr.MustParse("x@partner.test"), mailaddr.MustParse("a@elsewhere.test"), mailaddr.MustParse("y@partner.test")
	same := func(what, got string, v policy.Verdict) {
		t.Helper()
		if want := RuleReply(v, "limited@partner.test"); cut(got) != cut(want) {
			t.Errorf("%s: %q, foretold %q", what, got, want)
		}
	}
	same("MAIL", k.mail(other.String()), rules.Sender(who, other))
	k.expect("MAIL", k.mail(me.String()), "250")
	same("RCPT", k.rcpt(far.String()), rules.Recipient(who, me, far))
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	same("DATA", k.data("From: y@partner.test\r\n\r\n"), rules.Author(who, author))
	k = w.talk("mx", plainPeer())
	k.expect("MAIL", k.mail(me.String()), "250")
	_, v := rules.RelayRecipient(mailaddr.MustParse("nobody@example.test"))
	same("RCPT of nobody", k.rcpt("nobody@example.test"), v)
}
