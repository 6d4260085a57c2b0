package dnssec

import (
	"context"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// BenchmarkColdChain judges a TLSA record from the root down, three ECDSA
// zones with six signatures, from replies at hand: our work, without the
// network's. The target is 1 ms.
func BenchmarkColdChain(b *testing.B) {
	w := newBench(b)
	w.zone("z.test.", lab.ZoneOptions{}, "x._device"+tlsa)
	replies := map[question][]byte{}
	for _, q := range []question{{".", dns.TypeDNSKEY}, {"test.", dns.TypeDS}, {"test.", dns.TypeDNSKEY},
		{"z.test.", dns.TypeDS}, {"z.test.", dns.TypeDNSKEY}, {"x._device.z.test.", dns.TypeTLSA}} {
		m := new(dns.Msg)
		m.SetQuestion(q.name, q.typ)
		m.SetEdns0(bufferUDP, true)
		m.Id = 0
		packed, err := w.Answer(m).Pack()
		if err != nil {
			b.Fatal(err)
		}
		replies[q] = packed
	}
	for b.Loop() {
		l := &lookup{mem: newMemory(w.r.opts.Anchors, 100), now: today, fetch: func(_ context.Context, q question) (*reply, error) {
			return parseReply(0, q, replies[q])
		}}
		a, err := l.resolve(b.Context(), question{"x._device.z.test.", dns.TypeTLSA})
		if err != nil || a.State != Secure {
			b.Fatalf("%s %v", a.State, err)
		}
	}
}

// BenchmarkColdLookup is the same with the queries over loopback, the lab's
// server included.
func BenchmarkColdLookup(b *testing.B) {
	w := newBench(b)
	w.zone("z.test.", lab.ZoneOptions{}, "x._device"+tlsa)
	for b.Loop() {
		w.forget()
		if a := w.lookup("x._device.z.test", TypeTLSA); a.State != Secure {
			b.Fatal(a.Reason)
		}
	}
}

// BenchmarkCached is a hit in the cache.
func BenchmarkCached(b *testing.B) {
	w := newBench(b)
	w.zone("z.test.", lab.ZoneOptions{}, "x._device"+tlsa)
	for b.Loop() {
		if a := w.lookup("x._device.z.test", TypeTLSA); a.State != Secure {
			b.Fatal(a.Reason)
		}
	}
}
