package boltstore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// format is the version of everything below and of what journal.go writes beside it.
// Another one is refused: records may gain optional fields within a version, never
// change or lose one.
const format = "2"

// The buckets and their keys. An id has 20 octets; times are nanoseconds since
// 1970, 8 octets, big-endian, so that keys sort by time.
var (
	bucketMeta        = []byte("meta")        // "format" → version, "counts" → tally, "journal" → generation
	bucketMessage     = []byte("message")     // id → messageRecord
	bucketUnit        = []byte("unit")        // id, destination → unitRecord
	bucketBody        = []byte("body")        // id, chunk number (4 octets) → octets
	bucketDestination = []byte("destination") // destination, 0, class, sender, time, id → nothing: the units that wait in each lane (line.go)
	bucketLane        = []byte("lane")        // destination, 0, class, turn, sender → nothing: the lanes of each line
	bucketDue         = []byte("due")         // class, turn, destination → nothing: the lines
	bucketTurn        = []byte("turn")        // destination, 0, class and sender of a lane; or without one, of a line → stamp of its last service, turn
	bucketParked      = []byte("parked")      // destination → anything: those that are not in due
	bucketLeased      = []byte("leased")      // id, destination → anything: units under delivery, in no lane
	bucketGiveUp      = []byte("giveup")      // id, destination → nothing: units with recipients given up
	bucketSuspension  = []byte("suspension")  // pattern → queue.Suspension
	bucketHistory     = []byte("history")     // id → historyRecord
	bucketFinished    = []byte("finished")    // time, id → nothing: the history by its time

	keyFormat = []byte("format")
)

const (
	idLen   = 20
	timeLen = 8
	// A value needs contiguous pages: this one and its header fill 16 of them.
	chunkSize = 16*4096 - 64
)

// buckets lists all that a store has.
func buckets() [][]byte {
	return [][]byte{
		bucketMeta, bucketMessage, bucketUnit, bucketBody, bucketDestination, bucketLane, bucketDue,
		bucketTurn, bucketParked, bucketLeased,
		bucketGiveUp, bucketSuspension, bucketHistory, bucketFinished,
	}
}

func createFormat(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyFormat, []byte(format))
}

// messageRecord is what is kept of a message beside its body and its units.
type messageRecord struct {
	Sender      address       `json:"from"`
	Recipients  []address     `json:"to"`
	Identity    string        `json:"identity,omitempty"`
	Session     string        `json:"session,omitempty"`
	EightBit    bool          `json:"eightbit,omitempty"`
	SMTPUTF8    bool          `json:"smtputf8,omitempty"`
	RequireTLS  bool          `json:"requiretls,omitempty"`
	TLSOptional bool          `json:"tlsoptional,omitempty"`
	EnvelopeID  string        `json:"envid,omitempty"`
	Return      queue.Return  `json:"ret,omitempty"`
	Asked       []askedRecord `json:"asked,omitempty"` // of the recipients that ask for something
	Helo        string        `json:"helo,omitempty"`
	Peer        string        `json:"peer,omitempty"`
	Arrived     int64         `json:"arrived"` // nanoseconds since 1970
	Expires     int64         `json:"expires,omitempty"`
	Size        int64         `json:"size"`
	Spool       bool          `json:"spool,omitempty"`  // the body is a file
	Sum         uint32        `json:"crc32c,omitempty"` // of the body; 0: not known
	Open        int           `json:"open"`             // units that are not final
}

// askedRecord is what was asked for one recipient.
type askedRecord struct {
	Index    int          `json:"i"` // of Recipients
	Notify   queue.Notify `json:"notify,omitempty"`
	Original string       `json:"orcpt,omitempty"`
}

// unitRecord is the state of a message at one destination.
type unitRecord struct {
	Attempt    int               `json:"attempt"`
	Passed     int               `json:"passed,omitempty"` // times that it was due and its destination away
	Told       bool              `json:"told,omitempty"`   // its sender knows that it waits
	Lane       uint64            `json:"lane,omitempty"`   // number of its sender
	Next       int64             `json:"next"`             // nanoseconds since 1970; 0: final
	Recipients []recipientRecord `json:"to"`

	leased bool // it is under delivery, for summary
}

type recipientRecord struct {
	Address address      `json:"a"`
	Result  queue.Result `json:"r,omitempty"`
	Reply   string       `json:"reply,omitempty"`
	TLS     string       `json:"tls,omitempty"`
	Held    bool         `json:"held,omitempty"`
	Why     string       `json:"why,omitempty"`     // it is held; what does not know it keeps all but these words
	GivenUp bool         `json:"givenup,omitempty"` // its bounce is to be made
}

