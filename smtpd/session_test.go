package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
	"dancemta/queue"
	"dancemta/smtpd/policy"
)

func TestStrangersReachRelayDomainsOnly(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	k.expect("RCPT before MAIL", k.rcpt("info@example.test"), "503 5.5.1 ")
	k.expect("DATA before MAIL", k.data(""), "554 5.5.1 ")
	k.expect("null sender", k.mail(""), "250")
	for to, want := range map[string]string{
		"info@example.test":          "250",
		"INFO@EXAMPLE.test":          "250",
		"postmaster@mx.example.test": "250",
		"PostMaster@mx.example.test": "250",
		"postmaster@example.test":    "250",
		"postmaster@[192.0.2.1]":     "250", // the address that the peer reached
		"boss@example.test":          "250",
		"nobody@example.test":        "550 5.1.1 No such mailbox here",
		"a@remote.test":              "550 5.7.1 Relaying denied",
		"postmaster@[192.0.2.2]":     "550 5.7.1 Relaying denied",
		"a@sub.example.test":         "550 5.7.1 Relaying denied",
		"a@evilexample.test":         "550 5.7.1 Relaying denied",
		"a@example.test.evil.test":   "550 5.7.1 Relaying denied",
		"b\u00fc@example.test":       "553 5.6.7 Address is not ASCII",
		"noat":                       "501 5.1.3 Recipient is not a mail address",
		"":                           "501 5.1.3 Recipient is not a mail address",
		"a@-b.test":                  "501 5.1.3 Recipient is not a mail address",
		"a%remote.test@example.test": "550 5.1.1 No such mailbox here",
	} {
		if got := cut(k.rcpt(to)); got != want {
			t.Errorf("RCPT %s: %q, want %q", to, got, want)
		}
	}
	k.expect("DATA", k.data("Subject: x\r\n\r\nbody\r\n"), "250 2.6.0 queued as ")
	m := w.queue.messages()[0]
	if m.Identity != "" || !m.Sender.IsNull() || !m.EightBit || m.Helo != "peer.test" || m.Peer != "192.0.2.7" || !m.Arrived.Equal(start) {
		t.Errorf("envelope: %+v", m.Envelope)
	}
	for _, r := range m.Recipients {
		if strings.Contains(r.String(), "mx.example.test") {
			t.Errorf("mail for the postmaster of this host went to %s", r)
		}
	}
	if strings.Contains(m.body, "\tfor <") {
		t.Errorf("several recipients, and one of them in Received:\n%s", m.body)
	}
}

func TestMailSyntax(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	for from, want := range map[string]string{
		"noat":            "501 5.1.7 Sender is not a mail address",
		"b\u00fc@a.test":  "553 5.6.7 Address is not ASCII",
		"a\x01b@a.test":   "501 5.1.7 Sender is not a mail address",
		"a@xn--a.test":    "501 5.1.7 Sender is not a mail address",
		"a@[192.0.2.300]": "501 5.1.7 Sender is not a mail address",
	} {
		if got := cut(k.mail(from)); got != want {
			t.Errorf("MAIL %q: %q, want %q", from, got, want)
		}
	}
	if got := cut(text(k.Mail("a@b.test", &smtp.MailOptions{Size: 50<<20 + 1}))); got != "552 5.3.4 Message is too big" {
		t.Error(got)
	}
	k.expect("MAIL as large as allowed", text(k.Mail("a@b.test", &smtp.MailOptions{Size: 50 << 20})), "250")
	k.expect("a second MAIL", k.mail("c@d.test"), "503 5.5.1 ")
	k.Reset()
	k.expect("MAIL after RSET", k.mail("c@d.test"), "250")
}

