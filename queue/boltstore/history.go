package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// Entries of the history that one ending message may push out: more than one, so
// that a shorter history shrinks, and few, so that no message pays for many.
const maxForget = 4

const (
	// trimPause is between looks for what the history has held long enough, which need no
	// message to end: where no mail comes, what is told of the last one ends in time, too.
	trimPause = 10 * time.Minute
	// maxTrim bounds the entries of one transaction, so that mail which comes meanwhile
	// waits for one flush.
	maxTrim = 1000
)

// historyRecord is what is remembered of a message that has ended.
type historyRecord struct {
	Message  messageRecord          `json:"message"`
	Units    map[string]*unitRecord `json:"units"` // by destination
	Finished int64                  `json:"finished"`
}

func finishedKey(at int64, id queue.ID) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), id...)
}

// remember writes a message into the history, in the transaction that ends it.
func (t *txn) remember(id queue.ID, msg *messageRecord, now time.Time) error {
	if t.o.History < 0 {
		_, err := t.forget(0, 0, maxForget)
		return err
	}
	if now.IsZero() {
		now = time.Now()
	}
	at := stamp(now)
	units, err := unitsOf(t.Tx, id, msg)
	if err != nil {
		return err
	}
	value, err := encode(&historyRecord{*msg, units, at})
	if err != nil {
		return err
	}
	if err := t.put(bucketHistory, []byte(id), value); err != nil {
		return err
	}
	if err := t.put(bucketFinished, finishedKey(at, id), nil); err != nil {
		return err
	}
	t.counts.History++
	_, err = t.forget(at-int64(t.o.History), t.o.HistoryMax, maxForget)
	return err
}

// forget drops entries that ended before a time, or are more than most: at most n.
func (t *txn) forget(before int64, most, n int) (dropped int, err error) {
	for ; dropped < n; dropped++ {
		k, _ := t.Bucket(bucketFinished).Cursor().First()
		if len(k) != timeLen+idLen {
			return dropped, nil
		}
		if at := int64(binary.BigEndian.Uint64(k)); at >= before && t.counts.History <= most {
			return dropped, nil
		}
		id := string(k[timeLen:])
		if err := t.delete(bucketFinished, k); err != nil {
			return dropped, &dirtyError{err}
		}
		if err := t.delete(bucketHistory, []byte(id)); err != nil {
			return dropped, &dirtyError{err}
		}
		t.counts.History--
	}
	return dropped, nil
}

// trim drops all entries that the history has held long enough, in transactions of
// the committer's own; true: there were some. It runs in the committer, and gives way
// to operations that wait.
func (s *Store) trim() (some bool) {
	before := stamp(time.Now()) - int64(max(s.o.History, 0))
	for s.broken.Load() == nil {
		dropped := 0
		o := &op{apply: func(t *txn) (err error) {
			dropped, err = t.forget(before, s.o.HistoryMax, maxTrim)
			return err
		}, done: make(chan error, 1)}
		s.commit([]*op{o})
		if err := <-o.done; err != nil || dropped == 0 {
			return some
		}
		some = true
		if dropped < maxTrim || s.waiting() {
			return some
		}
	}
	return some
}

// waiting reports whether operations wait for the committer.
func (s *Store) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0 || s.closed
}

// amendHistory enters what was delivered although it had been deleted meanwhile.
func (t *txn) amendHistory(st queue.Settlement) error {
	value := t.Bucket(bucketHistory).Get([]byte(st.ID))
	if value == nil {
		return nil
	}
	var h historyRecord
	if err := decode("history", []byte(st.ID), value, &h); err != nil {
		return err
	}
	rec := h.Units[st.Destination]
	if rec == nil {
		return nil
	}
	rec.record(st.Outcomes)
	value, err := encode(&h)
	if err != nil {
		return err
	}
	return t.put(bucketHistory, []byte(st.ID), value)
}

func getHistory(tx *bolt.Tx, id queue.ID) (sum queue.Summary, err error) {
	b := tx.Bucket(bucketHistory) // a store of version 1 that is only read has none
	if b == nil {
		return sum, fmt.Errorf("%.40s: %w", id, queue.ErrNotFound)
	}
	value := b.Get([]byte(id))
	if value == nil {
		return sum, fmt.Errorf("%.40s: %w", id, queue.ErrNotFound)
	}
	var h historyRecord
	if err := decode("history", []byte(id), value, &h); err != nil {
		return sum, err
	}
	sum = h.Message.summary(id, h.Units)
	sum.Finished = time.Unix(0, h.Finished)
	return sum, nil
}

// Finished implements queue.Store.
func (s *Store) Finished(id queue.ID) (sum queue.Summary, err error) {
	err = s.view(func(tx *bolt.Tx) error { sum, err = getHistory(tx, id); return err })
	return sum, err
}

// EachFinished implements queue.Store, page by page as Each.
func (s *Store) EachFinished(f func(queue.Summary) error) error {
	var last []byte
	for {
		var page []queue.Summary
		err := s.view(func(tx *bolt.Tx) (err error) { page, last, err = finishedPage(tx, last); return err })
		if err != nil {
			return err
		}
		for _, sum := range page {
			if err := f(sum); err != nil {
				return err
			}
		}
		if len(page) < eachPage {
			return nil
		}
	}
}

// finishedPage returns what follows the key last, and the last key of it.
func finishedPage(tx *bolt.Tx, last []byte) (page []queue.Summary, end []byte, err error) {
	b := tx.Bucket(bucketFinished)
	if b == nil {
		return nil, nil, nil
	}
	c := b.Cursor()
	k, _ := c.Seek(last)
	if last != nil && string(k) == string(last) {
		k, _ = c.Next()
	}
	for ; k != nil && len(page) < eachPage; k, _ = c.Next() {
		if len(k) != timeLen+idLen {
			return nil, nil, fmt.Errorf("history, %q: %w", k, ErrDamaged)
		}
		sum, err := getHistory(tx, queue.ID(k[timeLen:]))
		if errors.Is(err, queue.ErrNotFound) {
			err = fmt.Errorf("history, %q: %w: it is missing", k, ErrDamaged)
		}
		if err != nil {
			return nil, nil, err
		}
		page, end = append(page, sum), append(end[:0], k...)
	}
	return page, end, nil
}
