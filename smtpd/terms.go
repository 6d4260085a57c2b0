package smtpd

import (
	"errors"

	"dancemta/internal/limit"
	"dancemta/internal/mailaddr"
	"dancemta/internal/msgauth"
	"dancemta/smtpd/policy"
)

// actAs makes who the subject of tx, with all that the rules may choose by.
func (s *session) actAs(tx *transaction, who policy.Subject, identity string) {
	who.Listener, who.Remote = s.listener(), s.remote
	if identity != "" && who.Proved == 0 {
		who.Proved = s.proof()
	}
	tx.trouble = nil
	if rules := s.opts.Rules(); rules.NeedsDirectory(who) {
		tx.trouble = s.know(rules, &who)
	}
	tx.subject, tx.identity = who, identity
	if as := s.opts.Rules().Terms(who).As; !as.IsNull() {
		tx.identity = as.ASCII()
	}
}

// proof is how an identity of this session is proved.
func (s *session) proof() policy.Proof {
	switch {
	case s.told.Identity() != "":
		return policy.ByProxy
	case s.cred.Named:
		return policy.ByExtension
	}
	return policy.ByCertificate
}

var errNoDirectory = errors.New("rules ask for what a directory knows, and there is none")

// know asks what the directory knows of a user.
func (s *session) know(rules *policy.Rules, who *policy.Subject) error {
	if s.opts.Directory == nil {
		return errNoDirectory
	}
	entry, err := s.opts.Directory().Lookup(s.ctx, who.User)
	if err != nil {
		return err
	}
	return rules.Know(who, entry)
}

// isKnown reports whether all is known that rules may choose by.
func (t *transaction) isKnown(r *refusal) bool {
	if t.trouble != nil {
		r.answer, r.detail = notKnownWho, t.trouble.Error()
	}
	return t.trouble == nil
}

// actAsNetwork lets a peer without an identity send by a rule for his network, which
// gives him none.
func (s *session) actAsNetwork(tx *transaction) bool {
	who := policy.Subject{Listener: s.listener(), Remote: s.remote}
	if !s.opts.Rules().Admits(who).Allow {
		return false
	}
	s.actAs(tx, who, "")
	tx.network = true
	return true
}

// holdsTo reports whether the message may be so large, and takes what it costs from
// the quotas of the rule that was chosen.
func (s *session) holdsTo(tx *transaction, r *refusal) bool {
	terms := s.opts.Rules().Terms(tx.subject)
	if tx.size = terms.Size; terms.Size > 0 && tx.asked.size > terms.Size {
		r.answer, r.rule = tooBig, terms.Rule // RFC 1870 6.1
		return false
	}
	r.rule = terms.Rule
	over := s.charge(tx, tx.subject, terms.Quotas, r)
	if over != nil && s.opts.OnOverQuota != nil {
		s.opts.OnOverQuota(*over)
	}
	return over == nil
}

// OverQuota is an account of a quota that had not enough left for a message or a
// recipient.
type OverQuota struct {
	Account string // whom it counts for: the words of policy.Quota.Key
	Quota   policy.Quota
	Rule    string // that it stands in
}

// charge takes a recipient, and with the first one of a transaction a message, from
// every quota or from none. A transaction that comes to nothing has cost it. What is
// returned is the quota that has not enough left, and r says so; nil: all had.
func (s *session) charge(tx *transaction, who policy.Subject, quotas []policy.Quota, r *refusal) *OverQuota {
	var charges []limit.Charge
	var of []OverQuota
	for _, q := range quotas {
		key := q.Key(who)
		account := key + " " + q.Text()
		if key == "" || q.Of == policy.Messages && tx.charged[account] {
			continue
		}
		charges = append(charges, limit.Charge{Account: account, Rate: limit.Rate{N: q.N, Per: q.Per}, Tokens: 1})
		of = append(of, OverQuota{Account: key, Quota: q, Rule: r.rule})
	}
	if short := s.opts.Quotas.Take(charges); short >= 0 {
		q := of[short].Quota
		r.answer, r.about, r.detail = overQuota, q.Text(), charges[short].Account
		s.opts.Counters.OverQuota(q.Of, q.Each)
		return &of[short]
	}
	for _, c := range charges { // what has paid as a stranger has not paid as somebody
		tx.charged[c.Account] = true
	}
	return nil
}

// mayStrangers takes a recipient of ours from the quotas of those who send without an
// identity. Who has proved one by now is no stranger, but for what users send to the
// postmaster: no quota of theirs bounds that.
func (s *session) mayStrangers(tx *transaction, r *refusal) bool {
	_, proved := s.provenClient()
	if s.Kind == Relay && (proved || tx.identity != "") || len(s.opts.StrangerQuotas) == 0 {
		return true
	}
	return s.charge(tx, policy.Subject{Remote: s.remote}, s.opts.StrangerQuotas, r) == nil
}

// maxBytes is the size limit of a message under the rule that was chosen.
func (s *session) maxBytes(tx *transaction) int64 {
	if tx.size > 0 {
		return min(tx.size, s.opts.MaxMessageBytes)
	}
	return s.opts.MaxMessageBytes
}

// badAuthor is a From field that the rules do not let this sender write.
type badAuthor struct {
	rule, reason, detail string
}

func (b *badAuthor) Error() string { return b.detail }

// checkAuthors demands that whoever relays by a rule writes in From whom that lets
// him; a submission always, also one to the postmaster alone, since its From is believed.
// A message without such a field claims nobody.
func (s *session) checkAuthors(tx *transaction, l *lead) error {
	rules := s.opts.Rules()
	if tx.rule == "" && s.Kind == Relay || rules.Author(tx.subject, mailaddr.Address{}).Allow { // of nobody: only "any" means him, too
		return nil
	}
	end := headerEnd(l.head, 0)
	if end < 0 && len(l.head) >= maxHead {
		return msgauth.ErrHeader // what stands behind cannot be checked
	}
	if end < 0 {
		end = len(l.head)
	}
	authors, err := msgauth.Authors(l.head[:end])
	if err != nil {
		return &badAuthor{rule: tx.rule, reason: policy.AuthorRefused.String(), detail: err.Error()}
	}
	for _, a := range authors {
		if v := rules.Author(tx.subject, a); !v.Allow {
			return &badAuthor{rule: v.Rule, reason: v.Reason.String(), detail: "From: " + a.ASCII()}
		}
	}
	return nil
}