func TestRecipientsCollapseAndAreCounted(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxRecipients = 3 })
	k := w.talk("mx", plainPeer())
	k.mail("a@b.test")
	k.expect("first", k.rcpt("info@example.test"), "250")
	k.expect("again", k.rcpt("info@example.test"), "250")
	k.expect("other case of the domain", k.rcpt("info@EXAMPLE.test"), "250")
	k.expect("one too many", k.rcpt("rick@example.test"), "452 4.5.3 ")
	k.expect("DATA", k.data("x\r\n"), "250 ")
	m := w.queue.messages()[0]
	if len(m.Recipients) != 1 || m.Recipients[0].String() != "info@example.test" {
		t.Errorf("recipients: %v", m.Recipients)
	}
	if !strings.Contains(m.body, "\r\n\tfor <info@example.test>;") {
		t.Errorf("no for clause with one recipient:\n%s", m.body)
	}
}

func TestClientRelaysByRule(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("mx", clientPeer(device))
	k.expect("MAIL", k.mail("sensor7@partner.test"), "250")
	k.expect("to where the rule leads", k.rcpt("a@remote.test"), "250")
	k.expect("elsewhere", cut(k.rcpt("a@elsewhere.test")), "550 5.7.1 This recipient is not for "+device)
	k.expect("DATA", k.data("Subject: x\r\n\r\n"), "250 2.6.0 ")
	m := w.queue.messages()[0]
	if m.Identity != device {
		t.Errorf("identity %q", m.Identity)
	}
	want := "Received: from peer.test ([192.0.2.7])\r\n\t(client dane " + device + ")\r\n\tby mx.example.test with ESMTPS id " + string(m.ID) +
		"\r\n\tfor <a@remote.test>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\tTue, 24 Nov 2026 12:00:00 +0000\r\nSubject: x\r\n\r\n"
	if m.body != want {
		t.Errorf("got  %q\nwant %q", m.body, want)
	}
	k.expect("MAIL", k.mail("someone@else.test"), "250") // it may be mail for a relay domain
	k.expect("a relay domain takes any sender", k.rcpt("info@example.test"), "250")
	k.expect("a sender that the rule does not allow", cut(k.rcpt("a@remote.test")), "553 5.7.1 This sender address is not for "+device)
	k.Reset()
	k.mail("")
	k.expect("the null sender", k.rcpt("a@remote.test"), "250")
	if n := len(w.verifier.questions()); n != 1 {
		t.Errorf("%d questions in one session", n)
	}
}

// Whoever is not proved reads the same words, whatever the cause.
func TestOneRefusalBeforeAnIdentity(t *testing.T) {
	const proved = "proved, but the rule is gone"
	replies := map[string]bool{}
	try := func(name string, p fakePeer, prepare func(*world)) {
		w := newWorld(t)
		prepare(w)
		k := w.talk("mx", p)
		k.expect(name, k.mail("sensor7@partner.test"), "250")
		replies[cut(k.rcpt("a@remote.test"))] = true
		k.expect(name+": inbound mail", k.rcpt("info@example.test"), "250")
		k.expect(name+": DATA", k.data("x\r\n"), "250 2.6.0")
		if id := w.queue.messages()[0].Identity; id != "" && name != proved {
			t.Errorf("%s: identity %q", name, id)
		}
	}
	none := func(*world) {}
	try("plaintext", plainPeer(), none)
	try("no certificate", certPeer(), none)
	try("no rule", clientPeer("x._device.stranger.test"), none)
	try("a rule for no more than others", clientPeer("a.b.test"), none)
	for _, reason := range []daneclient.Reason{daneclient.NoMatch, daneclient.NoRecord, daneclient.Insecure, daneclient.Unusable,
		daneclient.ForbiddenName, daneclient.WildcardForbidden, daneclient.AmbiguousName} {
		try(reason.String(), clientPeer(device), func(w *world) { refused(w.verifier, reason) })
	}
	weak := clientPeer(device)
	weak.state.Version = tls.VersionTLS12
	try("TLS 1.2", weak, none)
	resumed := clientPeer(device)
	resumed.state.DidResume = true
	try("resumed", resumed, none)
	early := clientPeer(device)
	early.state.HandshakeComplete = false
	try("handshake not complete", early, none)
	try(proved, clientPeer(device), func(w *world) {
		verified(w.verifier, start.Add(time.Hour))
		o := standardRules()
		o.Rules = nil
		w.verifier.client = func(_ context.Context, owner dnsname.Name) (daneclient.Client, error) {
			w.setRules(o) // while the look-up runs
			return daneclient.Client{Name: owner, Until: start.Add(time.Hour)}, nil
		}
	})
	if len(replies) != 1 || !replies["550 5.7.1 Relaying denied"] {
		t.Errorf("replies: %v", replies)
	}
}

