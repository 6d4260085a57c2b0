package lab

import (
	"encoding/asn1"
	"fmt"
	"net/netip"
	"slices"
)

var (
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
	// OIDUID is the uid attribute, RFC 4519 2.39.
	OIDUID = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
)

// Tags of general names, and of the strings in an otherName. RFC 5280 4.2.1.6
const (
	tagOtherName = 0xa0 // [0], constructed
	tagDNSName   = 0x82 // [2], primitive
	tagIPAddress = 0x87 // [7], primitive
	tagSequence  = 0x30
)

// OtherName is an otherName of subjectAltName: a type and one string.
type OtherName struct {
	Type  asn1.ObjectIdentifier
	Tag   int // of the string; default 12, UTF8String
	Value []byte
}

// san returns the value of the subjectAltName extension; nil for none.
func (o LeafOptions) san() []byte {
	if o.SAN != nil {
		return o.SAN
	}
	var names [][]byte
	for _, n := range o.Names {
		names = append(names, DNSName(n))
	}
	for _, uid := range o.UIDs {
		names = append(names, OtherName{Type: OIDUID, Value: []byte(uid)}.DER())
	}
	for _, n := range o.OtherNames {
		names = append(names, n.DER())
	}
	if names == nil {
		return nil
	}
	return SAN(names...)
}

// SAN puts general names, each in DER, into the value of a subjectAltName.
func SAN(names ...[]byte) []byte { return tlv(tagSequence, names...) }

// DNSName is a dNSName in DER, whatever its octets are.
func DNSName(name string) []byte { return tlv(tagDNSName, []byte(name)) }

// IPAddress is an iPAddress in DER.
func IPAddress(ip netip.Addr) []byte { return tlv(tagIPAddress, ip.AsSlice()) }

// DER is the otherName as a general name.
func (n OtherName) DER() []byte {
	oid, err := asn1.Marshal(n.Type)
	if err != nil {
		panic(fmt.Sprintf("lab: type %v: %v", n.Type, err))
	}
	tag := n.Tag
	if tag == 0 {
		tag = asn1.TagUTF8String
	}
	return tlv(tagOtherName, oid, tlv(0xa0, tlv(byte(tag), n.Value))) // value is [0] EXPLICIT
}

// tlv is one DER element of up to 64 KiB. X.690 8.1
func tlv(tag byte, content ...[]byte) []byte {
	body := slices.Concat(content...)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	case n < 0x10000:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
	panic("lab: element over 64 KiB")
}
