package boltstore

import (
	"encoding/json"

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
		c := content{size: int64(len(st.Bounce.Body)), inline: st.Bounce.Body}
		if bounce, err = newInsertion(env, env.Arrived, c); err != nil {
			return err
		}
		bytes = len(st.Bounce.Body)
	}
	var file bool
	err := s.submit(&op{bytes: bytes, apply: func(t *txn) (err error) {
		file, err = t.settle(st, bounce)
		return err
	}})
	if err == nil && file {
		s.spool.remove(st.ID)
	}
	return err
}

// settle writes outcomes and bounce. file: the message has ended, and its
// spool file may go once this is committed.
func (t *txn) settle(st queue.Settlement, bounce *insertion) (file bool, err error) {
	u := unit{st.ID, st.Destination}
	value := t.message.Get([]byte(st.ID))
	if value == nil || t.unit.Get(unitKey(st.ID, st.Destination)) == nil {
		t.settled = append(t.settled, u) // the lease ends, since nothing is left of its unit
		return false, queue.ErrNotFound
	}
	if bounce != nil {
		if err := bounce.apply(t); err != nil {
			return false, err
		}
	}
	if file, err = t.finish(st, value); err != nil {
		return false, &dirtyError{err}
	}
	t.settled = append(t.settled, u)
	return file, nil
}

func (t *txn) finish(st queue.Settlement, value []byte) (file bool, err error) {
	u := unit{st.ID, st.Destination}
	rec, err := t.getUnit(u)
	if err != nil || rec.Next == 0 {
		return false, err
	}
	old := rec.Next
	rec.record(st.Outcomes)
	if rec.open() > 0 {
		rec.Next = stamp(st.Next)
		return false, t.reschedule(u, old, rec)
	}
	rec.Next = 0
	t.counts.add(rec.Attempt, -1)
	if err := t.reschedule(u, old, rec); err != nil {
		return false, err
	}
	var msg messageRecord
	if err := decode("message", []byte(st.ID), value, &msg); err != nil {
		return false, err
	}
	if msg.Open--; msg.Open > 0 {
		value, err := json.Marshal(msg)
		if err != nil {
			return false, err
		}
		return false, t.put(bucketMessage, []byte(st.ID), value)
	}
	return msg.Spool, t.removeMessage(st.ID)
}

// record enters the outcomes. What is final stays so, and a recipient without
// an outcome is deferred.
func (u *unitRecord) record(outcomes []queue.Outcome) {
	by := make(map[mailaddr.Address]queue.Outcome, len(outcomes))
	for _, o := range outcomes {
		by[o.Recipient] = o
	}
	for i := range u.Recipients {
		r := &u.Recipients[i]
		if o, ok := by[r.Address.Address]; ok && !r.Result.Final() {
			r.Result, r.Reply = o.Result, o.Reply
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
