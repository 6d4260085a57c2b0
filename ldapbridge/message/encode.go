package message

import ber "github.com/go-asn1-ber/asn1-ber"

// node makes an element of any tag that holds others.
func node(tag byte, children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(ber.Class(tag&classBits), ber.Type(tag&constructed), ber.Tag(tag&manyOctets), nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}

const classBits = 0xc0 // of a tag octet, X.690 8.1.2.2

// leaf makes an element that holds octets, or elements that are encoded already.
func leaf[T string | []byte](tag byte, value T) *ber.Packet {
	p := node(tag)
	p.Data.WriteString(string(value))
	return p
}

func text[T string | []byte](value T) *ber.Packet { return leaf(tagOctetString, value) }

func integer(tag byte, n int32) *ber.Packet {
	return ber.NewInteger(ber.Class(tag&classBits), ber.TypePrimitive, ber.Tag(tag&manyOctets), int64(n), "")
}

func truth(b bool) *ber.Packet {
	return ber.NewLDAPBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, b, "")
}
