package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

const (
	compactSuffix = ".compact"
	// The file never shrinks by itself. When so much of it is free, and it is not small
	// anyway, the start takes the second that a copy of the rest takes.
	compactFree = 0.75
	compactSize = 64 << 20
	// Of one transaction of the copy: bounds its memory.
	compactBatch = 8 << 20
)

// Compact copies what is in the queue file of dir into a new one and puts that in its
// place. No server may run. before and after are lengths of the file.
func Compact(dir string, o Options) (before, after int64, err error) {
	path := filepath.Join(dir, fileName)
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	before = info.Size()
	o.compactAlways = true
	s, err := Open(dir, o)
	if err != nil {
		return before, before, err
	}
	if err := errors.Join(s.compactErr, s.Close()); err != nil {
		return before, before, err
	}
	if info, err = os.Stat(path); err != nil {
		return before, before, err
	}
	return before, info.Size(), nil
}

// worthwhile says whether the file that was just opened is to be copied.
func (c *pageCheck) worthwhile() bool {
	if c.o.ReadOnly || c.size == 0 {
		return false
	}
	return c.o.compactAlways || c.size >= compactSize && c.usage.Free() > compactFree
}

// tryCompact puts a copy in the place of the file that is open. When it cannot be
// made, the old one does as well.
func (s *Store) tryCompact(path string) error {
	tmp := path + compactSuffix
	s.compactErr = s.copyTo(tmp)
	if s.compactErr == nil {
		s.o.Step("compact rename")
		s.compactErr = s.o.disk.Rename(tmp, path)
	}
	if s.compactErr != nil {
		s.compactErr = fmt.Errorf("compaction of %s: %w", path, s.compactErr)
		s.o.Logger.Warn("queue file was not compacted, and goes on as it is", "reason", s.compactErr)
		_ = s.o.disk.Remove(tmp)
		return nil
	}
	return s.takeCopy(path)
}

// takeCopy goes over to the copy, which has the name now. It is whole and flushed, so
// a crash before or after leaves the one or the other; and it is locked before the old
// one is let go.
func (s *Store) takeCopy(path string) error {
	s.o.Step("compact folder fsync")
	if err := s.o.disk.SyncDir(s.dir); err != nil {
		return fmt.Errorf("compaction of %s: %w", path, err)
	}
	db, c, err := openBolt(path, s.o)
	if err != nil {
		return err
	}
	s.o.Logger.Info("queue file compacted", "octets", c.size)
	old := s.db
	s.db = db
	return old.Close()
}

func (s *Store) copyTo(tmp string) error {
	if err := s.o.disk.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.o.Step("compact copy")
	dst, err := bolt.Open(tmp, 0o600, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true, NoSync: true, NoStatistics: true, Timeout: s.o.Timeout,
	})
	if err != nil {
		return err
	}
	err = guarded(func() error { return bolt.Compact(dst, s.db, compactBatch) })
	if err == nil {
		s.o.Step("compact fsync")
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}
