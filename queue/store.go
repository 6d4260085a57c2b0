package queue

import (
	"context"
	"errors"
	"io"
	"time"

	"dancemta/internal/mailaddr"
)

// ErrNotFound says that a store has no message of this ID.
var ErrNotFound = errors.New("no such message in the queue")

// ErrDeleted says that a bounce would speak of a recipient who was deleted.
var ErrDeleted = errors.New("a recipient of whom the bounce speaks was deleted meanwhile")

// Store keeps messages. Everything it returns nil for is durable: it survives
// the loss of power from then on. All methods may be called at once from many
// goroutines. queue/storetest holds the suite that each engine passes.
//
// Errors are *Error for a disk that is full or broken. After Broken nothing
// may change until the store is opened anew; after Full everything may be
// tried again.
type Store interface {
	// Put reads body to its end and keeps it with env, due for all its
	// destinations at the time due. On any error nothing is kept; an error of
	// body is returned as it came. A present ID is refused.
	Put(ctx context.Context, env Envelope, due time.Time, body io.Reader) error

	// Due leases units whose time has come, and writes each attempt and its next
	// time down before it returns: whoever crashes during a delivery finds it due
	// at that next time. A leased unit is not leased again before Settle, as long
	// as the store is open.
	// Units that were never tried go first, but leave the others every fourth turn.
	// Among either, destinations have turns, and so have the senders
	// (Envelope.Lane) within one: whoever was served gives way to those who have
	// waited longer.
	// next is the earliest time after r.Now at which a unit will be due; zero when
	// there is none; r.Now when there is more to do at once. Units held back by
	// r.Limit, suspended or under delivery do not count.
	Due(r DueRequest) (jobs []Job, next time.Time, err error)

	// Waiting counts the units of a destination that wait for their time or for a
	// place, up to most.
	Waiting(destination string, most int) (int, error)

	// Settle ends a lease: outcomes, the next time and the bounce are written
	// in one transaction. A message without open recipients is removed.
	// ErrNotFound: the lease's message is not there. ErrDeleted: nothing was done,
	// since the bounce has to be made anew.
	Settle(s Settlement) error

	// Body returns the bytes of a message. The caller closes it. A reader may
	// find its message gone once the message has ended. ErrNotFound.
	Body(id ID) (io.ReadCloser, error)

	// Get describes one message. ErrNotFound.
	Get(id ID) (Summary, error)

	// Each calls f for every message by ID, from a state that may change
	// meanwhile; it holds nothing while f runs. An error of f ends it.
	Each(f func(Summary) error) error

	// Edit does what an operator wants with a message's waiting recipients, and
	// returns how many it concerned. ErrNotFound.
	Edit(id ID, e Edit) (recipients int, err error)

	// GiveUps leases up to max units that have recipients given up by EditBounce.
	GiveUps(max int) ([]GiveUp, error)

	// SetSuspension keeps a suspension, or takes the one of this pattern away: nil.
	// Suspensions lists them by pattern. The store itself leases as ever: who asks it
	// for work has to see to them (DueRequest.Limit).
	SetSuspension(pattern string, s *Suspension) error
	Suspensions() ([]Suspension, error)

	// Finished describes a message that has ended, as long as the store remembers.
	// EachFinished lists them in the order of their end. ErrNotFound.
	Finished(id ID) (Summary, error)
	EachFinished(f func(Summary) error) error

	// Close ends the store after what was asked before. Leases are lost.
	Close() error
}

// DueRequest asks a store for work.
type DueRequest struct {
	Now time.Time
	Max int // at most so many units
	// Destination asks for units of one destination alone; empty: of all.
	Destination string
	// Limit says how many units of a destination this request may lease; 0: it is
	// passed over. nil: no bound. It is called during the transaction, as all
	// functions here, and may be called more often than units are leased.
	Limit func(destination string) int
	// Begin is called when the transaction begins, which may be more than once since
	// it may have to be done again; Leased for each lease in it.
	Begin  func()
	Leased func(destination string, sender uint64)
	// Fair says whether a sender, by his number, may have one more of a destination for
	// which Limit has room. Else another sender's turn comes first. nil: always.
	Fair func(destination string, sender uint64) bool
	// Away says that a destination is not to be tried now, and what its units are to
	// show for it: those that are due are moved on without an attempt. One of which
	// Speak says that its sender has to hear of it is leased with Job.Away instead;
	// told is Job.Told.
	Away  func(destination string) (reply string, away bool)
	Speak func(env Envelope, told bool) bool
	// Suspended sets a destination aside, until a request with Resume finds it so no
	// more.
	Suspended func(destination string) bool
	Resume    bool
	// Horizon is longer than any wait. A unit that would be due later is due now: its
	// time is from a clock that was wrong. 0: there is none.
	Horizon time.Duration
	// Next says when a unit is due again if its lease is never settled;
	// attempt is the one being leased, 1 for the first.
	Next func(env Envelope, attempt int) time.Time
}

// Settlement is the end of a lease.
type Settlement struct {
	ID          ID
	Destination string
	Outcomes    []Outcome // of leased recipients; one that is missing is Deferred
	Next        time.Time // when the deferred ones are due again; zero: at once
	Bounce      *Bounce   // nil: none
	Told        bool      // Bounce tells the sender that it waits, or he wants to hear nothing: later jobs of the unit know
	Now         time.Time // for the history; zero: the time of day
}

// Bounce is a message that a settlement puts into the queue, due at once.
type Bounce struct {
	Envelope Envelope
	Body     []byte
	About    []mailaddr.Address // recipients of whom it speaks: nobody is told of one who was deleted
}

// Kind is the class of an Error.
type Kind uint8

// The kinds. The zero value is Broken: nothing further is known.
const (
	Broken Kind = iota // no promise can be made: 451 4.3.0
	Full               // no room on the disk: 452 4.3.1
	TooBig             // longer than Options.MaxMessageBytes: 552 5.3.4
)

// String returns the word for logs.
func (k Kind) String() string {
	switch k {
	case Full:
		return "disk full"
	case TooBig:
		return "message too big"
	}
	return "store broken"
}

// Error says why a message could not be kept. Err is for the log alone.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Kind.String()
	}
	return e.Kind.String() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// IsKind reports whether err holds an *Error of kind k.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}
