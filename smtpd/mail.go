package smtpd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"

	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/smtpd/milter"
	"dancemta/smtpd/policy"
)

// transaction is one message from MAIL to the end of its data. Each MAIL makes a
// new one, and Data holds the one it began with: nothing of one message can
// reach another.
type transaction struct {
	id       queue.ID
	milters  *milter.Transaction // nil: there are none
	discard  string              // the milter by whose word nobody gets the message
	sender   mailaddr.Address
	asked    asked
	subject  policy.Subject  // who sends; nobody until an identity is proved and needed
	identity string          // the same for log and queue
	auth     bool            // by AUTH
	rule     string          // that let the last recipient through
	anybody  bool            // somebody among rcpts gets mail from anybody
	beyond   bool            // somebody among rcpts is not of our domains
	network  bool            // by a rule for the network, without an identity
	trouble  error           // why it is not known what rules may choose by
	size     int64           // what the rule lets a message have; 0: as all
	charged  map[string]bool // the accounts of quotas from which the message has been taken
	taken    int             // RCPT commands accepted, repeated ones too
	rcpts    []queue.Recipient
	known    map[mailaddr.Address]bool // rcpts
}

// add takes a recipient; one that is there already is not delivered to twice, and
// what was asked for him first holds.
func (t *transaction) add(to queue.Recipient) {
	t.taken++
	if !t.known[to.Address] {
		t.known[to.Address] = true
		t.rcpts = append(t.rcpts, to)
	}
}

// Mail begins a transaction. The AUTH parameter is no more than a claim and is
// taken as <> from everybody (RFC 4954 5).
func (s *session) Mail(from string, opts *smtp.MailOptions) (err error) {
	defer s.rescue("MAIL", &err)
	r := refusal{command: "MAIL", sender: from}
	sender, perr := mailaddr.FromUnquoted(from)
	switch {
	case s.tx != nil:
		r.answer = nestedMail
	case !opts.UTF8 && !isASCII(from):
		r.answer = notASCII // RFC 6531 3.5
	case perr != nil:
		r.answer, r.detail = badSender, perr.Error()
	case s.needsFullDomain(sender):
		r.answer = unqualifiedSender // RFC 6409 4.2
	case opts.Size > s.opts.MaxMessageBytes:
		r.answer = tooBig // RFC 1870 6.1
	default:
		if err := s.room(opts.Size); err != nil {
			r.answer, r.detail = storeAnswer(err), err.Error() // RFC 1870 6.1
			break
		}
		tx := &transaction{id: queue.NewID(), sender: sender, asked: askedOf(opts), known: map[mailaddr.Address]bool{}, charged: map[string]bool{}}
		r.sender = sender.ASCII()
		if s.identify(tx, &r) && s.tellMilters(tx, &r) {
			s.tx = tx
			return nil
		}
	}
	return s.refuse(r)
}

// needsFullDomain reports whether an address of a submission has a domain such as
// "sales", which means something else elsewhere.
func (s *session) needsFullDomain(a mailaddr.Address) bool {
	_, above := a.Domain().Cut()
	return s.Kind != Relay && !a.Domain().IsZero() && above.IsZero()
}

// room says whether a message of this size could be kept now.
func (s *session) room(size int64) error {
	if s.opts.Room == nil {
		return nil
	}
	return s.opts.Room(size)
}

// identify finds out who begins tx, as far as MAIL must know it, and whether he
// may send as tx.sender. On false r says why not.
func (s *session) identify(tx *transaction, r *refusal) bool {
	user, err := s.userAtMail()
	switch {
	case errors.Is(err, errLoginOld):
		r.answer, r.detail = loginOld, err.Error()
		return false
	case err != nil:
		r.answer, r.err = cannotJudge, err
		return false
	case user != nil:
		s.actAs(tx, policy.Subject{User: user.Identity, Proved: user.proof()}, user.Identity.ASCIIDomain())
		tx.auth = user.how == byAuth || user.how == byPassword
		return s.mayUseSender(tx, r)
	}
	s.refreshCheck()
	if !s.needsLogin() {
		return true // ordinary mail may follow, which asks for no identity
	}
	client, err := s.awaitClient()
	switch {
	case err != nil && s.actAsNetwork(tx):
		return s.mayUseSender(tx, r)
	case err != nil:
		r.answer, r.err = clientAnswer(err, true), err
		return false
	}
	s.actAs(tx, policy.Subject{Client: client.Name}, client.Name.String())
	return s.mayUseSender(tx, r)
}

