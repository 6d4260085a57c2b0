package boltstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
	"dancemta/queue/boltstore/pages"
)

// Fault is something that is wrong in a store.
type Fault struct {
	Where string `json:"where"`
	What  string `json:"what"`
	Do    string `json:"do"`
}

// What can be done about faults.
const (
	doRescue = `stop the server; "queue export FILE" saves what can be read and names what cannot; move queue.db, queue.journal and spool away; "queue import FILE" brings it into a new queue`
	doLost   = `this message cannot be delivered: "queue export" names it; tell its sender`
	doWait   = "nothing: the next start removes it"
	doNote   = "nothing, after a power cut; else look at the disk"
)

// VerifyDir reads the whole store in dir, which no server may have open: the pages of
// the file, then each record against the others. It changes nothing. The error says
// that it could not look.
func VerifyDir(dir string, report func(Fault)) error {
	sound, err := verifyPages(filepath.Join(dir, fileName), report)
	if err != nil || !sound {
		return err // what bbolt would read of them nobody knows
	}
	s, err := Open(dir, Options{ReadOnly: true})
	if errors.Is(err, ErrDamaged) {
		report(Fault{dir, err.Error(), doRescue})
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Verify(report); err != nil {
		return err
	}
	return s.view(func(tx *bolt.Tx) error { return verifyCounts(tx, report) })
}

// verifyPages walks through the file under a shared lock.
func verifyPages(path string, report func(Fault)) (sound bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := lock(f, true, defaultTimeout); err != nil {
		return false, openError(path, err)
	}
	p, err := pages.Open(f)
	if p != nil {
		defer p.Close()
	}
	if errors.Is(err, pages.ErrNoFile) {
		report(Fault{fileName, err.Error(), doRescue})
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sound = true
	_, err = p.Walk(pages.Visitor{Fault: func(f pages.Fault) {
		sound = false
		report(Fault{fileName, f.String(), doRescue})
	}})
	if err != nil {
		sound = false
		report(Fault{fileName, err.Error(), doRescue})
	}
	if p.Torn() {
		report(Fault{fileName, "one of its two heads is not whole: a write was cut off, and the one before it counts", doNote})
	}
	return sound, nil
}

// verifyCounts makes the tally anew. It reads all units in one transaction.
func verifyCounts(tx *bolt.Tx, report func(Fault)) error {
	var want, got tally
	value := tx.Bucket(bucketMeta).Get(keyCounts)
	if value == nil || tx.Bucket(bucketLeased) == nil {
		return nil
	}
	if err := countUnits(tx, &want); err != nil {
		return nil // it was reported with its message
	}
	if err := json.Unmarshal(value, &got); err != nil || got != want {
		report(Fault{"counts", fmt.Sprintf("%+v, there are %+v", got, want), doRescue})
	}
	return nil
}

// Verify compares each record with the others, a few at a time, while the store works.
func (s *Store) Verify(report func(Fault)) error {
	a := &audit{s: s, report: report, files: map[queue.ID]uint32{}}
	for _, step := range []struct {
		bucket []byte
		check  func(tx *bolt.Tx, k, v []byte)
	}{
		{bucketMessage, a.message},
		{bucketUnit, a.stray("unit")},
		{bucketBody, a.stray("body")},
		{bucketGiveUp, a.stray("list of those given up")},
		{bucketDestination, a.place},
		{bucketLane, a.lane},
		{bucketDue, a.due},
		{bucketFinished, a.finished},
	} {
		if err := a.each(step.bucket, step.check); err != nil {
			return err
		}
	}
	return a.strayFiles()
}

// audit is one verification.
type audit struct {
	s      *Store
	report func(Fault)
	found  []Fault             // in the present transaction: report may take its time
	files  map[queue.ID]uint32 // bodies of it to be read, with their checksums
}

func (a *audit) fault(where, do, format string, args ...any) {
	a.found = append(a.found, Fault{where, fmt.Sprintf(format, args...), do})
}

// each calls check for each key of a bucket.
func (a *audit) each(bucket []byte, check func(tx *bolt.Tx, k, v []byte)) error {
	var last []byte
	for more := true; more; {
		err := a.s.view(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucket)
			if more = b != nil; !more {
				return nil // of a store of version 1, for reading
			}
			c := b.Cursor()
			k, v := c.Seek(last)
			if last != nil && bytes.Equal(k, last) {
				k, v = c.Next()
			}
			for n := 0; k != nil && n < eachPage; n++ {
				check(tx, k, v)
				last = append(last[:0], k...)
				k, v = c.Next()
			}
			more = k != nil
			return nil
		})
		a.readFiles()
		for _, f := range a.found {
			a.report(f)
		}
		a.found = a.found[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

// message compares a message with its units and its body.
func (a *audit) message(tx *bolt.Tx, k, v []byte) {
	where := fmt.Sprintf("message %.40q", k)
	var msg messageRecord
	if err := decode("message", k, v, &msg); err != nil || !queue.ID(k).Valid() {
		a.fault(where, doLost, "%v", err)
		return
	}
	id, want := queue.ID(k), map[string][]address{}
	where = "message " + string(id)
	for _, to := range msg.Recipients {
		d := queue.Destination(to.Address)
		want[d] = append(want[d], to)
	}
	open := 0
	for d, addresses := range want {
		if a.unit(tx, unit{id, d}, addresses) {
			open++
		}
	}
	if open != msg.Open || open == 0 {
		a.fault(where, doRescue, "%d destinations are open, %d are counted", open, msg.Open)
	}
	a.body(tx, id, &msg)
}

// unit checks one unit, and that it stands in line if somebody in it waits.
func (a *audit) unit(tx *bolt.Tx, u unit, want []address) (open bool) {
	where := fmt.Sprintf("message %s at %.80s", u.id, u.destination)
	rec, key := new(unitRecord), unitKey(u.id, u.destination)
	if err := decode("unit", key, tx.Bucket(bucketUnit).Get(key), rec); err != nil {
		a.fault(where, doRescue, "its state cannot be read: %v", err)
		return true
	}
	var got []address
	for _, r := range rec.Recipients {
		got = append(got, r.Address)
	}
	if !slices.Equal(got, want) {
		a.fault(where, doRescue, "it holds the recipients %v, the message %v", got, want)
	}
	if (rec.Next != 0) != (rec.open() > 0) {
		a.fault(where, doRescue, "%d recipients are open, and its time is %d", rec.open(), rec.Next)
	}
	leases := tx.Bucket(bucketLeased)
	if leases == nil || rec.due() == 0 || leased(tx, u) {
		return rec.Next != 0
	}
	if place := laneFor(u, rec).place(rec.due(), u.id); tx.Bucket(bucketDestination).Get(place) == nil {
		a.fault(where, doRescue, "it waits and stands in no line: nobody would deliver it")
	}
	if rec.givenUp() != (tx.Bucket(bucketGiveUp).Get(key) != nil) {
		a.fault(where, doRescue, "it is given up, and nobody would say so; or the reverse")
	}
	return true
}

func (a *audit) body(tx *bolt.Tx, id queue.ID, msg *messageRecord) {
	where := "message " + string(id)
	if msg.Spool {
		info, err := os.Stat(a.s.spool.path(id))
		switch {
		case err != nil:
			a.fault(where, doLost, "its body: %v", err)
		case info.Size() != msg.Size:
			a.fault(where, doLost, "its body has %d octets of %d", info.Size(), msg.Size)
		default:
			a.files[id] = msg.Sum
		}
		return
	}
	var size int64
	var sum uint32
	for i := 0; size < msg.Size; i++ {
		chunk := tx.Bucket(bucketBody).Get(bodyKey(id, i))
		if len(chunk) == 0 {
			break
		}
		size += int64(len(chunk))
		sum = crc32.Update(sum, castagnoli, chunk)
	}
	switch {
	case size != msg.Size:
		a.fault(where, doLost, "its body has %d octets of %d", size, msg.Size)
	case msg.Sum != 0 && msg.Sum != sum:
		a.fault(where, doLost, "its body has another checksum")
	}
}

// readFiles reads the bodies that message has found, outside of the transaction.
func (a *audit) readFiles() {
	for id, want := range a.files {
		sum, err := fileSum(a.s.spool.path(id))
		if want != 0 && err == nil && sum != want {
			a.fault("message "+string(id), doLost, "its body has another checksum")
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // its message may have ended meanwhile
			a.fault("message "+string(id), doLost, "its body: %v", err)
		}
	}
	clear(a.files)
}

func fileSum(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	_, err = io.Copy(sum, f)
	return sum.Sum32(), err
}

// stray finds records whose message is not there.
func (a *audit) stray(what string) func(*bolt.Tx, []byte, []byte) {
	return func(tx *bolt.Tx, k, _ []byte) {
		if len(k) < idLen || tx.Bucket(bucketMessage).Get(k[:idLen]) == nil {
			a.fault(fmt.Sprintf("%s %.60q", what, k), doRescue, "its message is not there")
		}
	}
}

// readLine splits the beginning of a key: a destination, NUL, a class.
func readLine(k []byte) (l line, rest []byte, ok bool) {
	end := bytes.IndexByte(k, 0)
	if end < 1 || end+2 > len(k) || k[end+1] >= classes {
		return l, nil, false
	}
	return line{string(k[:end]), class(k[end+1])}, k[end+2:], true
}

// place checks that who stands in a line waits there.
func (a *audit) place(tx *bolt.Tx, k, _ []byte) {
	l, rest, ok := readLine(k)
	if tx.Bucket(bucketLeased) == nil {
		return // the indexes of version 1 are made anew
	}
	if !ok || len(rest) != 2*timeLen+idLen {
		a.fault(fmt.Sprintf("line %.60q", k), doRescue, "it cannot be read")
		return
	}
	u := unit{queue.ID(rest[2*timeLen:]), l.destination}
	rec, key := new(unitRecord), unitKey(u.id, u.destination)
	err := decode("unit", key, tx.Bucket(bucketUnit).Get(key), rec)
	if err != nil || rec.due() == 0 || leased(tx, u) || !bytes.Equal(laneFor(u, rec).place(rec.due(), u.id), k) {
		a.fault(fmt.Sprintf("line of %.80s", l.destination), doRescue, "message %s stands in it, and does not belong there", u.id)
	}
	own := lane{l, binary.BigEndian.Uint64(rest)}
	if _, turn, ok := (&txn{Tx: tx}).turn(own.key()); !ok || tx.Bucket(bucketLane).Get(own.ordered(turn)) == nil {
		a.fault(fmt.Sprintf("line of %.80s", l.destination), doRescue, "a sender in it has no turn: his mail would stay")
	}
}

// lane checks that a sender who has a turn has mail, and that his line has one.
func (a *audit) lane(tx *bolt.Tx, k, _ []byte) {
	l, rest, ok := readLine(k)
	if !ok || len(rest) != 2*timeLen {
		a.fault(fmt.Sprintf("lane %.60q", k), doRescue, "it cannot be read")
		return
	}
	t := &txn{Tx: tx}
	own := lane{l, binary.BigEndian.Uint64(rest[timeLen:])}
	_, turn, ok := t.turn(own.key())
	if at, _ := t.firstUnit(own); at == 0 || !ok || uint64(turn) != binary.BigEndian.Uint64(rest) {
		a.fault(fmt.Sprintf("line of %.80s", l.destination), doRescue, "a sender has a turn in it, and no mail; or another turn")
	}
	_, turn, ok = t.turn(l.key())
	if !ok || !t.parked(l.destination) && tx.Bucket(bucketDue).Get(l.due(turn)) == nil {
		a.fault(fmt.Sprintf("line of %.80s", l.destination), doRescue, "it has no turn: its mail would stay")
	}
}

// due checks that a line which has a turn has mail.
func (a *audit) due(tx *bolt.Tx, k, _ []byte) {
	if tx.Bucket(bucketLeased) == nil {
		return
	}
	if len(k) <= 1+timeLen || k[0] >= classes {
		a.fault(fmt.Sprintf("turn %.60q", k), doRescue, "it cannot be read")
		return
	}
	t := &txn{Tx: tx}
	l, at := splitDue(k)
	_, turn, ok := t.turn(l.key())
	if first, _ := t.firstLane(l); first == 0 || !ok || turn != at || t.parked(l.destination) {
		a.fault(fmt.Sprintf("line of %.80s", l.destination), doRescue, "it has a turn, and no mail; or another turn")
	}
}

func (a *audit) finished(tx *bolt.Tx, k, _ []byte) {
	if len(k) != timeLen+idLen {
		a.fault(fmt.Sprintf("history %.60q", k), doRescue, "it cannot be read")
		return
	}
	if _, err := getHistory(tx, queue.ID(k[timeLen:])); err != nil {
		a.fault("history", doRescue, "%v", err)
	}
}

// strayFiles finds files of bodies that no message claims.
func (a *audit) strayFiles() error {
	d, err := os.Open(a.s.spool.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000)
		for _, name := range names {
			if id := queue.ID(name); id.Valid() {
				if there, err := a.s.claimed(id); err == nil && !there && a.s.o.ReadOnly {
					a.report(Fault{"spool file " + name, "no message claims it", doWait})
				}
			}
		}
		if len(names) == 0 || err != nil {
			return nil
		}
	}
}
