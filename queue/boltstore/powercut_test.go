package boltstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// lossyDisk knows what a loss of power may take: octets that were not flushed,
// and names whose folder was not.
type lossyDisk struct {
	osDisk
	octets  map[string]bool   // name → not flushed
	names   map[string]string // new name → old name, "" for a new file
	journal *lossyJournal
}

// OpenJournal knows what of the journal was flushed, and what was written since.
func (d *lossyDisk) OpenJournal(name string) (journalFile, error) {
	if !exists(name) {
		d.names[name] = ""
	}
	f, err := d.osDisk.OpenJournal(name)
	d.journal = &lossyJournal{journalFile: f, name: name, flushed: readFile(name)}
	return d.journal, err
}

type lossyJournal struct {
	journalFile
	name    string
	flushed []byte
	pages   []int64 // written since, by their offsets
}

func (f *lossyJournal) WriteAt(p []byte, at int64) (int, error) {
	for i := at / slotSize; i*slotSize < at+int64(len(p)); i++ {
		f.pages = append(f.pages, i*slotSize)
	}
	return f.journalFile.WriteAt(p, at)
}

func (f *lossyJournal) Sync() error {
	f.flushed, f.pages = readFile(f.name), nil
	return f.journalFile.Sync()
}

// cut makes of the journal what was flushed, and some of the pages written since,
// one of them torn.
func (f *lossyJournal) cut(t *testing.T, path string) {
	t.Helper()
	now, image := readFile(path), bytes.Clone(f.flushed)
	for i, at := range f.pages {
		if rand.IntN(2) == 0 {
			continue
		}
		n := min(slotSize, len(now)-int(at))
		if i == len(f.pages)-1 {
			n = min(n, rand.IntN(slotSize))
		}
		if end := int(at) + n; end > len(image) {
			image = append(image, make([]byte, end-len(image))...)
		}
		copy(image[at:], now[at:int(at)+n])
	}
	write(t, path, image)
}

func newLossyDisk() *lossyDisk {
	return &lossyDisk{octets: map[string]bool{}, names: map[string]string{}, journal: &lossyJournal{}}
}

func (d *lossyDisk) Create(name string) (file, error) {
	f, err := d.osDisk.Create(name)
	d.octets[name], d.names[name] = true, ""
	return &lossyFile{f, d, name}, err
}

func (d *lossyDisk) Rename(from, to string) error {
	d.octets[to] = d.octets[from]
	d.names[to] = from
	delete(d.octets, from)
	delete(d.names, from)
	return d.osDisk.Rename(from, to)
}

func (d *lossyDisk) Remove(name string) error {
	delete(d.octets, name)
	delete(d.names, name)
	return d.osDisk.Remove(name)
}

func (d *lossyDisk) SyncDir(name string) error {
	for n := range d.names {
		if filepath.Dir(n) == name {
			delete(d.names, n)
		}
	}
	return d.osDisk.SyncDir(name)
}

type lossyFile struct {
	file
	d    *lossyDisk
	name string
}

func (f *lossyFile) Sync() error {
	delete(f.d.octets, f.name)
	return f.file.Sync()
}

// cut does to an image of the folder what the loss of power may do.
func (d *lossyDisk) cut(t *testing.T, dir, image string, loseOctets, loseNames bool) {
	t.Helper()
	for name, dirty := range d.octets {
		if path := inImage(dir, image, name); dirty && loseOctets && exists(path) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if path := inImage(dir, image, d.journal.name); loseOctets && exists(path) {
		d.journal.cut(t, path)
	}
	for name, old := range d.names {
		path := inImage(dir, image, name)
		if !loseNames || !exists(path) {
			continue
		}
		var err error
		if old == "" {
			err = os.Remove(path)
		} else {
			err = os.Rename(path, inImage(dir, image, old))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func inImage(dir, image, name string) string {
	rel, err := filepath.Rel(dir, name)
	if err != nil {
		panic(err)
	}
	return filepath.Join(image, rel)
}

// TestPowerCut cuts the power at each step of taking and ending messages, and
// in each way. What was acknowledged is there, whole; what was not is there
// whole or not at all.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, lose := range []struct{ octets, names bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("octets %v, names %v", lose.octets, lose.names), func(t *testing.T) {
			t.Parallel()
			dir, images := t.TempDir(), t.TempDir()
			d := newLossyDisk()
			acked := map[queue.ID]int{}          // size
			under := map[queue.ID]queue.Result{} // not acknowledged yet: being put, or being settled
			n := 0
			image := func(step string) {
				n++
				to := filepath.Join(images, fmt.Sprint(n))
				copyStore(t, dir, to)
				d.cut(t, dir, to, lose.octets, lose.names)
				checkImage(t, step, to, acked, under)
			}
			s := open(t, dir, Options{disk: d, JournalBytes: 48 << 10, Step: func(step string) { image(step) }})
			for _, size := range []int{large, small, 20000, 20000} {
				env := mail("remote.test")
				under[env.ID] = queue.Deferred
				if err := accept(s, env, size); err != nil {
					t.Fatal(err)
				}
				delete(under, env.ID)
				acked[env.ID] = size
				image("accepted")
			}
			for _, j := range mustLease(t, s, 4) {
				under[j.ID] = queue.Delivered
				if err := s.Settle(delivered(j)); err != nil {
					t.Fatal(err)
				}
				delete(under, j.ID)
				delete(acked, j.ID)
				image("settled")
			}
			if n < 40 {
				t.Errorf("the power was cut %d times only", n)
			}
		})
	}
}

