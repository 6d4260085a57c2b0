package queue

import (
	"context"
	"io"
	"time"

	"dancemta/internal/mailaddr"
)

// Job is one attempt to make: one message to those recipients of one
// destination domain that are still waiting.
type Job struct {
	ID          ID
	Destination string      // domain of all Recipients, as Destination gives it
	Envelope    Envelope    // of the whole message, with all its recipients
	Recipients  []Recipient // those to deliver to now
	Attempt     int         // 1 for the first
	Tries       int         // the same with those that were due but not made: what the next wait counts
	Size        int64       // octets of the body
	Lane        uint64      // number of the sender with whom it stands in line, see Envelope.Lane
	Told        bool        // the sender has been told that it waits: see Settlement.Told
	Away        bool        // its destination is away, but it is time to speak of it: to be settled without a delivery
	// Open returns the message as it was accepted. It may be called more than
	// once and from the delivery's goroutine only; the caller closes it.
	Open func() (io.ReadCloser, error)
}

// Result says what became of one recipient. The zero value is Deferred: what
// nobody stated is temporary.
type Result uint8

// The results of an attempt.
const (
	Deferred  Result = iota // try again later
	Delivered               // the next hop has taken responsibility
	Failed                  // refused for good
	Deleted                 // by an operator
)

// String returns the word for logs and lists.
func (r Result) String() string {
	switch r {
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	case Deleted:
		return "deleted"
	}
	return "deferred"
}

// Final reports whether no further attempt follows.
func (r Result) Final() bool { return r == Delivered || r == Failed || r == Deleted }

// Outcome is what an attempt did for one recipient.
type Outcome struct {
	Recipient mailaddr.Address
	Result    Result
	Reply     string // of the next hop or of ourselves, one line
	Status    string // enhanced status code "5.1.1" (RFC 3463); empty: derived from Result
	RemoteMTA string // host that gave Reply; empty when no server spoke
	TLS       string // what was wanted and got, for log and list: "dane: TLS1.3 verified 3 1 1", "may: none"
	Relayed   bool   // delivered to a host that gives no reports (RFC 3461 5.2.2)
	Final     bool   // delivered to the mailbox: there is nobody behind the host (RFC 2033)
	// Unreachable: the destination as a whole could not be used, since no host was
	// reached or each refused the session. It starts the destination's back-off.
	Unreachable bool
}

// Visit is the mail of one destination for one connection, message by message.
// It belongs to one goroutine.
type Visit interface {
	Destination() string
	// Next leases a further message. false: there is none for now, or others
	// have their turn. Each job ends with one Report.
	Next() (job Job, ok bool)
	// Report ends job. A recipient without an outcome counts as Deferred.
	Report(job Job, outcomes []Outcome)
}

// Deliverer makes attempts. Deliver calls Next until it says false, or until its
// connection is of no use any more; what it took and did not report counts as
// Deferred, after a panic too. It is called at once for many visits and returns
// soon after ctx has ended.
type Deliverer interface {
	Deliver(ctx context.Context, v Visit)
}

// Summary describes a queued message for people: `queue list` and `show`.
type Summary struct {
	ID         ID                 `json:"id"`
	Arrived    time.Time          `json:"arrived"`
	Size       int64              `json:"size"` // octets
	Sender     mailaddr.Address   `json:"sender"`
	Identity   string             `json:"identity,omitempty"`
	Session    string             `json:"session,omitempty"`
	Recipients []RecipientSummary `json:"recipients"`
	Finished   time.Time          `json:"finished,omitzero"` // zero: it is still in the queue
}

// RecipientSummary is the state of one recipient.
type RecipientSummary struct {
	Address     mailaddr.Address `json:"address"`
	Destination string           `json:"destination"`
	State       string           `json:"state"` // one of States
	Attempts    int              `json:"attempts"`
	Next        time.Time        `json:"next,omitzero"` // zero when State is final
	LastReply   string           `json:"last_reply,omitempty"`
	LastTLS     string           `json:"last_tls,omitempty"`    // as Outcome.TLS
	HoldReason  string           `json:"hold_reason,omitempty"` // why it is held; LastReply stays
}

// The states of a recipient.
const (
	StateQueued    = "queued"    // never tried
	StateActive    = "active"    // being tried right now
	StateDeferred  = "deferred"  // tried, and waiting for another try
	StateHeld      = "held"      // waiting for EditRelease
	StateBouncing  = "bouncing"  // given up; its bounce is about to be made
	StateDelivered = "delivered" // final, as those below
	StateFailed    = "failed"
	StateDeleted   = "deleted"
)

// States lists them.
func States() []string {
	return []string{StateQueued, StateActive, StateDeferred, StateHeld, StateBouncing, StateDelivered, StateFailed, StateDeleted}
}
