package dnssec

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestPublished(t *testing.T) {
	w := newBench(t)
	w.zone("walk.test.", lab.ZoneOptions{TTL: 7200}, "x"+tlsa, "alias CNAME x.still.test.")
	w.zone("still.test.", lab.ZoneOptions{TTL: 30, NSEC3: &lab.NSEC3Options{}}, "x"+tlsa)
	w.zone("plain.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa)
	// A cache on the way has counted the TTL down.
	w.server.Tamper(func(_, m *dns.Msg) *dns.Msg {
		for _, rr := range m.Answer {
			rr.Header().Ttl = min(rr.Header().Ttl, 7)
		}
		return m
	})
	for _, c := range []struct {
		name, zone string
		state      State
		records    int
		ttl        time.Duration
		walkable   bool
	}{
		{"x.walk.test", "walk.test.", Secure, 1, 2 * time.Hour, true},
		{"none.walk.test", "walk.test.", Secure, 0, 0, true},
		{"x.still.test", "still.test.", Secure, 1, 30 * time.Second, false},
		{"alias.walk.test", "still.test.", Secure, 1, 30 * time.Second, false},
		{"x.plain.test", "", Insecure, 1, 0, false},
	} {
		got := w.r.Published(t.Context(), dnsname.MustParse(c.name))
		if got.State != c.state || len(got.TLSA) != c.records || got.Zone != c.zone || got.TTL != c.ttl || got.Walkable != c.walkable {
			t.Errorf("%s: %s, %d records, zone %q, TTL %s, walkable %v (%s); want %+v", c.name, got.State, len(got.TLSA), got.Zone, got.TTL, got.Walkable, got.Reason, c)
		}
	}
}
