package smtpd

import (
	"context"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/smtpd/callout"
	"dancemta/smtpd/policy"
)

// TestMailboxes: what the backend of a relay domain says is what RCPT gets.
func TestMailboxes(t *testing.T) {
	asked := 0
	w := newWorld(t, func(o *Options) {
		o.Mailboxes = func(_ context.Context, to mailaddr.Address) callout.Answer {
			asked++
			return map[string]callout.Answer{"there": callout.Exists, "gone": callout.Absent}[to.Local()]
		}
	})
	o := standardRules()
	o.RelayDomains = append(o.RelayDomains, policy.RelayDomain{Domain: dnsname.MustParse("asked.test"), Backend: true},
		policy.RelayDomain{Domain: dnsname.MustParse("lenient.test"), Backend: true, Lenient: true})
	w.setRules(o)
	k := w.talk("mx", plainPeer())
	k.expect("MAIL", k.mail("x@elsewhere.test"), "250")
	for _, c := range []struct{ to, want string }{
		{"there@asked.test", "250"}, {"gone@asked.test", "550 5.1.1 No such mailbox here"}, {"silent@asked.test", "450 4.4.1 "},
		{"there@lenient.test", "250"}, {"gone@lenient.test", "550 5.1.1"}, {"silent@lenient.test", "250"},
	} {
		k.expect(c.to, k.rcpt(c.to), c.want)
	}
	if asked != 6 {
		t.Errorf("%d questions", asked)
	}
	k.expect("postmaster", k.rcpt("Postmaster@asked.test"), "250") // RFC 5321 4.5.1
	k.expect("a file's", k.rcpt("info@example.test"), "250")
	if asked != 6 {
		t.Error("a question for what is known")
	}
	w.opts.Mailboxes = nil
	k.expect("nobody to ask", k.rcpt("there@asked.test"), "450 4.4.1 ")
}
