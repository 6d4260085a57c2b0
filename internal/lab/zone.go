package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Defaults of ZoneOptions.
const (
	defaultTTL         = 3600
	defaultNegativeTTL = 300
	validBefore        = 24 * time.Hour      // signatures begin so long before now
	validAfter         = 14 * 24 * time.Hour // and end so long after it
)

// NSEC3Options choose hashed denial. RFC 5155 3.1
type NSEC3Options struct {
	Salt       string // hex, empty for none
	Iterations uint16
}

// ZoneOptions say how a zone is signed and delegated. The zero value is a zone
// in good order: one ECDSA P-256 key, NSEC, a SHA-256 DS in its parent.
type ZoneOptions struct {
	Algorithm   uint8         // DNSSEC algorithm number; default 13. Unknown ones are claimed, with noise for keys and signatures
	NSEC3       *NSEC3Options // nil: NSEC
	OptOut      bool          // NSEC3 with opt-out; insecure delegations leave the chain
	Unsigned    bool          // no keys, no signatures, no DS
	NoDS        bool          // signed, but its parent says it is not
	DSDigest    uint8         // digest type of the DS; default 2
	SplitKeys   bool          // a KSK and a ZSK in place of one key
	StandbyKey  bool          // a further key, in the DS RRset too, that signs nothing
	SignedBy    string        // the data is signed by the keys, and in the name, of this other zone
	TTL         uint32        // seconds; default 3600
	NegativeTTL uint32        // seconds; SOA MINIMUM, default 300
	Inception   time.Time     // default a day before the world's now
	Expiration  time.Time     // default 14 days after it
	Fault       Fault         // what is wrong with the zone

	// Floods that make a validator work (KeyTrap, CVE-2023-50387).
	FalseKeys       int // so many more keys with the tag and the algorithm of the zone's
	FalseSignatures int // so many wrong signatures before the right ones of each RRset
}

func (o ZoneOptions) withDefaults(now time.Time) ZoneOptions {
	if o.Algorithm == 0 {
		o.Algorithm = dns.ECDSAP256SHA256
	}
	if o.OptOut && o.NSEC3 == nil {
		o.NSEC3 = &NSEC3Options{}
	}
	if o.DSDigest == 0 {
		o.DSDigest = dns.SHA256
	}
	if o.TTL == 0 {
		o.TTL = defaultTTL
	}
	if o.NegativeTTL == 0 {
		o.NegativeTTL = min(defaultNegativeTTL, o.TTL)
	}
	if o.Inception.IsZero() {
		o.Inception = now.Add(-validBefore)
	}
	if o.Expiration.IsZero() {
		o.Expiration = now.Add(validAfter)
	}
	return o
}

// Zone is one zone of a World. Its methods may be called while it is served.
type Zone struct {
	world  *World
	name   string
	parent *Zone // nil for the root
	opts   ZoneOptions
	keys   []*zoneKey
	stray  *zoneKey // see strayKey
	data   map[string]map[uint16][]dns.RR
	faults map[rrKey]Fault
	cached *view // of data as it is; nil after a change
}

type rrKey struct {
	owner string
	typ   uint16
}

func newZone(w *World, name string, parent *Zone, o ZoneOptions) *Zone {
	z := &Zone{
		world: w, name: name, parent: parent, opts: o.withDefaults(w.now),
		data: map[string]map[uint16][]dns.RR{}, faults: map[rrKey]Fault{},
	}
	ns := below("ns", name)
	z.addText(fmt.Sprintf("@ SOA %s %s 1 7200 900 1209600 %d", ns, below("hostmaster", name), z.opts.NegativeTTL))
	z.addText("@ NS " + ns)
	z.addText(ns + " A 127.0.0.1")
	if o.Unsigned {
		return z
	}
	z.keys = newKeys(name, z.opts)
	if z.opts.Fault&NoDNSKEY == 0 {
		for _, k := range z.keys {
			z.add(k.public)
		}
		for _, k := range collidingKeys(z.keys[0].public, o.FalseKeys) {
			z.add(k)
		}
	}
	if n := z.opts.NSEC3; n != nil {
		z.addText(fmt.Sprintf("@ 0 NSEC3PARAM 1 0 %d %s", n.Iterations, saltText(n.Salt)))
	}
	return z
}

func saltText(salt string) string {
	if salt == "" {
		return "-"
	}
	return salt
}

// Name returns the zone's name with its final dot.
func (z *Zone) Name() string { return z.name }

