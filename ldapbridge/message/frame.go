package message

import "fmt"

// What stands here reads and writes tags and lengths, and no values but a message ID:
// what is needed to know where a message and its parts end, and that nothing in it
// is without bound, before go-asn1-ber decodes it (decode.go). That library asks for
// 145 MB of memory to decode 1 MB of empty elements.

// Tags of an LDAPMessage.
const (
	tagInteger  = 0x02
	tagSequence = 0x30
	tagControls = 0xa0 // [0], RFC 4511 4.1.1

	constructed = 0x20
	manyOctets  = 0x1f // a tag that goes on in the next octet; LDAP has none
)

// element is one TLV; whole and value are the octets themselves, not copies.
type element struct {
	tag          byte
	whole, value []byte
}

// cursor reads elements one after the other.
type cursor struct{ rest []byte }

func (c *cursor) empty() bool { return len(c.rest) == 0 }

// peek is the tag of the next element; 0 when there is none.
func (c *cursor) peek() byte {
	if c.empty() {
		return 0
	}
	return c.rest[0]
}

// next takes an element whole off the rest.
func (c *cursor) next() (element, error) {
	tag, head, size, err := header(c.rest)
	if err != nil {
		return element{}, err
	}
	if size > len(c.rest)-head {
		return element{}, fmt.Errorf("%w: element %#02x of %d octets in %d", ErrMalformed, tag, size, len(c.rest)-head)
	}
	e := element{tag: tag, whole: c.rest[:head+size], value: c.rest[head : head+size]}
	c.rest = c.rest[head+size:]
	return e, nil
}

// header reads a tag and a definite length (RFC 4511 5.1). A length in more octets
// than it needs is BER, too (X.690 8.1.3.5).
func header(b []byte) (tag byte, head, size int, err error) {
	if len(b) < 2 {
		return 0, 0, 0, fmt.Errorf("%w: an element of %d octets", ErrMalformed, len(b))
	}
	tag = b[0]
	if tag&manyOctets == manyOctets {
		return 0, 0, 0, fmt.Errorf("%w: tag %#02x", ErrMalformed, tag)
	}
	if b[1] < 0x80 {
		return tag, 2, int(b[1]), nil
	}
	n := int(b[1] & 0x7f)
	if n == 0 || n > maxLengthOctets || len(b) < 2+n {
		return 0, 0, 0, fmt.Errorf("%w: length octet %#02x", ErrMalformed, b[1])
	}
	var long uint64
	for _, o := range b[2 : 2+n] {
		long = long<<8 | uint64(o)
	}
	return tag, 2 + n, int(min(long, 1<<31-1)), nil
}

// expect takes an element of one tag.
func (c *cursor) expect(tag byte) ([]byte, error) {
	if got := c.peek(); got != tag || c.empty() {
		return nil, fmt.Errorf("%w: tag %#02x where %#02x is due", ErrMalformed, got, tag)
	}
	e, err := c.next()
	return e.value, err
}

// id takes a message ID, from 0 to maxInt (RFC 4511 4.1.1).
func (c *cursor) id() (int32, error) {
	value, err := c.expect(tagInteger)
	if err != nil {
		return 0, err
	}
	return number(value)
}

// number reads an INTEGER from 0 to 2^31-1. X.690 8.3.2 knows one form only.
func number(value []byte) (int32, error) {
	const octets = 4
	if len(value) == 0 || len(value) > octets || value[0] >= 0x80 || len(value) > 1 && value[0] == 0 && value[1] < 0x80 {
		return 0, fmt.Errorf("%w: integer % .8x", ErrMalformed, value)
	}
	var n int32
	for _, o := range value {
		n = n<<8 | int32(o)
	}
	return n, nil
}

// walker proves that elements lie within each other, and counts them.
type walker struct{ depth, left int }

func (w *walker) walk(b []byte, level int) error {
	if level > w.depth {
		return fmt.Errorf("%w: over %d", ErrTooDeep, w.depth)
	}
	for c := (cursor{rest: b}); !c.empty(); {
		e, err := c.next()
		if err != nil {
			return err
		}
		if w.left--; w.left < 0 {
			return ErrTooMany
		}
		if e.tag&constructed == 0 {
			continue
		}
		if err := w.walk(e.value, level+1); err != nil {
			return err
		}
	}
	return nil
}

// appendHead writes tag and length in the shortest form.
func appendHead(dst []byte, tag byte, size int) []byte {
	switch {
	case size < 0x80:
		return append(dst, tag, byte(size))
	case size < 1<<8:
		return append(dst, tag, 0x81, byte(size))
	case size < 1<<16:
		return append(dst, tag, 0x82, byte(size>>8), byte(size))
	case size < 1<<24:
		return append(dst, tag, 0x83, byte(size>>16), byte(size>>8), byte(size))
	}
	return append(dst, tag, 0x84, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// appendNumber writes a number that is not negative.
func appendNumber(dst []byte, tag byte, n int32) []byte {
	switch {
	case n < 1<<7:
		return append(dst, tag, 1, byte(n))
	case n < 1<<15:
		return append(dst, tag, 2, byte(n>>8), byte(n))
	case n < 1<<23:
		return append(dst, tag, 3, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, tag, 4, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
