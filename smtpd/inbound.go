package smtpd

import (
	"io"
	"strings"

	"dancemta/internal/mailaddr"
	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/saslext/door"
	"dancemta/smtpd/policy"
)

// Inbound says how mail is judged that anybody may send to the relay domains.
type Inbound struct {
	Verifier *msgauth.Verifier // nil: it is not judged
	// Reject refuses what the domain in From wants refused (DMARC), what has no such
	// domain, and for now what DNS is silent about.
	Reject bool
	// Partners refuses it also when a client sends it whose rules let him use the
	// addresses in From.
	Partners bool
}

// arrival is a message on its way to the queue, and what was found out about it.
type arrival struct {
	io.ReadCloser
	signed string          // the domain whose signature it got; "" when nobody's
	report *msgauth.Report // nil: it was not judged
}

// unwanted is a message that is not taken for what it is.
type unwanted struct {
	answer answer
	about  string // the domain that asks for it
	report msgauth.Report
}

func (u *unwanted) Error() string { return u.report.Detail() }

// keep judges or signs a message, shows it to the milters, and hands it to the queue,
// our results and our trace on top. What is judged is what came, what is signed is
// what the milters have left. A message that should have a signature and cannot get it is not kept.
func (s *session) keep(tx *transaction, env *queue.Envelope, trace string, message *lead) (arrival, error) {
	var a arrival
	err := s.checkAuthors(tx, message)
	switch {
	case err != nil:
		return a, err
	case s.judges(tx):
		a, err = s.judge(tx, *env, message)
	default:
		a, err = s.strip(message)
	}
	if err != nil {
		return a, err
	}
	defer a.Close()
	seen, err := s.showMilters(tx, env, a)
	if err != nil || seen == nil {
		return a, err
	}
	defer seen.Close()
	if a.report == nil {
		if a, err = s.sign(tx, seen); err != nil {
			return a, err
		}
		defer a.Close()
		seen = a
	}
	results := msgauth.Results{Hostname: s.opts.Hostname, Login: loginToTell(tx), UTF8: env.SMTPUTF8, Report: a.report}
	top := results.Field() + trace // RFC 8601 4: above the field of the same hop
	return a, s.opts.Queue.Accept(s.ctx, *env, io.MultiReader(strings.NewReader(top), seen))
}

// judges reports whether tx is mail of the kind that is judged: users answer for
// theirs by their login.
func (s *session) judges(tx *transaction) bool {
	return s.opts.Inbound.Verifier != nil && s.Kind == Relay && tx.anybody && tx.subject.User.IsZero()
}

// loginToTell is who logged in by AUTH, for those who read mail of our domains. What
// leaves for others does not tell them names of accounts. RFC 8601 2.7.4, 7.3
func loginToTell(tx *transaction) string {
	if !tx.auth || tx.beyond {
		return ""
	}
	return tx.identity
}

// judge finds out by SPF, DKIM and DMARC who sent a message.
func (s *session) judge(tx *transaction, env queue.Envelope, message io.Reader) (arrival, error) {
	m, err := s.opts.Inbound.Verifier.Check(s.ctx, msgauth.Envelope{Peer: s.remote, Helo: s.helo(), Sender: env.Sender}, message)
	if err != nil {
		return arrival{}, err
	}
	s.countChecks(m.Report)
	if u := s.unwanted(tx, env.Sender, m.Report); u != nil {
		m.Close()
		return arrival{}, u
	}
	return arrival{ReadCloser: m, report: &m.Report}, nil
}

func (s *session) countChecks(r msgauth.Report) {
	s.opts.Counters.Checked("spf", string(r.SPF.Result))
	s.opts.Counters.Checked("dkim", string(r.DKIMResult()))
	s.opts.Counters.Checked("dmarc", string(r.DMARC.Result))
}

// unwanted says whether a message is refused; nil when it is taken.
func (s *session) unwanted(tx *transaction, sender mailaddr.Address, r msgauth.Report) *unwanted {
	if !s.opts.Inbound.Reject {
		return nil
	}
	u := &unwanted{answer: notKnownWhose, report: r}
	switch r.DMARC.Verdict {
	case msgauth.NoAuthor:
		u.answer = noAuthor
		return u
	case msgauth.Refuse:
		u.answer, u.about = refusedByDMARC, r.DMARC.Author.String()
	case msgauth.Take:
		if !s.nullMX(sender.Domain()) {
			return nil
		}
		u.answer, u.about = nullMXSender, sender.Domain().String() // RFC 7505 4.2
	}
	vouched, err := s.vouched(tx, r.Authors)
	switch {
	case vouched:
		return nil
	case err != nil: // he may be a partner, and hears more when DNS does
		u.answer, u.about = notKnownWhose, ""
	}
	return u
}

// vouched reports whether a client is proved whose rules let him use every address in
// From. Only here a verdict about his certificate is waited for.
func (s *session) vouched(tx *transaction, from []mailaddr.Address) (bool, error) {
	if s.opts.Inbound.Partners || len(from) == 0 {
		return false, nil
	}
	if tx.identity == "" {
		if s.check == nil && s.told.Client.IsZero() {
			return false, nil
		}
		client, err := s.awaitClient()
		if err != nil {
			if door.Permanent(err) {
				err = nil
			}
			return false, err
		}
		s.actAs(tx, policy.Subject{Client: client.Name}, client.Name.String())
	}
	for _, a := range from {
		if !s.opts.Rules().Sender(tx.subject, a).Allow {
			return false, nil
		}
	}
	return true, nil
}
