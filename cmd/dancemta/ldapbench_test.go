//go:build unix

package main

import (
	"slices"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// BenchmarkLDAPSearch is one client who searches for his own entry, in turns at slapd
// and at the bridge before it, which is in this process: so what is measured is what
// the bridge does, and not how long a machine takes to wake one process more.
// TestLDAPFigures measures that, too.
func BenchmarkLDAPSearch(b *testing.B) {
	if err := lab.Missing(lab.SlapdPrograms...); err != nil {
		b.Skip(err)
	}
	n := newInternet(b)
	s := figureSlapd(b, n)
	_, addresses := startParts(b, figureBridge(b, n, s))
	ways := ldapWays(n, s, addresses)
	clients := []*loadClient{ways[0].dial(b), ways[1].dial(b)}
	took := make([][]time.Duration, len(ways))
	used := make([]time.Duration, len(ways))
	const turn = 100 // searches
	for range 2 {    // nothing is new to anybody then
		for _, c := range clients {
			searches(b, c, turn)
		}
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= turn {
		for i, c := range clients {
			before := cpuTime(b)
			took[i] = append(took[i], searches(b, c, min(turn, left))...)
			used[i] += cpuTime(b) - before
		}
	}
	b.StopTimer()
	for i := range took {
		slices.Sort(took[i])
	}
	median := func(i int) float64 { return float64(took[i][len(took[i])/2].Nanoseconds()) / 1e3 }
	b.ReportMetric(median(0), "slapd-p50-µs")
	b.ReportMetric(median(1)-median(0), "more-p50-µs")
	b.ReportMetric(float64((used[1]-used[0]).Nanoseconds())/1e3/float64(b.N), "cpu-µs/search")
}

func searches(b *testing.B, c *loadClient, n int) (took []time.Duration) {
	b.Helper()
	last := time.Now()
	for range n {
		if !c.search(b) {
			b.Fatal("a search failed")
		}
		now := time.Now()
		took = append(took, now.Sub(last))
		last = now
	}
	return took
}
