package boltstore

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"
)

// disk is what the store needs of the file system beside bbolt: an interface
// only so that tests can make each step fail.
type disk interface {
	Create(name string) (file, error) // for writing; an error when it exists
	Exists(name string) (bool, error)
	Rename(from, to string) error
	Remove(name string) error
	SyncDir(name string) error
	OpenJournal(name string) (journalFile, error) // made when absent
	Free(name string) (octets, inodes uint64, err error)
}

type file interface {
	io.Writer
	Sync() error
	Close() error
}

// journalFile is written in place.
type journalFile interface {
	io.WriterAt
	Sync() error // of the octets, and of the size if it has grown
	Stat() (fs.FileInfo, error)
	Close() error
}

type osDisk struct{}

func (osDisk) OpenJournal(name string) (journalFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return dataFile{f}, nil
}

// dataFile flushes what is needed to read its octets again, and no times.
type dataFile struct{ *os.File }

func (f dataFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

func (osDisk) Create(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (osDisk) Exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) Remove(name string) error     { return os.Remove(name) }

// SyncDir makes names in a folder durable.
func (osDisk) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Free returns what an unprivileged process may still write, and how many files it
// may still make. Where files are not counted (btrfs) there is no end to them.
func (osDisk) Free(name string) (octets, inodes uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(name, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	inodes = math.MaxUint64
	if st.Files > 0 {
		inodes = st.Ffree
	}
	return uint64(st.Bavail) * uint64(st.Bsize), inodes, nil
}

// noRoom reports whether err says that the disk or the quota is used up.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isFull reports whether a commit failed for want of room before anything was
// made valid, so that the store is as it was. A flush that fails so is not
// meant: what it had to make durable is unknown. bbolt gives errors of writes
// as PathError, of flushes bare, and of resizing as text.
func isFull(err error) bool {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return true
	}
	var write *fs.PathError
	if errors.As(err, &write) && write.Op == "write" {
		return noRoom(err)
	}
	return strings.HasPrefix(err.Error(), "file resize error") &&
		(strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error()))
}
