package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"dancemta/queue"
)

// TestSteps: the order that makes a large body safe, and the answer after it.
func TestSteps(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	note := func(s string) { mu.Lock(); steps = append(steps, s); mu.Unlock() }
	d := &faultyDisk{fail: func(op, name string) error {
		if op == "sync" || op == "rename" || op == "sync folder" {
			note(op)
		}
		return nil
	}}
	s := open(t, t.TempDir(), Options{disk: d, Step: func(name string) {
		if strings.HasPrefix(name, "journal") || strings.HasSuffix(name, "commit") {
			note(name)
		}
	}})
	steps = nil
	mustAccept(t, s, large)
	note("accepted")
	want := "sync, rename, sync folder, journal write, journal fsync, sync, journal written, accepted"
	if got := strings.Join(steps, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestPutWaitsForCommit: nobody is told of success before the flush.
func TestPutWaitsForCommit(t *testing.T) {
	inside, release := make(chan struct{}, 1), make(chan struct{}, 1)
	hold := false
	s := open(t, t.TempDir(), Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
		if hold {
			inside <- struct{}{}
			<-release
		}
		return tx.Commit()
	}})
	env := mustAccept(t, s, small)
	jobs := mustLease(t, s, 1)
	hold = true
	for what, f := range map[string]func() error{
		"put":    func() error { return accept(s, mail("a.test"), small) },
		"settle": func() error { return s.Settle(delivered(jobs[0])) },
	} {
		done := make(chan error, 1)
		go func() { done <- f() }()
		<-inside
		select {
		case err := <-done:
			t.Errorf("%s returned %v before its flush", what, err)
		default:
		}
		release <- struct{}{}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	hold = false
	expectGone(t, s, env.ID)
}

// TestFullBefore: below MinFree a message is refused before its body is read;
// what makes room goes on.
func TestFullBefore(t *testing.T) {
	dir := t.TempDir()
	full := false
	d := &freeDisk{files: 5000, free: func() uint64 {
		if full {
			return 999
		}
		return 1000
	}}
	s := open(t, dir, Options{disk: d, MinFree: 1000})
	mustAccept(t, s, small)
	jobs := mustLease(t, s, 1)
	full = true
	err := s.Put(context.Background(), mail("a.test"), time.Now(), iotest.ErrReader(errors.New("was read")))
	if !queue.IsKind(err, queue.Full) {
		t.Errorf("put: %v", err)
	}
	if err := s.Settle(delivered(jobs[0])); err != nil {
		t.Errorf("settle: %v", err)
	}
	full = false
	mustAccept(t, s, small)
}

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		free, files uint64
		full        bool
	}{{0, 50, true}, {999, 50, true}, {1000, 50, false}, {1000, 49, true}, {1000, 0, true}} {
		err := room(&freeDisk{free: func() uint64 { return c.free }, files: c.files}, "queue", 1000, 50)
		if queue.IsKind(err, queue.Full) != c.full || !c.full && err != nil {
			t.Errorf("%d octets and %d inodes free: %v", c.free, c.files, err)
		}
	}
	if err := Room(filepath.Join(t.TempDir(), "none"), 1, 1); !queue.IsKind(err, queue.Broken) {
		t.Errorf("no folder: %v", err)
	}
}

type freeDisk struct {
	osDisk
	free  func() uint64
	files uint64
}

func (d *freeDisk) Free(string) (uint64, uint64, error) { return d.free(), d.files, nil }

