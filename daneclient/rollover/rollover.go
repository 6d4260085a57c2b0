// Package rollover exchanges the key of a client or device for a new one
// without a moment in which a login could fail.
//
// DNS remembers: a record that was published just now is not seen by whoever
// asked a moment before, and a server at work believes what it proved for up to
// an hour. So a rollover takes several steps with waits between them:
//
//	steady       one key, its record stands
//	prepared     the next key is made
//	published    its record stands beside the current one; wait until all
//	             servers of the zone have shown it for more than two TTLs
//	switched     the next key is in use; wait until nobody can have heard of the
//	             old record alone, and until the last identity that it made ends
//	withdrawing  the old record is to go; wait until no server shows it
//
// The rule behind all: the key in use has a record that everybody sees, and so
// has the one that was in use a moment ago.
//
// machine.go decides, and is pure; store.go keeps state and keys on disk, so that
// every step may be cut off at any write and be begun again; roll.go puts both
// together. Start with Create, Roll and Look.
package rollover

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// Phase says how far a rollover has come. The words are part of the file format.
type Phase string

// The phases, in their order.
const (
	Steady      Phase = "steady"
	Prepared    Phase = "prepared"
	Published   Phase = "published"
	Switched    Phase = "switched"
	Withdrawing Phase = "withdrawing"
)

// Digest is the SHA-256 of a key's SubjectPublicKeyInfo: what its record holds.
type Digest [32]byte

// Record returns the record that publishes the key: 3 1 1, for which neither
// dates nor names of the certificate matter. RFC 7671 5.1
func (d Digest) Record() tlsa.Record {
	return tlsa.Record{Usage: tlsa.UsageDANEEE, Selector: tlsa.SelectorSPKI, Matching: tlsa.MatchingSHA256, Data: d[:]}
}

// id is the name of the key's folder: enough of the digest to tell keys apart
// and to find the record among others.
func (d Digest) id() string { return hex.EncodeToString(d[:8]) }

// MarshalText writes hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText reads hex.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(d) {
		return fmt.Errorf("%.80q is no SHA-256 in hex", text)
	}
	copy(d[:], b)
	return nil
}

// Key is one key pair of the folder.
type Key struct {
	SPKI Digest    `json:"spki_sha256"`
	Made time.Time `json:"made"`
}

// Record returns the record that publishes the key.
func (k Key) Record() tlsa.Record { return k.SPKI.Record() }

// State is what is remembered between steps. Its zero value is no state.
type State struct {
	Owner   Owner `json:"owner"`
	Phase   Phase `json:"phase"`
	Current Key   `json:"current"` // in use
	Next    *Key  `json:"next,omitempty"`
	Old     *Key  `json:"old,omitempty"`

	// LongestTTL is the largest that any server showed since the last rollover:
	// somebody may still keep an answer that came with it.
	LongestTTL Seconds `json:"longest_ttl"`
	// SeenSince is when all servers showed the next record first, with no look
	// since at which one of them did not.
	SeenSince time.Time `json:"seen_since,omitzero"`
	// SwitchedAt is when the current key came into use, in a rollover under way.
	SwitchedAt time.Time `json:"switched_at,omitzero"`
}

// Seconds is a TTL; it stands in JSON as a number.
type Seconds time.Duration

// Duration returns the TTL as the time it is.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// MarshalJSON writes whole seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(int64(s.Duration() / time.Second))
}

// UnmarshalJSON reads whole seconds, as many as a TTL can have. RFC 2181 8
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n uint32
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("a TTL: %w", err)
	}
	*s = Seconds(time.Duration(n) * time.Second)
	return nil
}

// Owner is the owner name of the TLSA records; underscore labels are welcome.
type Owner struct{ dnsname.Name }

// UnmarshalText reads an owner name in its normal form.
func (o *Owner) UnmarshalText(b []byte) error {
	n, err := dnsname.ParseOwner(string(b))
	if err == nil {
		o.Name = n
	}
	return err
}

// Look is what the servers of the zone said, all asked at about one time.
type Look struct {
	Zone     string        // with its final dot
	Servers  []ServerSight // one for each that could be asked
	Walkable bool          // the zone denies by NSEC, so that anybody can list its names
}

// ServerSight is what one server showed. With a Fault it showed nothing that
// counts: no answer, or one that DNSSEC does not prove.
type ServerSight struct {
	Server  string // name and address
	Records []tlsa.Record
	TTL     time.Duration
	Fault   string
}

func (s ServerSight) shows(r tlsa.Record) bool {
	return s.Fault == "" && contains(s.Records, r)
}

func contains(records []tlsa.Record, r tlsa.Record) bool {
	for _, other := range records {
		if other.String() == r.String() {
			return true
		}
	}
	return false
}

// Shown reports whether every server shows the record, and there is one.
func (l Look) Shown(r tlsa.Record) bool { return len(l.Servers) > 0 && len(l.Lacking(r)) == 0 }

// Gone reports whether every server was heard and none shows the record.
func (l Look) Gone(r tlsa.Record) bool {
	for _, s := range l.Servers {
		if s.Fault != "" || s.shows(r) {
			return false
		}
	}
	return len(l.Servers) > 0
}

// Lacking lists the servers that do not show the record, and why not.
func (l Look) Lacking(r tlsa.Record) []string {
	var lacking []string
	for _, s := range l.Servers {
		switch {
		case s.Fault != "":
			lacking = append(lacking, s.Server+": "+s.Fault)
		case !s.shows(r):
			lacking = append(lacking, s.Server+": not there")
		}
	}
	return lacking
}

// longestTTL of all answers that count.
func (l Look) longestTTL() time.Duration {
	var longest time.Duration
	for _, s := range l.Servers {
		if s.Fault == "" {
			longest = max(longest, s.TTL)
		}
	}
	return longest
}
