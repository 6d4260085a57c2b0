package tlsa

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"fmt"
)

// The fields of a TLSA record (RFC 6698 2.1, names of RFC 7218).
const (
	UsagePKIXTA uint8 = 0 // CA constraint; unusable without roots
	UsagePKIXEE uint8 = 1 // service certificate constraint; unusable without roots
	UsageDANETA uint8 = 2 // trust anchor assertion
	UsageDANEEE uint8 = 3 // domain-issued certificate

	SelectorCert uint8 = 0 // the whole certificate, DER
	SelectorSPKI uint8 = 1 // its SubjectPublicKeyInfo, DER

	MatchingFull   uint8 = 0 // the bytes themselves
	MatchingSHA256 uint8 = 1
	MatchingSHA512 uint8 = 2
)

// Record is the RDATA of one TLSA record (RFC 6698 2.1).
type Record struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// String returns the record in presentation form: "3 1 1 ab12…", complete.
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data))
}

// Short returns the presentation form with the data cut, for logs.
func (r Record) Short() string {
	const shown = 8 // octets: enough to find the record among its siblings
	if len(r.Data) <= shown {
		return r.String()
	}
	cut := r
	cut.Data = r.Data[:shown]
	return cut.String() + "…"
}

// Make returns the record that publishes cert by usage, selector and matching.
// It fails for values that have no meaning (RFC 6698 2.1).
func Make(usage, selector, matching uint8, cert *x509.Certificate) (Record, error) {
	if usage > UsageDANEEE || selector > SelectorSPKI || matching > MatchingSHA512 {
		return Record{}, fmt.Errorf("TLSA %d %d %d: unknown usage, selector or matching type", usage, selector, matching)
	}
	if cert == nil || len(cert.Raw) == 0 {
		return Record{}, fmt.Errorf("TLSA %d %d %d: no certificate", usage, selector, matching)
	}
	return Record{usage, selector, matching, association(selector, matching, cert)}, nil
}

// association returns what a record with this selector and matching type holds
// for cert (RFC 6698 2.1.4); nil, which no usable record holds, for unknown ones.
func association(selector, matching uint8, cert *x509.Certificate) []byte {
	var data []byte
	switch selector {
	case SelectorCert:
		data = cert.Raw
	case SelectorSPKI:
		data = cert.RawSubjectPublicKeyInfo
	default:
		return nil
	}
	switch matching {
	case MatchingFull:
		return data
	case MatchingSHA256:
		sum := sha256.Sum256(data)
		return sum[:]
	case MatchingSHA512:
		sum := sha512.Sum512(data)
		return sum[:]
	default:
		return nil
	}
}
