package smtpd

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/smtpd/milter"
)

// nobodyLeft is whose verdict it is when the milters have removed all recipients.
const nobodyLeft = "no recipient is left"

// filtered is a verdict of the milters that ends a message.
type filtered struct{ milter.Verdict }

func (f *filtered) Error() string {
	if f.Err != nil {
		return fmt.Sprintf("milter %s: %v", f.Milter, f.Err)
	}
	return fmt.Sprintf("milter %s: %v", f.Milter, f.Action)
}

// The stages of a message at which milters are asked, for the counters.
const (
	atMail      = "mail"
	atRecipient = "recipient"
	atMessage   = "message"
)

// verdictOf is a verdict as it is counted: "continue", "reject", "tempfail", "discard",
// or "failed", when a milter has failed and its setting refuses mail for now.
func verdictOf(v milter.Verdict) string {
	if v.Err != nil {
		return "failed"
	}
	return v.Action.String()
}

// tellMilters tells the milters of this listener who begins tx. On false r says why
// they do not want it.
func (s *session) tellMilters(tx *transaction, r *refusal) bool {
	if len(s.Milters) == 0 {
		return true
	}
	var v milter.Verdict
	tx.milters, v = s.Milters.Begin(s.ctx, s.milterPeer(tx), milter.Envelope{ID: string(tx.id), Sender: tx.sender.String(), Args: tx.asked.args()})
	if tx.milters != nil {
		s.logMilters(tx, atMail)
	}
	s.opts.Counters.Filtered(atMail, verdictOf(v))
	if v.Action == milter.Discard {
		tx.discard = v.Milter
		return true
	}
	return v.Action == milter.Continue || r.filtered(v)
}

// askMilters asks them about a recipient.
func (s *session) askMilters(tx *transaction, to queue.Recipient, r *refusal) bool {
	if tx.milters == nil || tx.discard != "" {
		return true
	}
	v := tx.milters.Rcpt(to.Address.String())
	s.logMilters(tx, atRecipient)
	s.opts.Counters.Filtered(atRecipient, verdictOf(v))
	if v.Action == milter.Discard {
		tx.discard = v.Milter
		return true
	}
	return v.Action == milter.Continue || r.filtered(v)
}

// showMilters lets the milters see and change a message. What comes back must be
// closed; it is nil when nobody is to get the message, and a.discarded is set then.
func (s *session) showMilters(tx *transaction, env *queue.Envelope, message io.Reader) (io.ReadCloser, error) {
	if tx.discard == "" && !tx.milters.Waits() {
		return io.NopCloser(message), nil
	}
	if tx.discard != "" {
		_, err := io.Copy(io.Discard, message) // its end must be seen, for the wire's sake
		return nil, err
	}
	m, c, v, err := tx.milters.Message(message)
	s.logMilters(tx, atMessage)
	if err == nil {
		s.opts.Counters.Filtered(atMessage, changed(v, c))
	}
	switch {
	case err != nil:
		return nil, err
	case v.Action == milter.Discard:
		tx.discard = v.Milter
		return nil, nil
	case v.Action != milter.Continue:
		return nil, &filtered{v}
	}
	s.change(env, c)
	if len(env.Recipients) == 0 {
		tx.discard = nobodyLeft
		return nil, m.Close()
	}
	return m, nil
}

// changed is verdictOf of a message, where "held" and "changed" say more than
// "continue".
func changed(v milter.Verdict, c milter.Changes) string {
	switch word := verdictOf(v); {
	case v.Action != milter.Continue:
		return word
	case c.Hold != "":
		return "held"
	case c.Edited || len(c.Added)+len(c.Removed) > 0:
		return "changed"
	default:
		return word
	}
}

// change does to the envelope what the milters want. Recipients that they add are
// not asked about: the operator has chosen them.
func (s *session) change(env *queue.Envelope, c milter.Changes) {
	if len(c.Added)+len(c.Removed) > 0 {
		env.Recipients = slices.Clone(env.Recipients)
	}
	for _, a := range c.Removed {
		env.Recipients = slices.DeleteFunc(env.Recipients, func(r queue.Recipient) bool { return r.Address.Key() == a.Key() })
	}
	for _, a := range c.Added {
		if !slices.ContainsFunc(env.Recipients, func(r queue.Recipient) bool { return r.Address.Key() == a.Key() }) {
			env.Recipients = append(env.Recipients, queue.Recipient{Address: a})
		}
	}
	env.EightBit = env.EightBit || c.EightBit
	if c.Hold != "" {
		env.Hold = "held by a milter: " + c.Hold
	}
	if c.Edited || c.Hold != "" || len(c.Added)+len(c.Removed) > 0 {
		maillog.MilterEdited(s.opts.Logger, s.log, maillog.Edits{QueueID: string(env.ID), Edited: c.Edited,
			Added: len(c.Added), Removed: len(c.Removed), Hold: c.Hold})
	}
}

// filtered fills in a refusal by a milter; it returns false.
func (r *refusal) filtered(v milter.Verdict) bool {
	r.answer = filterTrouble
	if v.Action == milter.Reject {
		r.answer = filterRefused
	}
	r.said, r.detail = v, (&filtered{v}).Error()
	return false
}

// logMilters writes down who failed without harm to the mail.
func (s *session) logMilters(tx *transaction, stage string) {
	for _, v := range tx.milters.Failed {
		s.opts.Counters.Filtered(stage, "skipped")
		maillog.MilterFailed(s.opts.Logger, s.log, string(tx.id), v.Milter, v.Err)
	}
	tx.milters.Failed = nil
}

func (s *session) milterPeer(tx *transaction) milter.Peer {
	p := milter.Peer{Hostname: s.opts.Hostname.String(), Listener: s.Name, Helo: cleanHelo(s.helo()), Login: tx.identity}
	if ap, err := netip.ParseAddrPort(s.conn.RemoteAddr().String()); err == nil {
		p.Address = ap
	}
	if s.secure {
		p.TLS = strings.Replace(tls.VersionName(s.state.Version), "TLS ", "TLSv", 1)
		p.Cipher, p.Bits = tls.CipherSuiteName(s.state.CipherSuite), 256
		if strings.Contains(p.Cipher, "AES_128") {
			p.Bits = 128
		}
	}
	if tx.auth {
		p.How = sasl.External
		if s.user.how == byPassword {
			p.How = sasl.Plain
		}
	}
	return p
}

// args are the parameters of MAIL as milters see them.
func (a asked) args() (args []string) {
	if a.size > 0 {
		args = append(args, fmt.Sprintf("SIZE=%d", a.size))
	}
	if a.eightBit {
		args = append(args, "BODY=8BITMIME")
	}
	if a.utf8 {
		args = append(args, "SMTPUTF8")
	}
	return args
}
