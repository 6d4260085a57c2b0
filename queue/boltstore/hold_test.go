package boltstore

import (
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// TestPutHeld: a message that is held from the start is nobody's before it is
// released, and says why.
func TestPutHeld(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	env := mail("a.test")
	env.Recipients = append(env.Recipients, queue.To(mailaddr.MustParse("ann@b.test"))...)
	env.Hold = "held by a milter: looks odd"
	if err := accept(s, env, small); err != nil {
		t.Fatal(err)
	}
	expectGauges(t, s, Gauges{Held: 2, Oldest: env.Arrived})
	if sum, err := s.Get(env.ID); err != nil || sum.Recipients[0].HoldReason != env.Hold || sum.Recipients[0].LastReply != "" {
		t.Errorf("shows %+v, %v", sum, err)
	}
	all := queue.DueRequest{Now: time.Now(), Max: 10, Limit: func(string) int { return 10 },
		Next: func(queue.Envelope, int) time.Time { return time.Now().Add(time.Hour) }}
	if jobs, _, err := s.Due(all); len(jobs) > 0 || err != nil {
		t.Fatalf("leaves: %+v, %v", jobs, err)
	}
	if n, err := s.Edit(env.ID, queue.Edit{Action: queue.EditRelease}); n != 2 || err != nil {
		t.Fatalf("%d released, %v", n, err)
	}
	if jobs, _, err := s.Due(all); len(jobs) != 2 || err != nil {
		t.Errorf("after the release: %+v, %v", jobs, err)
	}
}
