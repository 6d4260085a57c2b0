package dnssec

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// expired returns a context that has a moment to live.
func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// hold keeps the replies to TLSA questions for the given names, or for all
// without names, until release is called; arrived tells of each question.
func (b *bench) hold(names ...string) (arrived chan string, release func()) {
	held := make(chan struct{})
	arrived = make(chan string, 1000)
	b.server.Tamper(func(q, reply *dns.Msg) *dns.Msg {
		name := q.Question[0].Name
		match := len(names) == 0
		for _, n := range names {
			match = match || n == name
		}
		if match && q.Question[0].Qtype == dns.TypeTLSA {
			arrived <- name
			<-held
		}
		return reply
	})
	return arrived, sync.OnceFunc(func() { close(held) })
}

func (b *bench) count(name string, typ uint16) int {
	n := 0
	for _, q := range b.server.Queries() {
		if q.Name == name && q.Type == typ {
			n++
		}
	}
	return n
}

// TestCoalesce answers many callers by one lookup, though the first leaves.
func TestCoalesce(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	arrived, release := b.hold()
	defer release()
	ctx, leave := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	callers.Go(func() {
		if a := b.r.Lookup(ctx, mustName("x.z.test"), TypeTLSA); a.State != Failed || a.Reason != "x.z.test. TLSA: given up waiting: context canceled" {
			t.Errorf("the one who left: %s %q", a.State, a.Reason)
		}
	})
	<-arrived
	for range 20 {
		callers.Go(func() { check(t, b.lookup("x.z.test", TypeTLSA), Secure, "") })
	}
	leave()
	release()
	callers.Wait()
	if n := b.count("x.z.test", dns.TypeTLSA); n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
}

// TestCoalesceChain fetches the keys of a zone once for many names.
func TestCoalesceChain(t *testing.T) {
	b := newBench(t)
	z := b.zone("z.test.", lab.ZoneOptions{})
	const n = 20
	for i := range n {
		z.Add(fmt.Sprintf("x%d"+tlsa, i))
	}
	arrived, release := b.hold()
	defer release()
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() { check(t, b.lookup(fmt.Sprintf("x%d.z.test", i), TypeTLSA), Secure, "") })
	}
	for range n {
		<-arrived
	}
	release()
	callers.Wait()
	for _, name := range []string{".", "test", "z.test"} {
		if got := b.count(name, dns.TypeDNSKEY); got != 1 {
			t.Errorf("%s DNSKEY: %d queries, want 1", name, got)
		}
	}
}

// TestMaxLookups lets two in; the third waits, and what is cached is served.
func TestMaxLookups(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxLookups = 2 })
	b.zone("z.test.", lab.ZoneOptions{}, "a"+tlsa, "b"+tlsa, "c"+tlsa, "cached"+tlsa)
	check(t, b.lookup("cached.z.test", TypeTLSA), Secure, "")
	arrived, release := b.hold()
	defer release()
	var callers sync.WaitGroup
	for _, name := range []string{"a.z.test", "b.z.test"} {
		callers.Go(func() { check(t, b.lookup(name, TypeTLSA), Secure, "") })
	}
	<-arrived
	<-arrived
	a := b.r.Lookup(expired(t), mustName("c.z.test"), TypeTLSA)
	if a.State != Failed || a.Reason != "c.z.test. TLSA: too many lookups at once" {
		t.Errorf("the third: %s %q", a.State, a.Reason)
	}
	check(t, b.lookup("cached.z.test", TypeTLSA), Secure, "")
	callers.Go(func() { check(t, b.lookup("c.z.test", TypeTLSA), Secure, "") })
	release()
	callers.Wait()
	b.r.jobs.Wait()
	if len(b.r.slots) != 0 {
		t.Errorf("%d places are not given back", len(b.r.slots))
	}
}

// TestDeadZone has many callers wait for a zone that does not answer, while
// others are served.
func TestDeadZone(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Timeout = 2 * time.Second })
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
	b.server.Tamper(func(q, m *dns.Msg) *dns.Msg {
		if within("dead.test.", canonical(q.Question[0].Name)) {
			return nil
		}
		return m
	})
	var callers sync.WaitGroup
	for i := range 60 {
		callers.Go(func() {
			if a := b.lookup(fmt.Sprintf("x%d.dead.test", i), TypeTLSA); a.State != Failed {
				t.Errorf("dead: %s %q", a.State, a.Reason)
			}
		})
		callers.Go(func() {
			if a := b.lookup(fmt.Sprintf("n%d.z.test", i), TypeTLSA); a.State != Secure || !a.NXDomain {
				t.Errorf("alive: %s %q", a.State, a.Reason)
			}
		})
	}
	callers.Wait()
	b.server.Reset()
	b.lookup("x0.dead.test", TypeTLSA)
	if len(b.server.Queries()) != 0 {
		t.Error("the failure was not remembered")
	}
}

// TestClose ends lookups in flight.
func TestClose(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	arrived, release := b.hold()
	defer release()
	var callers sync.WaitGroup
	callers.Go(func() {
		if a := b.lookup("x.z.test", TypeTLSA); a.State != Failed || a.Reason != "x.z.test. TLSA: lookup given up: context canceled" {
			t.Errorf("in flight: %s %q", a.State, a.Reason)
		}
	})
	<-arrived
	if err := b.r.Close(); err != nil {
		t.Error(err)
	}
	callers.Wait()
	if a := b.lookup("x.z.test", TypeTLSA); a.State != Failed || a.Reason != "x.z.test. TLSA: the resolver is closed" {
		t.Errorf("after the end: %s %q", a.State, a.Reason)
	}
	if len(b.r.slots) != 0 {
		t.Errorf("%d places are not given back", len(b.r.slots))
	}
}

// TestNewAnchors keeps nothing that a lookup in flight proves by the old ones.
func TestNewAnchors(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	arrived, release := b.hold()
	defer release()
	var callers sync.WaitGroup
	callers.Go(func() { check(t, b.lookup("x.z.test", TypeTLSA), Secure, "") })
	<-arrived
	b.r.SetAnchors(BuiltinAnchors())
	release()
	callers.Wait()
	check(t, b.lookup("x.z.test", TypeTLSA), Bogus, "x.z.test. TLSA: . DNSKEY: no usable key matches the DS (key #)")
}
