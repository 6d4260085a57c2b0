package certname_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"dancemta/internal/certname"
)

// The names in DER, written by hand (RFC 5280 4.2.1.6).
var (
	dns     = []byte("\x82\x0bexample.org")
	uid     = []byte("\xa0\x14\x06\x0a\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01\xa0\x06\x0c\x04rick")
	upn     = []byte("\xa0\x16\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x08\x0c\x06r@corp")
	primUID = append([]byte{0x80}, uid[1:]...)
	badOID  = []byte("\xa0\x04\x06\x02\x80\x01") // an arc with a leading zero; no uid, but readable as a type
	noType  = []byte("\xa0\x03\x0c\x01x")        // begins with a string
)

func san(names ...[]byte) []byte {
	body := bytes.Join(names, nil)
	return append([]byte{0x30, byte(len(body))}, body...)
}

func certificate(value []byte) *x509.Certificate {
	return &x509.Certificate{Extensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: uid}, // another extension does not matter
		{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value},
	}}
}

func TestHasUID(t *testing.T) {
	tests := []struct {
		name  string
		value []byte
		want  bool
	}{
		{"a name of a host", san(dns), false},
		{"no names", san(), false},
		{"a uid", san(uid), true},
		{"a uid behind a host", san(dns, uid), true},
		{"two uids", san(uid, uid), true},
		{"another otherName", san(dns, upn), false},
		{"another otherName, then a uid", san(upn, uid), true},
		{"a uid in a primitive otherName", san(dns, primUID), true},
		{"a uid cut short", san(dns, uid[:12]), true},
		{"a uid inside a directoryName", san([]byte("\xa4\x0e"), uid[2:16]), true},
		{"an otherName of an odd type", san(dns, badOID), false},
		{"an otherName without a type", san(dns, noType), true},
		{"an empty otherName", san(dns, []byte{0xa0, 0}), true},
		{"a primitive otherName", san(dns, []byte{0x80, 0}), true},
		{"an extension that is no sequence", dns, true},
		{"an empty extension", nil, true},
		{"a sequence with something behind it", append(san(dns), 5, 0), true},
		{"a uid behind the sequence", append(san(dns), uid...), true},
		{"a name cut short", san(dns[:5]), true},
		{"a length that is not minimal", san([]byte("\x82\x81\x0bexample.org")), true},
		{"an indefinite length", []byte("\x30\x80\x82\x01x\x00\x00"), true},
	}
	for _, test := range tests {
		if got := certname.HasUID(certificate(test.value)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if certname.HasUID(nil) || certname.HasUID(&x509.Certificate{}) {
		t.Error("a uid without a subjectAltName")
	}
}

func FuzzHasUID(f *testing.F) {
	for _, value := range [][]byte{san(dns), san(uid), san(dns, uid), san(upn), san(noType), nil} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got := certname.HasUID(certificate(value))
		if !got && bytes.Contains(value, []byte("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01")) {
			t.Errorf("%x holds a uid", value)
		}
	})
}
