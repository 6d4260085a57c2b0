package smtpd

import (
	"context"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/msgauth"
)

// texts is a DNS of TXT records; "fail" is no answer.
type texts map[string]string

func (z texts) Lookup(_ context.Context, name dnsname.Name, t msgauth.Type) msgauth.Answer {
	text, ok := z[name.String()]
	switch {
	case text == "fail":
		return msgauth.Answer{}
	case !ok || t != msgauth.TypeTXT:
		return msgauth.Answer{Known: true, NXDomain: true}
	}
	return msgauth.Answer{Known: true, TXT: []string{text}}
}

// judging is a world whose peers are at 192.0.2.7: good.test sends from there, and
// bank.test and partner.test want refused what is not theirs.
func judging(t *testing.T, in Inbound) *world {
	in.Verifier = msgauth.NewVerifier(msgauth.VerifierOptions{Hostname: dnsname.MustParse("mx.example.test"), Resolver: texts{
		"good.test": "v=spf1 ip4:192.0.2.7 -all", "_dmarc.good.test": "v=DMARC1; p=reject",
		"bank.test": "v=spf1 -all", "_dmarc.bank.test": "v=DMARC1; p=reject", "_dmarc.partner.test": "v=DMARC1; p=reject",
		"_dmarc.dead.test": "fail", "_dmarc.careful.test": "v=DMARC1; p=quarantine",
	}})
	w := newWorld(t, func(o *Options) {
		o.Inbound = in
		o.NullMX = func(_ context.Context, d dnsname.Name) bool { return d.String() == "deaf.test" }
	})
	verified(w.verifier, start.Add(time.Hour))
	return w
}

