package queue

import (
	"errors"
	"io"
	"slices"

	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
	"dancemta/queue/dsn"
)

// maxReturned is how much of a message goes back with its bounce. A longer one
// is returned with its headers alone: the sender has it, and the address may be
// forged.
const maxReturned = 64 << 10

// notice is what a settlement tells the sender.
type notice struct {
	failed int     // recipients that failed
	double bool    // the message had no sender to tell
	late   bool    // its delay is told with this, as far as anybody wants to hear of it
	bounce *Bounce // nil: nobody is told
	told   map[dsn.Action]int
}

// notice makes the report of an attempt: to the envelope sender, from the null
// sender, so that nothing ever answers it. The failure of a message that has the
// null sender itself is told to the postmaster, unless it was a message to him
// (RFC 5321 6.1, RFC 3464 2). An error says that somebody should hear of this and
// cannot.
func (q *Queue) notice(job Job, outcomes []Outcome) (notice, error) {
	n := notice{double: job.Envelope.Sender.IsNull(), late: q.late(job.Envelope, job.Told), told: map[dsn.Action]int{}}
	report := q.report(job)
	var about []mailaddr.Address
	for _, o := range outcomes {
		if o.Result == Failed {
			n.failed++
		}
		if r, ok := q.reported(job, o, n.late); ok {
			n.told[r.Action]++
			report.Recipients = append(report.Recipients, r)
			about = append(about, o.Recipient)
		}
	}
	if len(report.Recipients) == 0 {
		return n, nil
	}
	if report.To = q.notified(job.Envelope); report.To.IsNull() {
		return n, nil
	}
	report.Misdirected = n.double
	report.Original, report.Complete = q.returned(job)
	body, err := dsn.Build(report)
	if err != nil {
		n.late = false
		return n, err
	}
	n.bounce = &Bounce{Envelope: bounceEnvelope(report, job.Envelope), Body: q.signed(job.ID, body), About: about}
	return n, nil
}

// noticeAgain makes the report without the recipients that were deleted while the
// attempt was made: of them nobody hears anything.
func (q *Queue) noticeAgain(job Job, outcomes []Outcome) (notice, error) {
	sum, err := q.o.Store.Get(job.ID)
	if errors.Is(err, ErrNotFound) {
		return notice{}, nil // all of them were
	}
	if err != nil {
		return notice{}, err
	}
	rest := slices.DeleteFunc(slices.Clone(outcomes), func(o Outcome) bool {
		return slices.ContainsFunc(sum.Recipients, func(r RecipientSummary) bool { return r.Address == o.Recipient && r.State == StateDeleted })
	})
	if len(rest) == len(outcomes) {
		return notice{}, ErrDeleted
	}
	return q.notice(job, rest)
}

// reported is what a report says of an outcome; false: it is not mentioned. Those
// of a message with the null sender hear of nothing but failures, and from the
// postmaster's report alone.
func (q *Queue) reported(job Job, o Outcome, late bool) (r dsn.Recipient, ok bool) {
	env := job.Envelope
	asked := asked(env, o.Recipient)
	r = dsn.Recipient{
		Address: o.Recipient, Original: asked.Original, Status: o.Status, RemoteMTA: o.RemoteMTA, Reply: o.Reply,
	}
	if !job.Away {
		r.LastAttempt = q.o.Now()
	}
	switch {
	case o.Result == Failed:
		r.Action, r.Expired = dsn.Failed, o.Status == statusExpired
		return r, asked.Notify.wants(NotifyFailure)
	case env.Sender.IsNull():
		return r, false
	case o.Result == Deferred:
		r.Action, r.RetryUntil = dsn.Delayed, q.o.expiry(env)
		return r, late && asked.Notify.wants(NotifyDelay)
	case o.Result == Delivered && o.Final:
		r.Action = dsn.Delivered // RFC 3461 5.2.3: nobody behind us can say it
		return r, asked.Notify.wants(NotifySuccess)
	case o.Result == Delivered && o.Relayed:
		r.Action = dsn.Relayed // RFC 3461 5.2.2
		return r, asked.Notify.wants(NotifySuccess)
	}
	return r, false
}

// asked finds what the sender said of an address.
func asked(env Envelope, a mailaddr.Address) Recipient {
	for _, r := range env.Recipients {
		if r.Address == a {
			return r
		}
	}
	return Recipient{Address: a}
}

