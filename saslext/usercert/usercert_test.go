package usercert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"dancemta/saslext/usercert"
)

var (
	oidSAN   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidUID   = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
	oidUPN   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
	explicit = tag.Tag(0).ContextSpecific().Constructed()
)

const bmpString = tag.Tag(30)

type part = func(*cryptobyte.Builder)

func san(parts ...part) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			p(b)
		}
	})
	return b.BytesOrPanic()
}

func raw(t tag.Tag, content string) part {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(t, func(b *cryptobyte.Builder) { b.AddBytes([]byte(content)) })
	}
}

func dns(name string) part { return raw(tag.Tag(2).ContextSpecific(), name) }

func other(id asn1.ObjectIdentifier, value ...part) part {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(explicit, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(explicit, func(b *cryptobyte.Builder) {
				for _, v := range value {
					v(b)
				}
			})
		})
	}
}

func uid(name string) part { return other(oidUID, raw(tag.UTF8String, name)) }

func cert(value []byte) *x509.Certificate {
	return &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSAN, Value: value}}}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	ext := func(t tag.Tag) tag.Tag { return t.ContextSpecific() }
	tests := []struct {
		name string
		san  []byte
		uid  string
		err  error
	}{
		{"plain", san(dns("example.org"), uid("rick")), "rick", nil},
		{"other order", san(uid("rick"), dns("example.org")), "rick", nil},
		{"as written", san(uid("Rick"), dns("example.org")), "Rick", nil},
		{"UTF-8", san(uid("jürgen"), dns("example.org")), "jürgen", nil},
		{"PrintableString", san(dns("example.org"), other(oidUID, raw(tag.PrintableString, "rick"))), "rick", nil},
		{"IA5String", san(dns("example.org"), other(oidUID, raw(tag.IA5String, "rick"))), "rick", nil},
		{"other kinds of names", san(
			raw(ext(1), "eve@example.org"), raw(ext(7), "\x7f\x00\x00\x01"), raw(ext(6), "https://example.org"),
			raw(ext(4).Constructed(), ""), other(oidUPN, raw(tag.UTF8String, "eve")), dns("example.org"), uid("rick")), "rick", nil},
		{"any value of another type", san(other(oidUPN, raw(bmpString, "\x00e"), raw(tag.INTEGER, "\x01")), dns("example.org"), uid("rick")), "rick", nil},

		{"no uid", san(dns("example.org")), "", usercert.ErrNoUID},
		{"mail address is no uid", san(dns("example.org"), raw(ext(1), "rick@example.org")), "", usercert.ErrNoUID},
		{"other type is no uid", san(dns("example.org"), other(oidUPN, raw(tag.UTF8String, "rick"))), "", usercert.ErrNoUID},
		{"two uids", san(dns("example.org"), uid("rick"), uid("eve")), "", usercert.ErrManyUIDs},
		{"the same uid twice", san(dns("example.org"), uid("rick"), uid("rick")), "", usercert.ErrManyUIDs},
		{"no domain", san(uid("rick")), "", usercert.ErrNoDomain},
		{"two domains", san(dns("example.org"), uid("rick"), dns("victim.example")), "", usercert.ErrManyDomains},
		{"the same domain twice", san(dns("example.org"), dns("example.org"), uid("rick")), "", usercert.ErrManyDomains},
		{"no names", san(), "", usercert.ErrNoUID},

		{"empty uid", san(dns("example.org"), uid("")), "", usercert.ErrUIDValue},
		{"invalid UTF-8", san(dns("example.org"), uid("r\xff")), "", usercert.ErrUIDValue},
		{"Latin-1 in IA5String", san(dns("example.org"), other(oidUID, raw(tag.IA5String, "r\xe9"))), "", usercert.ErrUIDValue},
		{"UTF-8 in PrintableString", san(dns("example.org"), other(oidUID, raw(tag.PrintableString, "ré"))), "", usercert.ErrUIDValue},
		{"T61String", san(dns("example.org"), other(oidUID, raw(tag.T61String, "rick"))), "", usercert.ErrUIDValue},
		{"BMPString", san(dns("example.org"), other(oidUID, raw(bmpString, "\x00r"))), "", usercert.ErrUIDValue},
		{"UniversalString", san(dns("example.org"), other(oidUID, raw(tag.Tag(28), "\x00\x00\x00r"))), "", usercert.ErrUIDValue},
		{"OCTET STRING", san(dns("example.org"), other(oidUID, raw(tag.OCTET_STRING, "rick"))), "", usercert.ErrUIDValue},
		{"constructed string", san(dns("example.org"), other(oidUID, raw(tag.UTF8String.Constructed(), "rick"))), "", usercert.ErrUIDValue},
		{"SET of strings", san(dns("example.org"), other(oidUID, raw(tag.SET, "\x0c\x01r"))), "", usercert.ErrUIDValue},

		{"uid without a value", san(dns("example.org"), other(oidUID)), "", usercert.ErrEncoding},
		{"two values", san(dns("example.org"), other(oidUID, raw(tag.UTF8String, "rick"), raw(tag.UTF8String, "eve"))), "", usercert.ErrEncoding},
		{"constructed dNSName", san(raw(ext(2).Constructed(), "example.org"), uid("rick")), "", usercert.ErrEncoding},
		{"primitive otherName", san(dns("example.org"), raw(ext(0), "rick")), "", usercert.ErrEncoding},
		{"dNSName not ASCII", san(dns("bücher.example"), uid("rick")), "", usercert.ErrEncoding},
		{"empty dNSName", san(dns(""), uid("rick")), "", usercert.ErrEncoding},
		{"universal tag", san(dns("example.org"), uid("rick"), raw(tag.UTF8String, "x")), "", usercert.ErrEncoding},
		{"empty", []byte{}, "", usercert.ErrEncoding},
		{"not a sequence", []byte{0x31, 0x00}, "", usercert.ErrEncoding},
		{"behind the sequence", append(san(dns("example.org"), uid("rick")), 0x05, 0x00), "", usercert.ErrEncoding},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gotUID, gotDomain, err := usercert.Parse(cert(tt.san))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			wantDomain := "example.org"
			if tt.err != nil {
				wantDomain = ""
			}
			if gotUID != tt.uid || gotDomain != wantDomain {
				t.Errorf("got %q, %q; want %q, %q", gotUID, gotDomain, tt.uid, wantDomain)
			}
		})
	}
}