// Add puts records in presentation format into the zone, one a string; owner
// and names may be relative to the zone, the TTL may be left out. It panics on
// a record that does not parse or does not belong here.
func (z *Zone) Add(rr ...string) {
	z.world.mu.Lock()
	defer z.world.mu.Unlock()
	for _, text := range rr {
		z.addText(text)
	}
}

// Remove takes an RRset away; no fault if it is not there.
func (z *Zone) Remove(owner string, typ uint16) {
	z.world.mu.Lock()
	defer z.world.mu.Unlock()
	name := z.absolute(owner)
	delete(z.data[name], typ)
	if len(z.data[name]) == 0 {
		delete(z.data, name)
	}
	z.cached = nil
}

// Break gives one RRset a fault of its own beside those of the zone; of the
// faults only those of signatures apply. 0 mends it.
func (z *Zone) Break(owner string, typ uint16, f Fault) {
	z.world.mu.Lock()
	defer z.world.mu.Unlock()
	z.faults[rrKey{z.absolute(owner), typ}] = f
	z.cached = nil
}

// Keys returns the zone's DNSKEY records in presentation format.
func (z *Zone) Keys() []string {
	var out []string
	for _, k := range z.keys {
		out = append(out, k.public.String())
	}
	return out
}

// DS returns the zone's DS records with the given digest type, as text that
// the parent's Add takes.
func (z *Zone) DS(digest uint8) []string {
	z.world.mu.Lock()
	defer z.world.mu.Unlock()
	var out []string
	for _, rr := range z.delegationSigner(digest) {
		out = append(out, rr.String())
	}
	return out
}

// absolute reads an owner as a master file would: "@" is the zone, a name
// without a final dot is relative to it.
func (z *Zone) absolute(owner string) string {
	switch {
	case owner == "@":
		return z.name
	case strings.HasSuffix(owner, "."):
		return canon(owner)
	}
	return canon(below(owner, z.name))
}

func (z *Zone) addText(text string) {
	p := dns.NewZoneParser(strings.NewReader(text+"\n"), z.name, "")
	p.SetDefaultTTL(z.opts.TTL)
	rr, ok := p.Next()
	if !ok {
		panic(fmt.Sprintf("lab: record %q in %s: %v", text, z.name, p.Err()))
	}
	z.add(rr)
}

func (z *Zone) add(rr dns.RR) {
	h := rr.Header()
	h.Name = canon(h.Name)
	if !within(z.name, h.Name) {
		panic(fmt.Sprintf("lab: %s is not in the zone %s", h.Name, z.name))
	}
	if z.data[h.Name] == nil {
		z.data[h.Name] = map[uint16][]dns.RR{}
	}
	set := z.data[h.Name][h.Rrtype]
	if slices.ContainsFunc(set, func(old dns.RR) bool { return dns.IsDuplicate(old, rr) }) {
		return
	}
	z.data[h.Name][h.Rrtype] = append(set, rr)
	z.cached = nil
}

// delegate puts what the parent says of a child: NS, glue, and DS unless the
// delegation is to be insecure.
func (z *Zone) delegate(child *Zone) {
	for _, rr := range child.data[child.name][dns.TypeNS] {
		z.add(dns.Copy(rr))
	}
	for _, rr := range child.data[below("ns", child.name)][dns.TypeA] {
		z.add(dns.Copy(rr))
	}
	if child.opts.NoDS || child.opts.Unsigned || z.opts.Unsigned {
		return
	}
	for _, rr := range child.delegationSigner(child.opts.DSDigest) {
		z.add(rr)
	}
}

func (z *Zone) delegationSigner(digest uint8) []dns.RR {
	var out []dns.RR
	for _, k := range z.keys {
		if !k.inDS {
			continue
		}
		if z.opts.Fault&StrayDS != 0 {
			k = z.strayKey()
		}
		out = append(out, k.digest(digest))
	}
	return out
}

// cutAbove returns the highest delegation at or above a name, "" for none:
// what lies below it is not this zone's to say.
func (z *Zone) cutAbove(name string) string {
	cut := ""
	for n := name; n != z.name; n = parentOf(n) {
		if len(z.data[n][dns.TypeNS]) > 0 {
			cut = n
		}
	}
	return cut
}

// dnameAbove returns the highest owner of a DNAME above a name, "" for none.
func (z *Zone) dnameAbove(name string) string {
	owner := ""
	for n := name; n != z.name; {
		n = parentOf(n)
		if len(z.data[n][dns.TypeDNAME]) > 0 {
			owner = n
		}
	}
	return owner
}