// TestSpoolFaults: each step of a large body may fail. Nothing of the message
// stays, and only a failed flush ends all promises.
func TestSpoolFaults(t *testing.T) {
	for _, c := range []struct {
		op   string
		err  error
		want queue.Kind
		ends bool
	}{
		{"free", syscall.EIO, queue.Broken, false},
		{"create", syscall.ENOSPC, queue.Full, false},
		{"create", syscall.EROFS, queue.Broken, false},
		{"write", syscall.ENOSPC, queue.Full, false},
		{"write", syscall.EDQUOT, queue.Full, false},
		{"write", syscall.EIO, queue.Broken, false},
		{"sync", syscall.EIO, queue.Broken, true},
		{"sync", syscall.ENOSPC, queue.Full, false},         // the file is given up
		{"sync folder", syscall.ENOSPC, queue.Broken, true}, // it holds the names of others
		{"rename", syscall.ENOSPC, queue.Full, false},
		{"rename", syscall.EIO, queue.Broken, false},
		{"sync folder", syscall.EIO, queue.Broken, true},
	} {
		t.Run(fmt.Sprint(c.op, " ", c.err), func(t *testing.T) {
			dir := t.TempDir()
			d := &faultyDisk{}
			s := open(t, dir, Options{disk: d})
			kept := mustAccept(t, s, large)
			d.set(failing(c.op, c.err))
			env := mail("a.test")
			if err := accept(s, env, large); !queue.IsKind(err, c.want) || !errors.Is(err, c.err) {
				t.Errorf("put: %v, want %v of %v", err, c.want, c.err)
			}
			d.set(nil)
			expectFiles(t, dir, string(kept.ID))
			expectGone(t, s, env.ID)
			expectKept(t, s, kept.ID, large)
			err := accept(s, mail("b.test"), small)
			if c.ends && !queue.IsKind(err, queue.Broken) || !c.ends && err != nil {
				t.Errorf("next put: %v; store ended: %v is wanted", err, c.ends)
			}
		})
	}
}

// failCommit is a commit that fails without effect.
func failCommit(err *error) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		if *err != nil {
			tx.Rollback()
			return *err
		}
		return tx.Commit()
	}
}

var (
	errNoRoom = &os.PathError{Op: "write", Path: fileName, Err: syscall.ENOSPC}
	errFlush  = error(syscall.EIO)
)

// TestFullCommit: the puts of a group give way to what makes room; afterwards
// everything may be tried again.
func TestFullCommit(t *testing.T) {
	dir := t.TempDir()
	puts := 0
	s := open(t, dir, Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
		if puts > 0 && tx.Bucket(bucketMessage).Get([]byte("")) == nil && hasNew(tx) {
			tx.Rollback()
			return errNoRoom
		}
		return tx.Commit()
	}})
	old := mustAccept(t, s, small)
	jobs := mustLease(t, s, 1)
	puts = 1
	for _, size := range []int{small, large} {
		env := mail("new.test")
		if err := accept(s, env, size); !queue.IsKind(err, queue.Full) {
			t.Errorf("put: %v", err)
		}
		expectGone(t, s, env.ID)
	}
	expectFiles(t, dir)
	if err := s.Settle(delivered(jobs[0])); err != nil {
		t.Errorf("settle: %v", err)
	}
	expectGone(t, s, old.ID)
	puts = 0
	mustAccept(t, s, small)
}

// hasNew reports whether a message to new.test is in the transaction.
func hasNew(tx *bolt.Tx) bool {
	prefix := destinationPrefix("new.test")
	k, _ := tx.Bucket(bucketDestination).Cursor().Seek(prefix)
	return strings.HasPrefix(string(k), string(prefix))
}

