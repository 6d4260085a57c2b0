package boltstore

import (
	"errors"
	"testing"
	"time"

	"dancemta/queue"
)

// TestSettleGoneEndsItsLease: the lease of a message that was taken out of
// the queue ends with its settlement, and holds no other back.
func TestSettleGoneEndsItsLease(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	mustAccept(t, s, small)
	job := mustLease(t, s, 1)[0]
	take := &op{apply: func(txn *txn) error {
		rec, err := txn.getUnit(unit{job.ID, job.Destination})
		if err != nil {
			return err
		}
		txn.counts.add(rec, -1)
		return txn.removeMessage(job.ID)
	}}
	if err := submitAll(s, []*op{take})[0]; err != nil {
		t.Fatal(err)
	}
	if g := s.Gauges(); g.Active != 1 {
		t.Errorf("%d leases, want 1", g.Active)
	}
	next := mustAccept(t, s, small)
	one := queue.DueRequest{Now: time.Now(), Max: 10, Limit: func(string) int { return 1 },
		Next: func(queue.Envelope, int) time.Time { return time.Now().Add(time.Hour) }}
	if err := s.Settle(delivered(job)); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("settle: %v", err)
	}
	if jobs, _, err := s.Due(one); len(jobs) != 1 || err != nil || jobs[0].ID != next.ID {
		t.Errorf("%d jobs, error %v; want %s", len(jobs), err, next.ID)
	}
}
