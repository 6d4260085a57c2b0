package boltstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// faultyDisk fails where a test says so, and remembers what it was asked.
type faultyDisk struct {
	osDisk
	fail func(op, name string) error // nil: nothing fails

	mu  sync.Mutex
	log []string
}

func (d *faultyDisk) do(op, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, op+" "+filepath.Base(name))
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name)
}

func (d *faultyDisk) set(fail func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func (d *faultyDisk) Create(name string) (file, error) {
	if err := d.do("create", name); err != nil {
		return nil, err
	}
	f, err := d.osDisk.Create(name)
	return &faultyFile{f, d, name}, err
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.do("rename", to); err != nil {
		return err
	}
	return d.osDisk.Rename(from, to)
}

func (d *faultyDisk) SyncDir(name string) error {
	if err := d.do("sync folder", name); err != nil {
		return err
	}
	return d.osDisk.SyncDir(name)
}

func (d *faultyDisk) Free(name string) (octets, inodes uint64, err error) {
	if err := d.do("free", name); err != nil {
		return 0, 0, err
	}
	return 1 << 40, 1 << 40, nil
}

type faultyFile struct {
	file
	d    *faultyDisk
	name string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.d.do("write", f.name); err != nil {
		n, _ := f.file.Write(p[:len(p)/2]) // half of it gets there
		return n, err
	}
	return f.file.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.d.do("sync", f.name); err != nil {
		return err
	}
	return f.file.Sync()
}

func (d *faultyDisk) OpenJournal(name string) (journalFile, error) {
	if err := d.do("open journal", name); err != nil {
		return nil, err
	}
	f, err := d.osDisk.OpenJournal(name)
	return &faultyJournal{f, d, name}, err
}

type faultyJournal struct {
	journalFile
	d    *faultyDisk
	name string
}

func (f *faultyJournal) WriteAt(p []byte, at int64) (int, error) {
	if err := f.d.do("write", f.name); err != nil {
		n, _ := f.journalFile.WriteAt(p[:len(p)/2], at) // half of it gets there
		return n, err
	}
	return f.journalFile.WriteAt(p, at)
}

func (f *faultyJournal) Sync() error {
	if err := f.d.do("sync", f.name); err != nil {
		return err
	}
	return f.journalFile.Sync()
}

// failing makes one operation fail.
func failing(op string, err error) func(string, string) error {
	return func(o, name string) error {
		if o == op {
			return &os.PathError{Op: o, Path: name, Err: err}
		}
		return nil
	}
}

// mail makes a message to a domain.
func mail(domain string) queue.Envelope {
	return queue.Envelope{
		ID: queue.NewID(), Sender: mailaddr.MustParse("rick@partner.test"), Arrived: time.Now(),
		Recipients: queue.To(mailaddr.MustParse("morty@" + domain)),
	}
}

// text is a body of n octets.
func text(n int) []byte { return bytes.Repeat([]byte("wubba lubba dub\n"), n/16+1)[:n] }

const (
	small = 100
	large = 100 << 10 // beyond defaultMaxInline
)

func accept(s *Store, env queue.Envelope, size int) error {
	return s.Put(context.Background(), env, time.Now(), bytes.NewReader(text(size)))
}

func mustAccept(t testing.TB, s *Store, size int) queue.Envelope {
	t.Helper()
	env := mail("remote.test")
	if err := accept(s, env, size); err != nil {
		t.Fatal(err)
	}
	return env
}

// lease takes what is due.
func lease(s *Store) ([]queue.Job, error) {
	now := time.Now()
	jobs, _, err := s.Due(queue.DueRequest{Now: now, Max: 1000, Limit: func(string) int { return 1000 },
		Next: func(queue.Envelope, int) time.Time { return now.Add(time.Hour) }})
	return jobs, err
}

func mustLease(t testing.TB, s *Store, n int) []queue.Job {
	t.Helper()
	jobs, err := lease(s)
	if err != nil || len(jobs) != n {
		t.Fatalf("%d jobs, error %v; want %d", len(jobs), err, n)
	}
	return jobs
}

// delivered is the settlement of a job that went well.
func delivered(j queue.Job) queue.Settlement {
	st := queue.Settlement{ID: j.ID, Destination: j.Destination}
	for _, r := range j.Recipients {
		st.Outcomes = append(st.Outcomes, queue.Outcome{Recipient: r.Address, Result: queue.Delivered})
	}
	return st
}

// expectKept checks that the message is there with its whole body.
func expectKept(t testing.TB, s *Store, id queue.ID, size int) {
	t.Helper()
	r, err := s.Body(id)
	if err != nil {
		t.Errorf("message %s: %v", id, err)
		return
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, text(size)) {
		t.Errorf("message %s: %d octets, error %v; want %d", id, len(b), err, size)
	}
}

func expectGone(t testing.TB, s *Store, id queue.ID) {
	t.Helper()
	if _, err := s.Get(id); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("message %s is there, error %v", id, err)
	}
}

// expectFiles checks the names in the spool.
func expectFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(dir, spoolName))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, e := range all {
		got[e.Name()] = true
	}
	for _, name := range want {
		if !got[name] {
			t.Errorf("spool file %s is not there", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("spool file %s is there", name)
	}
}
