package dnssec

import (
	"context"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var today = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// tlsa is the RDATA of a TLSA record that nobody matches.
const tlsa = " TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// bench is a world, its server and a resolver with a clock to turn.
type bench struct {
	*lab.World
	server *lab.DNSServer
	r      *Resolver
	offset atomic.Int64 // of the clock from today
}

func (b *bench) now() time.Time          { return today.Add(time.Duration(b.offset.Load())) }
func (b *bench) forward(d time.Duration) { b.offset.Add(int64(d)) }

// newBench makes a world with the zone test.; the resolver starts with the
// first lookup, so that o may be filled by the caller.
func newBench(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{World: lab.NewWorld(today)}
	b.AddZone("test.", lab.ZoneOptions{})
	server, err := b.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	b.server = server
	anchors, err := ParseAnchors(b.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Upstreams: []string{server.Addr()}, Anchors: anchors, Now: b.now}
	for _, f := range change {
		f(&o)
	}
	if b.r, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.r.Close() })
	return b
}

// zone makes a zone in good order, but for o.
func (b *bench) zone(name string, o lab.ZoneOptions, records ...string) *lab.Zone {
	z := b.AddZone(name, o)
	z.Add(records...)
	return z
}

func (b *bench) lookup(name string, typ Type) Answer {
	return b.r.Lookup(context.Background(), dnsname.MustParse(name), typ)
}

// forget empties the caches.
func (b *bench) forget() { b.r.SetAnchors(b.r.memory().anchors) }

// tamper rewrites the replies to one question and leaves all others.
func (b *bench) tamper(name string, typ uint16, f func(reply *dns.Msg) *dns.Msg) {
	b.server.Tamper(func(q, reply *dns.Msg) *dns.Msg {
		if q.Question[0].Qtype != typ || canonical(q.Question[0].Name) != canonical(name) {
			return reply
		}
		return f(reply)
	})
}

var tags = regexp.MustCompile(`(key|tag) \d+(, \d+)*`)

// anyKey replaces the tags of keys, which are new in each world.
func anyKey(reason string) string { return tags.ReplaceAllString(reason, "$1 #") }

func check(t *testing.T, a Answer, state State, reason string) {
	t.Helper()
	if a.State != state || anyKey(a.Reason) != reason {
		t.Errorf("got  %s %q\nwant %s %q", a.State, anyKey(a.Reason), state, reason)
	}
	usable := a.State == Secure || a.State == Insecure
	if !usable && (!a.empty() || a.NXDomain) {
		t.Errorf("a %s answer has content: %+v", a.State, a)
	}
	if len(a.Steps) == 0 {
		t.Error("no evidence")
	}
}
