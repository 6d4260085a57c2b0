package lab

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Fault is a set of things that are wrong with a zone or an RRset.
type Fault uint16

// Faults of signatures, for a zone (all its data) or for one RRset.
const (
	Expired          Fault = 1 << iota // signatures ended a day before now; in a zone also those of its keys
	NotYetValid                        // signatures begin a day after now; in a zone also those of its keys
	BrokenSignatures                   // one bit of each signature is wrong
	WrongKey                           // signed by a key that the zone does not publish
	NoSignatures                       // no RRSIG at all
)

// Faults of a zone's keys; the data is signed.
const (
	NoKeySignature Fault = 1 << (iota + 8) // the DNSKEY RRset has no RRSIG
	NoDNSKEY                               // a DS, but no DNSKEY
	StrayDS                                // the DS fits no key
	NoZoneBit                              // the keys lack the zone flag
	RevokedKey                             // the keys are revoked
)

const (
	zoneWide = Expired | NotYetValid // hold for the DNSKEY RRset too
	faultAge = 24 * time.Hour
)

// signatures returns the RRSIGs of an RRset, made when first asked for.
func (z *Zone) signatures(set []dns.RR) []dns.RR {
	if z.opts.Unsigned || len(set) == 0 {
		return nil
	}
	h := set[0].Header()
	key := rrKey{h.Name, h.Rrtype}
	v := z.view()
	if sigs, ok := v.sigs[key]; ok {
		return sigs
	}
	sigs := z.sign(set, z.faults[key])
	v.sigs[key] = sigs
	return sigs
}

// sign makes the RRSIGs of an RRset under the zone's faults and its own.
func (z *Zone) sign(set []dns.RR, own Fault) []dns.RR {
	isKeys := set[0].Header().Rrtype == dns.TypeDNSKEY
	fault := own | z.opts.Fault&^NoKeySignature
	if isKeys {
		fault = own | z.opts.Fault&zoneWide
	}
	if fault&NoSignatures != 0 || isKeys && z.opts.Fault&NoKeySignature != 0 {
		return nil
	}
	signer := z
	if z.opts.SignedBy != "" && !isKeys {
		signer = z.world.zone(z.opts.SignedBy)
	}
	var sigs []dns.RR
	for _, k := range signer.keys {
		if isKeys && !k.signsKeys || !isKeys && !k.signsData {
			continue
		}
		if fault&WrongKey != 0 {
			k = z.strayKey()
		}
		sigs = append(sigs, z.signWith(k, signer.name, set, fault))
	}
	return append(falseSignatures(sigs, z.opts.FalseSignatures), sigs...)
}

// falseSignatures are n copies of a signature with noise for its arithmetic.
func falseSignatures(sigs []dns.RR, n int) []dns.RR {
	var out []dns.RR
	for i := range n {
		c := dns.Copy(sigs[i%len(sigs)]).(*dns.RRSIG)
		raw, err := base64.StdEncoding.DecodeString(c.Signature)
		if err != nil {
			panic(err)
		}
		c.Signature = base64.StdEncoding.EncodeToString(noise(len(raw)))
		out = append(out, c)
	}
	return out
}

// signWith makes one RRSIG. RFC 4034 3.1
func (z *Zone) signWith(k *zoneKey, signer string, set []dns.RR, fault Fault) *dns.RRSIG {
	from, to := z.period(fault)
	h := set[0].Header()
	sig := &dns.RRSIG{
		Hdr:        dns.RR_Header{Name: h.Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: h.Ttl},
		Inception:  uint32(from.Unix()),
		Expiration: uint32(to.Unix()),
		KeyTag:     k.public.KeyTag(),
		SignerName: signer,
		Algorithm:  k.public.Algorithm,
	}
	if k.private == nil {
		sig.TypeCovered, sig.OrigTtl = h.Rrtype, h.Ttl
		sig.Labels = uint8(len(wireLabels(strings.TrimPrefix(h.Name, "*."))))
		sig.Signature = base64.StdEncoding.EncodeToString(noise(64))
		return sig
	}
	if err := sig.Sign(k.private, set); err != nil {
		panic(fmt.Sprintf("lab: signing %s %s: %v", h.Name, dns.TypeToString[h.Rrtype], err))
	}
	if fault&BrokenSignatures != 0 {
		sig.Signature = flipBit(sig.Signature)
	}
	return sig
}

func (z *Zone) period(fault Fault) (from, to time.Time) {
	now := z.world.now
	switch {
	case fault&Expired != 0:
		return now.Add(-validAfter), now.Add(-faultAge)
	case fault&NotYetValid != 0:
		return now.Add(faultAge), now.Add(validAfter)
	}
	return z.opts.Inception, z.opts.Expiration
}

// flipBit changes the last bit of a signature in base64.
func flipBit(signature string) string {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		panic(err)
	}
	raw[len(raw)-1] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

// Signed returns an RRset of the zone with its signatures, for tests that
// assemble replies themselves; NSEC records are found under their owner too.
func (z *Zone) Signed(owner string, typ uint16) []dns.RR {
	z.world.mu.Lock()
	defer z.world.mu.Unlock()
	name := z.absolute(owner)
	if typ == dns.TypeNSEC {
		return copies(z.withSignatures([]dns.RR{z.nsec(name)}))
	}
	return copies(z.withSignatures(z.data[name][typ]))
}

// SignRRset signs any RRset with the zone's keys, in or out of its data, and
// returns it with its signatures: the forger's tool.
func (z *Zone) SignRRset(set ...dns.RR) []dns.RR {
	z.world.mu.Lock()
	defer z.world.mu.Unlock()
	return append(copies(set), z.sign(set, 0)...)
}

func (z *Zone) withSignatures(set []dns.RR) []dns.RR {
	return append(append([]dns.RR{}, set...), z.signatures(set)...)
}

func copies(set []dns.RR) []dns.RR {
	out := make([]dns.RR, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
	}
	return out
}
