package boltstore

import (
	"encoding/json"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// SetSuspension implements queue.Store.
func (s *Store) SetSuspension(pattern string, suspension *queue.Suspension) error {
	if suspension == nil {
		return s.submit(&op{apply: func(t *txn) error { return dirty(t.delete(bucketSuspension, []byte(pattern))) }})
	}
	kept := *suspension
	kept.Pattern = pattern
	value, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return s.submit(&op{apply: func(t *txn) error { return dirty(t.put(bucketSuspension, []byte(pattern), value)) }})
}

// dirty marks an error that may have left half a change.
func dirty(err error) error {
	if err == nil {
		return nil
	}
	return &dirtyError{err}
}

// Suspensions implements queue.Store.
func (s *Store) Suspensions() (all []queue.Suspension, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSuspension)
		if b == nil {
			return nil // a store of version 1 that is only read
		}
		return b.ForEach(func(k, v []byte) error {
			var one queue.Suspension
			if err := decode("suspension", k, v, &one); err != nil {
				return err
			}
			all = append(all, one)
			return nil
		})
	})
	return all, err
}
