package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"dancemta/queue"
)

// The units that wait stand in line so that nobody has to search, and nobody has to
// wait for all who came in greater number:
//
//	line   the units of one destination that were never tried, or those that were
//	lane   the units of one sender in a line, by the time at which they are due
//
// Whoever is served gives way to those who have waited since before. So each lane,
// and each line, has a turn: the time at which its first one is due, but not before
// the stamp of its last service. The lane with the earliest turn in the line with the
// earliest turn is the next.

// class tells the lines of a destination apart.
type class byte

const (
	fresh   class = iota // never tried
	tried                // tried, or passed on
	classes = 2
)

type line struct {
	destination string
	class       class
}

type lane struct {
	line
	sender uint64
}

// laneOf returns the lane of a sender. Nobody can find a name with the number of
// another one.
func laneOf(env queue.Envelope) uint64 {
	sum := sha256.Sum256([]byte(env.Lane()))
	return binary.BigEndian.Uint64(sum[:])
}

func (u *unitRecord) class() class {
	if u.Attempt+u.Passed == 0 {
		return fresh
	}
	return tried
}

func laneFor(u unit, rec *unitRecord) lane {
	return lane{line{u.destination, rec.class()}, rec.Lane}
}

func (l line) key() []byte {
	return append(destinationPrefix(l.destination), byte(l.class))
}

func (l lane) key() []byte { return binary.BigEndian.AppendUint64(l.line.key(), l.sender) }

// place is the key of a unit in its lane.
func (l lane) place(at int64, id queue.ID) []byte {
	return append(binary.BigEndian.AppendUint64(l.key(), uint64(at)), id...)
}

// ordered is the key of a lane in its line.
func (l lane) ordered(turn int64) []byte {
	k := binary.BigEndian.AppendUint64(l.line.key(), uint64(turn))
	return binary.BigEndian.AppendUint64(k, l.sender)
}

// due is the key of a line among all lines.
func (l line) due(turn int64) []byte {
	k := binary.BigEndian.AppendUint64([]byte{byte(l.class)}, uint64(turn))
	return append(k, l.destination...)
}

// splitDue reads a key of the due index.
func splitDue(k []byte) (l line, turn int64) {
	return line{string(k[1+timeLen:]), class(k[0])}, int64(binary.BigEndian.Uint64(k[1:]))
}

// enter puts a unit in line, unless nobody in it waits for a delivery, or it is under
// delivery.
func (t *txn) enter(u unit, rec *unitRecord) error {
	at := rec.due()
	if at == 0 || t.isLeased(u) {
		return nil
	}
	l := laneFor(u, rec)
	if err := t.put(bucketDestination, l.place(at, u.id), nil); err != nil {
		return err
	}
	return t.refresh(l, 0)
}

// withdraw takes a unit out of the line in which enter put it for rec. Whoever
// changes a record withdraws the unit before, and enters it afterwards.
func (t *txn) withdraw(u unit, rec *unitRecord) error {
	at := rec.due()
	if at == 0 || t.isLeased(u) {
		return nil
	}
	l := laneFor(u, rec)
	if err := t.delete(bucketDestination, l.place(at, u.id)); err != nil {
		return err
	}
	return t.refresh(l, 0)
}

// move writes a record and gives its unit the right place in line, before says which
// one it had.
func (t *txn) move(u unit, before, rec *unitRecord) error {
	if err := t.withdraw(u, before); err != nil {
		return err
	}
	if err := t.putUnit(u, rec); err != nil {
		return err
	}
	return t.enter(u, rec)
}

// refresh sets the turns of a lane and of its line after a change. served is the
// stamp of a service that was the reason; else 0.
func (t *txn) refresh(l lane, served int64) error {
	head, _ := t.firstUnit(l)
	changed, err := t.setTurn(l.key(), head, served, func(turn int64) ([]byte, []byte) { return bucketLane, l.ordered(turn) })
	if err != nil || !changed {
		return err
	}
	parked := t.parked(l.destination)
	head, _ = t.firstLane(l.line)
	_, err = t.setTurn(l.line.key(), head, served, func(turn int64) ([]byte, []byte) {
		if parked {
			return nil, nil
		}
		return bucketDue, l.due(turn)
	})
	return err
}

