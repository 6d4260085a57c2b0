package boltstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// rescued is what RescueDir tells.
type rescued struct {
	saved  map[queue.ID]queue.Saved
	bodies map[queue.ID]string
	lost   map[queue.ID]string
	faults []string
}

func rescue(t testing.TB, dir string) *rescued {
	t.Helper()
	got := &rescued{map[queue.ID]queue.Saved{}, map[queue.ID]string{}, map[queue.ID]string{}, nil}
	read := func(id queue.ID, open func() (io.ReadCloser, error)) error {
		r, err := open()
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		got.bodies[id] = string(b)
		return err
	}
	err := RescueDir(dir, Rescue{
		Message: func(s queue.Saved, open func() (io.ReadCloser, error)) error {
			if got.saved[s.Envelope.ID].Size != 0 {
				return errors.New("a message came twice")
			}
			got.saved[s.Envelope.ID] = s
			return read(s.Envelope.ID, open)
		},
		Lost: func(id queue.ID, what string, open func() (io.ReadCloser, error)) error {
			got.lost[id] = what
			if open == nil {
				return nil
			}
			return read(id, open)
		},
		Fault: func(f Fault) { got.faults = append(got.faults, f.Where+": "+f.What) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestRescueSound: of a store without damage comes the same as from EachSaved, with what
// its journal holds.
func TestRescueSound(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	for _, n := range []int{small, large, 30_000} {
		mustAccept(t, s, n)
	}
	mustLease(t, s, 3)
	saved, bodies := all(t, s)
	image := t.TempDir()
	copyStore(t, dir, image) // as a crash leaves it: the journal is full, the file old
	got := rescue(t, image)
	if len(got.faults) > 0 || len(got.lost) > 0 || len(got.saved) != len(saved) {
		t.Fatalf("%d messages of %d, lost %v, faults %v", len(got.saved), len(saved), got.lost, got.faults)
	}
	for i, one := range saved {
		id := one.Envelope.ID
		if fmt.Sprint(got.saved[id]) != fmt.Sprint(one) || got.bodies[id] != bodies[i] {
			t.Errorf("got %+v\nwant %+v", got.saved[id], one)
		}
	}
}

// wrecked makes a store of many messages, compact and closed.
func wrecked(t testing.TB) (dir string, saved map[queue.ID]queue.Saved, bodies map[queue.ID]string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, Options{})
	for i := range 60 {
		mustAccept(t, s, 200+i*50)
	}
	mustAccept(t, s, large)
	list, texts := all(t, s)
	s.Close()
	if _, _, err := Compact(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	saved, bodies = map[queue.ID]queue.Saved{}, map[queue.ID]string{}
	for i, one := range list {
		saved[one.Envelope.ID], bodies[one.Envelope.ID] = one, texts[i]
	}
	return dir, saved, bodies
}

// TestRescue: a damaged page costs what lies on it, and what is lost is named; nothing
// comes out changed, and what may be out of date is in doubt.
func TestRescue(t *testing.T) {
	dir, saved, bodies := wrecked(t)
	path := filepath.Join(dir, fileName)
	whole := readFile(path)
	for at := 0; at+4096 <= len(whole); at += 4096 {
		b := append([]byte(nil), whole...)
		clear(b[at : at+4096])
		write(t, path, b)
		got := rescue(t, dir)
		for id, one := range got.saved {
			want := saved[id]
			if one.Doubt == "" && fmt.Sprint(one) != fmt.Sprint(want) || fmt.Sprint(one.Envelope) != fmt.Sprint(want.Envelope) {
				t.Fatalf("page %d: got %+v\nwant %+v", at/4096, one, want)
			}
			if got.bodies[id] != bodies[id] {
				t.Fatalf("page %d: another body of %s", at/4096, id)
			}
		}
		n := 0
		for id := range saved {
			if _, ok := got.saved[id]; ok || got.lost[id] != "" {
				n++
			}
		}
		if n < len(saved)-40 || n < len(saved) && len(got.faults) == 0 {
			t.Errorf("page %d: %d of %d messages are told of; faults %v", at/4096, n, len(saved), got.faults)
		}
	}
	// Of a file whose beginning is gone everything is found, and all is in doubt.
	b := append([]byte(nil), whole...)
	clear(b[:2*4096])
	write(t, path, b)
	got := rescue(t, dir)
	for id, one := range got.saved {
		if one.Doubt == "" || got.bodies[id] != bodies[id] {
			t.Errorf("%s: no doubt, or another body", id)
		}
	}
	if len(got.saved) != len(saved) {
		t.Errorf("%d of %d messages are found without the meta pages", len(got.saved), len(saved))
	}
	write(t, path, whole)
}

// TestRescueParts: lost records, one by one.
func TestRescueParts(t *testing.T) {
	dir, saved, _ := wrecked(t)
	var id queue.ID
	for k := range saved {
		if id == "" || k < id {
			id = k
		}
	}
	image := func() string {
		to := t.TempDir()
		copyStore(t, dir, to)
		return to
	}
	at := image()
	change(t, at, func(tx *bolt.Tx) error { return tx.Bucket(bucketUnit).Delete(unitKey(id, "remote.test")) })
	if got := rescue(t, at); got.saved[id].Doubt == "" || len(got.saved) != len(saved) {
		t.Errorf("a message whose state is lost is in no doubt: %+v", got.saved[id])
	}
	at = image()
	change(t, at, func(tx *bolt.Tx) error { return tx.Bucket(bucketBody).Delete(bodyKey(id, 0)) })
	if got := rescue(t, at); !strings.Contains(got.lost[id], "its body has 0 octets") || len(got.saved) != len(saved)-1 {
		t.Errorf("a message without a body: %q", got.lost[id])
	}
	at = image()
	change(t, at, func(tx *bolt.Tx) error { return tx.Bucket(bucketMessage).Delete([]byte(id)) })
	if got := rescue(t, at); !strings.Contains(got.lost[id], "remote.test deferred") || got.bodies[id] == "" {
		t.Errorf("a message without an envelope: %q", got.lost[id])
	}
	at = image()
	if err := os.Truncate(filepath.Join(at, fileName), 100); err != nil {
		t.Fatal(err)
	}
	if got := rescue(t, at); len(got.lost) != 1 || len(got.faults) == 0 { // the one whose body is a file
		t.Errorf("of a file that is cut off: %v, %v", got.lost, got.faults)
	}
}

// TestCompact: what is in the store stays, and the file shrinks; a crash at any step
// leaves the one or the other.
func TestCompact(t *testing.T) {
	dir, saved, _ := wrecked(t)
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || info.Size() > 4<<20 {
		t.Errorf("a store of %d messages has %d octets, error %v", len(saved), info.Size(), err)
	}
	expectSound(t, dir, true)
	for _, step := range []string{"compact copy", "compact fsync", "compact rename", "compact folder fsync"} {
		image, at := t.TempDir(), t.TempDir()
		copyStore(t, dir, at)
		taken := false
		_, _, err := Compact(at, Options{Step: func(s string) {
			if s == step && !taken {
				taken = true
				copyStore(t, at, image)
			}
		}})
		if err != nil || !taken {
			t.Fatalf("%s: %v", step, err)
		}
		s := open(t, image, Options{})
		if again, _ := all(t, s); len(again) != len(saved) {
			t.Errorf("%s: %d messages of %d after a crash", step, len(again), len(saved))
		}
		s.Close()
		expectSound(t, image, true)
	}
	open(t, dir, Options{})
	if _, _, err := Compact(dir, Options{Timeout: 1}); !errors.Is(err, ErrInUse) {
		t.Errorf("compaction under a server: %v", err)
	}
}