// mayUseSender asks the rules about tx's sender, and about the size that was told.
func (s *session) mayUseSender(tx *transaction, r *refusal) bool {
	if !tx.isKnown(r) {
		return false
	}
	v := s.opts.Rules().Sender(tx.subject, tx.sender)
	if !v.Allow {
		return r.decided(v, tx)
	}
	if tx.size = s.opts.Rules().Terms(tx.subject).Size; tx.size > 0 && tx.asked.size > tx.size {
		r.answer, r.rule = tooBig, v.Rule // RFC 1870 6.1
		return false
	}
	return true
}

// decided fills in a refusal by the rules; it returns false. Who is proved and
// may do nothing at all reads the same as a stranger.
func (r *refusal) decided(v policy.Verdict, tx *transaction) bool {
	r.identity, r.rule, r.reason = tx.identity, v.Rule, v.Reason.String()
	switch v.Reason {
	case policy.SenderRefused:
		r.answer = senderNotOwned
	case policy.RecipientRefused:
		r.answer = recipientRefused
	default:
		r.answer = relayRefused
	}
	return false
}

// Rcpt takes a recipient.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) (err error) {
	defer s.rescue("RCPT", &err)
	r := refusal{command: "RCPT", rcpt: to}
	tx := s.tx
	if tx == nil {
		r.answer = noMail
		return s.refuse(r)
	}
	r.sender, r.identity = tx.sender.ASCII(), tx.identity
	rcpt, perr := mailaddr.FromUnquoted(to)
	switch {
	case !tx.asked.utf8 && !isASCII(to):
		r.answer = notASCII // RFC 6531 3.5
	case perr != nil:
		r.answer, r.detail = badRecipient, perr.Error()
	case rcpt.IsNull():
		r.answer = badRecipient
	case tx.taken >= s.opts.MaxRecipients:
		r.answer = tooManyRecipients
	default:
		r.rcpt = rcpt.ASCII()
		to := recipient(s.mailbox(rcpt), opts)
		if s.mayReach(tx, rcpt, &r) && s.askMilters(tx, to, &r) {
			tx.add(to)
			return nil
		}
	}
	return s.refuse(r)
}

// mayReach decides about a recipient. On false r says why not.
func (s *session) mayReach(tx *transaction, to mailaddr.Address, r *refusal) bool {
	ours, v := s.opts.Rules().RelayRecipient(to)
	if s.isOurPostmaster(to) {
		ours, v.Allow = true, true // RFC 5321 4.5.1: always
	}
	if ours && v.Reason == policy.AskBackend && !v.Allow && !s.askBackend(to, &v, r) {
		return false
	}
	switch {
	case ours && !v.Allow:
		r.answer, r.reason = unknownUser, v.Reason.String()
		return false
	case ours && (s.Kind == Relay || strings.EqualFold(to.Local(), postmaster)):
		if !s.mayStrangers(tx, r) {
			return false
		}
		tx.anybody = true
		return true
	}
	if s.needsFullDomain(to) {
		r.answer = unqualifiedRecipient // RFC 6409 4.2
		return false
	}
	if !s.mayRelay(tx, to, r) {
		return false
	}
	tx.beyond = tx.beyond || !ours
	return true
}

// mayRelay decides about a recipient that only identities may send to. On relay
// listeners this is the place where a verdict about the certificate is awaited.
func (s *session) mayRelay(tx *transaction, to mailaddr.Address, r *refusal) bool {
	if tx.identity == "" && !tx.network && !s.prove(tx, r) || !tx.isKnown(r) {
		return false
	}
	v := s.opts.Rules().Recipient(tx.subject, tx.sender, to)
	if !v.Allow {
		return r.decided(v, tx)
	}
	if !s.routed(to.Domain()) && s.nullMX(to.Domain()) {
		r.answer, r.rule, r.about = nullMXRecipient, v.Rule, to.Domain().String()
		return false
	}
	if !s.holdsTo(tx, r) {
		return false
	}
	tx.rule = v.Rule
	return true
}

// prove gives tx the identity of the peer's certificate, or says in r why there
// is none: to the peer in one text for all causes.
func (s *session) prove(tx *transaction, r *refusal) bool {
	who, identity, err := s.relayIdentity()
	switch {
	case err != nil && s.actAsNetwork(tx):
		return true
	case err != nil:
		r.answer, r.err = clientAnswer(err, false), err
		return false
	}
	s.actAs(tx, who, identity)
	return true
}

const postmaster = "postmaster"

