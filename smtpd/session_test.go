package smtpd

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
	"dancemta/saslext/door"
	"dancemta/smtpd/policy"
)

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

// Mail that needs no identity still tells of the client, if it is proved by then.
func TestTraceOfAClientThatNobodyAskedFor(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	k := w.talk("mx", clientPeer(device))
	<-k.check.done
	k.mail("someone@else.test")
	k.rcpt("info@example.test")
	k.expect("DATA", k.data("x\r\n"), "250 ")
	if m := w.queue.messages()[0]; m.Identity != device || !strings.Contains(m.body, "(client dane "+device+")") {
		t.Errorf("identity %q\n%s", m.Identity, m.body)
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

// Ordinary mail neither waits for DNS nor breaks with it; the session's end does
// wait for the goroutine that asks.
func TestInboundMailDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ended := false
		w.verifier.client = func(ctx context.Context, _ dnsname.Name) (daneclient.Client, error) {
			<-ctx.Done() // never answers
			<-time.After(time.Second)
			ended = true
			return daneclient.Client{}, ctx.Err()
		}
		begin := time.Now()
		k := w.talk("mx", clientPeer(device))
		synctest.Wait()
		k.expect("MAIL", k.mail("a@partner.test"), "250")
		k.expect("RCPT", k.rcpt("info@example.test"), "250")
		k.expect("DATA", k.data("x\r\n"), "250 2.6.0 ")
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("waited %v", waited)
		}
		k.Logout() // cancels the look-up
		if !ended || time.Since(begin) != time.Second {
			t.Errorf("the look-up has ended: %v, after %v", ended, time.Since(begin))
		}
		if strings.Contains(w.log.String(), "not authenticated") {
			t.Error("a verdict that the session's end cut off is in the log")
		}
	})
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
		if d := time.Since(begin); d != door.DecisionTime {
			t.Errorf("a verdict took %v", d)
		}
		k.Logout()
		begin = time.Now()
		k = w.talk("sub", userPeer("rick"))
		k.expect("AUTH", k.auth(""), "454 4.7.0 ")
		if d := time.Since(begin); d != door.DecisionTime {
			t.Errorf("AUTH took %v", d)
		}
		k.Logout()
	})
}

// An identity ends with its records.
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
		` leaf_sha256=`,
		` spki_sha256=`,
		`would_match="sensor7._device.partner.test. 3600 IN TLSA 3 1 1 `,
		`explain="dancemta explain client sensor7._device.partner.test --listener mx"`,
		`msg=rejected session=SESSION001 listener=mx peer=192.0.2.7:4444 command=RCPT reason=no-match`,
		`reply="550 5.7.1" sender=a@partner.test rcpt=a@remote.test`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	}
}
