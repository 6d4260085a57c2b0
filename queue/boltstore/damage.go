package boltstore

import (
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// guarded runs f, which works on queue.db. bbolt panics when a page is not what it
// should be, and a damaged length leads it out of its memory map, which the system
// answers with a fault. Both become errDamaged: a server that says what is wrong and
// answers 451 is better than one that dies anew at each start.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f()
}

// view is a read transaction.
func (s *Store) view(f func(*bolt.Tx) error) error {
	return guarded(func() error { return s.db.View(f) })
}

// giveUp ends a transaction in which bbolt has panicked, as far as that is possible.
func (t *txn) giveUp() {
	_ = guarded(t.Rollback)
}
