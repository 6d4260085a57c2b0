package boltstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// A unit that comes due while its delivery still runs is looked at again so
// much later.
const leaseExtension = 10 * time.Minute

// Due implements queue.Store. The due index holds one entry per destination,
// its earliest unit, so that a destination with a million waiting messages
// that is at its bound costs one step to skip.
func (s *Store) Due(r queue.DueRequest) (jobs []queue.Job, next time.Time, err error) {
	if s.o.ReadOnly {
		return nil, time.Time{}, ErrReadOnly
	}
	if e := s.broken.Load(); e != nil {
		return nil, time.Time{}, e
	}
	if first, err := s.firstDue(); err != nil || first.IsZero() || first.After(r.Now) {
		return nil, first, err // nothing to lease: no need of a transaction that writes
	}
	err = s.submit(&op{apply: func(t *txn) (err error) {
		jobs, next, err = s.lease(t, r)
		return err
	}})
	if err != nil {
		return nil, time.Time{}, err
	}
	return jobs, next, nil
}

// firstDue returns the time of the first entry of the due index.
func (s *Store) firstDue() (at time.Time, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		if k, _ := tx.Bucket(bucketDue).Cursor().First(); k != nil {
			ns, _ := splitDue(k)
			at = time.Unix(0, ns)
		}
		return nil
	})
	if err != nil {
		return at, s.fail(err) // or mail would be taken that nobody delivers
	}
	return at, nil
}

// lease walks the due index from its start. Each step either passes by a
// destination at its bound or moves one unit to a later time.
func (s *Store) lease(t *txn, r queue.DueRequest) (jobs []queue.Job, next time.Time, err error) {
	now := min(stamp(r.Now), math.MaxInt64-1)
	c := t.due.Cursor()
	k, _ := c.First()
	for k != nil && len(jobs) < r.Max {
		at, dest := splitDue(k)
		if at > now {
			break
		}
		if r.Limit != nil && t.leases.perDest[dest] >= r.Limit(dest) {
			k, _ = c.Next()
			continue
		}
		here := bytes.Clone(k)
		job, err := t.leaseFirst(dest, r)
		if err != nil {
			return nil, time.Time{}, &dirtyError{err}
		}
		if job != nil {
			job.Open = s.opener(job.ID)
			jobs = append(jobs, *job)
		}
		k, _ = c.Seek(here)
	}
	if k, _ = c.Seek(dueKey(now+1, "")); k != nil {
		at, _ := splitDue(k)
		next = time.Unix(0, at)
	}
	return jobs, next, nil
}

// leaseFirst leases the earliest unit of a destination. A unit that is under
// delivery already is put off instead, and the job is nil.
func (t *txn) leaseFirst(dest string, r queue.DueRequest) (*queue.Job, error) {
	at, id, ok := t.first(dest)
	if !ok {
		return nil, fmt.Errorf("due index, %q: %w", dest, errDamaged)
	}
	u := unit{id, dest}
	rec, err := t.getUnit(u)
	if err != nil {
		return nil, err
	}
	if t.leases.has(u) {
		rec.Next = stamp(r.Now.Add(leaseExtension))
		return nil, t.reschedule(u, at, rec)
	}
	var msg messageRecord
	if err := decode("message", []byte(id), t.message.Get([]byte(id)), &msg); err != nil {
		return nil, err
	}
	job := &queue.Job{ID: id, Destination: dest, Envelope: msg.envelope(id), Size: msg.Size}
	for _, rcpt := range rec.Recipients {
		if rcpt.waits() {
			job.Recipients = append(job.Recipients, asked(job.Envelope, rcpt.Address.Address))
		}
	}
	t.counts.add(rec, -1)
	rec.Attempt++
	t.counts.add(rec, 1)
	job.Attempt = rec.Attempt
	rec.Next = max(stamp(r.Next(job.Envelope, rec.Attempt)), stamp(r.Now)+1)
	t.leases.add(u)
	t.leased = append(t.leased, u)
	return job, t.reschedule(u, at, rec)
}

// asked finds what the sender said of an address.
func asked(env queue.Envelope, a mailaddr.Address) queue.Recipient {
	for _, r := range env.Recipients {
		if r.Address == a {
			return r
		}
	}
	return queue.Recipient{Address: a}
}

func (t *txn) getUnit(u unit) (*unitRecord, error) {
	key := unitKey(u.id, u.destination)
	rec := new(unitRecord)
	return rec, decode("unit", key, t.unit.Get(key), rec)
}

// reschedule writes rec and moves the unit from the time old, as rec.due gave it
// before, to where it belongs now.
func (t *txn) reschedule(u unit, old int64, rec *unitRecord) error {
	value, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := t.put(bucketUnit, unitKey(u.id, u.destination), value); err != nil {
		return err
	}
	due := rec.due()
	if old == due {
		return nil
	}
	if old != 0 {
		if err := t.unschedule(u, old); err != nil {
			return err
		}
	}
	if due == 0 {
		return nil
	}
	return t.schedule(u, due)
}

// first returns the earliest unit of a destination.
func (t *txn) first(dest string) (at int64, id queue.ID, ok bool) {
	prefix := destinationPrefix(dest)
	k, _ := t.destination.Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		return 0, "", false
	}
	at, id = splitDestination(k, prefix)
	return at, id, true
}

// schedule enters a unit into both indexes.
func (t *txn) schedule(u unit, at int64) error {
	head, _, ok := t.first(u.destination)
	if err := t.put(bucketDestination, destinationKey(u.destination, at, u.id), nil); err != nil {
		return err
	}
	if ok && head <= at {
		return nil
	}
	if ok {
		if err := t.delete(bucketDue, dueKey(head, u.destination)); err != nil {
			return err
		}
	}
	return t.put(bucketDue, dueKey(at, u.destination), nil)
}

// unschedule takes a unit out of both indexes.
func (t *txn) unschedule(u unit, at int64) error {
	if err := t.delete(bucketDestination, destinationKey(u.destination, at, u.id)); err != nil {
		return err
	}
	head, _, ok := t.first(u.destination)
	if ok && head <= at {
		return nil // it was not the earliest, or another one shares its time
	}
	if err := t.delete(bucketDue, dueKey(at, u.destination)); err != nil || !ok {
		return err
	}
	return t.put(bucketDue, dueKey(head, u.destination), nil)
}
