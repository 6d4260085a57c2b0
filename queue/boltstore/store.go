// Package boltstore is the queue's store on one bbolt file, queue.db, with
// larger bodies as files in the folder spool/ beside it. The idea: one
// goroutine, the committer, gathers all puts, leases and settlements that wait,
// does them in a transaction of bbolt that stays open, and appends what it did
// to a journal, so that many sessions share one flush of the disk. From time to
// time a checkpoint commits the transaction, and the journal begins anew.
//
// Start with Open, then commit.go (who waits for what), memtable.go (the open
// transaction), journal.go and format.go (what lies where) and put.go, due.go,
// settle.go (one verb of queue.Store each).
//
// It must not lie on a network file system: bbolt's lock and its memory map
// do not work there.
package boltstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"dancemta/queue"
)

// Errors of Open; each comes wrapped with the file.
var (
	ErrInUse    = errors.New("in use by another process")
	ErrVersion  = errors.New("format version not known to this program")
	ErrNotQueue = errors.New("not a dancemta queue")
	ErrBodies   = errors.New("the queue file is new, but its folder holds a journal or bodies of messages")
	ErrReadOnly = errors.New("store is open for reading only")
	ErrDamaged  = errors.New("the store is damaged")
	errClosed   = errors.New("store is closed")
	errMoved    = errors.New("removed or replaced since it was opened")
)

const (
	fileName  = "queue.db"
	spoolName = "spool"

	// Bodies up to here go into the store with their envelope. Measured: the
	// crossover to a file of their own is near 100 KB.
	defaultMaxInline = 64 << 10
	// Left free for settlements, which need pages too (copy on write), and
	// for the rest of the machine.
	defaultMinFree = 64 << 20
	// Large bodies are files, and so are those that the rest of the machine makes.
	defaultMinInodes = 1000
	// Long enough for a predecessor that is just ending, short enough for a
	// person who starts a second one.
	defaultTimeout = 2 * time.Second
	// Long enough to answer who asks on the next day what became of a message,
	defaultHistory = 24 * time.Hour
	// and at some 600 octets each no burden.
	defaultHistoryMax = 100_000
)

// Options of Open; the zero value is right for a server.
type Options struct {
	MaxBodyInline int           // larger bodies become files; default 64 KiB
	MinFree       uint64        // octets to leave free on the disk: below it Put answers Full; default 64 MiB
	MinInodes     uint64        // the same for files; default 1000
	Timeout       time.Duration // wait for another process to let go of the file; default 2 s
	ReadOnly      bool          // for lists when no server runs; creates and changes nothing
	History       time.Duration // how long messages that have ended are remembered; default 24 h, negative: not at all
	HistoryMax    int           // how many of them at most; default 100,000
	Logger        *slog.Logger  // default: silent
	// A checkpoint is due when the journal holds so much; default 16 MiB; 1: with each group.
	JournalBytes int64

	disk     disk                                             // tests make it fail
	openFile func(string, int, os.FileMode) (*os.File, error) // the same for queue.db
	// Step is called with the name of each step of durable work as it begins; crash
	// tests learn from it where a kill fell.
	Step          func(string)
	commit        func(*bolt.Tx) error // a checkpoint: the two flushes of queue.db
	compactAlways bool                 // copy the file at the start, whatever is free in it
}

