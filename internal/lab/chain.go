package lab

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/miekg/dns"
)

// view is what follows from a zone's data: which names exist, the chain of
// NSEC or NSEC3 through them, and the signatures made so far.
type view struct {
	names  map[string]bool // names that exist, empty non-terminals included
	owners []string        // authoritative owners and delegations, in canonical order
	hashes []hashed        // the NSEC3 chain in the order of the hashes
	sigs   map[rrKey][]dns.RR
}

type hashed struct {
	hash, name string
}

func (z *Zone) view() *view {
	if z.cached != nil {
		return z.cached
	}
	v := &view{names: map[string]bool{z.name: true}, sigs: map[rrKey][]dns.RR{}}
	for owner := range z.data {
		if cut := z.cutAbove(owner); cut != "" && cut != owner {
			continue // glue: not ours
		}
		if z.dnameAbove(owner) != "" {
			continue // hidden. RFC 6672 2.4
		}
		v.owners = append(v.owners, owner)
		for n := owner; n != z.name; n = parentOf(n) {
			v.names[n] = true
		}
	}
	slices.SortFunc(v.owners, compareNames)
	if z.opts.NSEC3 != nil {
		v.hashes = z.hashChain(v)
	}
	z.cached = v
	return v
}

// hashChain lists what has an NSEC3: owners and empty non-terminals; under
// opt-out neither insecure delegations nor what leads to them alone. RFC 5155 7.1
func (z *Zone) hashChain(v *view) []hashed {
	names := map[string]bool{}
	for _, owner := range v.owners {
		if z.opts.OptOut && z.insecureCut(owner) {
			continue
		}
		names[z.name] = true
		for n := owner; n != z.name; n = parentOf(n) {
			names[n] = true
		}
	}
	var chain []hashed
	for n := range names {
		chain = append(chain, hashed{z.hash(n), n})
	}
	slices.SortFunc(chain, func(a, b hashed) int { return strings.Compare(a.hash, b.hash) })
	return chain
}

func (z *Zone) hash(name string) string {
	return hashName(name, z.opts.NSEC3.Salt, z.opts.NSEC3.Iterations)
}

func (z *Zone) isCut(name string) bool {
	return name != z.name && len(z.data[name][dns.TypeNS]) > 0
}

func (z *Zone) insecureCut(name string) bool {
	return z.isCut(name) && len(z.data[name][dns.TypeDS]) == 0
}

// types lists what a denial record says is at a name. At a delegation only NS
// and DS are ours. RFC 4035 2.3
func (z *Zone) types(name string) []uint16 {
	var out []uint16
	for _, t := range slices.Sorted(maps.Keys(z.data[name])) {
		if !z.isCut(name) || t == dns.TypeNS || t == dns.TypeDS {
			out = append(out, t)
		}
	}
	return out
}

func bitmap(types []uint16, more ...uint16) []uint16 {
	types = append(types, more...)
	slices.Sort(types)
	return types
}

// nsec is the NSEC of an owner in the chain. RFC 4034 4
func (z *Zone) nsec(owner string) dns.RR {
	owners := z.view().owners
	i := slices.Index(owners, owner)
	if i < 0 {
		panic("lab: no NSEC at " + owner)
	}
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: z.opts.NegativeTTL},
		NextDomain: owners[(i+1)%len(owners)],
		TypeBitMap: bitmap(z.types(owner), dns.TypeRRSIG, dns.TypeNSEC),
	}
}

// nsecFor is the NSEC that matches a name or, if none does, covers it.
func (z *Zone) nsecFor(name string) dns.RR {
	owners := z.view().owners
	i := sort.Search(len(owners), func(i int) bool { return compareNames(owners[i], name) > 0 })
	return z.nsec(owners[i-1]) // the apex comes first, and is not greater
}

// nsec3At is the i-th NSEC3 of the chain. RFC 5155 3
func (z *Zone) nsec3At(i int) dns.RR {
	chain := z.view().hashes
	e, next := chain[i], chain[(i+1)%len(chain)]
	types := z.types(e.name)
	if len(types) > 0 && !z.insecureCut(e.name) {
		types = bitmap(types, dns.TypeRRSIG)
	}
	n := &dns.NSEC3{
		Hdr: dns.RR_Header{
			Name: below(strings.ToLower(e.hash), z.name), Rrtype: dns.TypeNSEC3,
			Class: dns.ClassINET, Ttl: z.opts.NegativeTTL,
		},
		Hash: dns.SHA1, Iterations: z.opts.NSEC3.Iterations,
		SaltLength: uint8(len(z.opts.NSEC3.Salt) / 2), Salt: z.opts.NSEC3.Salt,
		HashLength: 20, NextDomain: next.hash, TypeBitMap: types,
	}
	if z.opts.OptOut {
		n.Flags = 1
	}
	return n
}

// nsec3For is the NSEC3 that matches a name or, if none does, covers it.
func (z *Zone) nsec3For(name string) (rr dns.RR, match bool) {
	chain, h := z.view().hashes, z.hash(name)
	i := sort.Search(len(chain), func(i int) bool { return chain[i].hash > h })
	i = (i + len(chain) - 1) % len(chain) // before the first comes the last
	return z.nsec3At(i), chain[i].hash == h
}
