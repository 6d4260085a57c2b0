// Package archive is the form in which messages leave a queue and come back: the
// backup, the move to another host, and what is rescued from a damaged store. It is
// an ordinary tar stream that other tools can read:
//
//	dancemta-queue.json   what this is: format, version, when it was made
//	ID.json               envelope and state of a message, then
//	ID.eml                its octets
//	lost/ID.eml           octets of which nobody knows whose they are; after
//	lost/ID.json          what is known; import passes by both
//	end.json              how many there were: without it the stream was cut off
//
// Each entry has its SHA-256 in the PAX record DANCEMTA.sha256.
//
// Start with NewWriter and NewReader. Neither holds more than one envelope and one
// short body in memory.
package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"dancemta/internal/foreign"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// Errors of a Reader. All but ErrDamaged end it: after that the next message can be
// read.
var (
	ErrFormat  = errors.New("not an export of a queue")
	ErrVersion = errors.New("made by a newer dancemta")
	ErrCutOff  = errors.New("the export is cut off: its end is missing")
	ErrDamaged = errors.New("damaged in the export")
)

const (
	format  = "dancemta-queue"
	version = 1

	nameHead = "dancemta-queue.json"
	nameEnd  = "end.json"
	lost     = "lost/"
	envelope = ".json"
	body     = ".eml"
	paxSum   = "DANCEMTA.sha256"

	// Some 100,000 recipients with their replies; more is no envelope.
	maxEnvelope = 64 << 20
	// A body up to here is read once into memory, a longer one twice from its file.
	maxInMemory = 1 << 20
	// A text of an envelope; the longest of ours is a reply of 512 octets.
	maxForeign = 4 << 10
)

type head struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
}

type end struct {
	Messages int `json:"messages"`
	Lost     int `json:"lost"`
}

// message is an envelope with its state. Fields may be added within a version.
type message struct {
	ID          queue.ID     `json:"id"`
	Sender      address      `json:"sender"`
	Recipients  []recipient  `json:"recipients"`
	Identity    string       `json:"identity,omitempty"`
	Session     string       `json:"session,omitempty"`
	EightBit    bool         `json:"eightbit,omitempty"`
	SMTPUTF8    bool         `json:"smtputf8,omitempty"`
	RequireTLS  bool         `json:"requiretls,omitempty"`
	TLSOptional bool         `json:"tlsoptional,omitempty"`
	EnvelopeID  string       `json:"envid,omitempty"`
	Return      queue.Return `json:"ret,omitempty"`
	Helo        string       `json:"helo,omitempty"`
	Peer        string       `json:"peer,omitempty"`
	Arrived     time.Time    `json:"arrived"`
	Expires     time.Time    `json:"expires,omitzero"`
	Size        int64        `json:"size"`
	Units       []unit       `json:"destinations"`
	Doubt       string       `json:"doubt,omitempty"`
}

// recipient is one of the envelope, with what was asked for it.
type recipient struct {
	Address  address      `json:"address"`
	Notify   queue.Notify `json:"notify,omitempty"`
	Original string       `json:"orcpt,omitempty"`
}

type unit struct {
	Destination string    `json:"destination"`
	Attempts    int       `json:"attempts"`
	Told        bool      `json:"told,omitempty"` // the sender knows of the delay
	Next        time.Time `json:"next,omitzero"`
	Recipients  []state   `json:"recipients"`
}

type state struct {
	Address address      `json:"address"`
	Result  queue.Result `json:"result,omitempty"` // 0 waits, 1 delivered, 2 failed, 3 deleted
	Reply   string       `json:"reply,omitempty"`
	TLS     string       `json:"tls,omitempty"`
	Held    bool         `json:"held,omitempty"`
	Why     string       `json:"hold_reason,omitempty"`
	GivenUp bool         `json:"givenup,omitempty"`
}

// address is written without quotes: so no form of it is longer than what was parsed.
type address struct{ mailaddr.Address }

// MarshalText refuses an address that would not come back.
func (a address) MarshalText() ([]byte, error) {
	if a.IsNull() {
		return nil, nil
	}
	s := a.Local() + "@" + queue.Destination(a.Address)
	if back, err := mailaddr.FromUnquoted(s); err != nil || back != a.Address {
		return nil, fmt.Errorf("address %.80q cannot be written: %v", s, err)
	}
	return []byte(s), nil
}