// checkImage opens an image and looks for what must be there.
func checkImage(t *testing.T, step, dir string, acked map[queue.ID]int, under map[queue.ID]queue.Result) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("at %q: %v", step, err)
	}
	there := map[queue.ID]bool{}
	s.Each(func(sum queue.Summary) error {
		there[sum.ID] = true
		expectKept(t, s, sum.ID, int(sum.Size))
		return nil
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for id := range acked {
		if _, open := under[id]; !there[id] && !open {
			t.Errorf("at %q: message %s was acknowledged and is lost", step, id)
		}
		delete(there, id)
	}
	for id := range there {
		if _, open := under[id]; !open {
			t.Errorf("at %q: message %s is there and should not be", step, id)
		}
	}
	expectSound(t, dir, true)
	os.RemoveAll(dir)
}

// TestTornCommit writes parts of a commit's pages, in any order, as a disk may
// that loses power before the first of its two flushes, then parts of its last
// page, as in the second. The store is as before the commit, or as after it.
func TestTornCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	var before, after []byte
	s := open(t, dir, Options{JournalBytes: 1, Step: func(step string) {
		switch step {
		case "before commit":
			before = readFile(path)
		case "after commit":
			after = readFile(path)
		}
	}})
	old := mustAccept(t, s, small)
	for range 20 {
		mustAccept(t, s, 5000)
	}
	fresh := mail("remote.test")
	if err := accept(s, fresh, 20000); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	before = append(before, make([]byte, len(after)-len(before))...)
	random := rand.New(rand.NewPCG(1, 2)) // the same pages in each run
	for i := range 12 {
		image := bytes.Clone(before)
		for at := 2 * page; at < len(after); at += page { // the first two are written last
			if i == 0 || random.IntN(2) == 0 {
				copy(image[at:at+page], after[at:at+page])
			}
		}
		checkTorn(t, dir, image, old.ID, fresh.ID, false)
	}
	for _, octets := range []int{0, 1, 16, 40, 64, 79, page, 2 * page} {
		image := bytes.Clone(after)
		copy(image[:2*page], before[:2*page])
		for at := 0; at < 2*page; at += page {
			n := min(octets, page)
			copy(image[at:at+n], after[at:at+n])
		}
		checkTorn(t, dir, image, old.ID, fresh.ID, octets >= page)
	}
}

func checkTorn(t *testing.T, from string, image []byte, old, fresh queue.ID, whole bool) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, fileName), image)
	write(t, filepath.Join(dir, journalName), readFile(filepath.Join(from, journalName)))
	expectSound(t, dir, false)
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	expectKept(t, s, old, small)
	if whole {
		expectKept(t, s, fresh, 20000)
	} else {
		expectGone(t, s, fresh)
	}
}

// TestGroups: messages that come at once share their flushes.
func TestGroups(t *testing.T) {
	const writers = 50
	commits := -1 // one opens the store
	inside, release := make(chan struct{}), make(chan struct{})
	s := open(t, t.TempDir(), Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
		if commits++; commits == 1 {
			close(inside)
			<-release
		}
		return tx.Commit()
	}})
	done := make(chan error, writers+1)
	go func() { done <- accept(s, mail("a.test"), small) }()
	<-inside
	for range writers {
		go func() { done <- accept(s, mail("a.test"), small) }()
	}
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.pending) == writers })
	close(release)
	for range writers + 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if commits != 2 {
		t.Errorf("%d commits, want 2", commits)
	}
}

// TestLoneClient: whoever is alone never waits for others.
func TestLoneClient(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	s.gather(time.Hour) // nobody is on the way
	defer s.leave(s.enter())
	s.gather(time.Hour) // nothing waits
}