func TestTroubleOfDNSIsTemporary(t *testing.T) {
	for _, reason := range []daneclient.Reason{daneclient.BogusDNS, daneclient.FailedDNS, daneclient.Overloaded} {
		w := newWorld(t)
		refused(w.verifier, reason)
		k := w.talk("mx", clientPeer(device))
		k.mail("a@partner.test")
		k.expect("RCPT", k.rcpt("a@remote.test"), "451 4.7.5 ")
		k.expect("inbound", k.rcpt("info@example.test"), "250")
		k.Reset()
		verified(w.verifier, start.Add(time.Hour)) // a temporary verdict is asked for again
		k.mail("a@partner.test")
		k.expect("RCPT, later", k.rcpt("a@remote.test"), "250")

		refused(w.verifier, reason)
		k = w.talk("sub", userPeer("rick"))
		k.expect("AUTH", k.auth(""), "454 4.7.0 ")
		k = w.talk("subs", userPeer("rick"))
		k.expect("implicit login", k.mail("rick@partner.test"), "451 4.7.5 ")
	}
}

// Ordinary mail neither waits for DNS nor breaks with it.
func TestInboundMailDoesNotWait(t *testing.T) {
	w := newWorld(t)
	asked := make(chan struct{})
	w.verifier.client = func(ctx context.Context, _ dnsname.Name) (daneclient.Client, error) {
		close(asked)
		<-ctx.Done() // never answers
		return daneclient.Client{}, ctx.Err()
	}
	k := w.talk("mx", clientPeer(device))
	<-asked
	k.expect("MAIL", k.mail("a@partner.test"), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("DATA", k.data("x\r\n"), "250 2.6.0 ")
	k.Logout() // cancels the look-up and waits for it
	if strings.Contains(w.log.String(), "not authenticated") {
		t.Error("a verdict that the session's end cut off is in the log")
	}
}

// A verifier that has forgotten its own bound does not hold a session for ever.
func TestDecisionTimeBoundsAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.verifier.client = func(ctx context.Context, _ dnsname.Name) (daneclient.Client, error) {
			<-ctx.Done()
			return daneclient.Client{}, ctx.Err()
		}
		w.verifier.anchored = func(ctx context.Context, _ dnsname.Name) (daneclient.Anchor, error) {
			<-ctx.Done()
			return daneclient.Anchor{}, ctx.Err()
		}
		begin := time.Now()
		k := w.talk("mx", clientPeer(device))
		k.mail("a@partner.test")
		k.expect("RCPT", k.rcpt("a@remote.test"), "451 4.7.5 ")
		if d := time.Since(begin); d != decisionTime {
			t.Errorf("a verdict took %v", d)
		}
		k.Logout()
		begin = time.Now()
		k = w.talk("sub", userPeer("rick"))
		k.expect("AUTH", k.auth(""), "454 4.7.0 ")
		if d := time.Since(begin); d != decisionTime {
			t.Errorf("AUTH took %v", d)
		}
		k.Logout()
	})
}

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

// What of a login lives on, and what does not (traps 23 and 24).
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
	w := newWorld(t, func(o *Options) { o.Listeners = []Listener{{Name: "mx", ImplicitLogin: true}} })
	o := standardRules()
	o.Rules[2].Listeners = []string{"mx"}
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
	k.Reset()
	k.expect("AUTH", k.auth(""), "235")
	k.expect("not his sender, at MAIL", k.mail("eve@partner.test"), "553 5.7.1 ")
	refused(w.verifier, daneclient.FailedDNS)
	k = w.talk("mx", userPeer("rick"))
	k.mail("rick@partner.test")
	k.expect("DNS", k.rcpt("a@remote.test"), "451 4.7.5 ")
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

