package queue

import (
	"time"

	"dancemta/internal/mailaddr"
)

// Action is what an operator does to waiting recipients.
type Action uint8

// The actions. The zero value does nothing.
const (
	_           Action = iota
	EditHold           // keep until EditRelease; what is under delivery ends first, and what is left of it stays
	EditRelease        // end a hold
	EditRetry          // due now
	EditDelete         // forget without a word to the sender; a delivery under way may still succeed
	EditBounce         // give up now, and tell the sender; held or not
)

// String returns the word for commands and logs.
func (a Action) String() string {
	switch a {
	case EditHold:
		return "hold"
	case EditRelease:
		return "release"
	case EditRetry:
		return "retry"
	case EditDelete:
		return "delete"
	case EditBounce:
		return "bounce"
	}
	return "none"
}

// Edit is an action on those recipients of a message that are still waiting.
type Edit struct {
	Action      Action
	Destination string           // only there; empty: all
	Recipient   mailaddr.Address // only this one; null: all
	Reply       string           // why, for list, history and bounce; empty: a text of ours. A hold's stands beside the last reply
	Now         time.Time        // zero: the time of day
}

// Applies reports whether a recipient is meant.
func (e Edit) Applies(a mailaddr.Address) bool {
	return (e.Recipient.IsNull() || e.Recipient == a) && (e.Destination == "" || e.Destination == Destination(a))
}

// GiveUp is a unit whose recipients EditBounce gave up. It is leased: Settle with
// Outcomes and Next ends it.
type GiveUp struct {
	Job      Job // its Recipients are those given up; no attempt is counted
	Outcomes []Outcome
	Next     time.Time // of the others, as it was
}

// Suspension keeps all mail for some destinations where it is.
type Suspension struct {
	Pattern string    `json:"pattern"` // "example.org", "*.example.org" (all below), "*" (all)
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until,omitzero"` // zero: until it is taken back
}
