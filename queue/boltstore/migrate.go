package boltstore

import (
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// The versions so far; testdata/queues keeps a store of each, which must open for
// ever.
//
//	1  message, unit, body, and the indexes destination and due
//	2  a journal, lines in place of the indexes, holds, suspensions, history
const formatOne = "1"

// checkFormat reads the version. fresh: the file is empty. A version that came later
// is refused: what it keeps could not be kept.
func checkFormat(db *bolt.DB) (fresh bool, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			k, _ := tx.Cursor().First()
			if fresh = k == nil; !fresh {
				return ErrNotQueue
			}
			return nil
		}
		return checkVersion(string(meta.Get(keyFormat)))
	})
	return fresh, err
}

func checkVersion(v string) error {
	if v == format || v == formatOne {
		return nil
	}
	known, err := strconv.Atoi(format)
	if n, e := strconv.Atoi(v); err == nil && e == nil && n > known {
		return fmt.Errorf("version %.20q: %w, which knows %s: made by a newer dancemta; a downgrade is refused", v, ErrVersion, format)
	}
	return fmt.Errorf("version %.20q: %w, which knows %s", v, ErrVersion, format)
}

// migrate makes a store of an older version one of this version, in one transaction:
// a crash leaves it as it was. It runs before anything is promised.
func (s *Store) migrate() error {
	old := false
	err := s.db.View(func(tx *bolt.Tx) error {
		old = string(tx.Bucket(bucketMeta).Get(keyFormat)) == formatOne
		return nil
	})
	if err != nil || !old {
		return err
	}
	s.o.Logger.Info("queue is brought to a new format version, which older programs do not open", "from", formatOne, "to", format)
	return guarded(func() error { return s.db.Update(migrateOne) })
}

// migrateOne goes from version 1 to 2.
func migrateOne(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if err := intoLines(tx); err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyFormat, []byte(format))
}

// intoLines makes the indexes from the units.
func intoLines(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketDestination, bucketDue} {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketUnit).ForEach(func(k, value []byte) error {
		rec := new(unitRecord)
		if err := decode("unit", k, value, rec); err != nil {
			return err
		}
		// Their lane stays that of nobody: a record is not to be changed while all are read.
		return (&txn{Tx: tx}).enter(unit{queue.ID(k[:idLen]), string(k[idLen:])}, rec)
	})
}