// An identity ends with its records (trap 29).
func TestIdentitiesExpire(t *testing.T) {
	until := start.Add(10 * time.Minute)
	t.Run("client", func(t *testing.T) {
		w := newWorld(t)
		verified(w.verifier, until)
		k := w.talk("mx", clientPeer(device))
		k.mail("a@partner.test")
		k.expect("fresh", k.rcpt("a@remote.test"), "250")
		k.Reset()
		refused(w.verifier, daneclient.NoRecord) // the record is removed
		w.setClock(until.Add(-time.Second))
		k.mail("a@partner.test")
		k.expect("just before its end", k.rcpt("a@remote.test"), "250")
		k.Reset()
		w.setClock(until)
		k.mail("a@partner.test")
		k.expect("after it", k.rcpt("a@remote.test"), "550 5.7.1 ")
		k.expect("inbound", k.rcpt("info@example.test"), "250")
	})
	t.Run("user", func(t *testing.T) {
		w := newWorld(t)
		verified(w.verifier, until)
		k := w.talk("sub", userPeer("robin"))
		k.expect("AUTH", k.auth("rick@partner.test"), "235")
		w.setClock(until.Add(-time.Second))
		k.expect("fresh", k.mail("rick@partner.test"), "250")
		k.Reset()
		w.setClock(until)
		refused(w.verifier, daneclient.FailedDNS)
		k.expect("DNS", k.mail("rick@partner.test"), "451 4.7.5 ")
		refused(w.verifier, daneclient.NoRecord)
		k.expect("the record is removed", k.mail("rick@partner.test"), "530 5.7.0 ")
		verified(w.verifier, until.Add(time.Hour))
		k.expect("it is back", k.mail("rick@partner.test"), "250")
		k.Reset()
		k.expect("still as rick", k.mail("robin@partner.test"), "553 5.7.1 ")
	})
}

func TestReloadIsSeenAtTheNextDecision(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	sub, mx, stranger := w.talk("sub", userPeer("robin")), w.talk("mx", clientPeer(device)), w.talk("mx", clientPeer("x._device.other.test"))
	sub.expect("AUTH", sub.auth("rick@partner.test"), "235")
	sub.expect("MAIL", sub.mail("rick@partner.test"), "250")
	mx.mail("a@partner.test")
	mx.expect("RCPT", mx.rcpt("a@remote.test"), "250")
	stranger.mail("a@partner.test")
	stranger.expect("RCPT", stranger.rcpt("a@remote.test"), "550 5.7.1 ")
	stranger.Reset()

	o := standardRules()
	o.Rules = []policy.Rule{
		{Who: pattern.MustParse("*._device.other.test"), Allow: true, From: addresses("any")},
		{Who: pattern.MustParse("*@partner.test"), Allow: true},
	}
	o.Authzid, o.RelayDomains = nil, nil
	w.setRules(o)
	mx.expect("its rule is gone", mx.rcpt("b@remote.test"), "550 5.7.1 Relaying denied")
	mx.expect("so is the relay domain", mx.rcpt("info@example.test"), "550 5.7.1 ")
	sub.Reset()
	sub.expect("may act as rick no more", sub.mail("rick@partner.test"), "530 5.7.0 ")
	stranger.mail("a@partner.test")
	stranger.expect("a rule has come", stranger.rcpt("a@remote.test"), "250")
}

// Without rules nothing is allowed.
func TestNoRules(t *testing.T) {
	w := newWorld(t)
	w.rules.Store(nil)
	k := w.talk("mx", clientPeer(device))
	k.mail("a@partner.test")
	k.expect("relaying", k.rcpt("a@remote.test"), "550 5.7.1 ")
	k.expect("relay domain", k.rcpt("info@example.test"), "550 5.7.1 ")
	k.expect("the postmaster of this host", k.rcpt("postmaster@mx.example.test"), "250")
	k = w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "535 5.7.8 ")
}

