package tlsa

import (
	"crypto/x509"
	"fmt"
	"time"
)

// MakeKey is Make for those who have a key alone, as DER SubjectPublicKeyInfo:
// the selector is 1.
func MakeKey(usage, matching uint8, spki []byte) (Record, error) {
	return Make(usage, SelectorSPKI, matching, &x509.Certificate{Raw: spki, RawSubjectPublicKeyInfo: spki})
}

// AnchorProblem says why a certificate, published with usage 2, would vouch for
// nobody whatever it issues; "" when it may.
func AnchorProblem(ca *x509.Certificate, now time.Time) string {
	if why := anchorProblem(ca, &x509.Certificate{}, now); why != "" {
		return why
	}
	return slowKey(ca.PublicKey)
}

// Entry is a record with its place in the DNS.
type Entry struct {
	Owner  string // without the final dot
	TTL    uint32 // seconds
	Record Record
}

// String returns the entry as a line of a zone file (RFC 1035 5.1).
func (e Entry) String() string {
	return fmt.Sprintf("%s. %d IN TLSA %s", e.Owner, e.TTL, e.Record)
}

// Update returns the line that makes nsupdate add the entry (RFC 2136).
func (e Entry) Update() string { return "update add " + e.String() }