// The bytes of the first case are those that OpenSSL writes.
func TestParseBytes(t *testing.T) {
	const domain, id = "82 0b 6578616d706c652e6f7267 ", "06 0a 0992268993f22c640101 "
	tests := []struct {
		name, san string
		err       error
	}{
		{"OpenSSL", "30 23 " + domain + "a0 14 " + id + "a0 06 0c 04 7269636b", nil},
		{"behind the string", "30 25 " + domain + "a0 16 " + id + "a0 08 0c 04 7269636b 0500", usercert.ErrEncoding},
		{"behind the value", "30 25 " + domain + "a0 16 " + id + "a0 06 0c 04 7269636b 0500", usercert.ErrEncoding},
		{"long length of the string", "30 24 " + domain + "a0 15 " + id + "a0 07 0c 81 04 7269636b", usercert.ErrEncoding},
		{"long length of the value", "30 24 " + domain + "a0 15 " + id + "a0 81 06 0c 04 7269636b", usercert.ErrEncoding},
		{"long length of the name", "30 24 " + domain + "a0 81 14 " + id + "a0 06 0c 04 7269636b", usercert.ErrEncoding},
		{"long length of the sequence", "30 81 23 " + domain + "a0 14 " + id + "a0 06 0c 04 7269636b", usercert.ErrEncoding},
		{"long length of the domain", "30 24 82 81 0b 6578616d706c652e6f7267 a0 14 " + id + "a0 06 0c 04 7269636b", usercert.ErrEncoding},
		{"indefinite length", "30 80 " + domain + "a0 14 " + id + "a0 06 0c 04 7269636b 0000", usercert.ErrEncoding},
		{"padded type-id", "30 24 " + domain + "a0 15 06 0b 8009 92268993f22c640101 a0 06 0c 04 7269636b", usercert.ErrEncoding},
		{"value not explicit", "30 21 " + domain + "a0 12 " + id + "0c 04 7269636b", usercert.ErrEncoding},
		{"short", "30 23 " + domain + "a0 14 " + id + "a0 06 0c 04 726963", usercert.ErrEncoding},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			uid, domain, err := usercert.Parse(cert(unhex(t, tt.san)))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err == nil && (uid != "rick" || domain != "example.org") {
				t.Errorf("got %q, %q", uid, domain)
			}
		})
	}
}

