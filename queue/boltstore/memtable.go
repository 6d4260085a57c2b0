package boltstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"
)

const (
	// A checkpoint is due when the journal holds so much, which bounds the bodies in
	// memory and the time of a start,
	defaultJournalBytes = 16 << 20
	// when so many leaves of bbolt's trees are changed: each lies in memory, and is
	// written as a page of 4 KiB,
	maxNodes = 4096
	// or when so many changes were made: each is an entry of some 100 octets.
	maxChanges = 50_000
	// A journal may grow to so many times its size when a checkpoint finds no room on
	// the disk, for what makes room.
	journalReserve = 2
)

// memtable is a transaction of bbolt that stays open from one checkpoint to the
// next: all that was promised is in it, and the lists of changes from which it can
// be made again. Reading goes through it, too.
type memtable struct {
	// The committer holds it to change something, the others to read.
	sync.RWMutex
	tx      *bolt.Tx // nil: none is open
	redo    [][]byte
	changes int
}

// nodes counts the leaves and branches that are changed. It must not meet readers:
// bbolt copies its counters as they are, and a cursor counts itself in them.
func (m *memtable) nodes() int64 {
	m.Lock()
	defer m.Unlock()
	stats := m.tx.Stats()
	return stats.GetNodeCount()
}

// openTable begins the transaction.
func (s *Store) openTable() error {
	return guarded(func() error {
		tx, err := s.db.Begin(true)
		if err != nil {
			return err
		}
		// Once opened they are read without being changed, by many at once.
		err = tx.ForEach(func(name []byte, _ *bolt.Bucket) error { tx.Bucket(name); return nil })
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		for _, name := range [][]byte{bucketMessage, bucketUnit, bucketBody} {
			tx.Bucket(name).FillPercent = 0.9 // keys come in order: leave little room for later ones
		}
		s.table.tx, s.table.changes = tx, 0
		return nil
	})
}

// closeTable forgets the transaction.
func (s *Store) closeTable() {
	if tx := s.table.tx; tx != nil {
		s.table.tx = nil
		_ = guarded(tx.Rollback) // it may have ended, or panicked, already
	}
}

// rebuild makes the transaction as it was after the last group that was promised.
func (s *Store) rebuild() error {
	s.table.Lock()
	defer s.table.Unlock()
	s.closeTable()
	if err := s.openTable(); err != nil {
		return err
	}
	return guarded(func() error {
		for _, list := range s.table.redo {
			n, err := redo(s.table.tx, list)
			if err != nil {
				return err
			}
			s.table.changes += n
		}
		return nil
	})
}

// dirty says whether there is anything that bbolt does not hold.
func (s *Store) dirty() bool { return len(s.table.redo) > 0 }

// fits says whether a record may go into the journal, or a checkpoint is due.
func (s *Store) fits(record int, hard bool) bool {
	limit := s.o.JournalBytes
	if hard {
		return s.journal.at+int64(slots(record)) <= journalReserve*limit
	}
	return s.journal.at+int64(slots(record)) <= limit && s.table.changes <= maxChanges &&
		s.table.nodes() <= maxNodes
}

// keep makes durable what a transaction has done: by the journal, or by a
// checkpoint when one is due. makesRoom: no put is in it. Then the journal may be
// overfull, should the disk be so.
func (s *Store) keep(t *txn, makesRoom bool) error {
	s.table.changes += t.changes
	if !s.fits(len(t.redo), false) && !(s.crowded && makesRoom && s.fits(len(t.redo), true)) {
		return s.checkpoint(true)
	}
	switch err := s.journal.append(t.redo); {
	case err == nil:
		s.table.redo = append(s.table.redo, t.redo[headSize:])
		return nil
	case makesRoom && isFull(err):
		return s.checkpoint(true) // bbolt may have pages to use again
	default:
		return err
	}
}

// checkpoint commits the transaction, by which the journal's records become void,
// and begins the next one. open: the journal will be written to.
func (s *Store) checkpoint(open bool) error {
	s.table.Lock()
	defer s.table.Unlock()
	g := after(s.journal.last, open, s.journal.Name)
	err := guarded(func() error {
		if err := g.write(s.table.tx); err != nil {
			return err
		}
		s.o.Step("before commit")
		return s.o.commit(s.table.tx)
	})
	if err != nil {
		s.crowded = isFull(err)
		return err
	}
	s.o.Step("after commit")
	s.table.tx, s.table.redo, s.crowded = nil, nil, false
	s.journal.begin(g)
	return s.openTable()
}

// tidy is a checkpoint in a quiet moment.
func (s *Store) tidy() {
	if !s.dirty() || s.broken.Load() != nil {
		return
	}
	err := s.checkpoint(true)
	if err == nil {
		return
	}
	if !isFull(err) {
		s.fail(err)
	}
	s.undo()
}

// undo makes the transaction as it was before a failure.
func (s *Store) undo() {
	if err := s.rebuild(); err != nil {
		s.closeTable()
		s.fail(err)
	}
}

// replay reads the journal, if there is one, into a transaction, and makes a
// checkpoint of it, which begins the journal anew. It ends with the transaction open.
func (s *Store) replay() error {
	path := filepath.Join(s.dir, journalName)
	g, err := s.replayTable(path)
	if err != nil {
		return err
	}
	if s.journal, err = openJournal(path, g, &s.o); err != nil {
		return err
	}
	s.journal.last = s.replayed
	if s.openedJournal, err = s.journal.f.Stat(); err != nil {
		return err
	}
	// Its name is durable before anything says that there must be one.
	if err := s.o.disk.SyncDir(s.dir); err != nil {
		return err
	}
	if err := s.checkpoint(true); err != nil {
		return fmt.Errorf("queue file %s: %w", filepath.Join(s.dir, fileName), err)
	}
	return nil
}

// replayTable opens the transaction and does in it what the journal holds, which is of
// the generation g.
func (s *Store) replayTable(path string) (g *generation, err error) {
	err = s.view(func(tx *bolt.Tx) (err error) { g, err = readGeneration(tx); return err })
	if err != nil {
		return nil, fmt.Errorf("queue file %s: %w", filepath.Join(s.dir, fileName), err)
	}
	if err := s.openTable(); err != nil {
		return nil, err
	}
	err = guarded(func() (err error) {
		s.replayed, err = g.replay(path, func(list []byte) error {
			_, err := redo(s.table.tx, list)
			return err
		})
		return err
	})
	return g, journalError(path, err)
}

// journalError names the file, and the way back.
func journalError(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("queue journal %s: %w; what can be read of the queue is shown by \"dancemta queue verify\" and kept by \"dancemta queue export\"", path, err)
	}
	return fmt.Errorf("queue journal %s: %w", path, err)
}

// hasRecords says whether the journal holds what bbolt does not.
func (s *Store) hasRecords() (has bool, err error) {
	var g *generation
	err = s.view(func(tx *bolt.Tx) (err error) { g, err = readGeneration(tx); return err })
	if err != nil {
		return false, err
	}
	path := filepath.Join(s.dir, journalName)
	_, err = g.replay(path, func([]byte) error { has = true; return nil })
	return has, journalError(path, err)
}
