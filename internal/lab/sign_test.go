package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// rrsets reads a zone file and groups it: records and signatures by owner and type.
func rrsets(t *testing.T, w *World, zone string) (sets map[rrKey][]dns.RR, sigs map[rrKey][]*dns.RRSIG) {
	t.Helper()
	text, err := w.ZoneFile(zone)
	if err != nil {
		t.Fatal(err)
	}
	sets, sigs = map[rrKey][]dns.RR{}, map[rrKey][]*dns.RRSIG{}
	p := dns.NewZoneParser(strings.NewReader(string(text)), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		h := rr.Header()
		if sig, ok := rr.(*dns.RRSIG); ok {
			key := rrKey{h.Name, sig.TypeCovered}
			sigs[key] = append(sigs[key], sig)
			continue
		}
		key := rrKey{h.Name, h.Rrtype}
		sets[key] = append(sets[key], rr)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return sets, sigs
}

// verdict judges the signatures of one RRset with the library's own Verify:
// "good", "none", "broken" (by a key that is there), "key" (by one that is not),
// "early", "late".
func verdict(set []dns.RR, sigs []*dns.RRSIG, keys []dns.RR) string {
	if len(sigs) == 0 {
		return "none"
	}
	worst := "good"
	for _, sig := range sigs {
		i := slices.IndexFunc(keys, func(rr dns.RR) bool { return rr.(*dns.DNSKEY).KeyTag() == sig.KeyTag })
		switch {
		case i < 0:
			return "key"
		case sig.Verify(keys[i].(*dns.DNSKEY), set) != nil:
			return "broken"
		case sig.ValidityPeriod(today()):
		case int64(sig.Inception) > today().Unix():
			worst = "early"
		default:
			worst = "late"
		}
	}
	return worst
}

// content fills a zone with what a validator meets.
func content(w *World, z *Zone) {
	z.Add("host A 192.0.2.1", "host A 192.0.2.2", "*.wild TXT w", "a.b.c TXT below", "alias CNAME host",
		"_smtp-client.host TLSA 3 1 1 "+strings.Repeat("ab", 32))
	w.AddZone("signed."+z.Name(), ZoneOptions{})
	w.AddZone("plain."+z.Name(), ZoneOptions{Unsigned: true})
}

func TestEveryAuthoritativeSetIsSigned(t *testing.T) {
	for name, o := range map[string]ZoneOptions{
		"p256":    {},
		"rsa256":  {Algorithm: dns.RSASHA256},
		"rsa512":  {Algorithm: dns.RSASHA512},
		"rsa1":    {Algorithm: dns.RSASHA1},
		"p384":    {Algorithm: dns.ECDSAP384SHA384},
		"ed25519": {Algorithm: dns.ED25519},
		"nsec3":   {NSEC3: &NSEC3Options{Salt: "ab", Iterations: 3}},
		"optout":  {OptOut: true},
		"split":   {SplitKeys: true},
		"standby": {StandbyKey: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(today())
			z := w.AddZone("zone.", o)
			content(w, z)
			sets, sigs := rrsets(t, w, "zone.")
			keys := sets[rrKey{"zone.", dns.TypeDNSKEY}]
			for key, set := range sets {
				want := "good"
				if glue := strings.Contains(key.owner, "ns.plain.") || strings.Contains(key.owner, "ns.signed."); glue ||
					key.typ == dns.TypeNS && key.owner != "zone." {
					want = "none" // a delegation and its glue are the child's. RFC 4035 2.2
				}
				if got := verdict(set, sigs[key], keys); got != want {
					t.Errorf("%s %s: %s, want %s", key.owner, dns.TypeToString[key.typ], got, want)
				}
			}
			checkChain(t, z, keys)
		})
	}
}

