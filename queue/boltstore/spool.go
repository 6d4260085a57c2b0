package boltstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// tmpSuffix marks a file that is not complete.
const tmpSuffix = ".tmp"

// spool is the folder of large bodies, one file each, named by its message.
// A file belongs to the queue as soon as an envelope in the store says so.
type spool struct {
	dir  string
	disk disk
	step func(string)
}

// syncError marks a failed flush: what was written may be lost without notice.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

func (p *spool) path(id queue.ID) string { return filepath.Join(p.dir, string(id)) }

// write makes a durable file of r: write, flush, rename, flush the folder.
// On an error nothing is left behind.
func (p *spool) write(id queue.ID, first []byte, r io.Reader) (n int64, err error) {
	tmp := p.path(id) + tmpSuffix
	p.step("spool create")
	f, err := p.disk.Create(tmp)
	if err != nil {
		return 0, err
	}
	n, err = p.fill(f, first, r)
	if err == nil {
		err = p.publish(id, tmp)
	}
	if err != nil {
		p.disk.Remove(tmp)
		return 0, err
	}
	return n, nil
}

func (p *spool) fill(f file, first []byte, r io.Reader) (n int64, err error) {
	p.step("spool write")
	written, err := f.Write(first)
	if err == nil {
		n, err = io.CopyBuffer(onlyWriter{f}, r, first[:cap(first)]) // its memory is free now
	}
	if n += int64(written); err == nil {
		p.step("spool fsync")
		// Without room only this file is lost, and nobody was told of it.
		if err = f.Sync(); err != nil && !noRoom(err) {
			err = &syncError{err}
		}
	}
	return n, errors.Join(err, f.Close())
}

// publish gives the file its name. Who holds the temporary name is alone, so
// the name cannot be taken between the look and the rename.
func (p *spool) publish(id queue.ID, tmp string) error {
	if there, err := p.disk.Exists(p.path(id)); there || err != nil {
		return errors.Join(err, fmt.Errorf("%s: %w", id, queue.ErrExists))
	}
	p.step("spool rename")
	if err := p.disk.Rename(tmp, p.path(id)); err != nil {
		return err
	}
	p.step("spool folder fsync")
	if err := p.disk.SyncDir(p.dir); err != nil {
		p.disk.Remove(p.path(id))
		return &syncError{err}
	}
	return nil
}

// onlyWriter hides ReadFrom, so that io.Copy reads through our buffer and the
// error of the reader stays apart from the file's.
type onlyWriter struct{ io.Writer }

// remove takes the file away. What stays in spite of it is swept at the start.
func (p *spool) remove(id queue.ID) {
	p.step("spool remove")
	p.disk.Remove(p.path(id))
}

// holdsBodies reports whether there is a complete file of a message.
func (p *spool) holdsBodies() (bool, error) {
	d, err := os.Open(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000)
		for _, name := range names {
			if queue.ID(name).Valid() {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// sweep removes what a crash has left in the spool: temporary files, and
// files that no envelope claims. Names that are not ours are left alone.
func (s *Store) sweep() error {
	d, err := os.Open(s.spool.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000) // bounded memory, however many there are
		for _, name := range names {
			if err := s.sweepFile(name); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *Store) sweepFile(name string) error {
	base, temporary := strings.CutSuffix(name, tmpSuffix)
	if id := queue.ID(base); !id.Valid() {
		return nil
	} else if !temporary {
		if claimed, err := s.claimed(id); claimed || err != nil {
			return err
		}
	}
	s.o.Logger.Info("spool file without a message removed", "file", name)
	return s.o.disk.Remove(filepath.Join(s.spool.dir, name))
}

// claimed reports whether a message says that its body is a file.
func (s *Store) claimed(id queue.ID) (claimed bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		value := tx.Bucket(bucketMessage).Get([]byte(id))
		if value == nil {
			return nil
		}
		var rec messageRecord
		if err := decode("message", []byte(id), value, &rec); err != nil {
			return err
		}
		claimed = rec.Spool
		return nil
	})
	return claimed, err
}
