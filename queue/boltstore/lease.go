package boltstore

import (
	"bytes"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// unit names one message at one destination.
type unit struct {
	id          queue.ID
	destination string
}

// A unit under delivery stands in no line, but in the bucket leased. What a crash
// leaves there goes back into line when the store is opened, at the time that was
// written with the lease.

// leases are what the committer's goroutine remembers of units under delivery.
type leases struct {
	active map[unit]struct{}
	planner
}

func newLeases() leases { return leases{active: map[unit]struct{}{}} }

func (l *leases) release(units []unit) {
	for _, u := range units {
		delete(l.active, u)
	}
}

// isLeased reports whether u is under delivery.
func (t *txn) isLeased(u unit) bool { return leased(t.Tx, u) }

func leased(tx *bolt.Tx, u unit) bool {
	b := tx.Bucket(bucketLeased)
	return b != nil && b.Get(unitKey(u.id, u.destination)) != nil
}

// lend writes down that u, which was withdrawn, is under delivery.
func (t *txn) lend(u unit) error {
	t.leases.active[u] = struct{}{}
	t.leased = append(t.leased, u)
	return t.put(bucketLeased, unitKey(u.id, u.destination), []byte{1})
}

// release ends the lease of u, if there is one. Now it may be entered, or removed.
func (t *txn) release(u unit) error {
	t.settled = append(t.settled, u)
	if !t.isLeased(u) {
		return nil
	}
	return t.delete(bucketLeased, unitKey(u.id, u.destination))
}

// reclaim does so, unless it is done: a disk may have been full then.
func (s *Store) reclaim() {
	if s.reclaimed.Load() {
		return
	}
	none := false
	err := s.view(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(bucketLeased).Cursor().First()
		none = k == nil
		return nil
	})
	if err == nil && !none {
		err = s.submit(&op{apply: func(t *txn) error { return dirty(t.reclaim()) }})
	}
	s.reclaimed.Store(err == nil)
}

// reclaim puts what an earlier process had under delivery back into line.
func (t *txn) reclaim() error {
	var all []unit
	err := t.Bucket(bucketLeased).ForEach(func(k, _ []byte) error {
		u := unit{queue.ID(k[:idLen]), string(k[idLen:])}
		if _, ours := t.leases.active[u]; !ours {
			all = append(all, u)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, u := range all {
		k := unitKey(u.id, u.destination)
		if err := t.delete(bucketLeased, k); err != nil {
			return err
		}
		if t.Bucket(bucketUnit).Get(k) == nil {
			continue // it was taken out of the queue while it was under delivery
		}
		rec, err := t.getUnit(u)
		if err != nil {
			return err
		}
		if err := t.enter(u, rec); err != nil {
			return err
		}
	}
	return nil
}

// Waiting implements queue.Store.
func (s *Store) Waiting(destination string, most int) (n int, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		prefix := destinationPrefix(destination)
		c := tx.Bucket(bucketDestination).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && n < most; k, _ = c.Next() {
			n++
		}
		return nil
	})
	return n, err
}
