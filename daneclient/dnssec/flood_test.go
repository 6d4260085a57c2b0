//go:build unix

package dnssec

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// floods are zones that make a validator work, served by nsd, and what we do
// for each at the most, counted by hand. An honest lookup here checks six
// signatures, three for the root and test. that come before.
var floods = []struct {
	zone      string
	o         lab.ZoneOptions
	name      string // below the zone
	state     State
	reason    string // the zone is Z
	checks    int    // of signatures
	blocks    int    // of SHA-1
	kibibytes uint64 // allocated, all replies included
}{
	{"good", lab.ZoneOptions{}, "x", Secure, "", 6, 0, 512},
	// KeyTrap, CVE-2023-50387: each signature fits each key. nsd sends those of the
	// servers' addresses along, until the reply itself is too much.
	{"many", lab.ZoneOptions{FalseKeys: 100, FalseSignatures: 100}, "x", Failed, "x.Z TLSA: reply with more than 256 records", 0, 0, 512},
	{"keytrap", lab.ZoneOptions{FalseKeys: 100, FalseSignatures: 60}, "x", Failed, "x.Z TLSA: Z DNSKEY: more than 2 keys with the tag #", 4, 0, 1024},
	// A pair of keys may be chance, so the signatures are tried.
	{"pair", lab.ZoneOptions{FalseKeys: 1, FalseSignatures: 60}, "x", Failed, "x.Z TLSA: Z DNSKEY: more than 4 signatures to try", 12, 0, 1024},
	{"signatures", lab.ZoneOptions{FalseSignatures: 60}, "x", Failed, "x.Z TLSA: Z DNSKEY: more than 4 signatures to try", 8, 0, 1024},
	{"slow", lab.ZoneOptions{FalseSignatures: 60, Algorithm: 14}, "x", Failed, "x.Z TLSA: Z DNSKEY: more than 4 signatures to try", 8, 0, 1024},
	{"some", lab.ZoneOptions{FalseSignatures: 3}, "x", Secure, "", 12, 0, 512},
	// CVE-2023-50868: a name of many labels, each hashed with many iterations.
	{"hashes", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 2500, Salt: strings.Repeat("ab", 255)}}, strings.Repeat("a.", 100) + "a", Failed,
		strings.Repeat("a.", 100) + "a.Z TLSA: Z: NSEC3 with 2500 iterations, more than 50", 9, 0, 1024},
	{"iterations", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 50}}, strings.Repeat("a.", 100) + "a", Failed,
		strings.Repeat("a.", 100) + "a.Z TLSA: more than 1000 blocks of SHA-1 in one lookup", 9, 1100, 1024},
	// Five blocks for a name's turn of 255 octets of salt.
	{"salt", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 50, Salt: strings.Repeat("ab", 255)}}, "a.a.a.a.a", Failed,
		"a.a.a.a.a.Z TLSA: more than 1000 blocks of SHA-1 in one lookup", 9, 1300, 1024},
}

// flooded serves the zones by nsd, a process of its own.
func flooded(t testing.TB) (*lab.World, *Resolver) {
	t.Helper()
	switch missing := lab.Missing("nsd", "unbound"); {
	case os.Getenv("DANCEMTA_E2E") == "":
		t.Skip("needs real servers; set DANCEMTA_E2E=1 to run it")
	case missing != nil && os.Getenv("DANCEMTA_E2E") == "required":
		t.Fatalf("not installed: %v", missing)
	case missing != nil:
		t.Skipf("not installed: %v", missing)
	}
	w := lab.NewWorld(time.Now())
	w.AddZone("test.", lab.ZoneOptions{})
	for _, f := range floods {
		w.AddZone(f.zone+".test.", f.o).Add("x" + tlsa)
	}
	servers, err := w.StartRealDNS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.Close(); err != nil {
			t.Error(err)
		}
	})
	anchors, err := ParseAnchors(w.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Upstreams: []string{servers.NSD}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return w, r
}

// flood does one lookup with nothing in the caches.
func (r *Resolver) flood(t testing.TB, name string) (Answer, budget) {
	t.Helper()
	l := &lookup{fetch: r.up.exchange, mem: newMemory(r.memory().anchors, 100), now: time.Now()}
	q := question{name + ".", uint16(TypeTLSA)}
	a, err := l.resolve(t.Context(), q)
	if err != nil {
		a = failedAnswer(mustName(name), q, asFault(err), l.steps)
	}
	a.Steps = l.steps
	return a, l.spent
}

// TestOracleFloods holds the work for one lookup to its limits, whatever a real
// server sends. What it costs in time, BenchmarkFloods says.
func TestOracleFloods(t *testing.T) {
	_, r := flooded(t)
	for _, f := range floods {
		t.Run(f.zone, func(t *testing.T) {
			name := f.name + "." + f.zone + ".test"
			before := allocated()
			a, spent := r.flood(t, name)
			used := (allocated() - before) >> 10
			check(t, a, f.state, strings.ReplaceAll(f.reason, "Z", f.zone+".test."))
			if spent.checks > f.checks || spent.blocks > f.blocks || used > f.kibibytes {
				t.Errorf("%d signature checks, %d blocks of SHA-1, %d KiB; want at most %d, %d, %d", spent.checks, spent.blocks, used, f.checks, f.blocks, f.kibibytes)
			}
			t.Logf("%d signature checks, %d blocks, %d KiB", spent.checks, spent.blocks, used)
			kept := r.Lookup(t.Context(), mustName(name), TypeTLSA)
			if ok := f.state == Secure; ok != (kept.State == Secure) || !ok && time.Until(kept.Expires) < overLimit/2 {
				t.Errorf("kept as %s until %v", kept.State, kept.Expires)
			}
		})
	}
}

// allocated counts octets since the start.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// BenchmarkFloods is the CPU time of this process for one lookup, nsd's not
// counted, beside what was done in it.
func BenchmarkFloods(b *testing.B) {
	_, r := flooded(b)
	for _, f := range floods {
		b.Run(f.zone, func(b *testing.B) {
			b.ReportAllocs()
			before := cpu()
			var spent budget
			for b.Loop() {
				_, spent = r.flood(b, f.name+"."+f.zone+".test")
			}
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(spent.checks), "checks/op")
			b.ReportMetric(float64(spent.blocks), "blocks/op")
		})
	}
}

// cpu is the time that this process has worked.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
