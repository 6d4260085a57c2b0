package proxy

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf8"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// The fields of identities, of those that the protocol leaves to applications
// (PROXY protocol 2.2.8).
const (
	ClientField proxyproto.PP2Type = 0xE0 // owner name of a DANE client, in A-labels
	UserField   proxyproto.PP2Type = 0xE1 // uid@domain, the domain in A-labels
)

// tls13 is how TLS 1.3 is spelled in a header.
const tls13 = "TLSv1.3"

// assert takes the identity from the fields, if there is one.
func (t *Told) assert(fields []proxyproto.TLV, may []pattern.Pattern, allowed func(Told) bool) error {
	claims := ofType(fields, ClientField, UserField)
	switch {
	case len(claims) == 0:
		return nil // nobody
	case len(claims) > 1:
		return ErrIdentities
	case !verified(fields):
		return ErrTLS
	}
	if err := t.name(claims[0]); err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	told := func(p pattern.Pattern) bool {
		if t.User.IsZero() {
			return p.MatchClient(t.Client)
		}
		return p.MatchUser(t.User.UID, t.User.Domain)
	}
	if !slices.ContainsFunc(may, told) || allowed == nil || !allowed(*t) {
		return fmt.Errorf("%w: %s", ErrNotAllowed, t.Identity())
	}
	return nil
}

// Identity returns who was told, as rules and logs write it; "" for nobody.
func (t Told) Identity() string {
	if t.User.IsZero() {
		return t.Client.String()
	}
	return t.User.ASCIIDomain()
}

// name reads a claim. It must be in normal form already: a proxy that writes a name
// in another way has not compared it as we do.
func (t *Told) name(claim proxyproto.TLV) (err error) {
	text := string(claim.Value)
	if !utf8.ValidString(text) {
		return fmt.Errorf("%q is not UTF-8", text)
	}
	if claim.Type == UserField {
		if t.User, err = saslext.ParseIdentity(text); err == nil && t.User.ASCIIDomain() != text {
			err = fmt.Errorf("%q is %q", text, t.User.ASCIIDomain())
		}
		return err
	}
	if t.Client, err = dnsname.ParseOwner(text); err != nil {
		return err
	}
	if t.Client.String() != text {
		return fmt.Errorf("%q is %q", text, t.Client)
	}
	if !t.Client.HasUnderscore() {
		return fmt.Errorf("%q has no underscore label, so it is a host's name and not an owner's", text)
	}
	_, err = daneclient.FreeOwner(t.Client) // never a user's or a server's
	return err
}

// verified reports whether the proxy says, exactly once, that the client showed a
// certificate on this connection, that it is good, and that TLS was 1.3. A session
// that was resumed brings a certificate back that nobody judged this time.
func verified(fields []proxyproto.TLV) bool {
	about := ofType(fields, proxyproto.PP2_TYPE_SSL)
	if len(about) != 1 {
		return false
	}
	ssl, err := tlvparse.SSL(about[0])
	if err != nil {
		return false
	}
	version := ofType(ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_VERSION)
	return ssl.ClientSSL() && ssl.ClientCertConn() && ssl.Verify == 0 && // PROXY protocol 2.2.6: 0 is good
		len(version) == 1 && string(version[0].Value) == tls13
}

func ofType(fields []proxyproto.TLV, types ...proxyproto.PP2Type) (found []proxyproto.TLV) {
	for _, f := range fields {
		if slices.Contains(types, f.Type) {
			found = append(found, f)
		}
	}
	return found
}

// Octets before the fields of a header of version 2: signature, version, family and
// length, and the addresses (PROXY protocol 2.2).
const (
	fixedSize = 16
	sizeTCP4  = 12
	sizeTCP6  = 36
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum compares the checksum of a header that has one: that of the whole header
// with zeros in its place (PROXY protocol 2.2.3).
func checksum(h *proxyproto.Header, fields []proxyproto.TLV) error {
	sums := ofType(fields, proxyproto.PP2_TYPE_CRC32C)
	if len(sums) == 0 {
		return nil
	}
	raw, err := h.Format()
	if err != nil || len(sums) > 1 || len(sums[0].Value) != crc32.Size {
		return ErrChecksum
	}
	at := fixedSize + sizeTCP4
	if h.TransportProtocol == proxyproto.TCPv6 {
		at = fixedSize + sizeTCP6
	}
	for raw[at] != byte(proxyproto.PP2_TYPE_CRC32C) { // the fields were split without an error, so it is there
		at += 3 + int(binary.BigEndian.Uint16(raw[at+1:]))
	}
	clear(raw[at+3 : at+3+crc32.Size])
	if crc32.Checksum(raw, castagnoli) != binary.BigEndian.Uint32(sums[0].Value) {
		return ErrChecksum
	}
	return nil
}
