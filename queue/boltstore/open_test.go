package boltstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// change edits the closed store in dir.
func change(t *testing.T, dir string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, fileName), 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

// made returns the folder of a closed store with one message.
func made(t *testing.T) (dir string, env queue.Envelope) {
	t.Helper()
	dir = t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	env = mustAccept(t, s, small)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expectSound(t, dir, true)
	return dir, env
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		o       Options
		want    error
		text    string
	}{
		{"a later version", func(t *testing.T, dir string) {
			change(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("3")) })
		}, Options{}, ErrVersion, `a downgrade is refused`},
		{"no version", func(t *testing.T, dir string) {
			change(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyFormat) })
		}, Options{}, ErrVersion, `version ""`},
		{"a later version, for reading", func(t *testing.T, dir string) {
			change(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("3")) })
		}, Options{ReadOnly: true}, ErrVersion, ""},
		{"another program's file", func(t *testing.T, dir string) {
			change(t, dir, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketMeta) })
		}, Options{}, ErrNotQueue, ""},
		{"no bbolt file", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, fileName), bytes.Repeat([]byte("mbox "), 10000))
		}, Options{}, ErrNotQueue, ""},
		{"a short file", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, fileName), []byte("x"))
		}, Options{}, ErrNotQueue, ""},
		{"an empty file, for reading", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, fileName), nil)
		}, Options{ReadOnly: true}, ErrNotQueue, ""},
		{"absent, for reading", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
				t.Fatal(err)
			}
		}, Options{ReadOnly: true}, os.ErrNotExist, ""},
		{"in use", func(t *testing.T, dir string) { open(t, dir, Options{}) },
			Options{Timeout: 20 * time.Millisecond}, ErrInUse, ""},
		{"in use, for reading", func(t *testing.T, dir string) { open(t, dir, Options{}) },
			Options{ReadOnly: true, Timeout: 20 * time.Millisecond}, ErrInUse, ""},
		{"read-only disk", func(t *testing.T, dir string) {}, Options{
			openFile: func(name string, _ int, _ os.FileMode) (*os.File, error) {
				return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EROFS}
			}}, syscall.EROFS, ""},
		{"folder that cannot be flushed", func(t *testing.T, dir string) {},
			Options{disk: &faultyDisk{fail: failing("sync folder", syscall.EIO)}}, syscall.EIO, "sync folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := made(t)
			c.prepare(t, dir)
			before := readFile(filepath.Join(dir, fileName))
			s, err := Open(dir, c.o)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v, with %q and the file's name", err, c.want, c.text)
			}
			if !bytes.Equal(before, readFile(filepath.Join(dir, fileName))) {
				t.Error("the file was changed")
			}
		})
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(path string) []byte {
	b, _ := os.ReadFile(path) // nil when it is absent
	return b
}

