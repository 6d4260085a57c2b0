package smtpd

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/internal/limit"
	"dancemta/smtpd/policy"
)

// TestUsersToThePostmaster: mail for the postmaster needs no rule and no quota of a
// user's own, but he is bounded as a stranger is, and writes no other in From.
func TestUsersToThePostmaster(t *testing.T) {
	r := user("rick@partner.test")
	r.Size = 1000
	r.Quotas = []policy.Quota{{Of: policy.Messages, Each: policy.EachIdentity, N: 1, Per: time.Hour}}
	w := ruled(t, r)
	w.opts.StrangerQuotas = []policy.Quota{
		{Of: policy.Messages, Each: policy.EachAddress, N: 4, Per: time.Hour},
		{Of: policy.Recipients, Each: policy.EachAddress, N: 4, Per: time.Hour},
	}
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "235")
	send := func(want, rest, to, header, accepted string) {
		t.Helper()
		k.expect("MAIL", k.mail("rick@partner.test"), "250")
		k.expect("RCPT "+to, k.rcpt(to), want)
		if rest != "" {
			k.expect("RCPT of another", k.rcpt("a@remote.test"), rest)
		}
		if accepted != "" {
			k.expect("DATA", k.data(header+"\r\nbody\r\n"), accepted)
		}
		k.Reset()
	}
	const boss = "postmaster@mx.example.test"
	send("250", "250", boss, "From: rick@partner.test\r\n", "250") // both pay: the one as a stranger's, the other by the rule
	send("250", "450 4.7.1 Over quota, try again later: 1/h messages of one identity", boss, "", "")
	send("250", "", boss, "From: ceo@partner.test\r\n", "550 5.7.1 This address in the From field is not for rick@partner.test")
	send("250", "", boss, "From: rick@partner.test\r\nX: "+strings.Repeat("x", 1000)+"\r\n", "552 5.3.4")
	send("450 4.7.1 Over quota, try again later: 4/h messages of one address", "", boss, "", "")
	if n := len(w.queue.messages()); n != 1 {
		t.Errorf("%d messages are kept", n)
	}
}

// TestStrangersPayTwice: what a message has cost as a stranger's it costs once more by
// the rule that lets it go beyond our own domains.
func TestStrangersPayTwice(t *testing.T) {
	r := policy.Rule{Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Allow: true, From: addresses("any"), Line: 90,
		Quotas: []policy.Quota{{Of: policy.Messages, Each: policy.EachAddress, N: 1, Per: time.Hour}}}
	w := ruled(t, r)
	w.opts.Quotas = limit.NewQuotas(100, func() time.Time { return start })
	w.opts.StrangerQuotas = []policy.Quota{{Of: policy.Recipients, Each: policy.EachAddress, N: 100, Per: time.Hour}}
	k := w.talk("mx", plainPeer())
	for _, want := range []string{"250", "450 4.7.1 Over quota, try again later: 1/h messages of one address"} {
		k.expect("MAIL", k.mail("x@elsewhere.test"), "250")
		k.expect("RCPT of ours", k.rcpt("info@example.test"), "250")
		k.expect("RCPT of another", k.rcpt("a@remote.test"), want)
		k.Reset()
	}
}

// TestMilterHearsHow: by which mechanism a user has logged in.
func TestMilterHearsHow(t *testing.T) {
	w := newWorld(t)
	k := w.talk("sub", userPeer("rick"))
	for how, want := range map[string]string{byAuth: "EXTERNAL", byPassword: "PLAIN"} {
		k.user = &userLogin{how: how}
		if got := k.milterPeer(&transaction{auth: true}).How; got != want {
			t.Errorf("%s: a milter hears %q, want %q", how, got, want)
		}
	}
	if got := k.milterPeer(&transaction{}).How; got != "" {
		t.Errorf("without AUTH a milter hears %q", got)
	}
}
