package message

import "fmt"

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

// inside returns a cursor in an operation of one kind.
func inside(op []byte, want Op) (*cursor, error) {
	c := &cursor{rest: op}
	value, err := c.expect(byte(want))
	if err != nil {
		return nil, err
	}
	if !c.empty() {
		return nil, fmt.Errorf("%w: octets behind the operation", ErrMalformed)
	}
	return &cursor{rest: value}, nil
}

// ParseBind reads the Op of a BindRequest.
func ParseBind(op []byte) (b Bind, err error) {
	c, err := inside(op, BindRequest)
	if err != nil {
		return b, err
	}
	if b.Version, err = c.integer(tagInteger); err != nil {
		return b, err
	}
	if b.Name, err = c.expect(tagOctetString); err != nil {
		return b, err
	}
	choice, err := c.next()
	if err != nil {
		return b, err
	}
	switch choice.tag {
	case tagSimple:
		b.IsSimple, b.Password = true, choice.value
	case tagSASL:
		b.IsSASL = true
		s := cursor{rest: choice.value}
		mechanism, err := s.expect(tagOctetString)
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
	c, err := inside(op, ExtendedRequest)
	if err != nil {
		return x, err
	}
	name, err := c.expect(tagRequestName)
	if err != nil {
		return x, err
	}
	x.OID = string(name)
	x.Value, x.HasValue, err = c.optional(tagRequestValue)
	return x, err
}

// ParseAbandon reads the Op of an AbandonRequest: the ID of what is abandoned.
func ParseAbandon(op []byte) (int32, error) {
	c := cursor{rest: op}
	return c.integer(byte(AbandonRequest))
}

// ParseCancel reads the value of a Cancel request (RFC 3909 2).
func ParseCancel(value []byte) (int32, error) {
	c := cursor{rest: value}
	inner, err := c.expect(tagSequence)
	if err != nil {
		return 0, err
	}
	c = cursor{rest: inner}
	return c.integer(tagInteger)
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

// ParseSearch reads the Op of a SearchRequest.
func ParseSearch(op []byte) (s Search, err error) {
	c, err := inside(op, SearchRequest)
	if err != nil {
		return s, err
	}
	if s.Base, err = c.expect(tagOctetString); err != nil {
		return s, err
	}
	for _, n := range []struct {
		to  *int32
		tag byte
	}{{&s.Scope, tagEnumerated}, {&s.Deref, tagEnumerated}, {&s.SizeLimit, tagInteger}, {&s.TimeLimit, tagInteger}} {
		if *n.to, err = c.integer(n.tag); err != nil {
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
	if err != nil || attributes.tag != tagSequence {
		return s, fmt.Errorf("%w: no attribute selection", ErrMalformed)
	}
	s.Filter, s.Attributes = filter.whole, attributes.whole
	return s, nil
}

// AttributeList returns the attributes that were asked for.
func (s Search) AttributeList() (list []string, err error) {
	c := cursor{rest: s.Attributes}
	inner, err := c.expect(tagSequence)
	if err != nil {
		return nil, err
	}
	for c = (cursor{rest: inner}); !c.empty(); {
		name, err := c.expect(tagOctetString)
		if err != nil {
			return nil, err
		}
		list = append(list, string(name))
	}
	return list, nil
}

// AppendOp writes the Op of a SearchRequest.
func (s Search) AppendOp(dst []byte) []byte {
	var inner []byte
	inner = appendElement(inner, tagOctetString, s.Base)
	inner = appendNumber(inner, tagEnumerated, s.Scope)
	inner = appendNumber(inner, tagEnumerated, s.Deref)
	inner = appendNumber(inner, tagInteger, s.SizeLimit)
	inner = appendNumber(inner, tagInteger, s.TimeLimit)
	inner = appendBoolean(inner, s.TypesOnly)
	inner = append(inner, s.Filter...)
	inner = append(inner, s.Attributes...)
	return appendElement(dst, byte(SearchRequest), inner)
}

// FilterPresent makes the filter (attribute=*).
func FilterPresent(attribute string) []byte { return appendElement(nil, tagPresent, attribute) }

// IsFilterPresent reports whether a filter is (attribute=*), and which.
func IsFilterPresent(filter []byte) (attribute string, ok bool) {
	c := cursor{rest: filter}
	value, err := c.expect(tagPresent)
	return string(value), err == nil
}

const tagPresent = 0x87 // [7], RFC 4511 4.5.1

// AttributeSelection makes the SEQUENCE of attributes of a Search.
func AttributeSelection(names ...string) []byte {
	var inner []byte
	for _, n := range names {
		inner = appendElement(inner, tagOctetString, n)
	}
	return appendElement(nil, tagSequence, inner)
}

// AppendBindExternal writes a BindRequest of SASL EXTERNAL with credentials that are
// there and empty: a server takes absent ones for a first step (RFC 4513 5.2.1.2).
func AppendBindExternal(dst []byte, id int32) []byte {
	var sasl, inner []byte
	sasl = appendElement(sasl, tagOctetString, "EXTERNAL")
	sasl = appendElement(sasl, tagOctetString, "")
	inner = appendNumber(inner, tagInteger, 3)
	inner = appendElement(inner, tagOctetString, "")
	inner = appendElement(inner, tagSASL, sasl)
	return AppendMessage(dst, id, appendElement(nil, byte(BindRequest), inner), nil)
}

// AppendExtended writes an ExtendedRequest; a nil value is none.
func AppendExtended(dst []byte, id int32, oid string, value []byte) []byte {
	return AppendMessage(dst, id, ExtendedOp(oid, value), nil)
}

// ExtendedOp makes the Op of an ExtendedRequest; a nil value is none.
func ExtendedOp(oid string, value []byte) []byte {
	inner := appendElement(nil, tagRequestName, oid)
	if value != nil {
		inner = appendElement(inner, tagRequestValue, value)
	}
	return appendElement(nil, byte(ExtendedRequest), inner)
}

// CancelValue makes the value of a Cancel request (RFC 3909 2).
func CancelValue(id int32) []byte {
	return appendElement(nil, tagSequence, appendNumber(nil, tagInteger, id))
}

// AbandonOp makes the Op of an AbandonRequest.
func AbandonOp(id int32) []byte { return appendNumber(nil, byte(AbandonRequest), id) }

// UnbindOp makes the Op of an UnbindRequest.
func UnbindOp() []byte { return []byte{byte(UnbindRequest), 0} }
