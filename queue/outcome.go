package queue

import (
	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
)

const (
	// What nobody stated about a recipient. It is temporary.
	replyNoOutcome = "the attempt ended without an outcome"
	// RFC 3463 3.5: delivery time expired.
	statusExpired = "4.4.7"
)

// complete returns one outcome for each recipient of job, in its order. One
// that is missing is Deferred; foreign text is cleaned and bounded; a deferred
// recipient whose time is over has failed.
func (q *Queue) complete(job Job, outcomes []Outcome) []Outcome {
	by := make(map[mailaddr.Address]Outcome, len(outcomes))
	for _, o := range outcomes {
		by[o.Recipient] = o
	}
	expired := q.expired(job.Envelope)
	all := make([]Outcome, len(job.Recipients))
	for i, rcpt := range job.Recipients {
		o, ok := by[rcpt.Address]
		if !ok {
			o = Outcome{Recipient: rcpt.Address, Reply: replyNoOutcome}
		}
		o.Reply, o.RemoteMTA, o.TLS = maillog.Clean(o.Reply), maillog.Clean(o.RemoteMTA), maillog.Clean(o.TLS)
		if o.Result != Delivered && o.Result != Failed {
			o.Result = Deferred // also what no constant names
		}
		if expired && o.Result == Deferred {
			o.Result, o.Status = Failed, statusExpired
		}
		if o.Status == "" {
			o.Status = o.Result.status()
		}
		all[i] = o
	}
	return all
}

// status is the code of a result that nobody gave one.
func (r Result) status() string {
	switch r {
	case Delivered:
		return "2.0.0"
	case Failed:
		return "5.0.0"
	}
	return "4.0.0"
}

func (q *Queue) logOutcomes(job Job, st Settlement) {
	for _, o := range st.Outcomes {
		if q.o.OnOutcome != nil {
			q.o.OnOutcome(o)
		}
		d := maillog.Delivery{
			QueueID: string(job.ID), Session: job.Envelope.Session, Identity: job.Envelope.Identity,
			Rcpt: o.Recipient.ASCII(), Destination: job.Destination, Remote: o.RemoteMTA, TLS: o.TLS, Status: o.Status, Reply: o.Reply,
		}
		switch o.Result {
		case Delivered:
			maillog.Delivered(q.log, d)
		case Failed:
			maillog.Failed(q.log, d)
		default:
			d.Next = st.Next
			maillog.Deferred(q.log, d)
		}
	}
}
