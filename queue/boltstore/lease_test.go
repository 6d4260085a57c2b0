package boltstore

import (
	"errors"
	"testing"
	"time"

	"dancemta/queue"
)

// TestSettleGoneFreesItsPlace: the lease of a message that was taken out of
// the queue ends with its settlement, and holds no other back.
func TestSettleGoneFreesItsPlace(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	mustAccept(t, s, small)
	job := mustLease(t, s, 1)[0]
	take := &op{apply: func(txn *txn) error {
		rec, err := txn.getUnit(unit{job.ID, job.Destination})
		if err != nil {
			return err
		}
		txn.changed = true
		txn.counts.add(rec, -1)
		return errors.Join(txn.unschedule(unit{job.ID, job.Destination}, rec.Next), txn.removeMessage(job.ID))
	}}
	if err := submitAll(s, []*op{take})[0]; err != nil {
		t.Fatal(err)
	}
	next := mustAccept(t, s, small)
	one := queue.DueRequest{Now: time.Now(), Max: 10, Limit: func(string) int { return 1 },
		Next: func(queue.Envelope, int) time.Time { return time.Now().Add(time.Hour) }}
	if jobs, _, err := s.Due(one); len(jobs) != 0 || err != nil {
		t.Errorf("%d jobs beyond the bound, error %v", len(jobs), err)
	}
	if err := s.Settle(delivered(job)); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("settle: %v", err)
	}
	if jobs, _, err := s.Due(one); len(jobs) != 1 || err != nil || jobs[0].ID != next.ID {
		t.Errorf("%d jobs, error %v; want %s", len(jobs), err, next.ID)
	}
}
