package message

import (
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Bind is a BindRequest (RFC 4511 4.2). Exactly one of IsSimple and IsSASL is true,
// or none for a choice that is not known.
type Bind struct {
	Version  int32
	Name     []byte
	IsSimple bool
	Password []byte
	IsSASL   bool
	// Mechanism and Credentials of SASL. Credentials may be present and empty.
	Mechanism      string
	Credentials    []byte
	HasCredentials bool
}

const (
	tagSimple = 0x80 // [0] OCTET STRING
	tagSASL   = 0xa3 // [3] SaslCredentials
)

// ParseBind reads the Op of a BindRequest.
func ParseBind(op []byte) (b Bind, err error) {
	f, err := open(op, byte(BindRequest))
	if err != nil {
		return b, err
	}
	if b.Version, err = f.integer(tagInteger); err != nil {
		return b, err
	}
	if b.Name, err = f.text(); err != nil {
		return b, err
	}
	choice, err := f.next()
	if err != nil {
		return b, err
	}
	switch tagOf(choice) {
	case tagSimple:
		b.IsSimple, b.Password = true, choice.Data.Bytes()
	case tagSASL:
		b.IsSASL = true
		s := parts{choice.Children}
		mechanism, err := s.text()
		if err != nil {
			return b, err
		}
		b.Mechanism = string(mechanism)
		b.Credentials, b.HasCredentials, err = s.optional(tagOctetString)
		return b, err
	}
	return b, nil
}

// Extended is an ExtendedRequest (RFC 4511 4.12).
type Extended struct {
	OID      string
	Value    []byte
	HasValue bool
}

const (
	tagRequestName  = 0x80
	tagRequestValue = 0x81
)

// ParseExtended reads the Op of an ExtendedRequest.
func ParseExtended(op []byte) (x Extended, err error) {
	f, err := open(op, byte(ExtendedRequest))
	if err != nil {
		return x, err
	}
	name, err := f.octets(tagRequestName)
	if err != nil {
		return x, err
	}
	x.OID = string(name)
	x.Value, x.HasValue, err = f.optional(tagRequestValue)
	return x, err
}

// ParseAbandon reads the Op of an AbandonRequest: the ID of what is abandoned.
func ParseAbandon(op []byte) (int32, error) {
	p, err := decode(op)
	if err != nil {
		return 0, err
	}
	f := parts{[]*ber.Packet{p}}
	return f.integer(byte(AbandonRequest))
}

// ParseCancel reads the value of a Cancel request (RFC 3909 2).
func ParseCancel(value []byte) (int32, error) {
	f, err := open(value, tagSequence)
	if err != nil {
		return 0, err
	}
	return f.integer(tagInteger)
}

// Search is a SearchRequest (RFC 4511 4.5.1). Filter stays as it came.
type Search struct {
	Base                 []byte
	Scope, Deref         int32
	SizeLimit, TimeLimit int32 // 0: no limit
	TypesOnly            bool
	Filter               []byte // the element whole
	Attributes           []byte // the SEQUENCE whole
}

// Scopes.
const (
	ScopeBase    = 0
	ScopeOne     = 1
	ScopeSubtree = 2
)

// ParseSearch reads the Op of a SearchRequest. It makes no packets of it: a filter is
// not looked at, and would cost more than all else that a bridge does for a search.
func ParseSearch(op []byte) (s Search, err error) {
	c := cursor{rest: op}
	inner, err := c.expect(byte(SearchRequest))
	if err != nil {
		return s, err
	}
	c = cursor{rest: inner}
	if s.Base, err = c.expect(tagOctetString); err != nil {
		return s, err
	}
	for _, n := range []struct {
		to  *int32
		tag byte
	}{{&s.Scope, tagEnumerated}, {&s.Deref, tagEnumerated}, {&s.SizeLimit, tagInteger}, {&s.TimeLimit, tagInteger}} {
		value, err := c.expect(n.tag)
		if err != nil {
			return s, err
		}
		if *n.to, err = number(value); err != nil {
			return s, err
		}
	}
	typesOnly, err := c.expect(tagBoolean)
	if err != nil {
		return s, err
	}
	if s.TypesOnly, err = boolean(typesOnly); err != nil {
		return s, err
	}
	filter, err := c.next()
	if err != nil {
		return s, err
	}
	attributes, err := c.next()
	if err != nil || attributes.tag != tagSequence || !c.empty() {
		return s, fmt.Errorf("%w: no attribute selection", ErrMalformed)
	}
	s.Filter, s.Attributes = filter.whole, attributes.whole
	return s, nil
}

// AttributeList returns the attributes that were asked for.
func (s Search) AttributeList() (list []string, err error) {
	f, err := open(s.Attributes, tagSequence)
	if err != nil {
		return nil, err
	}
	for !f.empty() {
		name, err := f.text()
		if err != nil {
			return nil, err
		}
		list = append(list, string(name))
	}
	return list, nil
}

// AppendOp writes the Op of a SearchRequest.
func (s Search) AppendOp(dst []byte) []byte {
	head := node(byte(SearchRequest), text(s.Base), integer(tagEnumerated, s.Scope), integer(tagEnumerated, s.Deref),
		integer(tagInteger, s.SizeLimit), integer(tagInteger, s.TimeLimit), truth(s.TypesOnly))
	head.Data.Write(s.Filter)
	head.Data.Write(s.Attributes)
	return append(dst, head.Bytes()...)
}

// FilterPresent makes the filter (attribute=*).
func FilterPresent(attribute string) []byte { return leaf(tagPresent, attribute).Bytes() }

// IsFilterPresent reports whether a filter is (attribute=*), and which.
func IsFilterPresent(filter []byte) (attribute string, ok bool) {
	p, err := decode(filter)
	if err != nil || tagOf(p) != tagPresent {
		return "", false
	}
	return p.Data.String(), true
}

const tagPresent = 0x87 // [7], RFC 4511 4.5.1

// AttributeSelection makes the SEQUENCE of attributes of a Search.
func AttributeSelection(names ...string) []byte {
	list := node(tagSequence)
	for _, n := range names {
		list.AppendChild(text(n))
	}
	return list.Bytes()
}

// AppendBindExternal writes a BindRequest of SASL EXTERNAL with credentials that are
// there and empty: a server takes absent ones for a first step (RFC 4513 5.2.1.2).
func AppendBindExternal(dst []byte, id int32) []byte {
	const version = 3
	bind := node(byte(BindRequest), integer(tagInteger, version), text(""), node(tagSASL, text("EXTERNAL"), text("")))
	return AppendMessage(dst, id, bind.Bytes(), nil)
}

// AppendExtended writes an ExtendedRequest; a nil value is none.
func AppendExtended(dst []byte, id int32, oid string, value []byte) []byte {
	return AppendMessage(dst, id, ExtendedOp(oid, value), nil)
}

// ExtendedOp makes the Op of an ExtendedRequest; a nil value is none.
func ExtendedOp(oid string, value []byte) []byte {
	x := node(byte(ExtendedRequest), leaf(tagRequestName, oid))
	if value != nil {
		x.AppendChild(leaf(tagRequestValue, value))
	}
	return x.Bytes()
}

// CancelValue makes the value of a Cancel request (RFC 3909 2).
func CancelValue(id int32) []byte { return node(tagSequence, integer(tagInteger, id)).Bytes() }

// AbandonOp makes the Op of an AbandonRequest.
func AbandonOp(id int32) []byte { return integer(byte(AbandonRequest), id).Bytes() }

// UnbindOp makes the Op of an UnbindRequest.
func UnbindOp() []byte { return node(byte(UnbindRequest)).Bytes() }
