package message

import (
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Tags of the universal class.
const (
	tagBoolean     = 0x01
	tagOctetString = 0x04
	tagEnumerated  = 0x0a
	tagSet         = 0x31
)

// decode reads one element whole, within the bounds of a message.
func decode(element []byte) (*ber.Packet, error) {
	w := walker{depth: defaultDepth, left: defaultElements}
	if err := w.walk(element, 1); err != nil {
		return nil, err
	}
	c := cursor{rest: element}
	if _, err := c.next(); err != nil || !c.empty() {
		return nil, fmt.Errorf("%w: octets behind an element", ErrMalformed)
	}
	p, err := ber.DecodePacketErr(element)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p, nil
}

// tagOf is the first octet of an element as it is sent.
func tagOf(p *ber.Packet) byte { return byte(p.ClassType) | byte(p.TagType) | byte(p.Tag) }

// parts are the elements within a constructed one, taken one after the other. The
// library takes a number of nine octets for 0, and every octet for a boolean: what a
// value is made of is looked at here.
type parts struct{ rest []*ber.Packet }

// open decodes an element with this tag.
func open(element []byte, tag byte) (*parts, error) {
	p, err := decode(element)
	if err != nil {
		return nil, err
	}
	return within(p, tag)
}

// within returns what a constructed element holds.
func within(p *ber.Packet, tag byte) (*parts, error) {
	if got := tagOf(p); got != tag {
		return nil, fmt.Errorf("%w: tag %#02x where %#02x is due", ErrMalformed, got, tag)
	}
	return &parts{p.Children}, nil
}

func (f *parts) empty() bool { return len(f.rest) == 0 }

// next takes an element of any tag.
func (f *parts) next() (*ber.Packet, error) {
	if f.empty() {
		return nil, fmt.Errorf("%w: an element is missing", ErrMalformed)
	}
	p := f.rest[0]
	f.rest = f.rest[1:]
	return p, nil
}

// octets takes the contents of a primitive element with this tag.
func (f *parts) octets(tag byte) ([]byte, error) {
	p, err := f.next()
	if err != nil {
		return nil, err
	}
	if got := tagOf(p); got != tag {
		return nil, fmt.Errorf("%w: tag %#02x where %#02x is due", ErrMalformed, got, tag)
	}
	return p.Data.Bytes(), nil
}

// text takes an OCTET STRING. RFC 4511 5.1 allows the primitive form alone.
func (f *parts) text() ([]byte, error) { return f.octets(tagOctetString) }

// optional is octets if the next element has this tag.
func (f *parts) optional(tag byte) (value []byte, there bool, err error) {
	if f.empty() || tagOf(f.rest[0]) != tag {
		return nil, false, nil
	}
	value, err = f.octets(tag)
	return value, err == nil, err
}

// inner takes a constructed element and returns what it holds.
func (f *parts) inner(tag byte) (*parts, error) {
	p, err := f.next()
	if err != nil {
		return nil, err
	}
	return within(p, tag)
}

// integer takes a number from 0 to maxInt (RFC 4511 4.1.1) with this tag.
func (f *parts) integer(tag byte) (int32, error) {
	value, err := f.octets(tag)
	if err != nil {
		return 0, err
	}
	return number(value)
}

// boolean reads a BOOLEAN. RFC 4511 5.1 wants 0xff for TRUE, and yet a library that
// many clients use sends 1; every octet but 0 is TRUE to BER, and to servers.
func boolean(value []byte) (bool, error) {
	if len(value) != 1 {
		return false, fmt.Errorf("%w: boolean % .8x", ErrMalformed, value)
	}
	return value[0] != 0, nil
}
