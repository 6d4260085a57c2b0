package lab

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ZoneFile returns a zone as a signed master file for a real name server: SOA
// first, then by canonical order of owners and number of type, each RRset
// followed by its signatures, then the NSEC3 chain.
func (w *World) ZoneFile(name string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	z := w.zones[canon(name)]
	if z == nil {
		return nil, fmt.Errorf("no zone %q", name)
	}
	var b bytes.Buffer
	for _, set := range z.signedSets() {
		for _, rr := range set {
			fmt.Fprintln(&b, rr)
		}
	}
	return b.Bytes(), nil
}

// AddZoneFile makes a zone of a master file without signatures, SOA first, and
// delegates to it. The options sign it; its TTLs are those of the file. It
// panics on text that is no such file.
func (w *World) AddZoneFile(text string, o ZoneOptions) *Zone {
	var rrs []dns.RR
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if p.Err() != nil || len(rrs) == 0 || rrs[0].Header().Rrtype != dns.TypeSOA {
		panic(fmt.Sprintf("lab: no zone file: %v\n%s", p.Err(), text))
	}
	z := w.AddZone(rrs[0].Header().Name, o)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, typ := range []uint16{dns.TypeSOA, dns.TypeNS} {
		delete(z.data[z.name], typ)
	}
	delete(z.data, below("ns", z.name))
	for _, rr := range rrs {
		z.add(rr)
	}
	return z
}

// WriteZoneFiles writes every zone into a folder, as NAME.zone ("root.zone"
// for the root), and returns the path of each by zone name.
func (w *World) WriteZoneFiles(dir string) (map[string]string, error) {
	paths := map[string]string{}
	for _, name := range w.Zones() {
		text, err := w.ZoneFile(name)
		if err != nil {
			return nil, err
		}
		base := "root"
		if name != "." {
			base = bare(name)
		}
		paths[name] = filepath.Join(dir, base+".zone")
		if err := os.WriteFile(paths[name], text, 0o644); err != nil {
			return nil, fmt.Errorf("zone %s: %w", name, err)
		}
	}
	return paths, nil
}

// signedSets lists all RRsets of the zone, signed, in the order of ZoneFile.
func (z *Zone) signedSets() [][]dns.RR {
	v := z.view()
	sets := [][]dns.RR{z.withSignatures(z.data[z.name][dns.TypeSOA])}
	for _, owner := range slices.SortedFunc(maps.Keys(z.data), compareNames) {
		authoritative := slices.Contains(v.owners, owner)
		for _, typ := range slices.Sorted(maps.Keys(z.data[owner])) {
			set := z.data[owner][typ]
			switch {
			case owner == z.name && typ == dns.TypeSOA:
			case !authoritative || z.isCut(owner) && typ != dns.TypeDS:
				sets = append(sets, set) // delegation and glue are not signed
			default:
				sets = append(sets, z.withSignatures(set))
			}
		}
		if authoritative && !z.opts.Unsigned && z.opts.NSEC3 == nil {
			sets = append(sets, z.withSignatures([]dns.RR{z.nsec(owner)}))
		}
	}
	for i := range v.hashes {
		sets = append(sets, z.withSignatures([]dns.RR{z.nsec3At(i)}))
	}
	return sets
}
