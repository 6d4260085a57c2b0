package tlsa

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
)

const (
	// maxRecords is far above what a rollover needs (two or three), and bounds
	// the work for an RRset that fills a 64 KiB answer.
	maxRecords = 100

	// maxFull bounds a whole certificate or key in a record. A CA certificate
	// has 1 to 2 KiB; 16 KiB also hold those with large post-quantum keys.
	maxFull = 16 << 10
)

// Usable returns the records that can say something here, in their order. The
// others are dropped as if they were not published (RFC 6698 4.1), among them
// those of usages 0 and 1 where roots is nil; then the digests that a stronger
// one outdoes are dropped (RFC 7671 9). An RRset of more than 100 records is no
// honest one: none of it is usable.
func Usable(records []Record, roots *x509.CertPool) []Record {
	if len(records) > maxRecords {
		return nil
	}
	var usable []Record
	for _, r := range records {
		if r.Problem(roots) == "" {
			usable = append(usable, r)
		}
	}
	return strongest(usable)
}

// strongest applies digest agility (RFC 7671 9): for each usage and selector it
// keeps the full data and the records of the strongest digest in use. A weaker
// one is dropped even if it would match.
func strongest(records []Record) []Record {
	type group struct{ usage, selector uint8 }
	best := map[group]uint8{}
	for _, r := range records {
		// SHA2-512 outdoes SHA2-256; the numbers have the same order.
		g := group{r.Usage, r.Selector}
		best[g] = max(best[g], r.Matching)
	}
	var kept []Record
	for _, r := range records {
		if r.Matching == MatchingFull || r.Matching == best[group{r.Usage, r.Selector}] {
			kept = append(kept, r)
		}
	}
	return kept
}

// Problem says why the record is not usable here (RFC 6698 4.1); "" when it is.
// It does not know the other records, so nothing of digest agility. Usages 0 and
// 1 want roots.
func (r Record) Problem(roots *x509.CertPool) string {
	switch {
	case r.needsRoots() && roots == nil: // RFC 7671 4: they add little, and nobody has them by accident
		return fmt.Sprintf("usage %d would need public roots", r.Usage)
	case r.Usage > UsageDANEEE:
		return "unknown usage"
	case r.Selector > SelectorSPKI:
		return "unknown selector"
	}
	switch r.Matching {
	case MatchingFull:
		return fullProblem(r)
	case MatchingSHA256:
		return digestProblem(r, sha256.Size)
	case MatchingSHA512:
		return digestProblem(r, sha512.Size)
	}
	return "unknown matching type"
}

func (r Record) needsRoots() bool { return r.Usage == UsagePKIXTA || r.Usage == UsagePKIXEE }

func digestProblem(r Record, size int) string {
	if len(r.Data) != size {
		return fmt.Sprintf("digest of %d octets, not %d", len(r.Data), size)
	}
	return ""
}

func fullProblem(r Record) string {
	if len(r.Data) > maxFull {
		return fmt.Sprintf("%d octets, over %d", len(r.Data), maxFull)
	}
	if r.Selector == SelectorCert {
		cert, err := x509.ParseCertificate(r.Data)
		if err != nil {
			return "not a certificate: " + clean(err.Error())
		}
		return slowKey(cert.PublicKey)
	}
	key, err := x509.ParsePKIXPublicKey(r.Data)
	if err != nil {
		return "not a public key: " + clean(err.Error())
	}
	return slowKey(key)
}
