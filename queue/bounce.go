package queue

import (
	"io"

	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
	"dancemta/queue/dsn"
)

// maxReturned is how much of a message goes back with its bounce. A longer one
// is returned with its headers alone: the sender has it, and the address may be
// forged.
const maxReturned = 64 << 10

// notice is what a settlement tells about its failed recipients.
type notice struct {
	failed int
	double bool    // the message had no sender to tell
	bounce *Bounce // nil: nobody is told
}

// notice makes the bounce of an attempt: to the envelope sender, from the null
// sender, so that nothing ever answers it. The failure of a message that has
// the null sender itself is told to the postmaster, unless it was a message to
// him (RFC 5321 6.1, RFC 3464 2).
func (q *Queue) notice(job Job, outcomes []Outcome) notice {
	var n notice
	report := q.report(job)
	for _, o := range outcomes {
		if o.Result != Failed {
			continue
		}
		n.failed++
		report.Recipients = append(report.Recipients, dsn.Recipient{
			Address: o.Recipient, Status: o.Status, RemoteMTA: o.RemoteMTA, Reply: o.Reply,
			Expired: o.Status == statusExpired, LastAttempt: report.Date,
		})
	}
	n.double = job.Envelope.Sender.IsNull()
	if n.failed == 0 {
		return n
	}
	if report.To = q.notified(job.Envelope); report.To.IsNull() {
		return n
	}
	report.Misdirected = n.double
	report.Original, report.Complete = q.returned(job)
	body, err := dsn.Build(report)
	if err != nil {
		maillog.QueueFault(q.log, string(job.ID), "bounce", err)
		return n
	}
	n.bounce = &Bounce{Envelope: bounceEnvelope(report, job.Envelope.Session), Body: q.signed(job.ID, body)}
	return n
}

// notified returns who hears of a failure; null: nobody.
func (q *Queue) notified(env Envelope) mailaddr.Address {
	if !env.Sender.IsNull() {
		return env.Sender
	}
	for _, r := range env.Recipients {
		if r.Address.Key() == q.o.Postmaster.Key() {
			return mailaddr.Address{} // what could not reach him cannot be told to him
		}
	}
	return q.o.Postmaster
}

func (q *Queue) report(job Job) dsn.Report {
	env := job.Envelope
	return dsn.Report{
		ID: string(NewID()), Hostname: q.o.Hostname, From: q.o.Postmaster, Date: q.o.Now(),
		QueueID: string(job.ID), Arrived: env.Arrived, Helo: env.Helo, Peer: env.Peer,
	}
}

func bounceEnvelope(r dsn.Report, session string) Envelope {
	return Envelope{
		ID: ID(r.ID), Recipients: To(r.To), // the zero Sender is the null one
		Session: session, Arrived: r.Date.Round(0),
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
	if n.failed == 0 {
		return
	}
	if n.double {
		maillog.DoubleBounce(q.log, string(job.ID), n.failed)
	}
	if b := n.bounce; b != nil {
		maillog.Bounced(q.log, string(job.ID), string(b.Envelope.ID), b.Envelope.Recipients[0].Address.String(), n.failed)
	}
}
