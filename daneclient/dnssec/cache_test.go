package dnssec

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// asked counts the queries since the last call.
func (b *bench) asked() int {
	n := len(b.server.Queries())
	b.server.Reset()
	return n
}

// TestLife looks at how long answers are kept, and that they are not kept
// longer: taking a record away is the only revocation there is.
func TestLife(t *testing.T) {
	day := uint32(86400)
	for name, c := range map[string]struct {
		o    lab.ZoneOptions
		name string
		want time.Duration // 0: not kept
	}{
		"by TTL":             {lab.ZoneOptions{}, "x", 300 * time.Second},
		"by cap":             {lab.ZoneOptions{TTL: day, NegativeTTL: day}, "day", time.Hour},
		"by signature":       {lab.ZoneOptions{Expiration: today.Add(100 * time.Second)}, "x", 100 * time.Second},
		"by CNAME":           {lab.ZoneOptions{}, "c", 200 * time.Second},
		"by keys":            {lab.ZoneOptions{TTL: 100}, "x", 100 * time.Second},
		"wildcard's NSEC":    {lab.ZoneOptions{NegativeTTL: 50}, "any.w", 50 * time.Second},
		"no name":            {lab.ZoneOptions{NegativeTTL: 60}, "nope", 60 * time.Second},
		"no name, by cap":    {lab.ZoneOptions{TTL: day, NegativeTTL: day}, "nope", 15 * time.Minute},
		"no type":            {lab.ZoneOptions{NegativeTTL: 60}, "t", 60 * time.Second},
		"insecure":           {lab.ZoneOptions{Unsigned: true}, "x", 300 * time.Second},
		"insecure, short":    {lab.ZoneOptions{Unsigned: true}, "short", 30 * time.Second},
		"insecure, no name":  {lab.ZoneOptions{Unsigned: true}, "nope", 0},
		"insecure, no type":  {lab.ZoneOptions{Unsigned: true}, "t", 0},
		"zero TTL":           {lab.ZoneOptions{}, "zero", 0},
		"opt-out, no name":   {lab.ZoneOptions{OptOut: true}, "nope", 0},
		"NSEC3, no name":     {lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}, NegativeTTL: 60}, "nope", 60 * time.Second},
		"insecure, from DS":  {lab.ZoneOptions{Unsigned: true, TTL: day}, "day", 300 * time.Second},
		"insecure by DS":     {lab.ZoneOptions{DSDigest: 1, TTL: day}, "day", time.Hour},
		"insecure by NSEC":   {lab.ZoneOptions{NoDS: true}, "x", 300 * time.Second},
		"the SOA alone":      {lab.ZoneOptions{NegativeTTL: 299}, "nope", 299 * time.Second},
		"signature, no name": {lab.ZoneOptions{Expiration: today.Add(30 * time.Second)}, "nope", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.zone("z.test.", c.o, "x 300"+tlsa, "short 30"+tlsa, "day 86400"+tlsa, "zero 0"+tlsa, "c 200 CNAME x", "*.w"+tlsa, "t TXT text")
			name := c.name + ".z.test"
			a := b.lookup(name, TypeTLSA)
			if a.State != Secure && a.State != Insecure {
				t.Fatalf("%s %q", a.State, a.Reason)
			}
			if c.want > 0 && !a.Expires.Equal(today.Add(c.want)) {
				t.Errorf("expires after %v, want %v", a.Expires.Sub(today), c.want)
			}
			b.asked()
			if c.want > 0 {
				b.forward(c.want - time.Second)
				if b.lookup(name, TypeTLSA); b.asked() != 0 {
					t.Error("it asked again before the end")
				}
				b.forward(time.Second)
			}
			if b.lookup(name, TypeTLSA); b.asked() == 0 {
				t.Error("it did not ask again")
			}
		})
	}
}

