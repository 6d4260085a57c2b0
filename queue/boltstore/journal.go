package boltstore

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"
)

// The journal, queue.journal, holds what was promised since the last checkpoint:
// one record for each group of operations, made durable by one flush.
//
// A record begins at a multiple of slotSize, so that no flush ever writes again
// what an earlier one made durable. It has a head,
//
//	magic (4 octets), length of the payload (4), sequence number (8),
//	SHA-256 of the payload, its first 16 octets,
//	SHA-256 of the generation's salt and all of that, its first 16 octets,
//
// then the payload (redo.go), then zeros. Numbers are big-endian. The first slot
// holds journalMagic instead, and a random name of the file, which the bucket meta
// repeats: a journal that somebody put beside another queue.db is not taken for an
// empty one.
//
// Each checkpoint begins a new generation with a new random salt, which is kept in
// the bucket meta together with the number of the last record that the checkpoint
// holds. So the commit of bbolt itself makes all records void at once, and no octets
// of an earlier time, nor those of a message whose sender knows this format, can be
// taken for a record.
const (
	journalName  = "queue.journal"
	journalMagic = "dancemta queue journal, version 1\n"
	recordMagic  = "dmjr"
	// What disks write whole, and file systems keep in one page.
	slotSize = 4096
	headSize = 48
	sumSize  = 16
	saltSize = 16
	nameSize = 16
	// Written ahead with zeros: a flush within them has no names, sizes or extents to
	// write, and so stays one.
	journalStep = 1 << 20
)

var keyJournal = []byte("journal")

// generation is the value of the key "journal".
type generation struct {
	Sequence uint64 `json:"sequence"` // no record up to here is of this generation or a later one
	Salt     []byte `json:"salt"`
	Open     bool   `json:"open"`           // there may be records; false after an orderly end
	Name     []byte `json:"name,omitempty"` // of the file; empty: by an older program, which gave none
}

// after makes the generation that follows the record last. Its number is left out:
// there may be half a record of it, of which nobody was told.
func after(last uint64, open bool, name []byte) generation {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	return generation{Sequence: last + 1, Salt: salt, Open: open, Name: name}
}

// readGeneration returns that of a store, or one without records for a store that
// never had a journal.
func readGeneration(tx *bolt.Tx) (*generation, error) {
	value := tx.Bucket(bucketMeta).Get(keyJournal)
	g := new(generation)
	if value == nil {
		g.Salt = after(0, false, nil).Salt
		return g, nil
	}
	if err := decode("meta", keyJournal, value, g); err != nil {
		return nil, err
	}
	if len(g.Salt) != saltSize {
		return nil, fmt.Errorf("meta %q: %w: salt of %d octets", keyJournal, ErrDamaged, len(g.Salt))
	}
	return g, nil
}

func (g *generation) write(tx *bolt.Tx) error {
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyJournal, value)
}

// seal fills in the head of a record, which begins with headSize octets for it,
// and pads it to whole slots.
func (g *generation) seal(record []byte, sequence uint64) []byte {
	payload := sha256.Sum256(record[headSize:])
	copy(record, recordMagic)
	binary.BigEndian.PutUint32(record[4:], uint32(len(record)-headSize))
	binary.BigEndian.PutUint64(record[8:], sequence)
	copy(record[16:], payload[:sumSize])
	copy(record[32:], g.sum(record[:32]))
	return append(record, make([]byte, slots(len(record))-len(record))...)
}

func (g *generation) sum(head []byte) []byte {
	h := sha256.New()
	h.Write(g.Salt)
	h.Write(head)
	return h.Sum(nil)[:sumSize]
}

// head reads the head of a record of this generation.
func (g *generation) head(head []byte) (length int, sequence uint64, ok bool) {
	if !bytes.HasPrefix(head, []byte(recordMagic)) || !bytes.Equal(head[32:headSize], g.sum(head[:32])) {
		return 0, 0, false
	}
	return int(binary.BigEndian.Uint32(head[4:])), binary.BigEndian.Uint64(head[8:]), true
}

// slots rounds up to whole slots.
func slots(n int) int { return (n + slotSize - 1) / slotSize * slotSize }

// journal is the open file. It belongs to the committer.
type journal struct {
	generation
	f    journalFile
	at   int64 // where the next record begins
	size int64 // of what is written already, if only with zeros
	last uint64
	zero []byte
	step func(string)
}