// waits says whether a recipient may be delivered to.
func (r *recipientRecord) waits() bool { return !r.Result.Final() && !r.Held && !r.GivenUp }

// address is written without quotes: a quoted form may be longer than the
// bound of mailaddr.Parse.
type address struct{ mailaddr.Address }

func (a address) plain() string {
	if a.IsNull() {
		return ""
	}
	return a.Local() + "@" + queue.Destination(a.Address)
}

// MarshalText refuses an address that would not come back: what is accepted
// must be readable.
func (a address) MarshalText() ([]byte, error) {
	s := a.plain()
	if back, err := mailaddr.FromUnquoted(s); err != nil || back != a.Address {
		return nil, fmt.Errorf("address %.80q cannot be kept: %v", s, err)
	}
	return []byte(s), nil
}

func (a *address) UnmarshalText(b []byte) (err error) {
	a.Address, err = mailaddr.FromUnquoted(string(b))
	return err
}

func newMessageRecord(env queue.Envelope, c content) messageRecord {
	r := messageRecord{
		Sender: address{env.Sender}, Identity: env.Identity, Session: env.Session, EightBit: env.EightBit,
		Helo: env.Helo, Peer: env.Peer, Arrived: env.Arrived.UnixNano(), Size: c.size, Spool: c.spooled, Sum: c.sum,
		SMTPUTF8: env.SMTPUTF8, RequireTLS: env.RequireTLS, TLSOptional: env.TLSOptional,
		EnvelopeID: env.EnvelopeID, Return: env.Return,
	}
	if !env.Expires.IsZero() {
		r.Expires = env.Expires.UnixNano()
	}
	for i, to := range env.Recipients {
		r.Recipients = append(r.Recipients, address{to.Address})
		if to.Notify != 0 || to.Original != "" {
			r.Asked = append(r.Asked, askedRecord{i, to.Notify, to.Original})
		}
	}
	return r
}

func (r *messageRecord) envelope(id queue.ID) queue.Envelope {
	env := queue.Envelope{
		ID: id, Sender: r.Sender.Address, Identity: r.Identity, Session: r.Session, EightBit: r.EightBit,
		Helo: r.Helo, Peer: r.Peer, Arrived: time.Unix(0, r.Arrived),
		SMTPUTF8: r.SMTPUTF8, RequireTLS: r.RequireTLS, TLSOptional: r.TLSOptional,
		EnvelopeID: r.EnvelopeID, Return: r.Return,
	}
	if r.Expires != 0 {
		env.Expires = time.Unix(0, r.Expires)
	}
	for _, a := range r.Recipients {
		env.Recipients = append(env.Recipients, queue.Recipient{Address: a.Address})
	}
	for _, a := range r.Asked {
		if a.Index >= 0 && a.Index < len(env.Recipients) {
			to := &env.Recipients[a.Index]
			to.Notify, to.Original = a.Notify, a.Original
		}
	}
	return env
}

// due is when the unit stands in the indexes; 0: it does not, since nobody in it waits
// for a delivery.
func (u *unitRecord) due() int64 {
	for i := range u.Recipients {
		if u.Recipients[i].waits() {
			return u.Next
		}
	}
	return 0
}

// givenUp says whether somebody's bounce is to be made.
func (u *unitRecord) givenUp() bool {
	for _, r := range u.Recipients {
		if r.GivenUp && !r.Result.Final() {
			return true
		}
	}
	return false
}

func (u *unitRecord) open() int {
	n := 0
	for _, r := range u.Recipients {
		if !r.Result.Final() {
			n++
		}
	}
	return n
}

func decode(what string, key, value []byte, into any) error {
	if value == nil {
		return fmt.Errorf("%s %q: %w: it is missing", what, key, ErrDamaged)
	}
	if r, ok := into.(scanned); ok && r.scan(value) {
		return nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%s %q: %w: %v", what, key, ErrDamaged, err)
	}
	return nil
}

// stamp returns t as keys hold it: within what sorts right as 8 octets, and
// never 0, which says that a unit is final. The zero time is long ago: due at
// once.
func stamp(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 1:
		return 1
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func unitKey(id queue.ID, destination string) []byte {
	return append([]byte(id), destination...)
}

func bodyKey(id queue.ID, chunk int) []byte {
	return binary.BigEndian.AppendUint32([]byte(id), uint32(chunk))
}

func destinationPrefix(destination string) []byte {
	return append([]byte(destination), 0)
}
