package smtpd

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/daneclient"
	"dancemta/internal/pattern"
	"dancemta/smtpd/policy"
)

func TestAuth(t *testing.T) {
	for _, c := range []struct {
		name, listener string
		peer           fakePeer
		reason         daneclient.Reason
		authzid, want  string
		offered        bool
	}{
		{"own identity", "sub", userPeer("Rick"), 0, "", "235", true},
		{"own identity, said", "sub", userPeer("rick"), 0, "rick@partner.test", "235", true},
		{"own identity, other case", "sub", userPeer("rick"), 0, "RICK@Partner.test", "235", true},
		{"by a rule", "sub", userPeer("robin"), 0, "rick@partner.test", "235", true},
		{"the rule, reversed", "sub", userPeer("rick"), 0, "robin@partner.test", "535 5.7.8 ", true},
		{"another user", "sub", userPeer("rick"), 0, "eve@partner.test", "535 5.7.8 ", true},
		{"another domain", "sub", userPeer("rick"), 0, "rick@example.test", "535 5.7.8 ", true},
		{"subaddress", "sub", userPeer("rick"), 0, "rick+x@partner.test", "535 5.7.8 ", true},
		{"malformed", "sub", userPeer("rick"), 0, "u:rick@partner.test", "501 5.5.4 ", true},
		{"NUL", "sub", userPeer("rick"), 0, "rick@partner.test\x00", "501 5.5.4 ", true},
		{"no UTF-8", "sub", userPeer("rick"), 0, "\xff@partner.test", "501 5.5.4 ", true},
		{"mismatch", "sub", userPeer("rick"), daneclient.NoMatch, "", "535 5.7.8 ", true},
		{"insecure", "sub", userPeer("rick"), daneclient.Insecure, "", "535 5.7.8 ", true},
		{"dns", "sub", userPeer("rick"), daneclient.FailedDNS, "", "454 4.7.0 ", true},
		{"over a rate", "sub", userPeer("rick"), daneclient.Overloaded, "", "454 4.7.0 ", true},
		{"no rule", "sub", certPeer(), 0, "", "504 5.5.4 ", false},
		{"a client's certificate", "sub", clientPeer(mtaName), 0, "", "535 5.7.8 ", true},
		{"plaintext", "sub", plainPeer(), 0, "", "504 5.5.4 ", false},
		{"relay listener", "mx", userPeer("rick"), daneclient.NoMatch, "", "504 5.5.4 ", false},
	} {
		w := newWorld(t)
		verified(w.verifier, start.Add(time.Hour))
		if c.reason != 0 {
			refused(w.verifier, c.reason)
		}
		k := w.talk(c.listener, c.peer)
		if offered := len(k.AuthMechanisms()) == 1; offered != c.offered {
			t.Errorf("%s: offered %v", c.name, offered)
		}
		k.expect(c.name, k.auth(c.authzid), c.want)
	}
	w := newWorld(t)
	k := w.talk("sub", userPeer("rick"))
	_, err := k.Auth("PLAIN")
	k.expect("another mechanism", text(err), "504 5.5.4 ")
	weak := userPeer("rick")
	weak.state.Version = tls.VersionTLS12
	k = w.talk("sub", weak)
	k.expect("TLS 1.2", k.auth(""), "504 5.5.4 ")
}

// All refusals of AUTH that are not about syntax read alike.
func TestOneRefusalOfAuth(t *testing.T) {
	replies := map[string]bool{}
	for _, reason := range []daneclient.Reason{daneclient.NoMatch, daneclient.NoRecord, daneclient.Insecure} {
		w := newWorld(t)
		refused(w.verifier, reason)
		replies[cut(w.talk("sub", userPeer("rick")).auth(""))] = true
	}
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	replies[cut(w.talk("sub", userPeer("rick")).auth("eve@partner.test"))] = true // may not act as her
	replies[cut(w.talk("sub", clientPeer(device)).auth(""))] = true               // no user
	o := standardRules()
	o.Rules = o.Rules[:2]
	w.setRules(o)
	replies[cut(w.talk("sub", userPeer("rick")).auth(""))] = true // no rule
	if len(replies) != 1 || !replies["535 5.7.8 Authentication failed"] {
		t.Errorf("replies: %v", replies)
	}
}

