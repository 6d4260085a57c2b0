// Package usercert reads and writes the names in a user certificate: the uid in
// one otherName and the domain in one dNSName of the subjectAltName (RFC 5280
// 4.2.1.6). Everything else in the certificate, such as its subject, a common
// name or a mail address, is a claim without worth and is not looked at.
//
// Parse is the way in; it hands over raw text, which package saslext brings to
// normal form. HasUID answers the question that comes before: is this a user's
// certificate at all, or a machine's? Marshal writes the extension; NewCA and
// CA.Issue make whole certificates around it.
package usercert

import (
	"crypto/x509"
	"crypto/x509/pkix"
	encasn1 "encoding/asn1"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"dancemta/internal/certname"
)

// Errors of Parse.
var (
	ErrNoNames     = errors.New("no subjectAltName")
	ErrEncoding    = errors.New("subjectAltName is not DER")
	ErrNoUID       = errors.New("no uid in the subjectAltName")
	ErrManyUIDs    = errors.New("more than one uid in the subjectAltName")
	ErrUIDValue    = errors.New("uid is empty or of a string type that is not accepted")
	ErrNoDomain    = errors.New("no dNSName in the subjectAltName")
	ErrManyDomains = errors.New("more than one dNSName in the subjectAltName")
)

var (
	oidSubjectAltName = encasn1.ObjectIdentifier{2, 5, 29, 17}
	oidUID            = encasn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1} // RFC 4519 2.39
)

// The tags of the kinds of GeneralName that matter (RFC 5280 4.2.1.6).
const (
	kindOther asn1.Tag = 0 // [0] otherName, constructed
	kindDNS   asn1.Tag = 2 // [2] dNSName, primitive
)

// tagClass and tagNumber split an identifier octet (X.690 8.1.2).
const (
	tagClass        asn1.Tag = 0xc0
	tagNumber       asn1.Tag = 0x1f
	contextSpecific asn1.Tag = 0x80
)

// Parse returns the uid and the domain of a user certificate as they stand
// there. Exactly one dNSName and exactly one uid must be in it; other kinds of
// names do not matter. Its errors wrap those of this package.
func Parse(cert *x509.Certificate) (uid, domain string, err error) {
	san, err := names(cert)
	if err != nil {
		return "", "", err
	}
	uids, domains, err := read(san)
	switch {
	case err != nil:
		return "", "", err
	case len(uids) == 0:
		return "", "", ErrNoUID
	case len(uids) > 1:
		return "", "", ErrManyUIDs
	case len(domains) == 0:
		return "", "", ErrNoDomain
	case len(domains) > 1:
		return "", "", ErrManyDomains
	}
	return uids[0], domains[0], nil
}

// HasUID reports whether cert is meant for a user: whether it holds a uid in its
// subjectAltName, in whatever state. A broken one counts, and Parse then says
// what is wrong with it.
func HasUID(cert *x509.Certificate) bool { return certname.HasUID(cert) }

// names returns the value of the one subjectAltName.
func names(cert *x509.Certificate) ([]byte, error) {
	var san []byte
	if cert == nil {
		return nil, ErrNoNames
	}
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		if san != nil { // RFC 5280 4.2
			return nil, fmt.Errorf("%w: it stands twice", ErrEncoding)
		}
		san = ext.Value
	}
	if san == nil {
		return nil, ErrNoNames
	}
	return san, nil
}

// read walks GeneralNames. cryptobyte takes minimal, definite lengths only.
func read(san []byte) (uids, domains []string, err error) {
	in := cryptobyte.String(san)
	var list cryptobyte.String
	if !in.ReadASN1(&list, asn1.SEQUENCE) || !in.Empty() {
		return nil, nil, ErrEncoding
	}
	for !list.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !list.ReadAnyASN1(&name, &tag) || tag&tagClass != contextSpecific {
			return nil, nil, ErrEncoding
		}
		switch tag & tagNumber {
		case kindDNS:
			domain, err := readDNS(name, tag)
			if err != nil {
				return nil, nil, err
			}
			domains = append(domains, domain)
		case kindOther:
			uid, isUID, err := readOther(name, tag)
			if err != nil {
				return nil, nil, err
			}
			if isUID {
				uids = append(uids, uid)
			}
		}
	}
	return uids, domains, nil
}

// readDNS reads a dNSName, IMPLICIT IA5String.
func readDNS(name cryptobyte.String, tag asn1.Tag) (string, error) {
	if tag != kindDNS.ContextSpecific() || len(name) == 0 || !isASCII(name) {
		return "", fmt.Errorf("%w: dNSName", ErrEncoding)
	}
	return string(name), nil
}

// readOther reads an otherName:
//
//	[0] { OBJECT IDENTIFIER type-id, [0] EXPLICIT value }
//
// The value of any type but uid is not looked at.
func readOther(name cryptobyte.String, tag asn1.Tag) (uid string, isUID bool, err error) {
	var id encasn1.ObjectIdentifier
	var value cryptobyte.String
	if tag != kindOther.ContextSpecific().Constructed() ||
		!name.ReadASN1ObjectIdentifier(&id) ||
		!name.ReadASN1(&value, asn1.Tag(0).ContextSpecific().Constructed()) ||
		!name.Empty() {
		return "", false, fmt.Errorf("%w: otherName", ErrEncoding)
	}
	if !id.Equal(oidUID) {
		return "", false, nil
	}
	var text cryptobyte.String
	var kind asn1.Tag
	if !value.ReadAnyASN1(&text, &kind) || !value.Empty() {
		return "", false, fmt.Errorf("%w: uid", ErrEncoding)
	}
	if !isText(text, kind) {
		return "", false, ErrUIDValue
	}
	return string(text), true, nil
}

// isText reports whether text may be a uid. A uid is a Directory String (RFC
// 4519 2.39); of its types T61String, BMPString and UniversalString are refused,
// since each is one more way to spell the same user.
func isText(text []byte, kind asn1.Tag) bool {
	switch kind {
	case asn1.UTF8String:
		return len(text) > 0 && utf8.Valid(text)
	case asn1.PrintableString, asn1.IA5String:
		return len(text) > 0 && isASCII(text)
	default:
		return false
	}
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Marshal returns the subjectAltName of a user certificate: the domain (in
// A-labels) as its dNSName and the uid as a UTF8String. It writes what it is
// given; saslext.NewIdentity says what is a good uid and domain. It fails for
// what Parse could not read back.
func Marshal(uid, domain string) (pkix.Extension, error) {
	if !isText([]byte(uid), asn1.UTF8String) {
		return pkix.Extension{}, fmt.Errorf("%.80q: %w", uid, ErrUIDValue)
	}
	if domain == "" || !isASCII([]byte(domain)) {
		return pkix.Extension{}, fmt.Errorf("%.80q: %w", domain, ErrNoDomain)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(kindDNS.ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(domain)) })
		b.AddASN1(kindOther.ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidUID)
			b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(uid)) })
			})
		})
	})
	value, err := b.Bytes()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("subjectAltName of %.80q: %w", uid, err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: value}, nil
}