// checkChain demands that the parent's DS are those of the zone's SEP keys.
func checkChain(t *testing.T, z *Zone, keys []dns.RR) {
	t.Helper()
	var want []string
	for _, rr := range keys {
		if k := rr.(*dns.DNSKEY); k.Flags&dns.SEP != 0 {
			want = append(want, strings.ToLower(k.ToDS(dns.SHA256).Digest))
		}
	}
	var got []string
	for _, rr := range z.world.Root().Signed("zone.", dns.TypeDS) {
		if ds, ok := rr.(*dns.DS); ok {
			got = append(got, strings.ToLower(ds.Digest))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(got) == 0 || !slices.Equal(got, want) {
		t.Errorf("DS %q, keys give %q", got, want)
	}
}

func TestFaultsOfSignatures(t *testing.T) {
	for _, c := range []struct {
		fault      Fault
		data, keys string
	}{
		{0, "good", "good"},
		{Expired, "late", "late"},
		{NotYetValid, "early", "early"},
		{BrokenSignatures, "broken", "good"},
		{WrongKey, "key", "good"},
		{NoSignatures, "none", "good"},
		{NoKeySignature, "good", "none"},
	} {
		t.Run(fmt.Sprint(c.fault), func(t *testing.T) {
			w := NewWorld(today())
			w.AddZone("zone.", ZoneOptions{Fault: c.fault}).Add("host A 192.0.2.1")
			sets, sigs := rrsets(t, w, "zone.")
			keys := rrKey{"zone.", dns.TypeDNSKEY}
			for key, set := range sets {
				want := c.data
				if key == keys {
					want = c.keys
				}
				if got := verdict(set, sigs[key], sets[keys]); got != want {
					t.Errorf("%s %s: %s, want %s", key.owner, dns.TypeToString[key.typ], got, want)
				}
			}
		})
	}
}

func TestBreakTouchesOneSet(t *testing.T) {
	w := NewWorld(today())
	z := w.AddZone("zone.", ZoneOptions{})
	z.Add("host A 192.0.2.1", "host TXT t")
	z.Break("host", dns.TypeA, BrokenSignatures)
	for _, want := range []struct{ a, txt string }{{"broken", "good"}, {"good", "good"}} {
		sets, sigs := rrsets(t, w, "zone.")
		keys := sets[rrKey{"zone.", dns.TypeDNSKEY}]
		a, txt := rrKey{"host.zone.", dns.TypeA}, rrKey{"host.zone.", dns.TypeTXT}
		if got := verdict(sets[a], sigs[a], keys); got != want.a {
			t.Errorf("A: %s, want %s", got, want.a)
		}
		if got := verdict(sets[txt], sigs[txt], keys); got != want.txt {
			t.Errorf("TXT: %s, want %s", got, want.txt)
		}
		z.Break("host", dns.TypeA, 0)
	}
}

func TestFaultsOfKeys(t *testing.T) {
	w := NewWorld(today())
	zone := func(name string, f Fault) (keys []dns.RR, ds []dns.RR) {
		z := w.AddZone(name, ZoneOptions{Fault: f})
		sets, _ := rrsets(t, w, name)
		for _, rr := range w.Root().Signed(name, dns.TypeDS) {
			if rr.Header().Rrtype == dns.TypeDS {
				ds = append(ds, rr)
			}
		}
		return sets[rrKey{z.Name(), dns.TypeDNSKEY}], ds
	}
	if keys, ds := zone("nokey.", NoDNSKEY); len(keys) != 0 || len(ds) != 1 {
		t.Errorf("NoDNSKEY: %v %v", keys, ds)
	}
	if keys, ds := zone("stray.", StrayDS); ds[0].(*dns.DS).KeyTag == keys[0].(*dns.DNSKEY).KeyTag() {
		t.Errorf("StrayDS fits: %v %v", keys, ds)
	}
	if keys, _ := zone("nobit.", NoZoneBit); keys[0].(*dns.DNSKEY).Flags != 1 {
		t.Errorf("NoZoneBit: %v", keys)
	}
	if keys, _ := zone("revoked.", RevokedKey); keys[0].(*dns.DNSKEY).Flags != 385 { // RFC 5011 2.1
		t.Errorf("RevokedKey: %v", keys)
	}
}

func TestZoneOfAnotherSigner(t *testing.T) {
	w := NewWorld(today())
	w.AddZone("example.", ZoneOptions{})
	w.AddZone("evilexample.", ZoneOptions{SignedBy: "example."}).Add("host A 192.0.2.1")
	sets, sigs := rrsets(t, w, "evilexample.")
	foreign, _ := rrsets(t, w, "example.")
	host := rrKey{"host.evilexample.", dns.TypeA}
	if got := sigs[host][0].SignerName; got != "example." {
		t.Errorf("signer %s", got)
	}
	if got := verdict(sets[host], sigs[host], foreign[rrKey{"example.", dns.TypeDNSKEY}]); got != "good" {
		t.Errorf("by the other zone's key: %s", got)
	}
}

func TestUnknownAlgorithmAndDigestAreClaimed(t *testing.T) {
	w := NewWorld(today())
	w.AddZone("ed448.", ZoneOptions{Algorithm: dns.ED448})
	w.AddZone("gost.", ZoneOptions{DSDigest: dns.GOST94})
	_, sigs := rrsets(t, w, "ed448.")
	if sig := sigs[rrKey{"ed448.", dns.TypeSOA}]; len(sig) != 1 || sig[0].Algorithm != 16 || sig[0].Labels != 1 {
		t.Errorf("signature %v", sig)
	}
	if ds := w.Root().Signed("gost.", dns.TypeDS)[0].(*dns.DS); ds.DigestType != 3 || len(ds.Digest) != 64 {
		t.Errorf("DS %v", ds)
	}
}

func TestAnchorIsTheRootsKey(t *testing.T) {
	w := NewWorld(today())
	sets, _ := rrsets(t, w, ".")
	var ksk *dns.DNSKEY
	for _, rr := range sets[rrKey{".", dns.TypeDNSKEY}] {
		if k := rr.(*dns.DNSKEY); k.Flags == 257 {
			ksk = k
		}
	}
	want := fmt.Sprintf(". IN DS %d 13 2 %s\n", ksk.KeyTag(), strings.ToUpper(ksk.ToDS(dns.SHA256).Digest))
	if w.Anchor() != want {
		t.Errorf("anchor %q, want %q", w.Anchor(), want)
	}
}