// setTurn writes the turn of a lane or a line under key, and moves its entry in the
// index that entry names. head 0: it is empty, and forgotten.
func (t *txn) setTurn(key []byte, head, served int64, entry func(turn int64) (bucket, key []byte)) (changed bool, err error) {
	last, old, there := t.turn(key)
	if served == 0 {
		served = last // a new one counts alone: the clock may have been set back
	}
	if there && (head == 0 || max(head, served) != old) {
		if bucket, k := entry(old); bucket != nil {
			err = t.delete(bucket, k)
		}
	}
	if err != nil || head == 0 {
		if there && err == nil {
			err = t.delete(bucketTurn, key)
		}
		return there, err
	}
	turn := max(head, served)
	if there && turn == old && served == last {
		return false, nil
	}
	if bucket, k := entry(turn); bucket != nil && (!there || turn != old) {
		if err := t.put(bucket, k, nil); err != nil {
			return true, err
		}
	}
	value := binary.BigEndian.AppendUint64(nil, uint64(served))
	return true, t.put(bucketTurn, key, binary.BigEndian.AppendUint64(value, uint64(turn)))
}

// turn reads what setTurn wrote.
func (t *txn) turn(key []byte) (served, turn int64, ok bool) {
	v := t.Bucket(bucketTurn).Get(key)
	if len(v) != 2*timeLen {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[timeLen:])), true
}

// firstUnit returns the unit of a lane that is due first; at is 0: there is none.
func (t *txn) firstUnit(l lane) (at int64, id queue.ID) {
	prefix := l.key()
	k, _ := t.Bucket(bucketDestination).Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+timeLen+idLen {
		return 0, ""
	}
	k = k[len(prefix):]
	return int64(binary.BigEndian.Uint64(k)), queue.ID(k[timeLen:])
}

// firstLane returns the lane of a line whose turn is the earliest; turn is 0: there
// is none.
func (t *txn) firstLane(l line) (turn int64, first lane) {
	prefix := l.key()
	k, _ := t.Bucket(bucketLane).Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+2*timeLen {
		return 0, lane{}
	}
	k = k[len(prefix):]
	return int64(binary.BigEndian.Uint64(k)), lane{l, binary.BigEndian.Uint64(k[timeLen:])}
}

// head returns the unit of a line whose turn it is.
func (t *txn) head(l line) (first lane, at int64, id queue.ID, err error) {
	if _, first = t.firstLane(l); first.destination != "" {
		at, id = t.firstUnit(first)
	}
	if at == 0 {
		return first, 0, "", fmt.Errorf("lines of %q: %w", l.destination, ErrDamaged)
	}
	return first, at, id, nil
}

// A destination that is parked has no entry in the due index: nobody passes by it,
// however many there are.

func (t *txn) parked(destination string) bool {
	return t.Bucket(bucketParked).Get([]byte(destination)) != nil
}

// park takes a destination out of the due index.
func (t *txn) park(destination string) error {
	if t.parked(destination) {
		return nil
	}
	for c := range class(classes) {
		l := line{destination, c}
		if _, turn, ok := t.turn(l.key()); ok {
			if err := t.delete(bucketDue, l.due(turn)); err != nil {
				return err
			}
		}
	}
	return t.put(bucketParked, []byte(destination), []byte{1})
}

// unpark puts a destination back.
func (t *txn) unpark(destination string) error {
	if !t.parked(destination) {
		return nil
	}
	if err := t.delete(bucketParked, []byte(destination)); err != nil {
		return err
	}
	for c := range class(classes) {
		l := line{destination, c}
		if _, turn, ok := t.turn(l.key()); ok {
			if err := t.put(bucketDue, l.due(turn), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// unparkMatching puts back the destinations of which match says so.
func (t *txn) unparkMatching(match func(destination string) bool) error {
	var all []string
	err := t.Bucket(bucketParked).ForEach(func(k, _ []byte) error {
		if match(string(k)) {
			all = append(all, string(k))
		}
		return nil
	})
	for _, d := range all {
		if err == nil {
			err = t.unpark(d)
		}
	}
	return err
}