// TestOpenNew: the names of a new store are durable before a message is taken.
func TestOpenNew(t *testing.T) {
	d := &faultyDisk{}
	base := t.TempDir()
	s := open(t, filepath.Join(base, "queue"), Options{disk: d})
	want := "sync folder " + filepath.Base(base) + "; sync folder queue; sync folder queue; sync folder queue"
	d.log = slices.DeleteFunc(d.log, func(s string) bool { return !strings.HasPrefix(s, "sync folder") })
	if got := strings.Join(d.log, "; "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if s.db.NoSync || s.db.NoGrowSync {
		t.Error("bbolt does not flush")
	}
	for _, name := range []string{"", fileName, spoolName} {
		if info, err := os.Stat(filepath.Join(base, "queue", name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q: mode %v, error %v: others may look in", name, info.Mode(), err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	first, second := mustAccept(t, s, small), mustAccept(t, s, large)
	s.Close()
	stray := filepath.Join(dir, spoolName, string(queue.NewID()))
	write(t, stray, []byte("x"))
	before := readFile(filepath.Join(dir, fileName))

	r := open(t, dir, Options{ReadOnly: true})
	open(t, dir, Options{ReadOnly: true}) // readers do not disturb each other
	expectKept(t, r, first.ID, small)
	expectKept(t, r, second.ID, large)
	n := 0
	if err := r.Each(func(queue.Summary) error { n++; return nil }); n != 2 || err != nil {
		t.Errorf("%d messages are listed, error %v", n, err)
	}
	_, due := lease(r)
	for what, err := range map[string]error{
		"put": accept(r, mail("a.test"), small), "large put": accept(r, mail("a.test"), large),
		"due": due, "settle": r.Settle(queue.Settlement{ID: first.ID, Destination: "remote.test"}),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	expectFiles(t, dir, string(second.ID), filepath.Base(stray))
	if !bytes.Equal(before, readFile(filepath.Join(dir, fileName))) {
		t.Error("the file was changed")
	}
}

// TestSweep: the start removes what a crash has left, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	inline, file := mustAccept(t, s, small), mustAccept(t, s, large)
	s.Close()
	for _, name := range []string{
		string(queue.NewID()),             // its envelope was never committed, or is gone
		string(queue.NewID()) + tmpSuffix, // was being written
		string(file.ID) + tmpSuffix,       // of a message that is there
		string(inline.ID),                 // of a message that needs no file
		"README", "note.tmp",              // not ours
	} {
		write(t, filepath.Join(dir, spoolName, name), []byte("x"))
	}
	s = open(t, dir, Options{})
	expectFiles(t, dir, string(file.ID), "README", "note.tmp")
	expectKept(t, s, inline.ID, small)
	expectKept(t, s, file.ID, large)
}

// TestOpenKeepsBodies: a new queue.db beside old bodies is a mistake of somebody who
// still needs them.
func TestOpenKeepsBodies(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	env := mustAccept(t, s, large)
	s.Close()
	path := filepath.Join(dir, fileName)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first try must not make the second one succeed
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrBodies) {
			t.Errorf("error %v, want %v", err, ErrBodies)
		}
	}
	expectFiles(t, dir, string(env.ID))
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	expectKept(t, open(t, dir, Options{}), env.ID, large)

	empty := t.TempDir() // files that are no bodies do not matter
	if err := os.Mkdir(filepath.Join(empty, spoolName), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(empty, spoolName, "README"), []byte("x"))
	write(t, filepath.Join(empty, spoolName, string(queue.NewID())+tmpSuffix), []byte("x"))
	open(t, empty, Options{})
}

// TestMoved: without its name the file is lost with the process, so nothing may be
// promised until it is back.
func TestMoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	path := filepath.Join(dir, fileName)
	refused := func(what string) {
		t.Helper()
		if err := accept(s, mail("a.test"), small); !queue.IsKind(err, queue.Broken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	refused("queue.db is away")
	write(t, path, []byte("another"))
	refused("queue.db is another file")
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	mustAccept(t, s, small)
}

// TestClose: what was asked before is done, what comes later is refused.
func TestClose(t *testing.T) {
	dir := t.TempDir()
	held, release := make(chan struct{}), make(chan struct{})
	first := true
	o := Options{Step: func(name string) {
		if name == "journal fsync" && first {
			first = false
			close(held)
			<-release
		}
	}}
	s := open(t, dir, o)
	done, closed := make(chan error, 2), make(chan error, 1)
	one, two := mail("a.test"), mail("b.test")
	go func() { done <- accept(s, one, small) }()
	<-held
	go func() { done <- accept(s, two, small) }()
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.pending) == 1 })
	go func() { closed <- s.Close() }()
	waitFor(t, s.isClosed)
	if err := accept(s, mail("c.test"), small); !queue.IsKind(err, queue.Broken) {
		t.Errorf("put while the store closes: %v", err)
	}
	select {
	case <-closed:
		t.Error("close did not wait")
	case err := <-done:
		t.Errorf("put returned %v before its commit", err)
	default:
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("put before the close: %v", err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	s = open(t, dir, Options{})
	expectKept(t, s, one.ID, small)
	expectKept(t, s, two.ID, small)
}

// waitFor waits for a state that must come.
func waitFor(t testing.TB, state func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !state(); {
		if time.Now().After(limit) {
			t.Fatal("a state was waited for in vain")
		}
		time.Sleep(time.Millisecond) // the deadline above decides, not this
	}
}
