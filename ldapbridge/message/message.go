// Package message is the border between octets and LDAP: it reads LDAPMessages of
// RFC 4511 from a stream, and writes them.
//
// A message is taken apart only as far as a bridge must know it: its ID, its
// protocolOp as the octets that came, and its controls. So an operation is passed
// on verbatim, and a search of 100,000 entries costs no decoding. What the octets
// say is checked before that: lengths are definite, as RFC 4511 5.1 wants, every
// element ends where its parent says, and neither depth nor number is without
// bound. A server may look at less than that, so a request that is forwarded must be in
// the one form that everybody reads alike (grammar.go).
//
// Values are read and written by go-asn1-ber (decode.go, encode.go). Only where
// elements begin and end is found out here before (frame.go): the library bounds
// neither memory nor number, and would decode what is passed on as it came. The parts
// of a search and the code of a result are found in the same way, since a tree of
// packets would cost more than all else that a bridge does for them.
//
// Start with Read, then the Parse functions (request.go, control.go) and the Append
// functions (response.go). It is pure: no sockets, no rules.
package message

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Limits of Read. A zero number takes the default beside it.
type Limits struct {
	Bytes    int // of one message: 256 KiB, a photograph and more
	Depth    int // of elements within elements: 64; filters of people have 5
	Elements int // in one message: 20,000, the members of a large group. Negative: the inside of the operation is not looked at, for replies of a server that is believed
}

const (
	defaultBytes    = 256 << 10
	defaultDepth    = 64
	defaultElements = 20_000
)

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Bytes, defaultBytes}, {&l.Depth, defaultDepth}, {&l.Elements, defaultElements}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return l
}

// Errors of Read and the Parse functions; each comes wrapped with what is wrong.
// After one of Read there is no place in the stream to go on.
var (
	ErrMalformed = errors.New("not an LDAP message")
	ErrTooBig    = errors.New("LDAP message too big")
	ErrTooDeep   = errors.New("LDAP message nested too deep")
	ErrTooMany   = errors.New("LDAP message of too many elements")
)

// Message is one LDAPMessage. Op and Controls point into one buffer.
type Message struct {
	ID       int32
	Op       []byte // the protocolOp, whole and verbatim, its tag octet first
	Controls []byte // the [0] element whole; nil: there was none

	buffer []byte
}

// Tag is the kind of operation.
func (m Message) Tag() Op {
	if len(m.Op) == 0 {
		return 0
	}
	return Op(m.Op[0])
}

// Append writes the message as it came, but for its ID, which is m.ID, and for
// components that RFC 4511 4 wants to be ignored.
func (m Message) Append(dst []byte) []byte {
	return AppendMessage(dst, m.ID, m.Op, m.Controls)
}

// Buffer is what Op and Controls point into, for ReadInto.
func (m Message) Buffer() []byte { return m.buffer }

// Read reads one message. io.EOF: the stream ended before it; io.ErrUnexpectedEOF:
// within it.
func Read(r *bufio.Reader, l Limits) (Message, error) { return ReadInto(nil, r, l) }

// ReadInto is Read into a buffer whose contents are of no more use; nil makes one.
func ReadInto(buffer []byte, r *bufio.Reader, l Limits) (Message, error) {
	l = l.withDefaults()
	size, err := readHeader(r)
	if err != nil {
		return Message{}, err
	}
	if size > l.Bytes {
		return Message{}, fmt.Errorf("%w: %d octets (at most %d)", ErrTooBig, size, l.Bytes)
	}
	if buffer, err = readBody(buffer[:0], r, size); err != nil {
		return Message{}, err
	}
	m, err := split(buffer, l)
	m.buffer = buffer
	return m, err
}

// maxLengthOctets of a length's long form: four hold every size that can be allowed.
const maxLengthOctets = 4

// readHeader reads tag and length of the outer SEQUENCE.
func readHeader(r *bufio.Reader) (size int, err error) {
	tag, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	if tag != tagSequence {
		return 0, fmt.Errorf("%w: begins with %#02x", ErrMalformed, tag)
	}
	first, err := r.ReadByte()
	if err != nil {
		return 0, unexpected(err)
	}
	if first < 0x80 {
		return int(first), nil
	}
	n := int(first & 0x7f)
	if n == 0 || n > maxLengthOctets { // RFC 4511 5.1: no indefinite length
		return 0, fmt.Errorf("%w: length octet %#02x", ErrMalformed, first)
	}
	var long uint64
	for range n {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		long = long<<8 | uint64(b)
	}
	return int(min(long, 1<<31-1)), nil
}

// firstPiece is what a peer gets on credit: no more memory than this for a length
// that is only said.
const firstPiece = 4 << 10

// readBody appends size octets to buffer, which grows with what has come.
func readBody(buffer []byte, r *bufio.Reader, size int) ([]byte, error) {
	for len(buffer) < size {
		have := len(buffer)
		next := min(size, max(2*have, firstPiece, cap(buffer)))
		if next > cap(buffer) {
			grown := make([]byte, next)
			copy(grown, buffer)
			buffer = grown
		}
		buffer = buffer[:next]
		if _, err := io.ReadFull(r, buffer[have:]); err != nil {
			return nil, unexpected(err)
		}
	}
	return buffer, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// split finds the parts of the LDAPMessage whose contents b is.
func split(b []byte, l Limits) (m Message, err error) {
	c := cursor{rest: b}
	id, err := c.id()
	if err != nil {
		return Message{}, err
	}
	m.ID = id
	op, err := c.next()
	if err != nil {
		return Message{}, err
	}
	m.Op = op.whole
	for !c.empty() {
		e, err := c.next()
		switch {
		case err != nil:
			return Message{}, err
		case e.tag == tagControls && m.Controls == nil:
			m.Controls = e.whole
		case e.tag == tagControls:
			return Message{}, fmt.Errorf("%w: controls twice", ErrMalformed)
		} // all else is ignored (RFC 4511 4)
	}
	if l.Elements < 0 {
		return m, nil
	}
	w := walker{depth: l.Depth, left: l.Elements}
	if err := w.walk(b, 1); err != nil {
		return Message{}, err
	}
	return m, nil
}