// The challenge form: an empty challenge, then the identity.
func TestAuthWithChallenge(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("sub", userPeer("rick"))
	server, err := k.Auth("EXTERNAL")
	if err != nil {
		t.Fatal(err)
	}
	challenge, done, err := server.Next(nil)
	if len(challenge) > 0 || done || err != nil || len(w.verifier.questions()) > 0 {
		t.Fatalf("challenge %q, %v, %v; questions %v", challenge, done, err, w.verifier.questions())
	}
	if _, done, err = server.Next([]byte{}); !done || err != nil {
		t.Errorf("%v %v", done, err)
	}
	k.expect("MAIL", k.mail("rick@partner.test"), "250")
}

// What of a login lives on, and what does not.
func TestLoginAndTransaction(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("sub", userPeer("rick"))
	k.expect("MAIL before AUTH", k.mail("rick@partner.test"), "530 5.7.0 ")
	k.expect("AUTH", k.auth(""), "235")
	k.expect("AUTH again", k.auth(""), "503 5.5.1 ")
	k.expect("MAIL", k.mail("rick@partner.test"), "250")
	k.expect("AUTH in a transaction", k.auth(""), "503 5.5.1 ")
	k.Reset() // RSET, and EHLO
	for from, want := range map[string]string{
		"rick@partner.test":   "250",
		"RICK@partner.test":   "250", // "rick"@partner.test comes without its quotes
		"":                    "250",
		"eve@partner.test":    "553 5.7.1 This sender address is not for rick@partner.test",
		"rick@example.test":   "553 5.7.1 This sender address is not for rick@partner.test",
		"rick+x@partner.test": "553 5.7.1 This sender address is not for rick@partner.test",
		"rick@x.partner.test": "553 5.7.1 This sender address is not for rick@partner.test",
	} {
		if got := cut(k.mail(from)); got != want {
			t.Errorf("MAIL %s: %q, want %q", from, got, want)
		}
		k.Reset()
	}
	other := "eve@partner.test"
	k.expect("MAIL AUTH=", text(k.Mail("rick@partner.test", &smtp.MailOptions{Auth: &other})), "250")
	k.expect("RCPT anywhere", k.rcpt("a@elsewhere.test"), "250")
	k.expect("RCPT in a relay domain", k.rcpt("info@example.test"), "250")
	k.expect("RCPT unknown there", k.rcpt("nobody@example.test"), "550 5.1.1 ")
	k.expect("DATA", k.data("Received: from x\r\n\t(client dane "+device+")\r\n\r\n"), "250 2.6.0 ")
	m := w.queue.messages()[0]
	if m.Identity != "rick@partner.test" || !strings.Contains(m.body, " with ESMTPSA id ") {
		t.Errorf("identity %q\n%s", m.Identity, m.body)
	}
	if ours, _, _ := strings.Cut(m.body, ";"); strings.Contains(ours, "client dane") || strings.Contains(ours, "eve") {
		t.Errorf("our field names somebody else: %s", ours)
	}

	k = w.talk("sub", userPeer("rick")) // another connection, or this one after STARTTLS
	k.expect("MAIL in a new session", k.mail("rick@partner.test"), "530 5.7.0 ")
}

// A login as another is asked for again in a form that reads back: with U-labels
// beside it, 3com is no label by the rules of right-to-left names (RFC 5893 2).
func TestAuthzidReadsBack(t *testing.T) {
	w := newWorld(t)
	o := standardRules()
	o.Rules = append(o.Rules, policy.Rule{Who: pattern.MustParse("*@3com.xn--9dbq2a.test"), Allow: true, Line: 6})
	o.Authzid[0].To = pattern.MustParse("*@3com.xn--9dbq2a.test")
	w.setRules(o)
	verified(w.verifier, start.Add(time.Minute))
	k := w.talk("sub", userPeer("robin"))
	k.expect("AUTH", k.auth("info@3com.xn--9dbq2a.test"), "235")
	w.setClock(start.Add(time.Hour))
	verified(w.verifier, start.Add(2*time.Hour))
	k.expect("MAIL, judged again", k.mail("info@3com.xn--9dbq2a.test"), "250")
}