// TestFullGroup: a settlement in one group with puts is written without them.
func TestFullGroup(t *testing.T) {
	s := open(t, t.TempDir(), Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
		if hasNew(tx) {
			tx.Rollback()
			return errNoRoom
		}
		return tx.Commit()
	}})
	mustAccept(t, s, small)
	job := mustLease(t, s, 1)[0]
	var group []*op
	for range 3 {
		env := mail("new.test")
		o, err := newPut(env, time.Now(), content{size: 1, inline: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		group = append(group, o)
	}
	st := delivered(job)
	group = append(group, &op{apply: func(txn *txn) error { _, err := txn.settle(st, nil); return err }})
	for i, err := range submitAll(s, group) {
		if full := queue.IsKind(err, queue.Full); full != (i < 3) || i == 3 && err != nil {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	expectGone(t, s, job.ID)
}

// submitAll makes sure that the operations are one group.
func submitAll(s *Store, group []*op) []error {
	s.mu.Lock()
	for _, o := range group {
		o.done = make(chan error, 1)
		s.pending = append(s.pending, o)
	}
	s.mu.Unlock()
	s.poke()
	errs := make([]error, len(group))
	for i, o := range group {
		errs[i] = <-o.done
	}
	return errs
}

// TestFullSettle: a settlement that finds no room fails as a whole, its lease
// stays, and it may be tried again.
func TestFullSettle(t *testing.T) {
	var fail error
	s := open(t, t.TempDir(), Options{JournalBytes: 1, commit: failCommit(&fail)})
	env := mustAccept(t, s, small)
	job := mustLease(t, s, 1)[0]
	fail = errNoRoom
	if err := s.Settle(delivered(job)); !queue.IsKind(err, queue.Full) {
		t.Errorf("settle: %v", err)
	}
	fail = nil
	if jobs, _, err := s.Due(later(2 * time.Hour)); len(jobs) != 0 || err != nil {
		t.Errorf("%d jobs were leased twice, error %v", len(jobs), err)
	}
	if err := s.Settle(delivered(job)); err != nil {
		t.Errorf("second settle: %v", err)
	}
	expectGone(t, s, env.ID)
}

func later(d time.Duration) queue.DueRequest {
	now := time.Now().Add(d)
	return queue.DueRequest{Now: now, Max: 10, Limit: func(string) int { return 10 },
		Next: func(queue.Envelope, int) time.Time { return now.Add(time.Hour) }}
}

// TestFullDue: a lease that could not be written down is none.
func TestFullDue(t *testing.T) {
	var fail error
	s := open(t, t.TempDir(), Options{JournalBytes: 1, commit: failCommit(&fail)})
	mustAccept(t, s, small)
	fail = errNoRoom
	if jobs, err := lease(s); !queue.IsKind(err, queue.Full) || len(jobs) != 0 {
		t.Errorf("%d jobs, error %v", len(jobs), err)
	}
	fail = nil
	if job := mustLease(t, s, 1)[0]; job.Attempt != 1 {
		t.Errorf("attempt %d, want 1", job.Attempt)
	}
}

// TestBroken: after a failed flush nothing is promised any more, although the
// disk is well again; reading goes on, and opening anew heals.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	var fail error
	s := open(t, dir, Options{JournalBytes: 1, commit: failCommit(&fail)})
	kept := mustAccept(t, s, small)
	job := mustLease(t, s, 1)[0]
	fail = errFlush
	for _, size := range []int{small, large} {
		if err := accept(s, mail("a.test"), size); !queue.IsKind(err, queue.Broken) {
			t.Errorf("put: %v", err)
		}
		fail = nil
	}
	if _, err := lease(s); !queue.IsKind(err, queue.Broken) {
		t.Errorf("due: %v", err)
	}
	if err := s.Settle(delivered(job)); !queue.IsKind(err, queue.Broken) {
		t.Errorf("settle: %v", err)
	}
	err := s.Put(context.Background(), mail("a.test"), time.Now(), iotest.ErrReader(errors.New("was read")))
	if !queue.IsKind(err, queue.Broken) {
		t.Errorf("put: %v", err)
	}
	expectKept(t, s, kept.ID, small)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	expectKept(t, s, kept.ID, small)
	mustAccept(t, s, small)
}

// TestBrokenKeepsTheFile: the envelope of a commit whose flush failed may be
// on the disk, so its body stays until the next start knows.
func TestBrokenKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	fail := false
	s := open(t, dir, Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
		if err := tx.Commit(); err != nil || !fail {
			return err
		}
		return errFlush // although everything got there
	}})
	env := mail("a.test")
	fail = true
	if err := accept(s, env, large); !queue.IsKind(err, queue.Broken) {
		t.Errorf("put: %v", err)
	}
	s.Close()
	s = open(t, dir, Options{})
	expectKept(t, s, env.ID, large)
}

