package boltstore

import (
	"context"
	"fmt"
	"io"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// EachSaved calls f for every message by ID, as Each, with all that is kept of it. Its
// body may be gone when f asks for it: then the message has ended meanwhile.
func (s *Store) EachSaved(f func(queue.Saved) error) error {
	var last []byte
	for {
		var page []queue.Saved
		err := s.view(func(tx *bolt.Tx) (err error) { page, err = savedPage(tx, last); return err })
		if err != nil || len(page) == 0 {
			return err
		}
		for _, one := range page {
			if err := f(one); err != nil {
				return err
			}
		}
		last = []byte(page[len(page)-1].Envelope.ID)
	}
}

func savedPage(tx *bolt.Tx, last []byte) (page []queue.Saved, err error) {
	c := tx.Bucket(bucketMessage).Cursor()
	k, v := c.Seek(last)
	if last != nil && string(k) == string(last) {
		k, v = c.Next()
	}
	for ; k != nil && len(page) < eachPage; k, v = c.Next() {
		var msg messageRecord
		if err := decode("message", k, v, &msg); err != nil {
			return nil, err
		}
		id := queue.ID(k)
		units, err := unitsOf(tx, id, &msg)
		if err != nil {
			return nil, err
		}
		page = append(page, msg.saved(id, units))
	}
	return page, nil
}

// saved makes of the records what a backup keeps.
func (r *messageRecord) saved(id queue.ID, units map[string]*unitRecord) queue.Saved {
	s := queue.Saved{Envelope: r.envelope(id), Size: r.Size}
	done := map[string]bool{}
	for _, a := range r.Recipients {
		dest := queue.Destination(a.Address)
		u := units[dest]
		if done[dest] || u == nil {
			continue
		}
		done[dest] = true
		w := queue.SavedUnit{Destination: dest, Attempts: u.Attempt, Told: u.Told}
		if u.Next != 0 {
			w.Next = time.Unix(0, u.Next)
		}
		for _, to := range u.Recipients {
			w.Recipients = append(w.Recipients, queue.SavedRecipient{
				Address: to.Address.Address, Result: to.Result, Reply: to.Reply, TLS: to.TLS, Held: to.Held, HoldReason: to.Why, GivenUp: to.GivenUp,
			})
		}
		s.Units = append(s.Units, w)
	}
	return s
}

// Restore keeps a message as it was saved; one that is in doubt is held. As Put, it
// has read the body to its end when it returns, and keeps nothing after an error.
// queue.ErrExists, queue.ErrEnded: never does the same message come twice.
func (s *Store) Restore(ctx context.Context, saved queue.Saved, body io.Reader) error {
	id := saved.Envelope.ID
	if err := s.known(id); err != nil {
		return err
	}
	if err := room(s.o.disk, s.dir, s.o.MinFree+uint64(max(0, saved.Size)), s.o.MinInodes); err != nil {
		return err
	}
	return s.takeIn(ctx, id, body, func(c content) (*insertion, error) {
		if c.size != saved.Size {
			return nil, fmt.Errorf("%s: body of %d octets, %d were saved", id, c.size, saved.Size)
		}
		in, err := newRestored(saved, c)
		if err == nil {
			in.restored = true
		}
		return in, err
	})
}

// known says whether a message is or was here, before its body is read in vain. What
// counts is the same question in the transaction.
func (s *Store) known(id queue.ID) error {
	return s.view(func(tx *bolt.Tx) error { return known(tx, id) })
}

func known(tx *bolt.Tx, id queue.ID) error {
	if tx.Bucket(bucketMessage).Get([]byte(id)) != nil {
		return fmt.Errorf("%.40s: %w", id, queue.ErrExists)
	}
	if tx.Bucket(bucketHistory).Get([]byte(id)) != nil {
		return fmt.Errorf("%.40s: %w", id, queue.ErrEnded)
	}
	return nil
}

// newRestored makes the records of a message as they were.
func newRestored(saved queue.Saved, c content) (*insertion, error) {
	env := saved.Envelope
	if len(env.ID) != idLen {
		return nil, fmt.Errorf("queue id %.40q: not of %d octets", string(env.ID), idLen)
	}
	in := &insertion{id: env.ID, units: map[string]unitValue{}, content: c}
	msg, sender := newMessageRecord(env, c), laneOf(env)
	for _, u := range saved.Units {
		rec := restoredUnit(u, sender, saved.Doubt)
		if rec.Next != 0 {
			msg.Open++
		}
		value, err := encode(rec)
		if err != nil {
			return nil, err
		}
		in.units[u.Destination] = unitValue{rec, value}
	}
	if msg.Open == 0 {
		return nil, fmt.Errorf("%s: %w: nobody waits for it", env.ID, queue.ErrEnded)
	}
	var err error
	in.value, err = encode(&msg)
	return in, err
}

func restoredUnit(u queue.SavedUnit, sender uint64, doubt string) *unitRecord {
	rec := &unitRecord{Attempt: max(0, u.Attempts), Told: u.Told, Lane: sender}
	for _, r := range u.Recipients {
		to := recipientRecord{Address: address{r.Address}, Result: r.Result, Reply: r.Reply, TLS: r.TLS, Held: r.Held, Why: r.HoldReason, GivenUp: r.GivenUp}
		if r.Result.Final() {
			to.Held, to.Why, to.GivenUp = false, "", false
		} else if doubt != "" {
			to.Held, to.GivenUp, to.Why = true, false, doubt
		}
		rec.Recipients = append(rec.Recipients, to)
	}
	if rec.open() > 0 {
		rec.Next = stamp(u.Next)
	}
	return rec
}