// A failed AUTH leaves nothing behind.
func TestFailedAuthLeavesNothing(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH as another", k.auth("eve@partner.test"), "535 5.7.8 ")
	k.expect("MAIL", k.mail("eve@partner.test"), "530 5.7.0 ")
	k.expect("AUTH", k.auth(""), "235")
	k.expect("MAIL as her", k.mail("eve@partner.test"), "553 5.7.1 ")
	k.expect("MAIL", k.mail("rick@partner.test"), "250")
}

func TestImplicitLogin(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("subs", userPeer("rick"))
	k.expect("not his sender", k.mail("eve@partner.test"), "553 5.7.1 ")
	k.expect("MAIL", k.mail("rick@partner.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	k.expect("DATA", k.data("x\r\n"), "250 ")
	if m := w.queue.messages()[0]; m.Identity != "rick@partner.test" || !strings.Contains(m.body, " with ESMTPS id ") {
		t.Errorf("identity %q; ESMTPSA is for AUTH alone:\n%s", m.Identity, m.body)
	}
	if !strings.Contains(w.log.String(), "how=implicit") {
		t.Error("no line in the log")
	}

	refused(w.verifier, daneclient.NoMatch)
	k = w.talk("subs", userPeer("rick"))
	k.expect("mismatch", k.mail("rick@partner.test"), "530 5.7.0 ")
	k = w.talk("sub", userPeer("rick")) // where it is not allowed
	verified(w.verifier, start.Add(time.Hour))
	k.expect("not allowed here", k.mail("rick@partner.test"), "530 5.7.0 ")
}

// On a relay listener that a rule opens to users, EXTERNAL is offered, and an
// implicit login is asked for only where a recipient needs it.
func TestUsersOnARelayListener(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Listeners = []Listener{{Name: "mx", ImplicitLogin: true}, {Name: "auth"}, {Name: "none", ImplicitLogin: true}}
	})
	o := standardRules()
	o.Rules[2].Listeners = []string{"mx", "auth"}
	w.setRules(o)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("mx", userPeer("rick"))
	if len(k.AuthMechanisms()) != 1 {
		t.Error("EXTERNAL is not offered")
	}
	k.mail("rick@partner.test")
	k.expect("inbound", k.rcpt("info@example.test"), "250")
	if q := w.verifier.questions(); len(q) > 0 {
		t.Errorf("asked for ordinary mail: %v", q)
	}
	k.expect("relaying", k.rcpt("a@remote.test"), "250")
	k.Reset()
	k.mail("eve@partner.test")
	k.expect("not his sender", k.rcpt("a@remote.test"), "553 5.7.1 ")
	k.expect("AUTH in a transaction", k.auth(""), "503 5.5.1 No AUTH within ")
	k.Reset()
	k.expect("AUTH", k.auth(""), "235")
	k.expect("not his sender, at MAIL", k.mail("eve@partner.test"), "553 5.7.1 ")

	for _, listener := range []string{"auth", "none"} { // no implicit login; no rule names it
		k = w.talk(listener, userPeer("rick"))
		k.mail("rick@partner.test")
		k.expect(listener, k.rcpt("a@remote.test"), "550 5.7.1 ")
	}
	w.setRules(standardRules()) // a rule that names no listener opens none to users
	k = w.talk("none", userPeer("rick"))
	k.mail("rick@partner.test")
	k.expect("no listener named", k.rcpt("a@remote.test"), "550 5.7.1 ")
	w.setRules(o)

	refused(w.verifier, daneclient.FailedDNS)
	k = w.talk("mx", userPeer("rick"))
	k.mail("rick@partner.test")
	k.expect("DNS", k.rcpt("a@remote.test"), "451 4.7.5 ")
}

