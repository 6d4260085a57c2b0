package probe_test

import (
	"strings"
	"testing"

	"dancemta/queue/deliver/probe"
)

// Of a host that was not reached nothing is said about its TLS, and no reason says the
// verdict again.
func TestPrintUnreached(t *testing.T) {
	for _, c := range []struct {
		trouble   string
		greetless bool
	}{
		{"dial tcp 192.0.2.1:25: connect: connection refused", false},
		{"greeting: no answer in time", true},
	} {
		r := &probe.Report{Host: "mx.far.test", Port: 25, Verdict: probe.Temporary,
			Addresses: []probe.Address{{Address: "192.0.2.1", Error: c.trouble}},
			DANE:      probe.DANE{Judgement: probe.Judgement{Verdict: "no-record", Reason: "_25._tcp.mx.far.test TLSA: no-record: no such name"}}}
		var b strings.Builder
		if err := r.Print(&b); err != nil {
			t.Fatal(err)
		}
		want := "mx.far.test port 25: temporary\n  address 192.0.2.1: " + c.trouble + "\n  DANE: no-record: _25._tcp.mx.far.test TLSA: no such name\n"
		if b.String() != want || r.Greetless() != c.greetless {
			t.Errorf("%q, want %q; without a greeting: %v", b.String(), want, r.Greetless())
		}
	}
}