// TestJudged: what anybody sends to our domains, by what is done with it.
func TestJudged(t *testing.T) {
	const (
		good    = "spf=pass smtp.mailfrom=good.test;\r\n\tdkim=none;\r\n\tdmarc=pass (p=reject) header.from=good.test"
		bank    = "spf=pass smtp.mailfrom=good.test;\r\n\tdkim=none;\r\n\tdmarc=fail (p=reject) header.from=bank.test"
		partner = "spf=pass smtp.mailfrom=good.test;\r\n\tdkim=none;\r\n\tdmarc=fail (p=reject) header.from=partner.test"
		refused = "550 5.7.1 Refused as the DMARC policy asks of "
		later   = "451 4.7.0 Cannot find out now whether this mail is of the domain in From, try again later"
		noFrom  = "550 5.6.0 Exactly one From field is needed, with addresses that can be read"
	)
	reject := Inbound{Reject: true}
	for _, c := range []struct {
		name   string
		in     Inbound
		peer   fakePeer
		sender string
		from   string // of the header
		want   string // the reply, or what Authentication-Results says
	}{
		{"of its domain", reject, plainPeer(), "x@good.test", "From: x@good.test", good},
		{"of another, marked", Inbound{}, plainPeer(), "x@good.test", "From: x@bank.test", bank},
		{"of another, refused", reject, plainPeer(), "x@good.test", "From: x@bank.test", refused + "bank.test"},
		{"of another that does not mind much", reject, plainPeer(), "x@good.test", "From: x@careful.test", strings.ReplaceAll(strings.Replace(bank, "reject", "quarantine", 1), "bank.test", "careful.test")},
		{"without a policy", reject, plainPeer(), "x@good.test", "From: x@other.test", "spf=pass smtp.mailfrom=good.test;\r\n\tdkim=none;\r\n\tdmarc=none header.from=other.test"},
		{"of a domain of ours", reject, plainPeer(), "x@good.test", "From: info@example.test, x@bank.test", refused + "bank.test"},
		{"DNS is silent", reject, plainPeer(), "x@good.test", "From: x@dead.test", later},
		{"a sender whose domain takes no mail, marked", Inbound{}, plainPeer(), "x@deaf.test", "From: x@good.test", "spf=none smtp.mailfrom=deaf.test;\r\n\tdkim=none;\r\n\tdmarc=fail (p=reject) header.from=good.test"},
		{"a sender whose domain takes no mail", reject, plainPeer(), "x@deaf.test", "From: x@nobody.test", "550 5.7.27 No mail from a domain that takes none: deaf.test"},
		{"a partner's sender whose domain takes no mail", reject, clientPeer(mtaName), "x@deaf.test", "From: x@nobody.test", "spf=none smtp.mailfrom=deaf.test;\r\n\tdkim=none;\r\n\tdmarc=none header.from=nobody.test"},
		{"DNS is silent, marked", Inbound{}, plainPeer(), "x@good.test", "From: x@dead.test", "spf=pass smtp.mailfrom=good.test;\r\n\tdkim=none;\r\n\tdmarc=temperror header.from=dead.test"},
		{"a bounce", reject, plainPeer(), "", "From: x@bank.test", refused + "bank.test"},
		{"two From fields", reject, plainPeer(), "x@good.test", "From: x@good.test\r\nFrom: x@bank.test", noFrom},
		{"two From fields, marked", Inbound{}, plainPeer(), "x@good.test", "From: x@good.test\r\nFrom: x@bank.test", "spf=pass smtp.mailfrom=good.test;\r\n\tdkim=none;\r\n\tdmarc=permerror"},
		{"no From field", reject, plainPeer(), "x@good.test", "Sender: x@good.test", noFrom},
		{"a partner, as itself", reject, clientPeer(device), "x@good.test", "From: x@partner.test", partner},
		{"a partner, as others", reject, clientPeer(device), "x@partner.test", "From: x@bank.test", refused + "bank.test"},
		{"a partner, beside others", reject, clientPeer(device), "x@good.test", "From: x@partner.test, x@bank.test", refused},
		{"a partner who may be anybody", reject, clientPeer(mtaName), "x@good.test", "From: x@bank.test", bank},
		{"a partner without From", reject, clientPeer(mtaName), "x@good.test", "Sender: x@good.test", noFrom},
		{"a partner like anybody", Inbound{Reject: true, Partners: true}, clientPeer(mtaName), "x@good.test", "From: x@bank.test", refused + "bank.test"},
		{"somebody with a certificate", reject, clientPeer("_smtp-client.mta.evil.test"), "x@good.test", "From: x@bank.test", refused + "bank.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := judging(t, c.in)
			k := w.talk("mx", c.peer)
			k.expect("MAIL", k.mail(c.sender), "250")
			k.expect("RCPT", k.rcpt("info@example.test"), "250")
			message := c.from + "\r\n\r\nbody\r\n"
			reply := k.data("Authentication-Results: MX.example.test; dmarc=pass\r\n" + message)
			if c.want[0] == '5' || c.want[0] == '4' {
				k.expect("DATA", cut(reply), c.want)
				if n := len(w.queue.messages()); n != 0 {
					t.Errorf("%d messages were queued", n)
				}
				if !strings.Contains(w.log.String(), `detail="spf=`) {
					t.Errorf("the log is %s", w.log)
				}
				return
			}
			k.expect("DATA", reply, "250 2.6.0")
			body := w.queue.messages()[0].body
			top, rest, _ := strings.Cut(body, "\r\nReceived: from peer.test ")
			if top != "Authentication-Results: mx.example.test;\r\n\t"+c.want || !strings.HasSuffix(rest, "\r\n"+message) || strings.Contains(rest, "MX.example") {
				t.Errorf("queued was\n%s", body)
			}
		})
	}
}