func (a *address) UnmarshalText(b []byte) (err error) {
	a.Address, err = mailaddr.FromUnquoted(string(b))
	return err
}

func fromSaved(s queue.Saved) message {
	e := s.Envelope
	m := message{
		ID: e.ID, Sender: address{e.Sender}, Identity: e.Identity, Session: e.Session, EightBit: e.EightBit,
		SMTPUTF8: e.SMTPUTF8, RequireTLS: e.RequireTLS, TLSOptional: e.TLSOptional, EnvelopeID: e.EnvelopeID,
		Return: e.Return, Helo: e.Helo, Peer: e.Peer, Arrived: e.Arrived.UTC(), Size: s.Size, Doubt: s.Doubt,
	}
	if !e.Expires.IsZero() {
		m.Expires = e.Expires.UTC()
	}
	for _, r := range e.Recipients {
		m.Recipients = append(m.Recipients, recipient{address{r.Address}, r.Notify, r.Original})
	}
	for _, u := range s.Units {
		w := unit{Destination: u.Destination, Attempts: u.Attempts, Told: u.Told}
		if !u.Next.IsZero() {
			w.Next = u.Next.UTC()
		}
		for _, r := range u.Recipients {
			w.Recipients = append(w.Recipients, state{address{r.Address}, r.Result, r.Reply, r.TLS, r.Held, r.HoldReason, r.GivenUp})
		}
		m.Units = append(m.Units, w)
	}
	return m
}

// clean makes a text safe to show: who wrote the archive, nobody knows.
func clean(s string) string { return foreign.Printable(s, maxForeign) }

func (m *message) saved() queue.Saved {
	s := queue.Saved{Size: m.Size, Doubt: clean(m.Doubt), Envelope: queue.Envelope{
		ID: m.ID, Sender: m.Sender.Address, Identity: clean(m.Identity), Session: clean(m.Session), EightBit: m.EightBit,
		SMTPUTF8: m.SMTPUTF8, RequireTLS: m.RequireTLS, TLSOptional: m.TLSOptional, EnvelopeID: clean(m.EnvelopeID),
		Return: m.Return, Helo: clean(m.Helo), Peer: clean(m.Peer), Arrived: m.Arrived, Expires: m.Expires,
	}}
	for _, r := range m.Recipients {
		s.Envelope.Recipients = append(s.Envelope.Recipients, queue.Recipient{Address: r.Address.Address, Notify: r.Notify, Original: clean(r.Original)})
	}
	for _, u := range m.Units {
		w := queue.SavedUnit{Destination: u.Destination, Attempts: u.Attempts, Next: u.Next, Told: u.Told}
		for _, r := range u.Recipients {
			w.Recipients = append(w.Recipients, queue.SavedRecipient{
				Address: r.Address.Address, Result: r.Result, Reply: clean(r.Reply), TLS: clean(r.TLS), Held: r.Held, HoldReason: clean(r.Why), GivenUp: r.GivenUp,
			})
		}
		s.Units = append(s.Units, w)
	}
	return s
}

// check refuses an envelope that contradicts itself: what a store would then promise
// nobody knows. Each recipient stands in the unit of its destination, once.
func (m *message) check(id queue.ID) error {
	if m.ID != id || !id.Valid() || m.Size < 0 || len(m.Recipients) == 0 {
		return fmt.Errorf("%.40s: no envelope", id)
	}
	want := map[mailaddr.Address]bool{}
	for _, r := range m.Recipients {
		if r.Address.IsNull() || want[r.Address.Address] {
			return fmt.Errorf("%s: recipient %q", id, r.Address)
		}
		want[r.Address.Address] = true
	}
	units := map[string]bool{}
	for _, u := range m.Units {
		if units[u.Destination] || len(u.Recipients) == 0 {
			return fmt.Errorf("%s: destination %.80q stands twice, or without a recipient", id, u.Destination)
		}
		units[u.Destination] = true
		for _, r := range u.Recipients {
			if !want[r.Address.Address] || queue.Destination(r.Address.Address) != u.Destination || r.Result > queue.Deleted {
				return fmt.Errorf("%s: recipient %q at %.80q", id, r.Address, u.Destination)
			}
			delete(want, r.Address.Address)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("%s: %d recipients without a state", id, len(want))
	}
	return nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
