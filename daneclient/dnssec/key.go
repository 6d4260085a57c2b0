package dnssec

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/miekg/dns"
)

// algorithms are those that we can check. All others make a zone insecure by
// its own DS: 1, 3, 5, 6, 7 and 12 are retired (RFC 9905, RFC 9906), 16 is not
// in Go's library.
var algorithms = map[uint8]bool{
	dns.RSASHA256:       true,
	dns.RSASHA512:       true,
	dns.ECDSAP256SHA256: true,
	dns.ECDSAP384SHA384: true,
	dns.ED25519:         true,
}

// digestSizes are the digests of DS records that count, with their octets.
// SHA-1 (1) is retired: RFC 9905.
var digestSizes = map[uint8]int{dns.SHA256: 32, dns.SHA384: 48}

// dnssecProtocol is the one value that the field may have. RFC 4034 2.1.2
const dnssecProtocol = 3

// minRSABits: smaller keys can be factored by anybody with some patience, and
// Go refuses them.
const minRSABits = 1024

// usableDS reports whether a DS can be followed. RFC 4035 5.2
func usableDS(ds *dns.DS) bool {
	return algorithms[ds.Algorithm] && digestSizes[ds.DigestType] != 0
}

// usableKey reports whether a key may sign the data of its zone: RFC 4034
// 2.1.1 (zone flag) and 2.1.2 (protocol), RFC 5011 2.1 (not revoked).
func usableKey(k *dns.DNSKEY) bool {
	return k.Flags&dns.ZONE != 0 && k.Flags&dns.REVOKE == 0 && k.Protocol == dnssecProtocol &&
		algorithms[k.Algorithm] && !weakRSA(k)
}

// matchesDS reports whether a key is the one that a DS names. RFC 4034 5.1.4
func matchesDS(k zoneKey, ds *dns.DS) bool {
	if k.tag != ds.KeyTag || k.Algorithm != ds.Algorithm {
		return false
	}
	made := k.ToDS(ds.DigestType)
	return made != nil && sameHex(made.Digest, ds.Digest)
}

func sameHex(a, b string) bool {
	_, err := hex.DecodeString(b)
	return err == nil && strings.EqualFold(a, b)
}

// weakRSA reports whether an RSA key is too short or cannot be read.
func weakRSA(k *dns.DNSKEY) bool {
	if k.Algorithm != dns.RSASHA256 && k.Algorithm != dns.RSASHA512 {
		return false
	}
	raw, err := base64.StdEncoding.DecodeString(k.PublicKey)
	if err != nil || len(raw) < 3 {
		return true
	}
	// RFC 3110 2: one octet of exponent length, or 0 and two octets of it.
	exponent, start := int(raw[0]), 1
	if exponent == 0 {
		exponent, start = int(raw[1])<<8|int(raw[2]), 3
	}
	if len(raw) < start+exponent {
		return true
	}
	modulus := raw[start+exponent:]
	return len(modulus)*8 < minRSABits
}

// zoneKey is a key with its tag, which costs as much as a hash to compute.
type zoneKey struct {
	*dns.DNSKEY
	tag uint16
}
