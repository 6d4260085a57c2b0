package boltstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"dancemta/queue"
)

// verify reads a closed store whole and lists what contradicts itself: bbolt's
// pages, messages against units, bodies and files, indexes against units.
// swept: the store was opened after its last crash, so no file may lack its
// message.
func verify(dir string, swept bool) (faults []string) {
	db, err := bolt.Open(filepath.Join(dir, fileName), 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second, PreLoadFreelist: true})
	if err != nil {
		return []string{err.Error()}
	}
	v := &verifier{dir: dir, spool: map[string]bool{}}
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			v.fault("bbolt: %v", err)
		}
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		v.fault("%v", err)
	}
	s, err := Open(dir, Options{ReadOnly: true}) // with what its journal holds
	if err != nil {
		v.fault("%v", err)
		return v.faults
	}
	defer s.Close()
	err = s.view(func(tx *bolt.Tx) error {
		v.tx = tx
		v.messages()
		v.strays(bucketUnit)
		v.strays(bucketBody)
		v.indexes()
		v.counts()
		return nil
	})
	if err != nil {
		v.fault("%v", err)
	}
	if swept {
		v.files()
	}
	return v.faults
}

type verifier struct {
	dir    string
	tx     *bolt.Tx
	faults []string
	spool  map[string]bool // claimed
}

func (v *verifier) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

func (v *verifier) messages() {
	v.tx.Bucket(bucketMessage).ForEach(func(k, value []byte) error {
		var msg messageRecord
		if err := decode("message", k, value, &msg); err != nil {
			v.fault("%v", err)
			return nil
		}
		id := queue.ID(k)
		v.units(id, &msg)
		v.body(id, &msg)
		return nil
	})
}

// units compares a message with its units: the same recipients, the same count
// of open ones, a time for each open one alone.
func (v *verifier) units(id queue.ID, msg *messageRecord) {
	want := map[string][]address{}
	for _, a := range msg.Recipients {
		d := queue.Destination(a.Address)
		want[d] = append(want[d], a)
	}
	open := 0
	for d, addresses := range want {
		var rec unitRecord
		if err := decode("unit", unitKey(id, d), v.tx.Bucket(bucketUnit).Get(unitKey(id, d)), &rec); err != nil {
			v.fault("%v", err)
			continue
		}
		var got []address
		for _, r := range rec.Recipients {
			got = append(got, r.Address)
		}
		if !slices.Equal(got, addresses) {
			v.fault("unit %s %s: recipients %v, the message has %v", id, d, got, addresses)
		}
		if (rec.Next != 0) != (rec.open() > 0) {
			v.fault("unit %s %s: next %d with %d open recipients", id, d, rec.Next, rec.open())
		}
		if rec.Next != 0 {
			open++
		}
	}
	if open != msg.Open || open == 0 {
		v.fault("message %s: %d open units are counted, there are %d", id, msg.Open, open)
	}
	if n := v.count(bucketUnit, []byte(id)); n != len(want) {
		v.fault("message %s: %d units, %d destinations", id, n, len(want))
	}
}

func (v *verifier) count(bucket, prefix []byte) (n int) {
	c := v.tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		n++
	}
	return n
}

func (v *verifier) body(id queue.ID, msg *messageRecord) {
	if msg.Spool {
		v.spool[string(id)] = true
		info, err := os.Stat(filepath.Join(v.dir, spoolName, string(id)))
		if err != nil || info.Size() != msg.Size {
			v.fault("message %s: spool file: %v, %d octets are expected", id, err, msg.Size)
		}
		if n := v.count(bucketBody, []byte(id)); n > 0 {
			v.fault("message %s: has a spool file and %d chunks", id, n)
		}
		return
	}
	var size int64
	for i := range v.count(bucketBody, []byte(id)) {
		size += int64(len(v.tx.Bucket(bucketBody).Get(bodyKey(id, i))))
	}
	if size != msg.Size {
		v.fault("message %s: %d octets of body, %d are expected", id, size, msg.Size)
	}
}