func TestData(t *testing.T) {
	message := "Subject: x\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name  string
		queue fakeQueue
		body  string
		want  string
	}{
		{"kept", fakeQueue{}, message, "250 2.6.0 queued as "},
		{"full", fakeQueue{err: &queue.Error{Kind: queue.Full, Err: errors.New("secret")}}, message, "452 4.3.1 "},
		{"broken", fakeQueue{err: &queue.Error{Kind: queue.Broken, Err: errors.New("secret")}}, message, "451 4.3.0 "},
		{"too big for the queue", fakeQueue{err: &queue.Error{Kind: queue.TooBig}}, message, "552 5.3.4 "},
		{"unknown error", fakeQueue{err: errors.New("secret")}, message, "451 4.3.0 "},
		{"another server's reply", fakeQueue{err: &smtp.SMTPError{Code: 550, Message: "secret"}}, message, "451 4.3.0 "},
		{"panic", fakeQueue{panics: true}, message, "451 4.3.0 "},
		{"100 hops", fakeQueue{}, strings.Repeat("Received: x\r\n", 100) + "\r\n", "250 2.6.0 "},
		{"101 hops", fakeQueue{}, strings.Repeat("Received: x\r\n", 101) + "\r\n", "554 5.4.6 "},
		{"as big as allowed", fakeQueue{}, strings.Repeat("x", 4096), "250 2.6.0 "},
		{"bigger", fakeQueue{}, strings.Repeat("x", 4097), "552 5.3.4 "},
	} {
		w := newWorld(t, func(o *Options) { o.Queue, o.MaxMessageBytes = &c.queue, 4096 })
		k := w.talk("mx", plainPeer())
		k.mail("a@b.test")
		k.rcpt("info@example.test")
		got := k.data(c.body)
		k.expect(c.name, got, c.want)
		if strings.Contains(got, "secret") {
			t.Errorf("%s: the peer reads our inner words: %q", c.name, got)
		}
		if kept := len(c.queue.messages()) == 1; kept != strings.HasPrefix(c.want, "250") {
			t.Errorf("%s: kept %v", c.name, kept)
		}
		k.expect(c.name+", then MAIL", k.mail("a@b.test"), "250")
	}
}

// A message whose end never came is not kept, and the log says why.
func TestAbortedData(t *testing.T) {
	w := newWorld(t)
	k := w.talk("mx", plainPeer())
	k.mail("a@b.test")
	k.rcpt("info@example.test")
	body := io.MultiReader(strings.NewReader("Subject: x\r\n"), iotest.ErrReader(smtp.ErrDataReset))
	k.expect("DATA", text(k.Data(body)), "451 4.3.0 ")
	if len(w.queue.messages()) > 0 || !strings.Contains(w.log.String(), "reason=aborted") {
		t.Errorf("kept %v, log:\n%s", w.queue.messages(), w.log)
	}
}

func TestPanicsAreTemporary(t *testing.T) {
	w := newWorld(t)
	w.verifier.client = func(context.Context, dnsname.Name) (daneclient.Client, error) { panic("verifier on fire") }
	w.verifier.anchored = func(context.Context, dnsname.Name) (daneclient.Anchor, error) { panic("verifier on fire") }
	k := w.talk("mx", clientPeer(device))
	k.mail("a@partner.test")
	k.expect("RCPT", k.rcpt("a@remote.test"), "451 4.7.5 ")
	k = w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "454 4.7.0 ")
	k = w.talk("subs", userPeer("rick"))
	k.expect("MAIL", k.mail("rick@partner.test"), "451 4.3.0 ")
	if !strings.Contains(w.log.String(), "fault in a session") {
		t.Error("no line in the log")
	}
}

// The log names what the peer is not told.
func TestRefusedClientIsInTheLog(t *testing.T) {
	w := newWorld(t)
	refused(w.verifier, daneclient.NoMatch)
	k := w.talk("mx", clientPeer(device))
	k.mail("a@partner.test")
	k.rcpt("a@remote.test")
	log := w.log.String()
	for _, want := range []string{
		`msg="client not authenticated" session=SESSION001 listener=mx peer=192.0.2.7:4444 reason=no-match`,
		`would_match="3 1 1 `,
		`msg=rejected session=SESSION001 listener=mx peer=192.0.2.7:4444 command=RCPT reason=no-match`,
		`reply="550 5.7.1" sender=a@partner.test rcpt=a@remote.test`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	}
}
