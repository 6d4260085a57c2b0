package tlsrpt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPolicyBombs: policies of strangers, as long as they may be and another one in
// each session, take no more memory than there is for a day, and no session is
// left out.
func TestPolicyBombs(t *testing.T) {
	w := newWorld(t)
	lines := slices.Repeat([]string{strings.Repeat("x", maxText)}, maxStrings)
	const sessions = 1300
	for i := range sessions {
		d := name(fmt.Sprintf("d%d.test", i%100))
		p := Policy{Type: STS, Domain: d, Strings: slices.Clone(lines), MXHosts: lines}
		p.Strings[0] = fmt.Sprint(i)
		s := Session{Domain: d, Policy: p}
		if i%2 == 1 {
			s.Result, s.Reason = ValidationFailure, fmt.Sprint(i)
		}
		w.r.Counter().Add(s)
	}
	day := w.r.counter.days[dateOf(noon)]
	n := int64(0)
	for _, all := range day.Domains {
		for _, policy := range all.Policies {
			n += policy.Successes + policy.failures()
		}
	}
	if most := maxOctets + 128<<10; day.octets > most || day.size() != day.octets || n != sessions {
		t.Errorf("%d octets (%d anew), %d sessions", day.octets, day.size(), n)
	}
}

// TestSavedWhileSending: a place that takes a report for hours costs no counts.
func TestSavedWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) {
			w.o.Now = time.Now
			w.o.Delay = func() time.Duration { return 0 }
			w.o.Submit = func(ctx context.Context, _ Mail) error {
				select {
				case <-ctx.Done():
				case <-time.After(3 * time.Hour):
				}
				return ctx.Err()
			}
		})
		w.wants("d.test", "v=TLSRPTv1; rua=mailto:r@d.test")
		w.add("d.test")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.r.Run(ctx); close(ended) }()
		time.Sleep(24*time.Hour + 10*time.Minute) // the report of yesterday is on its way
		w.add("e.test")
		time.Sleep(saveEvery + 2*maxSleep)
		if _, err := os.Stat(filepath.Join(w.o.Dir, dateOf(time.Now())+countSuffix)); err != nil {
			t.Error(err)
		}
		cancel()
		<-ended
	})
}
