package boltstore

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"

	"dancemta/queue/boltstore/pages"
)

// How often a lock is asked for that another process holds.
const lockPause = 25 * time.Millisecond

// pageCheck opens queue.db for bbolt, which walks through all pages when it opens a
// file, in a goroutine of its own whose panic nobody can stop: so the pages are
// walked through before, by a reader that believes nothing, under the lock that bbolt
// takes for granted then.
type pageCheck struct {
	o      Options
	usage  pages.Usage
	size   int64
	opened os.FileInfo
}

func (c *pageCheck) open(name string, flag int, mode os.FileMode) (*os.File, error) {
	open := c.o.openFile
	if open == nil {
		open = os.OpenFile
	}
	f, err := open(name, flag, mode)
	if err != nil {
		return nil, err
	}
	if err = lock(f, c.o.ReadOnly, c.o.Timeout); err == nil {
		err = c.check(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (c *pageCheck) check(f *os.File) (err error) {
	if c.opened, err = f.Stat(); err != nil || c.opened.Size() == 0 {
		return err
	}
	c.size = c.opened.Size()
	p, err := pages.Open(f)
	if errors.Is(err, pages.ErrNoFile) {
		if p != nil {
			err = p.Close()
		}
		return err // bbolt says what it is
	}
	if err != nil {
		return err
	}
	defer p.Close()
	var first *pages.Fault
	more := 0
	c.usage, err = p.Walk(pages.Visitor{Fault: func(f pages.Fault) {
		if first == nil {
			first = &f
		} else {
			more++
		}
	}})
	switch {
	case first != nil && more > 0:
		return fmt.Errorf("%w: %v, and %d further faults", ErrDamaged, first, more)
	case first != nil:
		return fmt.Errorf("%w: %v", ErrDamaged, first)
	case err != nil:
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return nil
}

// lock takes the lock that bbolt uses.
func lock(f *os.File, shared bool, patience time.Duration) error {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	for end := time.Now().Add(patience); ; time.Sleep(lockPause) {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return bolterrors.ErrTimeout
		}
	}
}
