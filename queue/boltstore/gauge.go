package boltstore

import (
	"encoding/json"
	"time"

	bolt "go.etcd.io/bbolt"
)

// keyCounts is the key of the tally in the bucket meta. A store that lacks it is
// counted once, when it is opened.
var keyCounts = []byte("counts")

// tally counts the open units. It is written with each change of them, so that
// nobody ever walks a long queue for two numbers.
type tally struct {
	New   int `json:"new"`   // never tried
	Tried int `json:"tried"` // at least once, or right now
	Held  int `json:"held"`  // nobody in it may be delivered to before an operator says so

	History int `json:"history"` // messages that have ended and are remembered
}

// add counts a unit as it is: n is 1, or -1 before it changes.
func (t *tally) add(rec *unitRecord, n int) {
	switch {
	case rec.Next == 0:
	case rec.due() == 0 && !rec.givenUp():
		t.Held += n
	case rec.class() == fresh:
		t.New += n
	default:
		t.Tried += n
	}
}

// writeCounts puts the tally of this transaction beside what it counts.
func (t *txn) writeCounts() error {
	value, err := json.Marshal(t.counts)
	if err != nil {
		return err
	}
	return t.put(bucketMeta, keyCounts, value)
}

// loadCounts reads the tally, or counts. Damage is not its affair: numbers may be
// wrong then, but whoever comes upon the damage says so and breaks the store.
func (s *Store) loadCounts() {
	var found tally
	_ = s.view(func(tx *bolt.Tx) error {
		value := tx.Bucket(bucketMeta).Get(keyCounts)
		if value == nil || json.Unmarshal(value, &found) != nil {
			found = tally{}
			return countUnits(tx, &found)
		}
		return nil
	})
	s.counts.Store(&found)
}

func countUnits(tx *bolt.Tx, into *tally) error {
	if b := tx.Bucket(bucketFinished); b != nil { // a store of version 1 that is only read has none
		err := b.ForEach(func(_, _ []byte) error { into.History++; return nil })
		if err != nil {
			return err
		}
	}
	return tx.Bucket(bucketUnit).ForEach(func(k, value []byte) error {
		var rec unitRecord
		if err := decode("unit", k, value, &rec); err != nil {
			return err
		}
		into.add(&rec, 1)
		return nil
	})
}

// Gauges is the state of the store at one moment. A message counts once for each
// destination that is still open: never tried, leased, or waiting for another try.
type Gauges struct {
	New, Active, Deferred int
	Held                  int       // by an operator
	Oldest                time.Time // arrival of the oldest message; zero: there is none, or it cannot be read
	Broken                bool      // no promise is made any more
}

// Gauges returns them at once, however long the queue is and whatever the disk
// does.
func (s *Store) Gauges() Gauges {
	g := Gauges{Active: int(s.active.Load()), Broken: s.broken.Load() != nil}
	if t := s.counts.Load(); t != nil { // nil: open for reading only
		g.New, g.Deferred, g.Held = t.New, max(0, t.Tried-g.Active), t.Held
	}
	if a := s.oldest.Load(); a != nil {
		g.Oldest = a.at
	}
	return g
}

// arrival is when a message came.
type arrival struct {
	id string
	at time.Time
}

// noteOldest keeps the arrival of the oldest message for Gauges, which must not wait
// for a checkpoint.
func (s *Store) noteOldest() {
	var now arrival
	_ = s.view(func(tx *bolt.Tx) error { // damage: see loadCounts
		k, v := tx.Bucket(bucketMessage).Cursor().First() // ids begin with the time
		if k == nil {
			return nil
		}
		if a := s.oldest.Load(); a != nil && a.id == string(k) {
			now = *a
			return nil
		}
		var msg messageRecord
		if err := decode("message", k, v, &msg); err != nil {
			return err
		}
		now = arrival{string(k), time.Unix(0, msg.Arrived)}
		return nil
	})
	s.oldest.Store(&now)
}