// late says whether the sender is to hear that a unit waits; told: he has been told.
func (q *Queue) late(env Envelope, told bool) bool {
	return q.o.DelayNotice > 0 && !told && !env.Sender.IsNull() && q.clock.now().Sub(env.Arrived) >= q.o.DelayNotice
}

// speaks says whether a sender has to hear of a unit that nobody tries to deliver.
func (q *Queue) speaks(env Envelope, told bool) bool { return q.expired(env) || q.late(env, told) }

// postponed is outcomes whose failures nobody could be told: they wait until it can
// be done, since a message must not end without a word.
func postponed(outcomes []Outcome) []Outcome {
	all := slices.Clone(outcomes)
	for i := range all {
		if o := &all[i]; o.Result == Failed {
			o.Result, o.Status, o.Reply = Deferred, Deferred.status(), maillog.Clean("its report could not be written: "+o.Reply)
		}
	}
	return all
}

// notified returns who hears of a failure; null: nobody.
func (q *Queue) notified(env Envelope) mailaddr.Address {
	if !env.Sender.IsNull() {
		return env.Sender
	}
	for _, to := range env.Recipients {
		if to.Address.Key() == q.o.Postmaster.Key() {
			return mailaddr.Address{} // what could not reach him cannot be told to him
		}
	}
	return q.o.Postmaster
}

func (q *Queue) report(job Job) dsn.Report {
	env := job.Envelope
	return dsn.Report{
		ID: string(NewID()), Hostname: q.o.Hostname, From: q.o.Postmaster, Date: q.o.Now(),
		QueueID: string(job.ID), EnvelopeID: env.EnvelopeID, Arrived: env.Arrived, Helo: env.Helo, Peer: env.Peer, UTF8: env.SMTPUTF8,
		HeadersOnly: env.Return == ReturnHeaders || env.RequireTLS, // RFC 3461 4.3; RFC 8689 5
	}
}

func bounceEnvelope(r dsn.Report, about Envelope) Envelope {
	return Envelope{
		ID: ID(r.ID), Recipients: To(r.To), // the zero Sender is the null one
		Session: about.Session, Arrived: r.Date.Round(0),
		EightBit: r.SMTPUTF8(), SMTPUTF8: r.SMTPUTF8(),
		RequireTLS: about.RequireTLS, // RFC 8689 5: what is told about it needs the same care
	}
}

// returned reads what of the message goes back. A bounce without it is better
// than none.
func (q *Queue) returned(job Job) (text []byte, complete bool) {
	body, err := job.Open()
	if err == nil {
		defer body.Close()
		text, err = io.ReadAll(io.LimitReader(body, maxReturned+1))
	}
	if err != nil {
		maillog.QueueFault(q.log, string(job.ID), "read for a bounce", err)
		return nil, false
	}
	if len(text) > maxReturned {
		return text[:maxReturned], false
	}
	return text, true
}

// signed is a message of ours with its signature. Without it is better than not
// at all: it was promised that the sender hears of a failure.
func (q *Queue) signed(about ID, message []byte) []byte {
	if q.o.Sign == nil {
		return message
	}
	signed, err := q.o.Sign(message)
	if err != nil {
		maillog.QueueFault(q.log, string(about), "sign a bounce", err)
		return message
	}
	return signed
}

func (q *Queue) logNotice(job Job, n notice) {
	if n.double && n.failed > 0 {
		maillog.DoubleBounce(q.log, string(job.ID), n.failed)
	}
	if n.bounce == nil {
		return
	}
	if q.o.OnReport != nil {
		for action, recipients := range n.told {
			for range recipients {
				q.o.OnReport(action.String())
			}
		}
	}
	id, to := string(n.bounce.Envelope.ID), n.bounce.Envelope.Recipients[0].Address.ASCII()
	if failed := n.told[dsn.Failed]; failed > 0 {
		maillog.Bounced(q.log, string(job.ID), id, to, failed)
	}
	if delayed, arrived := n.told[dsn.Delayed], n.told[dsn.Relayed]+n.told[dsn.Delivered]; delayed+arrived > 0 {
		maillog.Reported(q.log, maillog.Report{QueueID: string(job.ID), ReportID: id, Sender: to, Delayed: delayed, Arrived: arrived})
	}
}
