package deliver

import (
	"strings"

	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// attempt gathers outcomes. Indices are those of job.Recipients.
type attempt struct {
	job      queue.Job
	route    Route
	outcomes []queue.Outcome
	open     []int           // recipients that no host has answered for
	worst    *verdict        // what they will be told; nil: nothing was found yet
	tls      string          // what came of TLS with the last host
	tried    map[string]bool // targets that have had their say
	used     bool            // a host of the destination was of use, if not for this message
}

func newAttempt(job queue.Job, r Route) *attempt {
	a := &attempt{job: job, route: r, outcomes: make([]queue.Outcome, len(job.Recipients)), tried: map[string]bool{}}
	for i, r := range job.Recipients {
		a.outcomes[i].Recipient = r.Address
		a.open = append(a.open, i)
	}
	return a
}

// verdict is what is to be said of recipients, but for their names.
type verdict struct {
	result queue.Result // zero: Deferred
	status string
	text   string
	remote string // the host, when it spoke
}

// Enhanced status codes (RFC 3463 3) of what we find ourselves.
const (
	statusLoop     = "5.4.6"
	statusNoRoute  = "5.4.4"
	statusNoDomain = "5.1.2"
	statusNullMX   = "5.1.10" // RFC 7505 4.1
	statusDNS      = "4.4.3"
	statusNoAnswer = "4.4.1"
	statusNoTLS    = "4.7.10" // RFC 5248 2: encryption needed
	statusConfig   = "4.3.5"  // ours, and so for the operator to mend
	statusNoLogin  = "4.7.0"
	statusOwnHop   = "4.4.6" // a loop, but one that the operator can mend
)

func (v *verdict) isLoop() bool { return v != nil && v.status == statusLoop }

// note remembers why a host could not be used. A temporary reason outlives a
// final one, since that host may come back; and the newest tells most.
func (a *attempt) note(v *verdict) {
	if v == nil || a.worst != nil && a.worst.result == queue.Deferred && v.result != queue.Deferred {
		return
	}
	a.worst = v
}

// last is the verdict on those whom no host has answered for.
func (a *attempt) last() verdict {
	if a.worst == nil {
		return verdict{status: statusNoAnswer, text: "no host could be tried"}
	}
	return *a.worst
}

// settle gives v to all recipients that are still open.
func (a *attempt) settle(v verdict) {
	for _, i := range a.open {
		a.set(i, v)
	}
	a.open = nil
}

func (a *attempt) set(i int, v verdict) {
	o := &a.outcomes[i]
	o.Result, o.Status, o.Reply, o.RemoteMTA, o.TLS = v.result, v.status, v.text, v.remote, a.tls
	o.Unreachable = v.result == queue.Deferred && !a.used
}

// record settles the recipients of one transaction with t. It returns those whom
// the server left for a further one, and keeps open whom another host may serve.
func (a *attempt) record(t target, c *smtpclient.Client, results []smtpclient.Result, indices []int) (again []int) {
	some := false
	for _, r := range results {
		some = some || r.Err == nil
		a.used = a.used || c.Usable() || r.Err == nil || !r.Err.OtherHost || r.Err.Judged()
	}
	for n, r := range results {
		i := indices[n]
		switch e := r.Err; {
		case e == nil:
			a.set(i, verdict{queue.Delivered, r.Reply.EnhancedStatus(), r.Reply.String(), t.host.String()})
			// RFC 3461 5.2.2, 5.2.3: whoever hands mail to a host without DSN, or to a mail
			// store, says so.
			asked := a.job.Recipients[i].Notify&queue.NotifySuccess != 0 && !c.OffersDSN()
			a.outcomes[i].Relayed, a.outcomes[i].Final = asked && !t.host.lmtp, asked && t.host.lmtp
		case e.TooMany() && some: // RFC 5321 4.5.3.1.10; only so does it come to an end
			again = append(again, i)
		case e.OtherHost:
			a.open = append(a.open, i)
			a.note(new(hostVerdict(t, e)))
		default:
			a.set(i, hostVerdict(t, e))
		}
	}
	return again
}

// message is the job as one transaction with t for these recipients.
func (a *attempt) message(t target, indices []int) smtpclient.Message {
	e := a.job.Envelope
	m := smtpclient.Message{
		Sender: e.Sender, Size: a.job.Size, Open: a.job.Open,
		EightBit: e.EightBit, SMTPUTF8: e.SMTPUTF8,
		RequireTLS: e.RequireTLS && t.host.unix == "", // it does not leave this host
		EnvelopeID: e.EnvelopeID, Return: returns[e.Return],
	}
	for _, i := range indices {
		r := a.job.Recipients[i]
		m.Recipients = append(m.Recipients, smtpclient.Recipient{Address: r.Address, Notify: notify(r.Notify), Original: r.Original})
	}
	return m
}

// returns are the words of RFC 3461 4.3.
var returns = map[queue.Return]string{queue.ReturnFull: "FULL", queue.ReturnHeaders: "HDRS"}

// notify writes the words of RFC 3461 4.1.
func notify(n queue.Notify) string {
	if n&queue.NotifyNever != 0 {
		return "NEVER" // alone
	}
	var words []string
	for _, w := range []struct {
		bit  queue.Notify
		word string
	}{{queue.NotifySuccess, "SUCCESS"}, {queue.NotifyFailure, "FAILURE"}, {queue.NotifyDelay, "DELAY"}} {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}
