package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// journaled returns the image of a store that was killed with n messages of 5,000
// octets, each a record of two slots, in its journal.
func journaled(t *testing.T, n int) (dir string, envs []queue.Envelope) {
	t.Helper()
	live := t.TempDir()
	s := open(t, live, Options{})
	for range n {
		envs = append(envs, mustAccept(t, s, 5000))
	}
	dir = filepath.Join(t.TempDir(), "image")
	copyStore(t, live, dir)
	return dir, envs
}

// slot is where the i-th record of journaled stands.
func slot(i int) int { return slotSize * (1 + 2*i) }

// edit changes the journal of an image.
func edit(t *testing.T, dir string, f func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, journalName)
	write(t, path, f(readFile(path)))
}

// TestTornRecord: what a power cut leaves of the last record is not taken for a
// message, and hides none.
func TestTornRecord(t *testing.T) {
	dir, envs := journaled(t, 3)
	last := slot(2)
	for name, tear := range map[string]func([]byte) []byte{
		"not there":         func(b []byte) []byte { clear(b[last:]); return b },
		"the file ends":     func(b []byte) []byte { return b[:last] },
		"within the head":   func(b []byte) []byte { return b[:last+20] },
		"within the body":   func(b []byte) []byte { return b[:last+3000] },
		"first page only":   func(b []byte) []byte { clear(b[last+slotSize:]); return b },
		"second page only":  func(b []byte) []byte { clear(b[last : last+slotSize]); return b },
		"one octet":         func(b []byte) []byte { b[last+1000] ^= 1; return b },
		"one octet of head": func(b []byte) []byte { b[last+9] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			copyStore(t, dir, image)
			edit(t, image, tear)
			s := open(t, image, Options{})
			expectKept(t, s, envs[0].ID, 5000)
			expectKept(t, s, envs[1].ID, 5000)
			expectGone(t, s, envs[2].ID)
			mustAccept(t, s, 5000)
		})
	}
}