func (o *Options) setDefaults() {
	if o.MaxBodyInline <= 0 {
		o.MaxBodyInline = defaultMaxInline
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.MinInodes == 0 {
		o.MinInodes = defaultMinInodes
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.History == 0 {
		o.History = defaultHistory
	}
	if o.HistoryMax <= 0 {
		o.HistoryMax = defaultHistoryMax
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	if o.JournalBytes <= 0 {
		o.JournalBytes = defaultJournalBytes
	}
	if o.commit == nil {
		o.commit = (*bolt.Tx).Commit
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
}

// Store implements queue.Store.
type Store struct {
	o      Options
	dir    string
	db     *bolt.DB
	opened os.FileInfo // of queue.db
	born   time.Time

	openedJournal os.FileInfo // nil: open for reading only
	spool         spool
	buffers       buffers

	broken atomic.Pointer[queue.Error] // set once: no promise is made any more

	mu      sync.Mutex
	pending []*op
	reading arrivals // puts that are reading their body: the committer may wait for them
	closed  bool
	wake    chan struct{} // capacity 1: the committer should look again
	stopped chan struct{} // closed when the committer has ended

	table     memtable
	reclaimed atomic.Bool // what an earlier process left under delivery is back in line

	// Of the committer's goroutine alone.
	leases   leases
	journal  *journal // nil: open for reading only
	replayed uint64   // last record that was found when the store was opened
	crowded  bool     // the last checkpoint found no room on the disk

	compactErr error // of the start

	counts atomic.Pointer[tally]   // as promised
	oldest atomic.Pointer[arrival] // of the oldest message
	active atomic.Int64            // leases
}

var _ queue.Store = (*Store)(nil)

// Open opens the store in the folder dir, which it makes when it is absent,
// and removes what a crash left in the spool. Errors name the file and wrap
// ErrInUse, ErrVersion, ErrNotQueue, ErrBodies or the system's error; then nothing
// has been changed.
func Open(dir string, o Options) (*Store, error) {
	o.setDefaults()
	s := &Store{o: o, dir: dir, born: time.Now(), wake: make(chan struct{}, 1), stopped: make(chan struct{}), leases: newLeases()}
	s.spool = spool{dir: filepath.Join(dir, spoolName), disk: o.disk, step: o.Step}
	if !o.ReadOnly {
		if err := makeFolder(dir, o.disk); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, fileName)
	if info, err := os.Stat(path); err == nil && info.Size() == 0 && o.ReadOnly {
		return nil, fmt.Errorf("queue file %s: %w", path, ErrNotQueue) // bbolt would want to write
	}
	var err error
	var c *pageCheck
	if s.db, c, err = openBolt(path, o); err != nil {
		return nil, err
	}
	err = s.prepare(c.worthwhile())
	if err == nil && o.ReadOnly {
		err = s.overlay(path)
	}
	if err != nil {
		s.release()
		return nil, err
	}
	if o.ReadOnly {
		close(s.stopped)
		return s, nil
	}
	go s.run()
	s.reclaim()
	return s, nil
}

// overlay shows what the journal holds to a reader, who must write nothing: the
// open transaction is never committed, and its file cannot be written to. Nobody else
// may have the store open meanwhile; without records many may read.
func (s *Store) overlay(path string) error {
	if has, err := s.hasRecords(); !has || err != nil {
		return err
	}
	if err := s.db.Close(); err != nil {
		return err
	}
	o := s.o
	o.ReadOnly = false
	o.openFile = func(name string, _ int, mode os.FileMode) (*os.File, error) {
		return os.OpenFile(name, os.O_RDONLY, mode)
	}
	var err error
	if s.db, _, err = openBolt(path, o); err != nil {
		return err
	}
	if err := s.prepare(false); err != nil { // another program may have been here meanwhile
		return err
	}
	_, err = s.replayTable(filepath.Join(s.dir, journalName))
	return err
}

// makeFolder makes dir and its name durable.
func makeFolder(dir string, d disk) error {
	there, err := d.Exists(dir)
	if there || err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(dir))
}

// openBolt opens the file with the largest memory map that the system grants:
// growth within the map needs no remapping, which would wait for readers.
func openBolt(path string, o Options) (*bolt.DB, *pageCheck, error) {
	var err error
	c := &pageCheck{o: o}
	for _, size := range []int64{16 << 30, 1 << 30, 0} {
		if size > math.MaxInt {
			continue
		}
		var db *bolt.DB
		options := &bolt.Options{
			Timeout:         o.Timeout,
			ReadOnly:        o.ReadOnly,
			FreelistType:    bolt.FreelistMapType,
			NoFreelistSync:  true, // commits stay short; opening after a crash scans the file instead
			InitialMmapSize: int(size),
			OpenFile:        c.open,
			NoStatistics:    true,
		}
		err = guarded(func() (err error) { db, err = bolt.Open(path, 0o600, options); return err })
		if err == nil {
			// Who waited for the lock while another process compacted has the old file.
			if err = samePlace(path, c.opened); err == nil {
				return db, c, nil
			}
			return nil, nil, errors.Join(fmt.Errorf("%w: %w", ErrInUse, err), db.Close())
		}
		if !errors.Is(err, syscall.ENOMEM) {
			break
		}
	}
	return nil, nil, openError(path, err)
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("queue file %s: %w", path, ErrInUse)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("queue file %s: %w (%v)", path, ErrNotQueue, err)
	}
	return fmt.Errorf("queue file %s: %w", path, err)
}

// prepare checks the format, makes what is missing and sweeps the spool.
func (s *Store) prepare(compact bool) error {
	path := filepath.Join(s.dir, fileName)
	fresh := false
	err := guarded(func() (err error) { fresh, err = checkFormat(s.db); return err })
	if err != nil {
		return fmt.Errorf("queue file %s: %w", path, err)
	}
	if s.o.ReadOnly {
		if fresh {
			return fmt.Errorf("queue file %s: %w", path, ErrNotQueue)
		}
		return nil
	}
	if fresh {
		if err := s.createFresh(); err != nil {
			return fmt.Errorf("queue file %s: %w", path, err)
		}
	}
	if compact {
		if err := s.tryCompact(path); err != nil {
			return err
		}
	}
	if s.opened, err = os.Stat(path); err != nil {
		return err
	}
	if err := s.migrate(); err != nil {
		return fmt.Errorf("queue file %s: %w", path, err)
	}
	// The names queue.db and spool are as dear as what they hold.
	if err := makeFolder(s.spool.dir, s.o.disk); err != nil {
		return err
	}
	if err := s.o.disk.SyncDir(s.dir); err != nil {
		return err
	}
	if err := s.replay(); err != nil {
		return err
	}
	s.loadCounts()
	s.noteOldest()
	return s.sweep()
}

// createFresh makes the buckets of a new store. A journal and bodies that are there
// already belong to a queue.db that is somewhere else, or not mounted: they would be
// taken for what a crash left.
func (s *Store) createFresh() error {
	there, err := s.spool.holdsBodies()
	if !there && err == nil {
		there, err = s.o.disk.Exists(filepath.Join(s.dir, journalName))
	}
	switch {
	case err != nil:
		return err
	case there:
		return ErrBodies
	}
	return s.db.Update(createFormat)
}

// inPlace says whether queue.db and the journal are still the files that are open. If
// they are not, what is written would be gone with this process.
func (s *Store) inPlace() error {
	return errors.Join(samePlace(filepath.Join(s.dir, fileName), s.opened),
		samePlace(filepath.Join(s.dir, journalName), s.openedJournal))
}

func samePlace(path string, opened os.FileInfo) error {
	now, err := os.Stat(path)
	if err == nil && !os.SameFile(now, opened) {
		err = fmt.Errorf("%s: %w", path, errMoved)
	}
	return err
}

// Close ends the store after what was asked before. A checkpoint leaves the journal
// empty; when that cannot be, the next start reads it.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.poke()
	<-s.stopped
	var err error
	if s.table.tx != nil && s.journal != nil && s.broken.Load() == nil {
		s.db.NoFreelistSync = false // the next start need not look for what is free
		err = s.checkpoint(false)
	}
	return errors.Join(err, s.release())
}

// release lets go of all files.
func (s *Store) release() error {
	s.table.Lock()
	s.closeTable()
	s.table.Unlock()
	var err error
	if s.journal != nil {
		err = s.journal.f.Close()
		s.journal = nil
	}
	return errors.Join(err, s.db.Close())
}
