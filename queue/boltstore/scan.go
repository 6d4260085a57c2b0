package boltstore

import (
	"bytes"
	"strconv"

	"dancemta/queue"
)

// scanner reads JSON as json.Marshal writes our own records, ten times as fast as
// json.Unmarshal: fields in the order of their struct, no white space, strings without
// escapes. It doubts everything else, and then json.Unmarshal decides. So it may say
// less than that, never something else.
type scanner struct {
	rest  []byte
	first bool // no field of this object was read
	doubt bool
}

// scanned is a record that a scanner can read. It is empty after a doubt.
type scanned interface {
	scan(value []byte) (sure bool)
}

// sure says whether all was read without a doubt.
func (s *scanner) sure() bool { return !s.doubt && len(s.rest) == 0 }

// skip reads what must come next.
func (s *scanner) skip(text string) {
	if !s.next(text) {
		s.doubt = true
	}
}

// next reads text if it comes next.
func (s *scanner) next(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scanner) object(fields func()) {
	s.skip("{")
	outer := s.first
	s.first = true
	fields()
	s.first = outer
	s.skip("}")
}

// field reads the key of a field if it comes next; quoted is `"name":`.
func (s *scanner) field(quoted string) bool {
	begin := s.rest
	if s.doubt || !s.first && !s.next(",") || !s.next(quoted) {
		s.rest = begin
		return false
	}
	s.first = false
	return true
}

// array calls element for each; there is one.
func (s *scanner) array(element func()) {
	s.skip("[")
	for !s.doubt {
		element()
		if !s.next(",") {
			s.skip("]")
			return
		}
	}
}

// raw reads a string of printable ASCII without escapes.
func (s *scanner) raw() []byte {
	s.skip(`"`)
	end := bytes.IndexByte(s.rest, '"')
	if s.doubt || end < 0 {
		s.doubt = true
		return nil
	}
	text := s.rest[:end]
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			s.doubt = true
			return nil
		}
	}
	s.rest = s.rest[end+1:]
	return text
}

func (s *scanner) text() string { return string(s.raw()) }

// yes reads true; false is left out.
func (s *scanner) yes() bool { s.skip("true"); return !s.doubt }

// number reads a decimal number that is not negative.
func (s *scanner) number(bits int) uint64 {
	end := 0
	for end < len(s.rest) && s.rest[end] >= '0' && s.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(s.rest[:end]), 10, bits)
	if err != nil || end > 1 && s.rest[0] == '0' {
		s.doubt = true
	}
	s.rest = s.rest[end:]
	return n
}

func (s *scanner) int64() int64 { return int64(s.number(63)) }

func (s *scanner) address() (a address) {
	if a.UnmarshalText(s.raw()) != nil {
		s.doubt = true
	}
	return a
}

func (r *messageRecord) scan(value []byte) bool {
	*r = messageRecord{}
	s := &scanner{rest: value}
	s.object(func() { r.fields(s) })
	if s.sure() {
		return true
	}
	*r = messageRecord{}
	return false
}

func (r *messageRecord) fields(s *scanner) {
	if s.field(`"from":`) {
		r.Sender = s.address()
	}
	if s.field(`"to":`) {
		s.array(func() { r.Recipients = append(r.Recipients, s.address()) })
	}
	for _, f := range []struct {
		key  string
		into *string
	}{{`"identity":`, &r.Identity}, {`"session":`, &r.Session}} {
		if s.field(f.key) {
			*f.into = s.text()
		}
	}
	for _, f := range []struct {
		key  string
		into *bool
	}{{`"eightbit":`, &r.EightBit}, {`"smtputf8":`, &r.SMTPUTF8}, {`"requiretls":`, &r.RequireTLS}, {`"tlsoptional":`, &r.TLSOptional}} {
		if s.field(f.key) {
			*f.into = s.yes()
		}
	}
	// What asks for reports (envid, ret, asked) is rare: json.Unmarshal reads it.
	if s.field(`"helo":`) {
		r.Helo = s.text()
	}
	if s.field(`"peer":`) {
		r.Peer = s.text()
	}
	if s.field(`"arrived":`) {
		r.Arrived = s.int64()
	}
	if s.field(`"size":`) {
		r.Size = s.int64()
	}
	if s.field(`"spool":`) {
		r.Spool = s.yes()
	}
	if s.field(`"crc32c":`) {
		r.Sum = uint32(s.number(32))
	}
	if s.field(`"open":`) {
		r.Open = int(s.number(31))
	}
}

func (u *unitRecord) scan(value []byte) bool {
	*u = unitRecord{}
	s := &scanner{rest: value}
	s.object(func() { u.fields(s) })
	if s.sure() {
		return true
	}
	*u = unitRecord{}
	return false
}

func (u *unitRecord) fields(s *scanner) {
	if s.field(`"attempt":`) {
		u.Attempt = int(s.number(31))
	}
	if s.field(`"passed":`) {
		u.Passed = int(s.number(31))
	}
	if s.field(`"told":`) {
		u.Told = s.yes()
	}
	if s.field(`"lane":`) {
		u.Lane = s.number(64)
	}
	if s.field(`"next":`) {
		u.Next = s.int64()
	}
	if s.field(`"to":`) {
		s.array(func() {
			var r recipientRecord
			s.object(func() { r.fields(s) })
			u.Recipients = append(u.Recipients, r)
		})
	}
}

func (r *recipientRecord) fields(s *scanner) {
	if s.field(`"a":`) {
		r.Address = s.address()
	}
	if s.field(`"r":`) {
		r.Result = queue.Result(s.number(8))
	}
	if s.field(`"reply":`) {
		r.Reply = s.text()
	}
	if s.field(`"tls":`) {
		r.TLS = s.text()
	}
	if s.field(`"held":`) {
		r.Held = s.yes()
	}
	if s.field(`"why":`) {
		r.Why = s.text()
	}
	if s.field(`"givenup":`) {
		r.GivenUp = s.yes()
	}
}