func TestParseWithoutNames(t *testing.T) {
	twice := cert(san(dns("example.org"), uid("rick")))
	twice.Extensions = append(twice.Extensions, twice.Extensions[0])
	subject := &x509.Certificate{Subject: pkix.Name{CommonName: "rick", Names: []pkix.AttributeTypeAndValue{{Type: oidUID, Value: "rick"}}}}
	tests := []struct {
		name string
		cert *x509.Certificate
		err  error
	}{
		{"nil", nil, usercert.ErrNoNames},
		{"no extension", &x509.Certificate{}, usercert.ErrNoNames},
		{"uid and name in the subject alone", subject, usercert.ErrNoNames},
		{"two extensions", twice, usercert.ErrEncoding},
	}
	for _, tt := range tests {
		if _, _, err := usercert.Parse(tt.cert); !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestHasUID(t *testing.T) {
	broken := san(dns("example.org"), other(oidUID))
	tests := []struct {
		name string
		cert *x509.Certificate
		want bool
	}{
		{"user", cert(san(dns("example.org"), uid("rick"))), true},
		{"two uids", cert(san(uid("rick"), uid("eve"))), true},
		{"without a value", cert(broken), true},
		{"cut off", cert(broken[:len(broken)-1]), true},
		{"machine", cert(san(dns("mx.example.org"))), false},
		{"another otherName", cert(san(dns("mx.example.org"), other(oidUPN, raw(tag.UTF8String, "rick")))), false},
		{"nothing", &x509.Certificate{}, false},
		{"nil", nil, false},
	}
	for _, tt := range tests {
		if got := usercert.HasUID(tt.cert); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestMarshal(t *testing.T) {
	ext, err := usercert.Marshal("rick", "example.org")
	if err != nil {
		t.Fatal(err)
	}
	want := "3023820b6578616d706c652e6f7267a014060a0992268993f22c640101a0060c047269636b" // as OpenSSL
	if got := hex.EncodeToString(ext.Value); got != want || !ext.Id.Equal(oidSAN) || ext.Critical {
		t.Errorf("got %v %s\nwant %s", ext.Id, got, want)
	}
	for _, bad := range [][2]string{{"", "example.org"}, {"r\xff", "example.org"}, {"rick", ""}, {"rick", "bücher.example"}} {
		if _, err := usercert.Marshal(bad[0], bad[1]); err == nil {
			t.Errorf("Marshal(%q, %q): no error", bad[0], bad[1])
		}
	}
}

// A certificate with the extension, critical or not, is one that crypto/x509
// reads and whose names come back.
func TestCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, critical := range []bool{false, true} {
		ext, err := usercert.Marshal("+mail+archive", "example.org")
		if err != nil {
			t.Fatal(err)
		}
		ext.Critical = critical
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(4e9, 0), ExtraExtensions: []pkix.Extension{ext}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		uid, domain, err := usercert.Parse(c)
		if uid != "+mail+archive" || domain != "example.org" || err != nil {
			t.Errorf("critical %v: got %q, %q, %v", critical, uid, domain, err)
		}
		if len(c.UnhandledCriticalExtensions) > 0 {
			t.Errorf("critical %v: crypto/x509 does not handle it", critical)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(san(dns("example.org"), uid("rick")))
	f.Add(san(uid("rick"), uid("eve"), dns("a.example"), dns("b.example")))
	f.Add(san(other(oidUPN, raw(tag.UTF8String, "rick")), raw(tag.Tag(1).ContextSpecific(), "rick@example.org")))
	f.Add([]byte{0x30, 0x80, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, value []byte) {
		c := cert(value)
		uid, domain, err := usercert.Parse(c)
		if err != nil {
			if uid != "" || domain != "" {
				t.Fatalf("text with an error: %q, %q", uid, domain)
			}
			return
		}
		if !usercert.HasUID(c) {
			t.Fatal("a user without a uid")
		}
		ext, err := usercert.Marshal(uid, domain)
		if err != nil {
			t.Fatal(err)
		}
		again, domainAgain, err := usercert.Parse(cert(ext.Value))
		if again != uid || domainAgain != domain || err != nil {
			t.Fatalf("%q, %q became %q, %q, %v", uid, domain, again, domainAgain, err)
		}
	})
}
