package message

import "fmt"

// CheckRequest demands that the Op of a request has the elements of RFC 4511 and none
// besides. For what is forwarded nothing less will do: a server may read element by
// element and never look at where their parent ends, as OpenLDAP's does. To that one
// an element too many, or one that is missing in a filter, hides or swallows the
// controls behind the operation, and so under whose rights it is to run.
func CheckRequest(op []byte) error {
	if len(op) == 0 {
		return fmt.Errorf("%w: no operation", ErrMalformed)
	}
	known, ok := grammar[Op(op[0])]
	if !ok {
		return fmt.Errorf("%w: operation %#02x", ErrMalformed, op[0])
	}
	rest, err := known(cursor{rest: op})
	if err == nil && !rest.empty() {
		err = fmt.Errorf("%w: octets behind an operation", ErrMalformed)
	}
	return err
}

// shape takes what it stands for off a cursor.
type shape func(c cursor) (cursor, error)

// grammar are the requests that may be forwarded (RFC 4511 4.5 to 4.12).
var grammar = map[Op]shape{
	SearchRequest: holds(byte(SearchRequest), aString, anEnum, anEnum, anInteger, anInteger, aBoolean, aFilter,
		holds(tagSequence, every(aString))),
	ModifyRequest:   holds(byte(ModifyRequest), aString, holds(tagSequence, every(holds(tagSequence, anEnum, anAttribute)))),
	AddRequest:      holds(byte(AddRequest), aString, holds(tagSequence, every(anAttribute))),
	DeleteRequest:   primitive(byte(DeleteRequest)),
	ModifyDNRequest: holds(byte(ModifyDNRequest), aString, aString, aBoolean, maybe(tagNewSuperior)),
	CompareRequest:  holds(byte(CompareRequest), aString, anAssertion(tagSequence)),
	ExtendedRequest: holds(byte(ExtendedRequest), primitive(tagRequestName), maybe(tagRequestValue)),
}

const tagNewSuperior = 0x80 // [0] of a ModifyDNRequest

// What operations are made of.
func aString(c cursor) (cursor, error)   { return primitive(tagOctetString)(c) }
func anEnum(c cursor) (cursor, error)    { return valued(tagEnumerated, isNumber)(c) }
func anInteger(c cursor) (cursor, error) { return valued(tagInteger, isNumber)(c) }
func aBoolean(c cursor) (cursor, error)  { return valued(tagBoolean, isBoolean)(c) }
func anAttribute(c cursor) (cursor, error) {
	return holds(tagSequence, aString, holds(tagSet, every(aString)))(c)
}

// holds is a constructed element of these, to its very end.
func holds(tag byte, parts ...shape) shape {
	return func(c cursor) (cursor, error) {
		value, err := c.expect(tag)
		inner := cursor{rest: value}
		for i := 0; err == nil && i < len(parts); i++ {
			inner, err = parts[i](inner)
		}
		if err == nil && !inner.empty() {
			err = fmt.Errorf("%w: %#02x behind the last part of %#02x", ErrMalformed, inner.peek(), tag)
		}
		return c, err
	}
}

func primitive(tag byte) shape { return valued(tag, func([]byte) error { return nil }) }

// valued is a primitive element whose value is good.
func valued(tag byte, good func(value []byte) error) shape {
	return func(c cursor) (cursor, error) {
		value, err := c.expect(tag)
		if err == nil {
			err = good(value)
		}
		return c, err
	}
}

func isNumber(value []byte) error {
	_, err := number(value)
	return err
}

// isBoolean takes every octet, though RFC 4511 5.1 has two: libraries send 1 for TRUE,
// and what is passed on here is the server's to read.
func isBoolean(value []byte) error {
	if len(value) != 1 {
		return fmt.Errorf("%w: boolean % .8x", ErrMalformed, value)
	}
	return nil
}

// every is as many of them as there are, up to the parent's end.
func every(one shape) shape {
	return func(c cursor) (_ cursor, err error) {
		for err == nil && !c.empty() {
			c, err = one(c)
		}
		return c, err
	}
}

// maybe is a primitive element or nothing.
func maybe(tag byte) shape {
	one := primitive(tag)
	return func(c cursor) (cursor, error) {
		if c.empty() || c.peek() != tag {
			return c, nil
		}
		return one(c)
	}
}

func anAssertion(tag byte) shape { return holds(tag, aString, aString) }

// Filters (RFC 4511 4.5.1.7).
const (
	filterAnd        = 0xa0
	filterOr         = 0xa1
	filterNot        = 0xa2
	filterEqual      = 0xa3
	filterSubstrings = 0xa4
	filterGreater    = 0xa5
	filterLess       = 0xa6
	filterApprox     = 0xa8
	filterExtensible = 0xa9

	substringInitial = 0x80
	substringAny     = 0x81
	substringFinal   = 0x82

	matchingRule  = 0x81
	matchingType  = 0x82
	matchingValue = 0x83
	matchingDN    = 0x84
)

// filters are those without filters in them.
var filters = map[byte]shape{
	filterEqual: anAssertion(filterEqual), filterGreater: anAssertion(filterGreater), filterLess: anAssertion(filterLess),
	filterApprox: anAssertion(filterApprox), tagPresent: primitive(tagPresent),
	filterSubstrings: holds(filterSubstrings, aString, holds(tagSequence, oneOf(substringInitial, substringAny, substringFinal),
		every(oneOf(substringAny, substringFinal)))),
	filterExtensible: holds(filterExtensible, maybe(matchingRule), maybe(matchingType), primitive(matchingValue),
		func(c cursor) (cursor, error) {
			if c.empty() {
				return c, nil
			}
			return valued(matchingDN, isBoolean)(c)
		}),
}

// oneOf is a primitive element with one of these tags.
func oneOf(tags ...byte) shape {
	return func(c cursor) (cursor, error) {
		for _, tag := range tags {
			if !c.empty() && c.peek() == tag {
				return primitive(tag)(c)
			}
		}
		return c, fmt.Errorf("%w: tag %#02x in a filter", ErrMalformed, c.peek())
	}
}

func aFilter(c cursor) (cursor, error) { return filter(c, defaultDepth) }

// filter goes down into sets of filters; a set may be empty (RFC 4526).
func filter(c cursor, depth int) (cursor, error) {
	if depth == 0 {
		return c, ErrTooDeep
	}
	inner := func(c cursor) (cursor, error) { return filter(c, depth-1) }
	switch tag := c.peek(); tag {
	case filterAnd, filterOr:
		return holds(tag, every(inner))(c)
	case filterNot:
		return holds(tag, inner)(c)
	default:
		leaf, ok := filters[tag]
		if !ok {
			return c, fmt.Errorf("%w: filter %#02x", ErrMalformed, tag)
		}
		return leaf(c)
	}
}