// TestRevocation takes a record away and sees it gone after its TTL.
func TestRevocation(t *testing.T) {
	b := newBench(t)
	z := b.zone("z.test.", lab.ZoneOptions{}, "x 300"+tlsa)
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
	z.Remove("x", dns.TypeTLSA)
	b.forward(299 * time.Second)
	if a := b.lookup("x.z.test", TypeTLSA); len(a.TLSA) != 1 {
		t.Errorf("not cached: %+v", a)
	}
	b.forward(time.Second)
	if a := b.lookup("x.z.test", TypeTLSA); a.State != Secure || !a.NXDomain || len(a.TLSA) != 0 {
		t.Errorf("still there: %+v", a)
	}
	b.server.Tamper(func(_, _ *dns.Msg) *dns.Msg { return nil })
	b.forward(time.Hour) // nothing stale is served when nobody answers
	if a := b.r.Lookup(expired(t), mustName("x.z.test"), TypeTLSA); a.State != Failed {
		t.Errorf("stale: %+v", a)
	}
}

// TestDelegationRemoved unsigns a zone: its old keys do not outlive the DS.
func TestDelegationRemoved(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x 60"+tlsa)
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
	b.Zone("test.").Remove("z", dns.TypeDS)
	b.forward(maxLife)
	check(t, b.lookup("x.z.test", TypeTLSA), Insecure, "z.test. has no DS in test.")
}

// TestChainBoundsLife: nothing outlives the signatures that it hangs from.
func TestChainBoundsLife(t *testing.T) {
	b := newBench(t)
	b.zone("p.test.", lab.ZoneOptions{Expiration: today.Add(100 * time.Second)})
	b.zone("z.p.test.", lab.ZoneOptions{}, "x 300"+tlsa)
	a := b.lookup("x.z.p.test", TypeTLSA)
	if a.State != Secure || !a.Expires.Equal(today.Add(100*time.Second)) {
		t.Errorf("%s, for %v", a.State, a.Expires.Sub(today))
	}
}

// TestNothingBelow asks for no DS below a name that does not exist. RFC 8020
func TestNothingBelow(t *testing.T) {
	b := newBench(t)
	b.tamper("a.b.c.nope.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg { m.Ns = nil; return m })
	check(t, b.lookup("a.b.c.nope.test", TypeTLSA), Bogus, "a.b.c.nope.test. TLSA: no records, and no NSEC or NSEC3 signed by test.")
	if b.count("nope.test", dns.TypeDS) != 1 || b.count("c.nope.test", dns.TypeDS) != 0 {
		t.Errorf("queries: %+v", b.server.Queries())
	}
}

// TestFailuresAreKept asks a bogus zone less and less, for whatever name.
func TestFailuresAreKept(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{Fault: lab.NoKeySignature}, "x"+tlsa, "y"+tlsa)
	const why = "z.test. DNSKEY: no signature, but the zone z.test. is signed"
	check(t, b.lookup("x.z.test", TypeTLSA), Bogus, "x.z.test. TLSA: "+why)
	b.asked()
	check(t, b.lookup("x.z.test", TypeTLSA), Bogus, "x.z.test. TLSA: "+why)
	if n := b.asked(); n != 0 {
		t.Errorf("%d queries for a failure of the same second", n)
	}
	check(t, b.lookup("y.z.test", TypeTLSA), Bogus, "y.z.test. TLSA: "+why)
	if n := b.asked(); n != 1 {
		t.Errorf("%d queries for another name, want 1: that of the keys is known", n)
	}
	b.forward(time.Second)
	b.lookup("y.z.test", TypeTLSA)
	if n := b.asked(); n != 3 {
		t.Errorf("%d queries after a second, want 3: name, DS, DNSKEY", n)
	}
}

