package lab

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Flags of a DNSKEY. RFC 4034 2.1.1, RFC 5011 3
const (
	flagZone   = 0x0100
	flagRevoke = 0x0080
	flagSEP    = 0x0001
)

// zoneKey is one key of a zone and what it is used for.
type zoneKey struct {
	public    *dns.DNSKEY
	private   crypto.Signer // nil when the algorithm is one that nobody here can sign with
	signsKeys bool          // the DNSKEY RRset
	signsData bool          // everything else
	inDS      bool
}

// keyBits is the size that goes with an algorithm; 0 for one we only claim.
func keyBits(algorithm uint8) int {
	switch algorithm {
	case dns.RSASHA1, dns.RSASHA1NSEC3SHA1, dns.RSASHA256, dns.RSASHA512:
		return 2048
	case dns.ECDSAP256SHA256, dns.ED25519:
		return 256
	case dns.ECDSAP384SHA384:
		return 384
	}
	return 0
}

// newKey makes a key pair; for algorithms that cannot sign here the public key
// is noise, and so will the signatures be.
func newKey(zone string, o ZoneOptions, flags uint16) *zoneKey {
	k := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: o.TTL},
		Flags: flags, Protocol: 3, Algorithm: o.Algorithm,
	}
	bits := keyBits(o.Algorithm)
	if bits == 0 {
		k.PublicKey = base64.StdEncoding.EncodeToString(noise(64))
		return &zoneKey{public: k}
	}
	for {
		private, err := k.Generate(bits)
		if err != nil {
			panic(fmt.Sprintf("lab: key of %s: %v", zone, err))
		}
		if k.KeyTag() != 0 { // one key in 65,536 has the tag 0, by which miekg/dns signs nothing
			return &zoneKey{public: k, private: private.(crypto.Signer)}
		}
	}
}

// newKeys makes the keys of a zone: one that does everything, or a pair.
func newKeys(zone string, o ZoneOptions) []*zoneKey {
	flags := uint16(flagZone)
	if o.Fault&NoZoneBit != 0 {
		flags = 0
	}
	if o.Fault&RevokedKey != 0 {
		flags |= flagRevoke
	}
	first := newKey(zone, o, flags|flagSEP)
	first.signsKeys, first.signsData, first.inDS = true, !o.SplitKeys, true
	keys := []*zoneKey{first}
	if o.SplitKeys {
		second := newKey(zone, o, flags)
		second.signsData = true
		keys = append(keys, second)
	}
	if o.StandbyKey {
		standby := newKey(zone, o, flags|flagSEP)
		standby.inDS = true
		keys = append(keys, standby)
	}
	return keys
}

// strayKey is a key of the zone's algorithm that is published nowhere.
func (z *Zone) strayKey() *zoneKey {
	if z.stray == nil {
		z.stray = newKey(z.name, z.opts, flagZone)
	}
	return z.stray
}

// digest makes the DS of a key; for a digest type that is not known here the
// digest is noise.
func (k *zoneKey) digest(digest uint8) *dns.DS {
	if ds := k.public.ToDS(digest); ds != nil {
		ds.Digest = strings.ToUpper(ds.Digest)
		return ds
	}
	h := k.public.Hdr
	h.Rrtype = dns.TypeDS
	return &dns.DS{
		Hdr: h, KeyTag: k.public.KeyTag(), Algorithm: k.public.Algorithm,
		DigestType: digest, Digest: strings.ToUpper(hex.EncodeToString(noise(32))),
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails; it ends the program instead
	return b
}

// collidingKeys makes n DNSKEYs with the tag and the algorithm of another, for
// which there are no private keys.
func collidingKeys(like *dns.DNSKEY, n int) []*dns.DNSKEY {
	var out []*dns.DNSKEY
	for len(out) < n {
		raw := noise(64)
		k := &dns.DNSKEY{Hdr: like.Hdr, Flags: flagZone, Protocol: 3, Algorithm: like.Algorithm}
		// The tag is a sum of 16 bit words (RFC 4034 B), of which the last is set so
		// that it fits; a carry may want a second turn.
		for range 3 {
			k.PublicKey = base64.StdEncoding.EncodeToString(raw)
			word := binary.BigEndian.Uint16(raw[62:]) + like.KeyTag() - k.KeyTag()
			binary.BigEndian.PutUint16(raw[62:], word)
		}
		if k.KeyTag() == like.KeyTag() {
			out = append(out, k)
		}
	}
	return out
}
