package dnssec

import (
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// zone is the apex of a zone with the keys that the chain of trust proved. It
// never changes.
type zone struct {
	name    string
	keys    []zoneKey
	expires time.Time // of the whole chain above it
}

// matching returns the keys that may have made a signature. RFC 4035 5.3.1
func (z *zone) matching(sig *dns.RRSIG) []zoneKey {
	var keys []zoneKey
	for _, k := range z.keys {
		if k.tag == sig.KeyTag && k.Algorithm == sig.Algorithm {
			keys = append(keys, k)
		}
	}
	return keys
}

// proof is a signature that holds.
type proof struct {
	encloser string // of the wildcard that the records were made from; "" for none
	expires  time.Time
	tag      uint16
}

// reasons why a signature does not count, the most telling last: the fault
// names the worst.
const (
	otherSigner = iota + 1
	malformed
	noSuchKey
	outOfDate
	wrongSignature
)

// verify proves an RRset by the keys of a zone. One good signature is enough
// (RFC 6840 5.4); those without a key are passed over (5.12). A proof with an
// encloser is worth nothing yet: see proveExpansion.
func (l *lookup) verify(z *zone, set *rrset) (proof, error) {
	tried, rank, why := 0, 0, fmt.Sprintf("no signature, but the zone %s is signed", z.name)
	note := func(r int, format string, args ...any) {
		if r > rank {
			rank, why = r, fmt.Sprintf(format, args...)
		}
	}
	for _, sig := range set.sigs {
		if canonical(sig.SignerName) != z.name || !within(z.name, set.owner) {
			// RFC 4035 5.3.1: the zone that holds the records, and no other.
			note(otherSigner, "signed by %s, not by its zone %s", canonical(sig.SignerName), z.name)
			continue
		}
		if n := int(sig.Labels); n > signedLabels(set.owner) || n < dns.CountLabel(z.name) {
			note(malformed, "a signature for %d labels", n) // RFC 4035 5.3.1
			continue
		}
		if text := l.dates(sig); text != "" {
			note(outOfDate, "%s", text)
			continue
		}
		keys := z.matching(sig)
		if len(keys) == 0 {
			note(noSuchKey, "signed by the key %d, which the zone %s does not have", sig.KeyTag, z.name)
			continue
		}
		if tried++; tried > maxTried {
			return proof{}, tooMany("%s: more than %d signatures to try", set, maxTried)
		}
		good, err := l.tryKeys(keys, sig, set)
		if err != nil {
			return proof{}, err
		}
		if good {
			return l.proven(z, set, sig), nil
		}
		note(wrongSignature, "the signature of the key %d is wrong", sig.KeyTag)
	}
	err := asFault(bogus("%s: %s", set, why))
	if rank == outOfDate {
		err.hint = "is the clock right? It says " + l.now.UTC().Format(time.DateTime) + " UTC"
	}
	return proof{}, err
}

// dates says what is wrong with the dates of a signature, in serial
// arithmetic. RFC 4034 3.1.5
func (l *lookup) dates(sig *dns.RRSIG) string {
	now, skew := uint32(l.now.Unix()), uint32(l.skew/time.Second)
	switch {
	case int32(now+skew-sig.Inception) < 0:
		return "signature not valid before " + dns.TimeToString(sig.Inception)
	case int32(sig.Expiration+skew-now) < 0:
		return "signature expired on " + dns.TimeToString(sig.Expiration)
	}
	return ""
}

// tryKeys does the arithmetic, within the budget. KeyTrap, CVE-2023-50387
func (l *lookup) tryKeys(keys []zoneKey, sig *dns.RRSIG, set *rrset) (bool, error) {
	for _, k := range keys {
		if err := spend(&l.spent.checks, 1, maxChecks, "signature checks"); err != nil {
			return false, err
		}
		if sig.Verify(k.DNSKEY, set.rrs) == nil {
			return true, nil
		}
		if err := spend(&l.spent.failedChecks, 1, maxFailedChecks, "wrong signatures"); err != nil {
			return false, err
		}
	}
	return false, nil
}

// proven says how long a proof holds, and whether it is that of a wildcard.
// RFC 4035 5.3.3, 5.3.4
func (l *lookup) proven(z *zone, set *rrset, sig *dns.RRSIG) proof {
	left := sig.Expiration + uint32(l.skew/time.Second) - uint32(l.now.Unix())
	ttl := min(lowestTTL(set.rrs), sig.Hdr.Ttl, sig.OrigTtl, left)
	p := proof{tag: sig.KeyTag, expires: earlier(l.in(ttl), z.expires)}
	if n := int(sig.Labels); n < signedLabels(set.owner) {
		p.encloser = lastLabels(set.owner, n)
	}
	return p
}

func lowestTTL(rrs []dns.RR) uint32 {
	lowest := rrs[0].Header().Ttl
	for _, rr := range rrs {
		lowest = min(lowest, rr.Header().Ttl)
	}
	return lowest
}

func (l *lookup) in(seconds uint32) time.Time {
	return l.now.Add(min(time.Duration(seconds)*time.Second, maxLife))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// signerOf returns the signer that an RRset names, if it can be one: the
// longest of those that are the owner or above it. "" when there is none.
func signerOf(set *rrset) string {
	signer := ""
	for _, sig := range set.sigs {
		s := canonical(sig.SignerName)
		if within(s, set.owner) && (signer == "" || below(signer, s)) {
			signer = s
		}
	}
	return signer
}