// isOurPostmaster reports whether to is the postmaster of this host, by its
// name or by an address of its own (RFC 5321 4.1.3, 4.5.1).
func (s *session) isOurPostmaster(to mailaddr.Address) bool {
	if !strings.EqualFold(to.Local(), postmaster) {
		return false
	}
	ip := to.Literal()
	return to.Domain() == s.opts.Hostname || ip.IsValid() && (ip == s.local || slices.Contains(s.opts.Addresses, ip))
}

// mailbox is where mail for to goes: the postmaster of this host has a mailbox.
func (s *session) mailbox(to mailaddr.Address) mailaddr.Address {
	if s.isOurPostmaster(to) {
		return s.opts.Postmaster
	}
	return to
}

// Data takes the message: bounds, our Received field on top, and the queue. The
// reply is 250 only when the queue has it on disk (RFC 5321 6.1).
func (s *session) Data(body io.Reader) (err error) {
	defer io.Copy(io.Discard, body) // go-smtp wants it read to its end
	defer s.rescue("DATA", &err)
	r := refusal{command: "DATA"}
	tx := s.tx
	if tx == nil || len(tx.rcpts) == 0 {
		r.answer = noRecipients
		return s.refuse(r)
	}
	if name, ok := s.provenClient(); ok && tx.identity == "" {
		s.actAs(tx, policy.Subject{Client: name}, name.String()) // nothing depended on it, but the trace may tell
	}
	env := s.envelope(tx)
	header := s.trace(tx, env).field()
	in := &inspector{r: body, left: s.maxBytes(tx), max: s.opts.MaxHops}
	message := readHead(in)
	env.TLSOptional = !env.RequireTLS && message.tlsOptional() // RFC 8689 4.1: the parameter wins
	a, err := s.keep(tx, &env, header, message)
	if err != nil {
		r.sender, r.identity, r.queueID = env.Sender.ASCII(), tx.identity, string(env.ID)
		r.answer, r.detail = storeAnswer(err), err.Error()
		if u, ok := errors.AsType[*unwanted](err); ok {
			r.about = u.about
		}
		if b, ok := errors.AsType[*badAuthor](err); ok {
			r.rule, r.reason = b.rule, b.reason
		}
		if f, ok := errors.AsType[*filtered](err); ok {
			r.filtered(f.Verdict)
		}
		if in.fault != nil { // the peer gave it up, or the wire did and has told the peer why
			r.reason, r.detail = "aborted", fmt.Sprintf("after %d octets: %v", in.size, in.fault)
		}
		return s.refuse(r)
	}
	if tx.discard != "" {
		maillog.Discarded(s.opts.Logger, s.log, string(env.ID), tx.discard, env.Sender.ASCII())
		return queued.reply(s.log.ID, string(env.ID))
	}
	size := int64(len(header)) + in.size
	s.opts.Counters.Accepted(s.Kind, size)
	line := maillog.Message{QueueID: string(env.ID), Identity: tx.identity, Rule: tx.rule,
		Sender: env.Sender.ASCII(), Rcpts: len(env.Recipients), Size: size, Signed: a.signed}
	if a.report != nil {
		line.SPF, line.DKIM, line.DMARC = string(a.report.SPF.Result), string(a.report.DKIMResult()), string(a.report.DMARC.Result)
	}
	maillog.Queued(s.opts.Logger, s.log, line)
	return queued.reply(s.log.ID, string(env.ID))
}

func (s *session) envelope(tx *transaction) queue.Envelope {
	return queue.Envelope{
		ID:         tx.id,
		Sender:     tx.sender,
		Recipients: tx.rcpts,
		Identity:   tx.identity,
		Session:    s.log.ID,
		EightBit:   tx.asked.eightBit,
		SMTPUTF8:   tx.asked.utf8,
		RequireTLS: tx.asked.requireTLS,
		EnvelopeID: tx.asked.envid,
		Return:     tx.asked.ret,
		Helo:       cleanHelo(s.helo()),
		Peer:       s.remote.String(),
		Arrived:    s.opts.Now(),
	}
}

func (s *session) trace(tx *transaction, env queue.Envelope) trace {
	return trace{
		helo:     s.helo(),
		peer:     s.remote,
		client:   tx.subject.Client,
		told:     !s.told.Client.IsZero(),
		hostname: s.opts.Hostname,
		extended: s.conn.Extended(),
		auth:     tx.auth,
		cipher:   s.state.CipherSuite,
		secure:   s.secure,
		id:       env.ID,
		utf8:     env.SMTPUTF8,
		rcpts:    env.Recipients,
		date:     env.Arrived,
	}
}