// openJournal opens the file for writing; what it holds has been replayed. g is the
// generation of that.
func openJournal(path string, g *generation, o *Options) (*journal, error) {
	f, err := o.disk.OpenJournal(path)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, at: slotSize, step: o.Step}
	info, err := f.Stat()
	if err == nil {
		// What goes beyond whole slots was cut off while it grew.
		j.size = max(slotSize, info.Size()/slotSize*slotSize)
	}
	if g.Open && len(g.Name) > 0 {
		j.Name = g.Name // it has been compared
	} else if err == nil {
		err = j.christen()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

// christen writes the first slot, which is durable before anything says that it must
// be there.
func (j *journal) christen() error {
	first := make([]byte, slotSize)
	j.Name = first[copy(first, journalMagic):][:nameSize]
	rand.Read(j.Name) // never fails
	if _, err := j.f.WriteAt(first, 0); err != nil {
		return err
	}
	return j.f.Sync()
}

// begin makes the journal empty, after the commit of g.
func (j *journal) begin(g generation) { j.generation, j.last, j.at = g, g.Sequence, slotSize }

// append writes a record, which begins with headSize octets for its head, and makes
// it durable with one flush. After an error nothing is appended; if that is of the
// flush, nobody knows.
func (j *journal) append(record []byte) error {
	record = j.seal(record, j.last+1)
	j.step("journal write")
	if err := j.grow(j.at + int64(len(record))); err != nil {
		return err
	}
	if _, err := j.f.WriteAt(record, j.at); err != nil {
		return err
	}
	j.step("journal fsync")
	if err := j.f.Sync(); err != nil {
		return &syncError{err}
	}
	j.step("journal written")
	j.last++
	j.at += int64(len(record))
	return nil
}

func (j *journal) grow(to int64) error {
	for j.size < to {
		if j.zero == nil {
			j.zero = make([]byte, journalStep)
		}
		if _, err := j.f.WriteAt(j.zero, j.size); err != nil {
			return err
		}
		j.size += journalStep
	}
	return nil
}

// replay gives each record that follows the checkpoint of g to apply, in order, and
// returns the number of the last. A record that was being written when the power
// went is not there. One that is missing or unreadable before others is damage: they
// were promised, and so was it.
func (g *generation) replay(path string, apply func(payload []byte) error) (last uint64, err error) {
	last = g.Sequence
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && g.Open {
		return last, fmt.Errorf("%w: it is gone, and may have held messages that were accepted", ErrDamaged)
	} else if errors.Is(err, fs.ErrNotExist) {
		return last, nil
	} else if err != nil {
		return last, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return last, err
	}
	r := &replayer{generation: g, f: f, size: info.Size(), last: last}
	if err := r.first(); err != nil {
		return last, err
	}
	err = r.run(apply)
	return r.last, err
}

// replayer reads a journal.
type replayer struct {
	*generation
	f    io.ReaderAt
	size int64
	last uint64 // record that was read
}

// first checks the first slot. Where there can be no records, a file that ends within
// it, or holds nothing there, was being made.
func (r *replayer) first() error {
	if r.size < slotSize && r.Open {
		return fmt.Errorf("%w: it is cut off, and may have held messages that were accepted", ErrDamaged)
	} else if r.size < slotSize {
		return nil
	}
	first := make([]byte, len(journalMagic)+nameSize)
	if _, err := r.f.ReadAt(first, 0); err != nil {
		return err
	}
	name, isJournal := bytes.CutPrefix(first, []byte(journalMagic))
	switch {
	case !isJournal && (r.Open || !bytes.Equal(first, make([]byte, len(first)))):
		return fmt.Errorf("%w: it is no journal, or one of a later version", ErrDamaged)
	case r.Open && len(r.Name) > 0 && !bytes.Equal(name, r.Name):
		return fmt.Errorf("%w: it belongs to another queue.db", ErrDamaged)
	}
	return nil
}

func (r *replayer) run(apply func([]byte) error) error {
	at := int64(slotSize)
	for {
		payload, err := r.record(at)
		if err != nil {
			return err
		}
		if payload == nil && at == slotSize {
			err = r.notLater()
		}
		if err != nil {
			return err
		}
		if payload == nil {
			return r.nothingAfter(at)
		}
		if err := apply(payload); err != nil {
			return err
		}
		r.last++
		at += int64(slots(headSize + len(payload)))
	}
}

// record returns the payload of the next record, nil when it is not there or not
// whole.
func (r *replayer) record(at int64) ([]byte, error) {
	head := make([]byte, headSize)
	if at+headSize > r.size {
		return nil, nil
	}
	if _, err := r.f.ReadAt(head, at); err != nil {
		return nil, err
	}
	length, sequence, ok := r.head(head)
	if !ok || at+headSize+int64(length) > r.size {
		return nil, nil
	}
	if sequence != r.last+1 {
		return nil, fmt.Errorf("%w: record %d stands where %d should", ErrDamaged, sequence, r.last+1)
	}
	payload := make([]byte, length)
	if _, err := r.f.ReadAt(payload, at+headSize); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(payload); !bytes.Equal(sum[:sumSize], head[16:32]) {
		return nil, nil
	}
	return payload, nil
}

// notLater makes sure that the first record, which is none of this generation, is not
// of a later one: then queue.db is an old copy. In this place is never a body of a
// message, which could look so.
func (r *replayer) notLater() error {
	head := make([]byte, headSize)
	if slotSize+headSize > r.size {
		return nil
	}
	if _, err := r.f.ReadAt(head, slotSize); err != nil {
		return err
	}
	length, sequence := int64(binary.BigEndian.Uint32(head[4:])), binary.BigEndian.Uint64(head[8:])
	if !bytes.HasPrefix(head, []byte(recordMagic)) || sequence <= r.Sequence+1 || slotSize+headSize+length > r.size {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r.f, slotSize+headSize, length)); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil)[:sumSize], head[16:32]) {
		return nil
	}
	return fmt.Errorf("%w: it is newer than queue.db, which does not hold what it follows", ErrDamaged)
}

// nothingAfter makes sure that the records end at a place: the next is written
// after the flush of the one before.
func (r *replayer) nothingAfter(at int64) error {
	head := make([]byte, headSize)
	for at += slotSize; at+headSize <= r.size; at += slotSize {
		if _, err := r.f.ReadAt(head, at); err != nil {
			return err
		}
		if _, sequence, ok := r.head(head); ok {
			return fmt.Errorf("%w: record %d cannot be read, although there is record %d", ErrDamaged, r.last+1, sequence)
		}
	}
	return nil
}