// TestDamagedJournal: a record that was promised and cannot be read is said, and
// nothing is changed.
func TestDamagedJournal(t *testing.T) {
	dir, _ := journaled(t, 3)
	for name, damage := range map[string]func([]byte) []byte{
		"head":             func(b []byte) []byte { clear(b[slot(1) : slot(1)+headSize]); return b },
		"body":             func(b []byte) []byte { b[slot(1)+1000] ^= 1; return b },
		"first":            func(b []byte) []byte { b[slot(0)+1000] ^= 1; return b },
		"twice the same":   func(b []byte) []byte { copy(b[slot(1):slot(2)], b[slot(0):]); return b },
		"one is left out":  func(b []byte) []byte { copy(b[slot(1):], b[slot(2):slot(3)]); clear(b[slot(2):]); return b },
		"a later version":  func(b []byte) []byte { copy(b, "dancemta queue journal, version 2\n"); return b },
		"it is another's":  func(b []byte) []byte { copy(b, "mbox"); return b },
		"two in disorder":  func(b []byte) []byte { swap(b[slot(1):slot(2)], b[slot(2):slot(3)]); return b },
		"last is too late": func(b []byte) []byte { copy(b[slot(4):], b[slot(2):slot(3)]); clear(b[slot(2):slot(4)]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			copyStore(t, dir, image)
			edit(t, image, damage)
			db, journal := readFile(filepath.Join(image, fileName)), readFile(filepath.Join(image, journalName))
			for _, o := range []Options{{}, {ReadOnly: true}} {
				s, err := Open(image, o)
				if err == nil {
					s.Close()
				}
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), journalName) {
					t.Errorf("read only %v: %v", o.ReadOnly, err)
				}
			}
			if !bytes.Equal(db, readFile(filepath.Join(image, fileName))) || !bytes.Equal(journal, readFile(filepath.Join(image, journalName))) {
				t.Error("a file was changed")
			}
		})
	}
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// TestOldRecords: what an earlier generation has left is void, even where it stands
// behind the last record, and even as the body of a message.
func TestOldRecords(t *testing.T) {
	dir, envs := journaled(t, 3)
	old := readFile(filepath.Join(dir, journalName))
	s := open(t, dir, Options{}) // replays, and begins a generation
	for _, j := range mustLease(t, s, 3) {
		if err := s.Settle(delivered(j)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir, Options{})
	hostile := mail("remote.test")
	body := append(make([]byte, slotSize), old[slot(0):slot(3)]...)
	if err := s.Put(context.Background(), hostile, time.Now(), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	copyStore(t, dir, image)
	edit(t, image, func(b []byte) []byte { return append(b[:slotSize*9], old[slot(0):]...) })
	again := open(t, image, Options{})
	n := 0
	again.Each(func(sum queue.Summary) error { n++; return nil })
	if n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
	for _, env := range envs {
		expectGone(t, again, env.ID)
	}
}

// TestReadJournal: a list without a server shows what the journal holds, and changes
// neither file.
func TestReadJournal(t *testing.T) {
	dir, envs := journaled(t, 2)
	db, journal := readFile(filepath.Join(dir, fileName)), readFile(filepath.Join(dir, journalName))
	for range 2 {
		s, err := Open(dir, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, env := range envs {
			expectKept(t, s, env.ID, 5000)
		}
		if err := accept(s, mail("a.test"), small); !errors.Is(err, ErrReadOnly) {
			t.Errorf("put: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(db, readFile(filepath.Join(dir, fileName))) || !bytes.Equal(journal, readFile(filepath.Join(dir, journalName))) {
		t.Error("a file was changed")
	}
}

// TestJournalIsGone: after a crash it is needed, after an orderly end it is not.
func TestJournalIsGone(t *testing.T) {
	dir, _ := journaled(t, 1)
	if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) {
		if err == nil {
			s.Close()
		}
		t.Errorf("after a crash: %v", err)
	}
	dir, env := made(t)
	if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
		t.Fatal(err)
	}
	expectKept(t, open(t, dir, Options{ReadOnly: true}), env.ID, small)
}

// TestNewBesideJournal: see TestOpenKeepsBodies.
func TestNewBesideJournal(t *testing.T) {
	dir, _ := made(t)
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrBodies) {
		t.Errorf("error %v, want %v", err, ErrBodies)
	}
}

// TestJournalMoved: what is written to a file without its name is lost at the next
// start.
func TestJournalMoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	path := filepath.Join(dir, journalName)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := accept(s, mail("a.test"), small); !queue.IsKind(err, queue.Broken) {
		t.Errorf("put: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	mustAccept(t, s, small)
}

// TestJournalFaults: without room a message is refused and nothing has changed; any
// other failure ends all promises.
func TestJournalFaults(t *testing.T) {
	for _, c := range []struct {
		op   string
		err  error
		want queue.Kind
	}{
		{"write", syscall.ENOSPC, queue.Full},
		{"write", syscall.EDQUOT, queue.Full},
		{"write", syscall.EIO, queue.Broken},
		{"sync", syscall.EIO, queue.Broken},
		{"sync", syscall.ENOSPC, queue.Broken}, // what was written is unknown
	} {
		t.Run(fmt.Sprint(c.op, " ", c.err), func(t *testing.T) {
			dir := t.TempDir()
			d := &faultyDisk{}
			s := open(t, dir, Options{disk: d})
			kept := mustAccept(t, s, 5000)
			d.set(func(op, name string) error {
				if filepath.Base(name) != journalName {
					return nil
				}
				return failing(c.op, c.err)(op, name)
			})
			env := mail("a.test")
			if err := accept(s, env, 5000); !queue.IsKind(err, c.want) || !errors.Is(err, c.err) {
				t.Errorf("put: %v, want %v of %v", err, c.want, c.err)
			}
			d.set(nil)
			expectGone(t, s, env.ID)
			expectKept(t, s, kept.ID, 5000)
			if err := accept(s, mail("b.test"), 9000); queue.IsKind(err, queue.Broken) != (c.want == queue.Broken) {
				t.Errorf("next put: %v", err)
			}
			image := filepath.Join(t.TempDir(), "image")
			copyStore(t, dir, image)
			again := open(t, image, Options{})
			expectKept(t, again, kept.ID, 5000)
			if c.op == "write" {
				expectGone(t, again, env.ID)
			}
		})
	}
}

// TestFullJournal: what makes room goes on when the journal cannot grow, by a
// checkpoint.
func TestFullJournal(t *testing.T) {
	d := &faultyDisk{}
	s := open(t, t.TempDir(), Options{disk: d})
	env := mustAccept(t, s, small)
	job := mustLease(t, s, 1)[0]
	d.set(func(op, name string) error {
		if filepath.Base(name) != journalName {
			return nil
		}
		return failing("write", syscall.ENOSPC)(op, name)
	})
	if err := accept(s, mail("a.test"), small); !queue.IsKind(err, queue.Full) {
		t.Errorf("put: %v", err)
	}
	if err := s.Settle(delivered(job)); err != nil {
		t.Errorf("settle: %v", err)
	}
	expectGone(t, s, env.ID)
}

// TestFullCheckpoint: when bbolt finds no room, puts are refused, and the journal has
// a reserve for what makes room; nothing of what was promised is lost.
func TestFullCheckpoint(t *testing.T) {
	dir := t.TempDir()
	var fail error
	s := open(t, dir, Options{JournalBytes: 10 * slotSize, commit: failCommit(&fail)})
	var jobs []queue.Job
	for range 4 {
		mustAccept(t, s, small)
		jobs = append(jobs, mustLease(t, s, 1)...)
	}
	fail = errNoRoom
	refused := false
	for range 10 {
		if err := accept(s, mail("a.test"), small); queue.IsKind(err, queue.Full) {
			refused = true
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Fatal("the journal has no bound")
	}
	for _, j := range jobs {
		if err := s.Settle(delivered(j)); err != nil {
			t.Errorf("settle: %v", err)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	copyStore(t, dir, image)
	again := open(t, image, Options{})
	for _, j := range jobs {
		expectGone(t, again, j.ID)
	}
	fail = nil
	mustAccept(t, s, small)
	if s.crowded || s.dirty() {
		t.Error("no checkpoint was made")
	}
}

// TestCheckpoints: memory and journal are bounded, and a lone put is one flush.
func TestCheckpoints(t *testing.T) {
	commits, flushes := 0, 0
	dir := t.TempDir()
	s := open(t, dir, Options{JournalBytes: 20 * slotSize, Step: func(step string) {
		switch step {
		case "before commit":
			commits++
		case "journal fsync":
			flushes++
		}
	}})
	commits = 0
	for range 100 {
		mustAccept(t, s, 5000) // two slots
	}
	// 9 fit in, the tenth is made durable by the checkpoint itself.
	if commits != 10 || flushes != 90 {
		t.Errorf("%d checkpoints and %d flushes of the journal, want 10 and 90", commits, flushes)
	}
	if info, err := os.Stat(filepath.Join(dir, journalName)); err != nil || info.Size() > journalStep+slotSize {
		t.Errorf("journal of %d octets, %v", info.Size(), err)
	}
	mustAccept(t, s, 5000)
	waitFor(t, func() bool { // after idleCheckpoint
		s.table.RLock()
		defer s.table.RUnlock()
		return s.table.tx != nil && len(s.table.redo) == 0
	})
}

// TestHugeGroup: what does not fit into the journal is made durable by a checkpoint.
func TestHugeGroup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{MaxBodyInline: 4 << 20, JournalBytes: 1 << 20})
	env := mustAccept(t, s, 3<<20)
	image := filepath.Join(t.TempDir(), "image")
	copyStore(t, dir, image)
	expectKept(t, open(t, image, Options{}), env.ID, 3<<20)
}

// TestRedoRefuses: a list that is not one, or of a store that has other buckets.
func TestRedoRefuses(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for name, list := range map[string][]byte{
		"unknown kind":   append([]byte{9}, "\x04meta\x01k\x01v"...),
		"unknown bucket": append([]byte{redoPut}, "\x04nope\x01k\x01v"...),
		"cut off":        append([]byte{redoPut}, "\x04meta\x01k\x09v"...),
		"no value":       append([]byte{redoPut}, "\x04meta\x01k"...),
		"long varint":    append([]byte{redoDelete}, bytes.Repeat([]byte{0xff}, 12)...),
	} {
		err := s.view(func(tx *bolt.Tx) error { _, err := redo(tx, list); return err })
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
