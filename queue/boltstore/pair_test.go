package boltstore

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestStrangeJournal: queue.db and the journal belong together. A pair that was put
// together out of two is refused as it is, since what was promised would be missing
// without a word.
func TestStrangeJournal(t *testing.T) {
	mine, _ := journaled(t, 3)
	other, _ := journaled(t, 1)
	longer, _ := journaled(t, 9)
	journalOf := func(dir string) []byte { return readFile(filepath.Join(dir, journalName)) }
	for name, c := range map[string]struct{ dir, journal string }{
		"cut off to nothing":            {mine, ""},
		"cut off within its first slot": {mine, string(journalOf(mine)[:100])},
		"zeros":                         {mine, string(make([]byte, len(journalOf(mine))))},
		"of another queue, shorter":     {mine, string(journalOf(other))},
		"of another queue, longer":      {mine, string(journalOf(longer))},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			copyStore(t, c.dir, image)
			write(t, filepath.Join(image, journalName), []byte(c.journal))
			expectRefused(t, image)
		})
	}
}

// TestOlderQueue: a queue.db that was put back out of a copy beside a journal that has
// gone on, as when a running server's folder is copied file by file.
func TestOlderQueue(t *testing.T) {
	live := t.TempDir()
	s := open(t, live, Options{})
	mustAccept(t, s, 5000)
	running := readFile(filepath.Join(live, fileName))
	waitFor(t, func() bool { // after idleCheckpoint
		s.table.RLock()
		defer s.table.RUnlock()
		return s.table.tx != nil && !s.dirty()
	})
	ended, _ := made(t)
	stopped := readFile(filepath.Join(ended, fileName))
	again := open(t, ended, Options{})
	mustAccept(t, again, 5000)
	mustAccept(t, s, 5000)
	for name, c := range map[string]struct {
		dir string
		old []byte
	}{"copied while it ran": {live, running}, "copied when it did not": {ended, stopped}} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			copyStore(t, c.dir, image)
			write(t, filepath.Join(image, fileName), c.old)
			expectRefused(t, image)
		})
	}
}

// expectRefused checks that a store is not opened, that nothing in it is changed, and
// that verify names it.
func expectRefused(t *testing.T, dir string) {
	t.Helper()
	db, journal := readFile(filepath.Join(dir, fileName)), readFile(filepath.Join(dir, journalName))
	for _, o := range []Options{{ReadOnly: true}, {}} {
		s, err := Open(dir, o)
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), journalName) {
			t.Errorf("read only %v: %v", o.ReadOnly, err)
		}
	}
	n := 0
	if err := VerifyDir(dir, func(Fault) { n++ }); err != nil || n == 0 {
		t.Errorf("verify: %d faults, %v", n, err)
	}
	if !bytes.Equal(db, readFile(filepath.Join(dir, fileName))) || !bytes.Equal(journal, readFile(filepath.Join(dir, journalName))) {
		t.Error("a file was changed")
	}
}