// A certificate that might be a client's, too, does not change who logged in.
func TestUserStaysUser(t *testing.T) {
	w := newWorld(t)
	o := standardRules()
	o.Rules[2].Listeners = []string{"mx"}
	o.Rules = append(o.Rules, policy.Rule{Who: pattern.MustParse("any"), Allow: true, From: addresses("any")})
	w.setRules(o)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("mx", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "235")
	k.mail("rick@partner.test")
	k.rcpt("info@example.test")
	<-k.check.done
	k.data("x\r\n")
	if m := w.queue.messages()[0]; m.Identity != "rick@partner.test" || strings.Contains(m.body, "client dane") {
		t.Errorf("identity %q\n%s", m.Identity, m.body)
	}
}

// A client on a submission listener needs a rule that names the listener.
func TestClientsOnASubmissionListener(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("sub", clientPeer(device))
	k.expect("no rule names it", k.mail("a@partner.test"), "530 5.7.0 ")
	if q := w.verifier.questions(); len(q) > 0 {
		t.Errorf("asked: %v", q)
	}
	o := standardRules()
	o.Rules[0].Listeners = []string{"sub"}
	w.setRules(o)
	k = w.talk("sub", clientPeer(device))
	k.expect("not its sender", k.mail("a@else.test"), "553 5.7.1 ")
	k.expect("MAIL", k.mail("a@partner.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	k.expect("no relay domain beyond its rule", k.rcpt("info@example.test"), "550 5.7.1 ")
	k.expect("the postmaster", k.rcpt("postmaster@example.test"), "250")
	refused(w.verifier, daneclient.FailedDNS)
	k = w.talk("sub", clientPeer(device))
	k.expect("DNS", k.mail("a@partner.test"), "451 4.7.5 ")
}

// Where TLS demands a certificate, only one that DNS proves may send: anybody can
// make himself another. No mailbox of a relay domain, and no postmaster, is an
// exception.
func TestRequiredCertificateMustBeProved(t *testing.T) {
	strict := Listener{Name: "strict", Kind: Relay, ClientCertificates: Require}
	implicit := strict
	implicit.Name, implicit.ImplicitLogin = "implicit", true
	w := newWorld(t, func(o *Options) { o.Listeners = []Listener{strict, implicit} })
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("strict", clientPeer("mta.stranger.test"))
	k.expect("no rule names it", k.mail("a@x.test"), "530 5.7.0 ")
	k.expect("null sender", k.mail(""), "530 5.7.0 ")
	k.expect("after it", k.rcpt("info@example.test"), "503 5.5.1 ")
	k = w.talk("strict", userPeer("rick"))
	k.expect("a user, without AUTH", k.mail("rick@partner.test"), "530 5.7.0 ")
	k = w.talk("implicit", userPeer("rick"))
	k.expect("a user where no rule lets users in", k.mail("rick@partner.test"), "530 5.7.0 ")
	k = w.talk("strict", clientPeer(device))
	k.expect("client, foreign sender", k.mail("a@x.test"), "553 5.7.1 ")
	k.expect("client", k.mail("a@partner.test"), "250")
	k.expect("to us", k.rcpt("info@example.test"), "250")

	o := standardRules()
	o.Rules[2].Listeners = []string{"implicit"}
	w.setRules(o)
	k = w.talk("implicit", userPeer("rick"))
	k.expect("implicit login", k.mail("rick@partner.test"), "250")

	for reason, want := range map[daneclient.Reason]string{daneclient.NoMatch: "530 5.7.0 ", daneclient.Insecure: "530 5.7.0 ", daneclient.FailedDNS: "451 4.7.5 "} {
		refused(w.verifier, reason)
		k = w.talk("strict", clientPeer(device))
		k.expect(reason.String(), k.mail("a@partner.test"), want)
	}
}
