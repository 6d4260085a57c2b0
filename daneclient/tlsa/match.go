package tlsa

import (
	"bytes"
	"crypto/x509"
	"time"
)

// Options of Match.
type Options struct {
	// Name is the dNSName that a client's leaf must hold for usages 0 to 2; the
	// empty name is held by none. It is compared last, see MismatchError.OnlyName.
	Name string
	// Hosts, when there are any, make the peer a server of one of these names: the
	// leaf may hold it by a wildcard, too (RFC 7671 5.2.3), and must be good for
	// servers. Name then plays no part.
	Hosts []string
	// CommonName lets the common name stand for the dNSNames of a server's leaf that
	// has none, as mail servers may (RFC 7672 3.2.3).
	CommonName bool
	// Now is when the chain must be valid for usages 0 to 2; at the zero time none is.
	Now time.Time
	// AnchorsOnly lets only usages 2 and 0 count, which publish a CA.
	AnchorsOnly bool
	// Roots are the CAs at which the path of usages 0 and 1 must end; nil lets
	// neither count.
	Roots *x509.CertPool
	// ServerLeaf lets a client's leaf be for servers alone: public CAs issue no other
	// for mail servers, which are clients of each other.
	ServerLeaf bool
	// Paths remembers the paths of usage 2; nil: nobody does.
	Paths *Paths
}

// Result is a match.
type Result struct {
	Record   Record
	NotAfter time.Time // usages 0 to 2: when the first certificate of the path expires; else zero
}

// Match compares a chain, leaf first as the peer sent it, with records that
// come from Usable. One record is enough. Usage 3 is tried first, so that a
// leaf which is itself published matches whatever the usage 2 records say of
// its names and dates (RFC 7671 5.1); then usage 2, which needs no roots. When
// nothing matches it returns a *MismatchError.
func Match(records []Record, chain []*x509.Certificate, o Options) (Result, error) {
	miss := &MismatchError{}
	shown := fingerprints(chain)
	for _, r := range records {
		switch {
		case r.Usage != UsageDANEEE:
		case o.AnchorsOnly:
			miss.add(r, onlyCA)
		case len(shown) > 0 && shown[0].is(r):
			return Result{Record: r}, nil
		default:
			miss.add(r, "not the leaf that was shown")
		}
	}
	if result, ok := matchAnchors(records, shown, o, miss); ok {
		return result, nil
	}
	if result, ok := matchPKIX(records, shown, o, miss); ok {
		return result, nil
	}
	return Result{}, miss
}

// onlyCA is why a leaf that is published proves nothing.
const onlyCA = "only a CA counts here"

// fingerprint is a certificate with the associations that were computed for it,
// so that a hundred records cost no more hashes than six.
type fingerprint struct {
	cert *x509.Certificate
	data [SelectorSPKI + 1][MatchingSHA512 + 1][]byte
}

// fingerprints takes the chain up to the first certificate that is none.
func fingerprints(chain []*x509.Certificate) []*fingerprint {
	var shown []*fingerprint
	for _, cert := range chain {
		if cert == nil || len(cert.Raw) == 0 {
			break
		}
		shown = append(shown, &fingerprint{cert: cert})
	}
	return shown
}

// is reports whether r holds what its selector and matching type make of the
// certificate (RFC 6698 2.1). It says nothing about the usage.
func (f *fingerprint) is(r Record) bool {
	if r.Selector > SelectorSPKI || r.Matching > MatchingSHA512 || len(r.Data) == 0 {
		return false
	}
	data := &f.data[r.Selector][r.Matching]
	if *data == nil {
		*data = association(r.Selector, r.Matching, f.cert)
	}
	return bytes.Equal(*data, r.Data)
}