func TestFailureDelays(t *testing.T) {
	seconds := func(kind faultKind) []int {
		f := newMemory(nil, 10).failures
		k, now := question{"x.", 1}, today
		var out []int
		for range 11 {
			until := f.put(k, &fault{kind: kind}, now)
			if got := f.get(k, until.Add(-1)); until.After(now) != (got != nil && got.until.Equal(until)) {
				t.Errorf("kind %d: it is %+v", kind, got)
			}
			if f.get(k, until) != nil {
				t.Errorf("kind %d: kept too long", kind)
			}
			out = append(out, int(until.Sub(now).Seconds()))
			now = until
		}
		return out
	}
	for kind, want := range map[faultKind]string{
		proofFault:  "[1 2 4 8 16 32 64 128 256 300 300]",
		silence:     "[1 2 4 8 16 30 30 30 30 30 30]",
		deadline:    "[1 2 4 8 16 30 30 30 30 30 30]",
		recordLimit: "[60 60 60 60 60 60 60 60 60 60 60]",
		lookupLimit: "[60 60 60 60 60 60 60 60 60 60 60]",
		ours:        "[0 0 0 0 0 0 0 0 0 0 0]",
	} {
		if got := fmt.Sprint(seconds(kind)); got != want {
			t.Errorf("kind %d: %s, want %s", kind, got, want)
		}
	}
	f := newMemory(nil, 10).failures
	k := question{"x.", 1}
	for range 5 {
		f.put(k, &fault{}, today)
	}
	if got := f.put(k, &fault{}, today.Add(time.Hour)); got.Sub(today) != time.Hour+time.Second {
		t.Errorf("after an hour it begins with %v", got.Sub(today)-time.Hour)
	}
	f.put(k, &fault{}, today)
	f.forget(k)
	if got := f.put(k, &fault{}, today); got.Sub(today) != time.Second {
		t.Errorf("after a success it begins with %v", got.Sub(today))
	}
	if got := f.put(k, &fault{until: today.Add(7 * time.Second)}, today); got.Sub(today) != 7*time.Second {
		t.Errorf("a fault from memory is kept for %v", got.Sub(today))
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10, func(v int) int { return v })
	key := func(i int) question { return question{fmt.Sprint(i), 1} }
	end := today.Add(time.Hour)
	for i := range 20 {
		c.put(key(i), 0, end, today)
		c.get(key(0), today) // in use
	}
	if _, ok := c.get(key(0), today); !ok || len(c.index) != 10 || c.used != 10 || c.order.Len() != 10 {
		t.Errorf("the one in use is there: %v; %d entries, %d used", ok, len(c.index), c.used)
	}
	c.put(key(30), 5*1024, end, today)
	if c.used != 10 || len(c.index) != 5 {
		t.Errorf("a large one: %d entries, %d used", len(c.index), c.used)
	}
	c.put(key(31), 10*1024, end, today)
	if _, ok := c.get(key(31), today); ok || c.used != 10 {
		t.Error("one larger than the cache is in it")
	}
	c.put(key(30), 0, end, today)
	c.drop(key(0))
	c.get(key(30), end)
	c.put(key(19), 0, today, today)
	if c.used != len(c.index) || c.used != 2 {
		t.Errorf("%d used, %d entries, want 2", c.used, len(c.index))
	}
}

// TestCached: what Lookup knows without a query, and nothing else.
func TestCached(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{NegativeTTL: 60}, "x"+tlsa)
	b.zone("bad.test.", lab.ZoneOptions{Fault: lab.NoKeySignature}, "x"+tlsa)
	for _, test := range []struct {
		name string
		life time.Duration
		want State
	}{
		{"x.z.test", time.Hour, Secure},
		{"nope.z.test", time.Minute, Secure},
		{"x.bad.test", time.Second, Bogus},
	} {
		name := dnsname.MustParse(test.name)
		if a, ok := b.r.Cached(name, TypeTLSA); ok {
			t.Errorf("%s: known before it was looked up: %+v", test.name, a)
		}
		looked := b.lookup(test.name, TypeTLSA)
		b.asked()
		b.forward(test.life - time.Millisecond)
		if a, ok := b.r.Cached(name, TypeTLSA); !ok || a.State != test.want || a.Reason != looked.Reason {
			t.Errorf("%s: %v %+v, want what Lookup said: %+v", test.name, ok, a, looked)
		}
		b.forward(time.Millisecond)
		if a, ok := b.r.Cached(name, TypeTLSA); ok {
			t.Errorf("%s: known after its time: %+v", test.name, a)
		}
		if n := b.asked(); n != 0 {
			t.Errorf("%s: %d queries", test.name, n)
		}
	}
	if a, ok := b.r.Cached(dnsname.Name{}, TypeTLSA); !ok || a.State != Failed {
		t.Errorf("no name: %v %+v", ok, a)
	}
}
