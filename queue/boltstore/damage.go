package boltstore

import (
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// guarded runs f, which works on queue.db. bbolt panics when a page is not what it
// should be, and a damaged length leads it out of its memory map, which the system
// answers with a fault. Both become ErrDamaged: a server that says what is wrong and
// answers 451 is better than one that dies anew at each start.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

// view reads, including what was promised since the last checkpoint. f must be short,
// since the committer waits for it; it must write nothing, keep no octets that it was
// given, and not call view.
func (s *Store) view(f func(*bolt.Tx) error) error {
	s.table.RLock()
	defer s.table.RUnlock()
	if s.table.tx != nil {
		return guarded(func() error { return f(s.table.tx) })
	}
	return guarded(func() error { return s.db.View(f) })
}