// TestSpoiledGroup: an operation that fails half-way is undone alone.
func TestSpoiledGroup(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	envs := []queue.Envelope{mail("a.test"), mail("b.test"), mail("c.test")}
	mine := errors.New("half-way")
	var group []*op
	for i, env := range envs {
		o, err := newPut(env, time.Now(), content{size: small, inline: text(small)})
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			whole := o.apply
			o.apply = func(t *txn) error { return &dirtyError{errors.Join(whole(t), mine)} }
		}
		group = append(group, o)
	}
	for i, err := range submitAll(s, group) {
		if (i == 1) != errors.Is(err, mine) || i != 1 && err != nil {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	expectKept(t, s, envs[0].ID, small)
	expectGone(t, s, envs[1].ID)
	expectKept(t, s, envs[2].ID, small)
}

// TestDamaged: a record that is missing or cannot be read ends all promises.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(*bolt.Tx, queue.ID) error{
		"no unit":    func(tx *bolt.Tx, id queue.ID) error { return tx.Bucket(bucketUnit).Delete(unitKey(id, "remote.test")) },
		"no message": func(tx *bolt.Tx, id queue.ID) error { return tx.Bucket(bucketMessage).Delete([]byte(id)) },
		"unreadable": func(tx *bolt.Tx, id queue.ID) error { return tx.Bucket(bucketMessage).Put([]byte(id), []byte("{")) },
		"no entry": func(tx *bolt.Tx, id queue.ID) error {
			k, _ := tx.Bucket(bucketDestination).Cursor().First()
			return tx.Bucket(bucketDestination).Delete(k)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, env := made(t)
			change(t, dir, func(tx *bolt.Tx) error { return damage(tx, env.ID) })
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := lease(s); !queue.IsKind(err, queue.Broken) {
				t.Errorf("due: %v", err)
			}
			if err := accept(s, mail("a.test"), small); !queue.IsKind(err, queue.Broken) {
				t.Errorf("put: %v", err)
			}
		})
	}
}

// TestDamagedPages: bbolt panics, or runs into the end of its map, on pages that are
// not what they should be. The process lives on, and promises nothing.
func TestDamagedPages(t *testing.T) {
	for name, in := range map[string]func(*bolt.Tx) error{
		"panic": func(*bolt.Tx) error { panic("page 7: invalid page type") },
		"fault": func(*bolt.Tx) error {
			gone, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
			if err != nil {
				return err
			}
			defer syscall.Munmap(gone)
			return fmt.Errorf("octet %d", gone[9])
		},
	} {
		t.Run(name, func(t *testing.T) {
			armed := false
			s, err := Open(t.TempDir(), Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
				if armed {
					return in(tx)
				}
				return tx.Commit()
			}})
			if err != nil {
				t.Fatal(err)
			}
			env := mustAccept(t, s, small)
			if err := s.view(in); !errors.Is(err, ErrDamaged) {
				t.Errorf("read: %v", err)
			}
			armed = true
			for range 2 {
				if err := accept(s, mail("a.test"), small); !queue.IsKind(err, queue.Broken) {
					t.Errorf("put: %v", err)
				}
			}
			expectKept(t, s, env.ID, small)
			if err := s.Close(); err != nil { // the transaction that panicked must not hold its lock
				t.Error(err)
			}
		})
	}
}

// TestUnreadableIndex: a queue that cannot be read takes no more mail either.
func TestUnreadableIndex(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.closeTable()
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := lease(s); !queue.IsKind(err, queue.Broken) {
		t.Errorf("due: %v", err)
	}
	if err := s.ready(); !queue.IsKind(err, queue.Broken) {
		t.Errorf("put: %v", err)
	}
}

// TestShortFile: a spool file that lost octets is an error, not a short message.
func TestShortFile(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	env := mustAccept(t, s, large)
	if err := os.Truncate(s.spool.path(env.ID), large-1); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Body(env.ID); err == nil {
		b, err := io.ReadAll(r)
		r.Close()
		t.Errorf("%d octets were read, error %v", len(b), err)
	}
	if err := os.Remove(s.spool.path(env.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Body(env.ID); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), dir) {
		t.Errorf("error %v: it may stand in a bounce and must not show our folders", err)
	}
}

func TestIsFull(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errNoRoom, true},
		{&os.PathError{Op: "write", Err: syscall.EDQUOT}, true},
		{bolterrors.ErrMaxSizeReached, true},
		{errors.New("file resize error: truncate queue.db: no space left on device"), true},
		{errors.New("file resize error: truncate queue.db: input/output error"), false},
		{&os.PathError{Op: "write", Err: syscall.EIO}, false},
		{&os.PathError{Op: "write", Err: syscall.EROFS}, false},
		{syscall.ENOSPC, false}, // of a flush: what was written is unknown
		{&os.PathError{Op: "sync", Err: syscall.ENOSPC}, false},
	} {
		if got := isFull(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
