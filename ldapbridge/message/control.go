package message

import "fmt"

// Control is one control of a message (RFC 4511 4.1.11). A value may be there and
// empty.
type Control struct {
	OID      string
	Critical bool
	Value    []byte
	HasValue bool
}

// ParseControls reads what Message.Controls holds; nil has none. A control that
// stands there twice is refused: who reads which would not be said.
func ParseControls(controls []byte) (list []Control, err error) {
	if len(controls) == 0 {
		return nil, nil
	}
	all, err := open(controls, tagControls)
	if err != nil {
		return nil, err
	}
	for !all.empty() {
		one, err := all.inner(tagSequence)
		if err != nil {
			return nil, err
		}
		control, err := parseControl(one)
		if err != nil {
			return nil, err
		}
		for _, other := range list {
			if other.OID == control.OID {
				return nil, fmt.Errorf("%w: control %.100q twice", ErrMalformed, control.OID)
			}
		}
		if list = append(list, control); len(list) > maxControls {
			return nil, fmt.Errorf("%w: over %d controls", ErrTooMany, maxControls)
		}
	}
	return list, nil
}

// maxControls of one message: there are some thirty that are known at all.
const maxControls = 32

func parseControl(in *parts) (c Control, err error) {
	oid, err := in.text()
	if err != nil {
		return c, err
	}
	c.OID = string(oid)
	critical, there, err := in.optional(tagBoolean)
	if err != nil {
		return c, err
	}
	if there {
		if c.Critical, err = boolean(critical); err != nil {
			return c, err
		}
	}
	c.Value, c.HasValue, err = in.optional(tagOctetString)
	if err == nil && !in.empty() {
		err = fmt.Errorf("%w: control with octets behind its value", ErrMalformed)
	}
	return c, err
}

// AppendControls writes the [0] element for Message.Controls; none writes nothing.
func AppendControls(dst []byte, list ...Control) []byte {
	if len(list) == 0 {
		return dst
	}
	all := node(tagControls)
	for _, c := range list {
		one := node(tagSequence, text(c.OID))
		if c.Critical {
			one.AppendChild(truth(true))
		}
		if c.HasValue {
			one.AppendChild(text(c.Value))
		}
		all.AppendChild(one)
	}
	return append(dst, all.Bytes()...)
}

// PagedCookie reads the cookie from the value of a paged results control (RFC 2696
// 2); an empty one in a reply says that there are no more pages.
func PagedCookie(value []byte) (cookie []byte, err error) {
	f, err := open(value, tagSequence)
	if err != nil {
		return nil, err
	}
	if _, err := f.integer(tagInteger); err != nil {
		return nil, err
	}
	return f.text()
}
