package dnssec

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// TestSlowFailure: a failure that took seconds to show is remembered from its
// end, else it would be over before it began.
func TestSlowFailure(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Timeout = 200 * time.Millisecond })
	b.zone("dead.test.", lab.ZoneOptions{}, "x"+tlsa, "y"+tlsa)
	var asked atomic.Int32
	b.tamper("dead.test.", dns.TypeDNSKEY, func(*dns.Msg) *dns.Msg {
		asked.Add(1)
		b.forward(2 * time.Second)
		return nil
	})
	for _, name := range []string{"x.dead.test", "x.dead.test", "y.dead.test"} {
		if a := b.lookup(name, TypeTLSA); a.State != Failed {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if n := int(asked.Load()); n != tries {
		t.Errorf("the silent zone was asked %d times, want %d", n, tries)
	}
}
