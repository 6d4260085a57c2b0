package queue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// ID names one message: 20 characters of 0-9 and A-Z without I, L, O and U.
// It sorts by the time it was made, and is safe in headers and file names.
type ID string

const (
	idDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford's base 32: nothing to misread
	idTime   = 9                                  // digits of milliseconds since 1970: 45 bits, until the year 3084
	idRandom = 11                                 // 55 random bits: no two in one millisecond by chance
	idLen    = idTime + idRandom
)

// NewID makes an ID of the present time and of randomness.
func NewID() ID {
	var r [8]byte
	rand.Read(r[:]) // never fails: crypto/rand ends the program instead
	var out [idLen]byte
	digits(out[:idTime], uint64(time.Now().UnixMilli()))
	digits(out[idTime:], binary.BigEndian.Uint64(r[:]))
	return ID(out[:])
}

// digits writes the low bits of v, most significant digit first.
func digits(out []byte, v uint64) {
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = idDigits[v&31]
		v >>= 5
	}
}

// ParseID reads an ID that a person or a file name gives, in any case.
func ParseID(s string) (ID, error) {
	id := ID(strings.ToUpper(s))
	if !id.Valid() {
		return "", fmt.Errorf("%.40q: not a queue id", s)
	}
	return id, nil
}

// Valid reports whether id has the form that NewID makes.
func (id ID) Valid() bool {
	if len(id) != idLen {
		return false
	}
	for i := 0; i < len(id); i++ {
		if strings.IndexByte(idDigits, id[i]) < 0 {
			return false
		}
	}
	return true
}

// Envelope is what is known of a message beside its bytes. It holds facts,
// never routes: those are found afresh at each attempt.
type Envelope struct {
	ID          ID               // made by NewID before the Received line is written
	Sender      mailaddr.Address // zero: the null sender, of bounces
	Recipients  []Recipient      // at least one, none null
	Identity    string           // who proved to be the sender, an opaque word for log and list
	Session     string           // session id of the log
	EightBit    bool             // BODY=8BITMIME was given (RFC 6152)
	SMTPUTF8    bool             // needs a next hop that knows it (RFC 6531)
	RequireTLS  bool             // REQUIRETLS was given (RFC 8689 2)
	TLSOptional bool             // the header says "TLS-Required: No" (RFC 8689 3)
	EnvelopeID  string           // ENVID, decoded; empty: not given (RFC 3461 4.4)
	Return      Return           // RET (RFC 3461 4.3)
	Helo        string           // name that the peer gave, for the DSN
	Peer        string           // address of the peer, for the DSN
	Arrived     time.Time        // expiry counts from here; zero: set by Accept
	Hold        string           // why nobody may have it before an operator says so; empty: it may leave. Not kept as such
	Expires     time.Time        // given up then, if not before by its age; zero: by its age alone
}

// Lane names the sender with whom the message stands in line: who proved to be it,
// else the domain of the envelope sender.
func (e Envelope) Lane() string {
	if e.Identity != "" || e.Sender.IsNull() {
		return e.Identity
	}
	return Destination(e.Sender)
}

// check refuses what could not be kept or delivered.
func (e Envelope) check() error {
	if !e.ID.Valid() {
		return fmt.Errorf("queue id %.40q: not made by NewID", string(e.ID))
	}
	if len(e.Recipients) == 0 {
		return errors.New("message " + string(e.ID) + ": no recipient")
	}
	for _, r := range e.Recipients {
		if r.Address.IsNull() {
			return errors.New("message " + string(e.ID) + ": null recipient")
		}
	}
	return nil
}

// Destination returns the key under which mail for a is planned: the domain in
// lower-case A-labels, or the address literal with its brackets.
func Destination(a mailaddr.Address) string {
	if a.Domain() != (dnsname.Name{}) {
		return a.Domain().String()
	}
	s := a.String()
	return s[strings.LastIndexByte(s, '@')+1:]
}