// TestPartnerNotKnown: while DNS does not say whether a client is a partner, its mail
// waits.
func TestPartnerNotKnown(t *testing.T) {
	w := judging(t, Inbound{Reject: true})
	refused(w.verifier, daneclient.FailedDNS)
	k := w.talk("mx", clientPeer(mtaName))
	k.expect("MAIL", k.mail("x@good.test"), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("DATA", k.data("From: x@bank.test\r\n\r\n"), "451 4.7.0 ")
	refused(w.verifier, daneclient.NoMatch)
	k = w.talk("mx", clientPeer(mtaName))
	k.expect("MAIL", k.mail("x@good.test"), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("DATA", k.data("From: x@bank.test\r\n\r\n"), "550 5.7.1 ")
}

// TestNotJudged: what a user sends, what leaves for others, and what nobody is to
// judge. All of it loses what claims to be our judgement.
func TestNotJudged(t *testing.T) {
	for _, c := range []struct {
		name, listener string
		peer           fakePeer
		login, off     bool
		sender, to     string
		want           string // on top of Received
	}{
		{"a user, to others", "sub", userPeer("rick"), true, false, "rick@partner.test", "a@remote.test", ""},
		{"a user, to us", "sub", userPeer("rick"), true, false, "rick@partner.test", "info@example.test", "Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=rick@partner.test\r\n"},
		{"a user, to our postmaster", "sub", userPeer("rick"), true, false, "rick@partner.test", "postmaster@mx.example.test", "Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=rick@partner.test\r\n"},
		{"a user, by his certificate alone", "subs", userPeer("rick"), false, false, "rick@partner.test", "info@example.test", ""},
		{"a client, to others", "mx", clientPeer(device), false, false, "x@partner.test", "a@remote.test", ""},
		{"a stranger, nobody judges", "mx", plainPeer(), false, true, "x@good.test", "info@example.test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := judging(t, Inbound{Reject: true})
			if c.off {
				w.opts.Inbound = Inbound{}
			}
			w.anyAuthor()
			k := w.talk(c.listener, c.peer)
			if c.login {
				k.expect("AUTH", k.auth(""), "235")
			}
			k.expect("MAIL", k.mail(c.sender), "250")
			k.expect("RCPT", k.rcpt(c.to), "250")
			const forged, message = "Authentication-Results: mx.example.test; dmarc=pass\r\n", "From: x@bank.test\r\n\r\nbody\r\n"
			k.expect("DATA", k.data(forged+message), "250 2.6.0")
			body := w.queue.messages()[0].body
			if !strings.HasPrefix(body, c.want+"Received: from peer.test ") || !strings.HasSuffix(body, "\r\n"+message) || strings.Contains(body, forged) {
				t.Errorf("queued was\n%s", body)
			}
			if strings.Contains(w.log.String(), " spf=") {
				t.Errorf("the log is %s", w.log)
			}
		})
	}
}

// TestNamesOfAccounts: who gets mail of a user from elsewhere does not learn his login.
func TestNamesOfAccounts(t *testing.T) {
	w := judging(t, Inbound{})
	k := w.talk("sub", userPeer("rick"))
	k.expect("AUTH", k.auth(""), "235")
	k.expect("MAIL", k.mail("rick@partner.test"), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("RCPT", k.rcpt("a@remote.test"), "250")
	k.expect("DATA", k.data("From: rick@partner.test\r\n\r\n"), "250")
	if body := w.queue.messages()[0].body; !strings.HasPrefix(body, "Received: ") {
		t.Errorf("queued was\n%s", body)
	}
}

// TestJudgedLine: what the log and the counters say.
func TestJudgedLine(t *testing.T) {
	w := judging(t, Inbound{})
	c := &tallies{seen: map[string]int{}}
	w.opts.Counters = c
	k := w.talk("mx", plainPeer())
	k.expect("MAIL", k.mail("x@good.test"), "250")
	k.expect("RCPT", k.rcpt("info@example.test"), "250")
	k.expect("DATA", k.data("From: x@bank.test\r\n\r\n"), "250")
	if !strings.Contains(w.log.String(), " spf=pass dkim=none dmarc=fail") {
		t.Errorf("the log is %s", w.log)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, word := range []string{"checked spf pass", "checked dkim none", "checked dmarc fail"} {
		if c.seen[word] != 1 {
			t.Errorf("%s: %d", word, c.seen[word])
		}
	}
}
