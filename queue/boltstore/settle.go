package boltstore

import (
	"hash/crc32"
	"slices"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// Settle implements queue.Store.
func (s *Store) Settle(st queue.Settlement) error {
	var bounce *insertion
	bytes := 0
	if st.Bounce != nil {
		var err error
		env := st.Bounce.Envelope
		// Always inline: a bounce is short, and so it is part of this commit.
		c := content{size: int64(len(st.Bounce.Body)), sum: crc32.Checksum(st.Bounce.Body, castagnoli), inline: st.Bounce.Body}
		if bounce, err = newInsertion(env, env.Arrived, c); err != nil {
			return err
		}
		bytes = bounce.bytes()
	}
	var file bool
	s.o.Step("settle")
	err := s.submit(&op{bytes: bytes, apply: func(t *txn) (err error) {
		file, err = t.settle(st, bounce)
		return err
	}})
	s.o.Step("settled")
	if err == nil && file {
		s.spool.remove(st.ID)
	}
	return err
}

// settle writes outcomes and bounce. file: the message has ended, and its
// spool file may go once this is committed.
func (t *txn) settle(st queue.Settlement, bounce *insertion) (file bool, err error) {
	u := unit{st.ID, st.Destination}
	if t.message.Get([]byte(st.ID)) == nil || t.unit.Get(unitKey(st.ID, st.Destination)) == nil {
		if err := t.release(u); err != nil { // the lease ends, since nothing is left of its unit
			return false, &dirtyError{err}
		}
		if err := t.amendHistory(st); err != nil {
			return false, &dirtyError{err}
		}
		return false, queue.ErrNotFound
	}
	if bounce != nil {
		if err := t.aboutDeleted(u, st.Bounce.About); err != nil {
			return false, err
		}
		if err := bounce.apply(t); err != nil {
			return false, err
		}
	}
	if file, err = t.finish(st); err != nil {
		return false, &dirtyError{err}
	}
	return file, nil
}

func (t *txn) finish(st queue.Settlement) (file bool, err error) {
	u := unit{st.ID, st.Destination}
	rec, err := t.getUnit(u)
	if err != nil {
		return false, err
	}
	if err := t.release(u); err != nil {
		return false, err
	}
	before := *rec
	before.Recipients = slices.Clone(rec.Recipients)
	rec.Told = rec.Told || st.Told
	rec.record(st.Outcomes)
	if rec.Next != 0 {
		rec.Next = stamp(st.Next)
	}
	return t.change(u, &before, rec, st.Now)
}

// change writes a unit that was as before says, and all that hangs on it: counts,
// indexes, and the message's end when it was the last one open. file: its spool
// file may go after the commit.
func (t *txn) change(u unit, before, rec *unitRecord, now time.Time) (file bool, err error) {
	ended := before.Next != 0 && rec.open() == 0
	if ended {
		rec.Next = 0
	}
	t.counts.add(before, -1)
	t.counts.add(rec, 1)
	if err := t.move(u, before, rec); err != nil {
		return false, err
	}
	if err := t.markGiveUp(u, before.givenUp(), rec.givenUp()); err != nil || !ended {
		return false, err
	}
	id := []byte(u.id)
	var msg messageRecord
	if err := decode("message", id, t.message.Get(id), &msg); err != nil {
		return false, err
	}
	if msg.Open--; msg.Open > 0 {
		value, err := encode(&msg)
		if err != nil {
			return false, err
		}
		return false, t.put(bucketMessage, id, value)
	}
	if err := t.remember(u.id, &msg, now); err != nil {
		return false, err
	}
	return msg.Spool, t.removeMessage(u.id)
}

// record enters the outcomes. What is final stays so, unless it was deleted while it
// was being delivered; a recipient without an outcome is deferred; one that was given
// up keeps the operator's word.
func (u *unitRecord) record(outcomes []queue.Outcome) {
	by := make(map[mailaddr.Address]queue.Outcome, len(outcomes))
	for _, o := range outcomes {
		by[o.Recipient] = o
	}
	for i := range u.Recipients {
		r := &u.Recipients[i]
		o, ok := by[r.Address.Address]
		deleted := r.Result == queue.Deleted && o.Result == queue.Delivered
		switch {
		case !ok, r.Result.Final() && !deleted, r.GivenUp && !o.Result.Final():
			continue
		}
		r.Result, r.Reply, r.TLS = o.Result, o.Reply, o.TLS
		if r.Result.Final() {
			r.Held, r.GivenUp = false, false
		}
	}
}

func (t *txn) removeMessage(id queue.ID) error {
	if err := t.delete(bucketMessage, []byte(id)); err != nil {
		return err
	}
	if err := t.deletePrefix(bucketUnit, []byte(id)); err != nil {
		return err
	}
	return t.deletePrefix(bucketBody, []byte(id))
}
