package boltstore

import (
	"bytes"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// What the list and the bounce say when the operator gave no reason.
const (
	replyDeleted = "deleted by an operator"
	replyGivenUp = "given up by an operator"
	whyHeld      = "held by an operator"
)

// Edit implements queue.Store. It meets a delivery under way in the committer, one
// after the other: what the edit says of a recipient stays when the delivery settles,
// unless that has ended the recipient.
func (s *Store) Edit(id queue.ID, e queue.Edit) (recipients int, err error) {
	var file bool
	err = s.submit(&op{apply: func(t *txn) (err error) {
		recipients, file, err = t.edit(id, e)
		return err
	}})
	if err == nil && file {
		s.spool.remove(id)
	}
	return recipients, err
}

// edit changes the open units of a message. file: it has ended, and so may its file.
func (t *txn) edit(id queue.ID, e queue.Edit) (n int, file bool, err error) {
	var msg messageRecord
	if err := getMessage(t.Tx, id, &msg); err != nil {
		return 0, false, err
	}
	if e.Now.IsZero() {
		e.Now = time.Now()
	}
	units, err := unitsOf(t.Tx, id, &msg)
	if err != nil {
		return 0, false, err
	}
	for dest, rec := range units {
		u := unit{id, dest}
		before := *rec
		before.Recipients = slices.Clone(rec.Recipients)
		changed := t.apply(u, rec, e)
		if changed == 0 {
			continue
		}
		n += changed
		ended, err := t.change(u, &before, rec, e.Now)
		if err != nil {
			return 0, false, &dirtyError{err}
		}
		file = file || ended
	}
	return n, file, nil
}

// apply does to a unit what e says, and returns to how many recipients.
func (t *txn) apply(u unit, rec *unitRecord, e queue.Edit) (n int) {
	if rec.Next == 0 {
		return 0
	}
	for i := range rec.Recipients {
		if r := &rec.Recipients[i]; !r.Result.Final() && e.Applies(r.Address.Address) && r.edit(e) {
			n++
		}
	}
	// What is being delivered is tried right now.
	if n > 0 && e.Action == queue.EditRetry && !t.isLeased(u) {
		rec.Next = stamp(e.Now)
	}
	return n
}

// edit changes a recipient that is not final; false: there was nothing to change.
func (r *recipientRecord) edit(e queue.Edit) bool {
	reply := ""
	switch e.Action {
	case queue.EditHold:
		if r.Held || r.GivenUp {
			return false
		}
		if r.Held, r.Why = true, whyHeld; e.Reply != "" {
			r.Why += ": " + e.Reply
		}
		return true
	case queue.EditRelease:
		if !r.Held {
			return false
		}
		r.Held, r.Why = false, ""
	case queue.EditRetry:
		return r.waits()
	case queue.EditDelete:
		r.Result, r.Held, r.Why, r.GivenUp, reply = queue.Deleted, false, "", false, replyDeleted
	case queue.EditBounce:
		if r.GivenUp {
			return false
		}
		r.Held, r.Why, r.GivenUp, reply = false, "", true, replyGivenUp
	default:
		return false
	}
	if e.Reply != "" {
		reply = e.Reply
	}
	if reply != "" {
		r.Reply = reply
	}
	return true
}

// aboutDeleted returns ErrDeleted when one of the recipients of a unit was deleted.
func (t *txn) aboutDeleted(u unit, recipients []mailaddr.Address) error {
	rec, err := t.getUnit(u)
	if err != nil {
		return err
	}
	for _, r := range rec.Recipients {
		if r.Result == queue.Deleted && slices.Contains(recipients, r.Address.Address) {
			return queue.ErrDeleted
		}
	}
	return nil
}

// markGiveUp keeps the list of the units that GiveUps has to find.
func (t *txn) markGiveUp(u unit, before, now bool) error {
	key := unitKey(u.id, u.destination)
	switch {
	case now && !before:
		return t.put(bucketGiveUp, key, nil)
	case before && !now:
		return t.delete(bucketGiveUp, key)
	}
	return nil
}

// GiveUps implements queue.Store.
func (s *Store) GiveUps(most int) (all []queue.GiveUp, err error) {
	none := false
	err = s.view(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(bucketGiveUp).Cursor().First()
		none = k == nil
		return nil
	})
	if err != nil {
		return nil, s.fail(err)
	}
	if none { // as nearly always: no need of a transaction that writes
		return nil, nil
	}
	err = s.submit(&op{apply: func(t *txn) (err error) {
		all, err = t.giveUps(most)
		for i := range all {
			all[i].Job.Open = s.opener(all[i].Job.ID)
		}
		return err
	}})
	return all, err
}

func (t *txn) giveUps(most int) (all []queue.GiveUp, err error) {
	c := t.Bucket(bucketGiveUp).Cursor()
	for k, _ := c.First(); k != nil && len(all) < most; k, _ = c.Next() {
		if len(k) <= idLen {
			return nil, errors.Join(ErrDamaged, errors.New("list of those given up"))
		}
		u := unit{queue.ID(k[:idLen]), string(k[idLen:])}
		if t.isLeased(u) {
			continue
		}
		g, err := t.leaseGivenUp(u)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

// leaseGivenUp leases one unit of the list.
func (t *txn) leaseGivenUp(u unit) (g queue.GiveUp, err error) {
	rec, err := t.getUnit(u)
	if err != nil {
		return g, err
	}
	var msg messageRecord
	id := []byte(u.id)
	if err := decode("message", id, bytes.Clone(t.message.Get(id)), &msg); err != nil {
		return g, err
	}
	g.Job = queue.Job{
		ID: u.id, Destination: u.destination, Envelope: msg.envelope(u.id), Attempt: rec.Attempt, Size: msg.Size,
	}
	g.Next = time.Unix(0, rec.Next)
	for _, r := range rec.Recipients {
		if r.GivenUp && !r.Result.Final() {
			g.Job.Recipients = append(g.Job.Recipients, asked(g.Job.Envelope, r.Address.Address))
			g.Outcomes = append(g.Outcomes, queue.Outcome{Recipient: r.Address.Address, Result: queue.Failed, Reply: r.Reply})
		}
	}
	if err := t.withdraw(u, rec); err != nil {
		return g, dirty(err)
	}
	return g, dirty(t.lend(u))
}