// strays finds records whose message is not there.
func (v *verifier) strays(bucket []byte) {
	v.tx.Bucket(bucket).ForEach(func(k, _ []byte) error {
		if v.tx.Bucket(bucketMessage).Get(k[:idLen]) == nil {
			v.fault("%s %q: its message is not there", bucket, k)
		}
		return nil
	})
}

// indexes makes the lines from the units and compares.
func (v *verifier) indexes() {
	places, lanes := map[string]bool{}, map[lane]int64{}
	v.tx.Bucket(bucketUnit).ForEach(func(k, value []byte) error {
		rec, u := new(unitRecord), unit{queue.ID(k[:idLen]), string(k[idLen:])}
		if err := decode("unit", k, value, rec); err != nil || rec.due() == 0 || leased(v.tx, u) {
			return nil
		}
		l := laneFor(u, rec)
		places[string(l.place(rec.due(), u.id))] = true
		if at, ok := lanes[l]; !ok || rec.due() < at {
			lanes[l] = rec.due()
		}
		return nil
	})
	v.compare(bucketDestination, places)
	v.turns(lanes)
}

// turns compares the turns of lanes and lines with what stands first in them.
func (v *verifier) turns(lanes map[lane]int64) {
	t := &txn{Tx: v.tx}
	orders, dues, turns, lines := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[line]int64{}
	check := func(key []byte, head int64) int64 {
		served, turn, ok := t.turn(key)
		if !ok || turn != max(head, served) {
			v.fault("turn of %q: %d, %v; the first is due at %d, served %d", key, turn, ok, head, served)
		}
		turns[string(key)] = true
		return turn
	}
	for l, head := range lanes {
		turn := check(l.key(), head)
		orders[string(l.ordered(turn))] = true
		if at, ok := lines[l.line]; !ok || turn < at {
			lines[l.line] = turn
		}
	}
	for l, head := range lines {
		if turn := check(l.key(), head); !t.parked(l.destination) {
			dues[string(l.due(turn))] = true
		}
	}
	v.compare(bucketLane, orders)
	v.compare(bucketDue, dues)
	v.compare(bucketTurn, turns)
}

// counts makes the tally anew and compares. A store without one was never written to.
func (v *verifier) counts() {
	var want, got tally
	if err := countUnits(v.tx, &want); err != nil {
		v.fault("%v", err)
	}
	if value := v.tx.Bucket(bucketMeta).Get(keyCounts); value != nil {
		if err := json.Unmarshal(value, &got); err != nil {
			v.fault("counts: %v", err)
		}
	}
	if got != want {
		v.fault("counts: %+v, there are %+v", got, want)
	}
}

func (v *verifier) compare(bucket []byte, want map[string]bool) {
	got := map[string]bool{}
	v.tx.Bucket(bucket).ForEach(func(k, _ []byte) error {
		got[string(k)] = true
		return nil
	})
	if !maps.Equal(got, want) {
		v.fault("index %s: %d entries, %d are expected, or others", bucket, len(got), len(want))
	}
}

func (v *verifier) files() {
	names, err := os.ReadDir(filepath.Join(v.dir, spoolName))
	if err != nil {
		v.fault("%v", err)
	}
	for _, e := range names {
		if queue.ID(strings.TrimSuffix(e.Name(), tmpSuffix)).Valid() && !v.spool[e.Name()] {
			v.fault("spool file %s: no message claims it", e.Name())
		}
	}
}

// expectSound fails the test when the closed store in dir contradicts itself.
func expectSound(t testing.TB, dir string, swept bool) {
	t.Helper()
	for _, f := range verify(dir, swept) {
		t.Errorf("%s: %s", filepath.Base(dir), f)
	}
}

// copyStore makes an image of a store as a crash would leave it.
func copyStore(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return copyFile(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyFile copies what is there and no holes: queue.db grows by 16 MB at a time.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	for at := int64(0); ; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no more data
			return out.Truncate(info.Size())
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, at-data)); err != nil {
			return err
		}
	}
}
