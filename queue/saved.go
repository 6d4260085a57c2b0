package queue

import (
	"errors"
	"time"

	"dancemta/internal/mailaddr"
)

// Errors of restoring a message.
var (
	ErrExists = errors.New("a message of this id is already in the queue")
	ErrEnded  = errors.New("a message of this id was in the queue and has ended")
)

// Saved is all that a store knows of a message beside its body: what a backup keeps.
type Saved struct {
	Envelope Envelope
	Size     int64 // octets of the body
	Units    []SavedUnit
	// Doubt says why it is not known what became of the message: its store was
	// damaged. It is held then; empty: all is known.
	Doubt string
}

// SavedUnit is the state of a message at one destination.
type SavedUnit struct {
	Destination string
	Attempts    int
	Next        time.Time // zero: nobody waits there
	Told        bool      // the sender knows of the delay
	Recipients  []SavedRecipient
}

// SavedRecipient is the state of one recipient.
type SavedRecipient struct {
	Address    mailaddr.Address
	Result     Result
	Reply, TLS string // of the last attempt
	Held       bool
	HoldReason string
	GivenUp    bool // its bounce is to be made
}
