package dnssec

import (
	"bytes"
	"crypto/sha1" // RFC 5155 11: the one hash there is
	"encoding/base32"
	"encoding/hex"
	"strings"

	"github.com/miekg/dns"
)

// nsec3 is an NSEC3 record whose signature holds.
type nsec3 struct {
	owner, next hash
	types       types
	optOut      bool
}

type hash [sha1.Size]byte

// nsec3Flags that are known: opt-out alone. RFC 5155 3.1.2.1
const optOutFlag = 1

// covers reports whether a hash lies strictly between owner and next; the last
// record leads back to the first. RFC 5155 1.3
func (n nsec3) covers(h hash) bool {
	afterOwner := bytes.Compare(h[:], n.owner[:]) > 0
	beforeNext := bytes.Compare(h[:], n.next[:]) < 0
	switch c := bytes.Compare(n.owner[:], n.next[:]); {
	case c < 0:
		return afterOwner && beforeNext
	case c > 0:
		return afterOwner || beforeNext
	}
	return h != n.owner // a chain of one
}

// hashed is the NSEC3 records of one zone in one reply.
type hashed struct {
	apex       string
	iterations uint16
	salt       []byte
	records    []nsec3
	spend      func(blocks int) error
	known      map[string]hash
}

// add takes in a record; those that do not follow RFC 5155 8.2 are passed over
// (unknown hash or flags). Mixed parameters are a fault.
func (s *hashed) add(rr *dns.NSEC3) error {
	if rr.Hash != dns.SHA1 || rr.Flags&^optOutFlag != 0 {
		return nil
	}
	salt, err := hex.DecodeString(rr.Salt)
	label, _, _ := strings.Cut(rr.Hdr.Name, ".") // with an escaped dot in it, it is no hash
	owner, okOwner := decodeHash(label)
	next, okNext := decodeHash(rr.NextDomain)
	if err != nil || !okOwner || !okNext || parentOf(rr.Hdr.Name) != s.apex {
		return nil
	}
	if len(s.records) > 0 && (rr.Iterations != s.iterations || !bytes.Equal(salt, s.salt)) {
		return bogus("NSEC3 records of %s with different parameters", s.apex)
	}
	s.iterations, s.salt = rr.Iterations, salt
	s.records = append(s.records, nsec3{owner, next, rr.TypeBitMap, rr.Flags&optOutFlag != 0})
	return nil
}

func decodeHash(text string) (h hash, ok bool) {
	raw, err := base32.HexEncoding.DecodeString(string(bytes.ToUpper([]byte(text))))
	if err != nil || len(raw) != len(h) {
		return h, false
	}
	return hash(raw), true
}

// hash computes the owner hash of a name, within the budget. RFC 5155 5
func (s *hashed) hash(name string) (hash, error) {
	if h, ok := s.known[name]; ok {
		return h, nil
	}
	var buf [maxWire + 1]byte
	octets, err := wire(name, &buf)
	if err != nil {
		return hash{}, bogus("%s: %v", name, err)
	}
	if err := s.spend(blocks(len(octets)+len(s.salt)) + int(s.iterations)*blocks(sha1.Size+len(s.salt))); err != nil {
		return hash{}, err
	}
	input := append(append(make([]byte, 0, len(octets)+len(s.salt)), octets...), s.salt...)
	h := hash(sha1.Sum(input))
	for range s.iterations {
		input = append(append(input[:0], h[:]...), s.salt...)
		h = sha1.Sum(input)
	}
	s.known[name] = h
	return h, nil
}

// blocks of SHA-1 for n octets: 64 each, with 9 for the padding and the length.
func blocks(n int) int { return (n + 9 + sha1.BlockSize - 1) / sha1.BlockSize }

func (s *hashed) match(name string) (*nsec3, error) {
	h, err := s.hash(name)
	if err != nil {
		return nil, err
	}
	for i := range s.records {
		if s.records[i].owner == h {
			return &s.records[i], nil
		}
	}
	return nil, nil
}

func (s *hashed) cover(name string) (*nsec3, error) {
	h, err := s.hash(name)
	if err != nil {
		return nil, err
	}
	for i := range s.records {
		if s.records[i].covers(h) {
			return &s.records[i], nil
		}
	}
	return nil, nil
}

// encloser finds the closest encloser of a name that has no NSEC3 of its own,
// and the record that covers the next closer name. ok is false when one of
// them is missing or may not be used. RFC 5155 8.3
func (s *hashed) encloser(name string) (encloser string, cover *nsec3, ok bool, err error) {
	for n := name; n != s.apex; {
		n = parentOf(n)
		match, err := s.match(n)
		if err != nil {
			return "", nil, false, err
		}
		if match == nil {
			continue
		}
		if match.types.silentBelow() {
			return "", nil, false, nil
		}
		cover, err = s.cover(nextCloser(name, n))
		return n, cover, cover != nil, err
	}
	return "", nil, false, nil
}

// deny judges a name by the NSEC3 records of its zone. RFC 5155 8.4 to 8.7
func (s *hashed) deny(name string, typ uint16) (denial, error) {
	match, err := s.match(name)
	if err != nil {
		return notDenied, err
	}
	if match != nil {
		return match.types.lack(name, typ), nil // 8.5, 8.6
	}
	encloser, cover, ok, err := s.encloser(name)
	if err != nil || !ok {
		return notDenied, err
	}
	if cover.optOut {
		// 8.6, 9.2: there may be a delegation that is not in the chain, and
		// whatever it says, so no proof about a wildcard would help.
		return optedOut, nil
	}
	return s.denyWildcard(wildcardOf(encloser), typ) // 8.4, 8.7
}

func (s *hashed) denyWildcard(wildcard string, typ uint16) (denial, error) {
	match, err := s.match(wildcard)
	switch {
	case err != nil:
		return notDenied, err
	case match != nil && match.types.lack(wildcard, typ) == noType:
		return noType, nil
	case match != nil:
		return notDenied, nil
	}
	cover, err := s.cover(wildcard)
	if err != nil || cover == nil {
		return notDenied, err
	}
	return noName, nil
}

// expanded reports whether the records prove that a wildcard below encloser
// speaks for a name; with optOut only that no signed name is closer.
// RFC 5155 8.8
func (s *hashed) expanded(name, encloser string) (ok, optOut bool, err error) {
	cover, err := s.cover(nextCloser(name, encloser))
	if err != nil || cover == nil {
		return false, false, err
	}
	return true, cover.optOut, nil
}
