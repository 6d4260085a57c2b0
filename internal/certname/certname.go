// Package certname tells a user's certificate from a machine's. What makes it a
// user's is an otherName of type uid among its subject alternative names (RFC
// 5280 4.2.1.6), the one kind of name that crypto/x509 leaves out. What the uid
// is, and whether it is a good one, is not known here.
package certname

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// uid is the type-id 0.9.2342.19200300.100.1.1 in DER, without tag and length
// (RFC 4519 2.39).
var uid = []byte{0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01}

const (
	tagNumber tag.Tag = 0x1f // the low bits of an identifier octet (X.690 8.1.2)
	otherName tag.Tag = 0xa0 // [0], constructed
)

// HasUID reports whether the certificate holds a uid among its alternative
// names, well formed or not. Names that cannot be read count as one: a
// certificate that was meant for a user must not pass as a machine's because
// its encoding is wrong.
func HasUID(cert *x509.Certificate) bool {
	if cert == nil {
		return false
	}
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSAN) && (bytes.Contains(e.Value, uid) || !readable(e.Value)) {
			return true
		}
	}
	return false
}

// readable walks the GeneralNames. crypto/x509 skips otherNames unread and
// ignores what follows the sequence; neither is forgiven here.
func readable(san []byte) bool {
	input := cryptobyte.String(san)
	var names cryptobyte.String
	if !input.ReadASN1(&names, tag.SEQUENCE) || !input.Empty() {
		return false
	}
	for !names.Empty() {
		var name, typeID cryptobyte.String
		var kind tag.Tag
		if !names.ReadAnyASN1(&name, &kind) {
			return false
		}
		if kind&tagNumber == 0 && (kind != otherName || !name.ReadASN1(&typeID, tag.OBJECT_IDENTIFIER)) {
			return false
		}
	}
	return true
}
