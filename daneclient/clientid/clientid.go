// Package clientid is the TLS 1.3 extension dane_clientid (client-auth 7): by it a
// client tells, with its certificate, under which name its TLSA records stand.
//
// The server asks with an empty name in CertificateRequest, the client answers
// with the whole owner name in the first entry of its Certificate message. Start
// with Request for a server, Present for a client, and Parse for what came.
//
// The Go library cannot carry foreign extensions there. The folder overlay holds
// a tool that teaches it, at build time; a program built without it has Supported
// false, asks for nothing and sends nothing.
package clientid

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"dancemta/internal/dnsname"
)

// DefaultType is the extension's number until IANA gives one: RFC 8446 11 keeps
// the types whose first octet is 255 for private use.
const DefaultType uint16 = 0xFFDC

// Errors of Parse; each comes wrapped with what is wrong.
var (
	// ErrEncoding: length and data disagree; TLS answers decode_error.
	ErrEncoding = errors.New("malformed dane_clientid extension")
	// ErrEmpty: a name of no octets, which client-auth 8.2 wants to end the handshake.
	ErrEmpty = errors.New("empty ClientName")
	// ErrName: not an owner name in A-labels.
	ErrName = errors.New("ClientName is no owner name")
)

// ErrUnsupported says that this program was built without the overlay.
var ErrUnsupported = errors.New("this build has no dane_clientid extension: it was made without the overlay of crypto/tls")

// Alerts that a server sends (RFC 8446 6.2).
const (
	AlertDecodeError      tls.AlertError = 50
	AlertHandshakeFailure tls.AlertError = 40
)

// Parse reads the extension_data of a client's answer: one length octet, then the
// name in ASCII, whole, without a final dot.
func Parse(data []byte) (dnsname.Name, error) {
	switch {
	case len(data) == 0, len(data) == 1 && data[0] == 0:
		// No octets at all is what drafts before client-auth-13 sent for
		// "take the name from my certificate"; here it names nobody either.
		return dnsname.Name{}, ErrEmpty
	case int(data[0]) != len(data)-1:
		return dnsname.Name{}, fmt.Errorf("%w: length %d, and %d octets follow", ErrEncoding, data[0], len(data)-1)
	}
	name, err := dnsname.ParseOwner(string(data[1:]))
	if err != nil {
		return dnsname.Name{}, fmt.Errorf("%w: %v", ErrName, err)
	}
	return name, nil
}

// Present returns what tls.Config.GetClientCertificate wants: the certificate, and
// with it the name for a server that asks for one in a form that Asked knows. A
// request of another form is not one for a name: client-auth 7 makes it empty, so
// that what came is a mistake, and a name is told to nobody by mistake.
func Present(cert tls.Certificate, typ uint16, name dnsname.Name) (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	named, err := Answer(cert, typ, name)
	if err != nil {
		return nil, err
	}
	return func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if Asked(r, typ) {
			return &named, nil
		}
		return &cert, nil
	}, nil
}

// mixed says that a program holds crypto/tls of another Go than its own: one was built
// with files that the tool of folder overlay had made before Go was upgraded in place.
// It would run with the faults that the upgrade mended. "" when all is well.
func mixed(patched, own string) string {
	// A Go with experiments has words behind its version.
	if patched, own = firstWord(patched), firstWord(own); patched == own {
		return ""
	}
	return fmt.Sprintf("crypto/tls of this build was made from %s, all else from %s", patched, own)
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// marshal is the extension_data that carries a name; the zero Name asks for one.
func marshal(name dnsname.Name) []byte {
	s := name.String() // at most 253 octets
	return append([]byte{byte(len(s))}, s...)
}
