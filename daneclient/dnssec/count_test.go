package dnssec

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// TestOnLookup: each answer is told once, with what it is worth and whether it
// was known already, be it by Lookup or by Cached.
func TestOnLookup(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	b := newBench(t, func(o *Options) {
		o.OnLookup = func(s State, cached bool) {
			mu.Lock()
			defer mu.Unlock()
			seen[fmt.Sprintf("%s %v", s, cached)]++
		}
	})
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	b.r.Cached(mustName("x.z.test"), TypeTLSA) // not known: nothing is told
	b.lookup("x.z.test", TypeTLSA)
	b.lookup("x.z.test", TypeTLSA)
	b.r.Cached(mustName("x.z.test"), TypeTLSA)
	b.r.Lookup(t.Context(), dnsname.Name{}, TypeTLSA)
	b.r.SetAnchors(BuiltinAnchors())
	b.lookup("x.z.test", TypeTLSA)
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{"secure false": 1, "secure true": 2, "failed true": 1, "bogus false": 1}
	if !maps.Equal(seen, want) {
		t.Errorf("told %v, want %v", seen, want)
	}
}
