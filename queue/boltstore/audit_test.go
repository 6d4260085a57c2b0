package boltstore

import (
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// faults is what VerifyDir says.
func faults(t testing.TB, dir string) string {
	t.Helper()
	var all []string
	if err := VerifyDir(dir, func(f Fault) {
		if f.Do == "" {
			t.Errorf("%s: nothing to do", f.What)
		}
		all = append(all, f.Where+": "+f.What)
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// TestVerify: each thing that can contradict another is found.
func TestVerify(t *testing.T) {
	id := func(tx *bolt.Tx) []byte { k, _ := tx.Bucket(bucketMessage).Cursor().First(); return k }
	drop := func(bucket []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			k, _ := tx.Bucket(bucket).Cursor().First()
			return tx.Bucket(bucket).Delete(k)
		}
	}
	for name, c := range map[string]struct {
		change func(*bolt.Tx) error
		want   string
	}{
		"sound":           {func(*bolt.Tx) error { return nil }, ""},
		"no place":        {drop(bucketDestination), "stands in no line"},
		"no lane":         {drop(bucketLane), "a sender in it has no turn"},
		"no due":          {drop(bucketDue), "it has no turn: its mail would stay"},
		"no turn":         {drop(bucketTurn), "line of"},
		"no unit":         {drop(bucketUnit), "its state cannot be read"},
		"no message":      {drop(bucketMessage), "its message is not there"},
		"no body":         {drop(bucketBody), "its body has 0 octets"},
		"message damaged": {func(tx *bolt.Tx) error { return tx.Bucket(bucketMessage).Put(id(tx), []byte("{")) }, "damaged"},
		"stray place": {func(tx *bolt.Tx) error {
			l := lane{line{"nobody.test", fresh}, 7}
			return tx.Bucket(bucketDestination).Put(l.place(5, queue.ID(id(tx))), nil)
		}, "does not belong there"},
		"stray due": {func(tx *bolt.Tx) error { return tx.Bucket(bucketDue).Put(line{"nobody.test", fresh}.due(5), nil) }, "it has a turn, and no mail"},
		"given up":  {func(tx *bolt.Tx) error { return tx.Bucket(bucketGiveUp).Put(append(id(tx), "remote.test"...), nil) }, "given up"},
		"counts":    {func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyCounts, []byte(`{"new":9}`)) }, "counts:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := made(t)
			change(t, dir, c.change)
			if got := faults(t, dir); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestVerifyLive: a store at work is sound, too.
func TestVerifyLive(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for range 3 {
		mustAccept(t, s, small)
		mustAccept(t, s, large)
	}
	mustLease(t, s, 6)
	if err := s.Verify(func(f Fault) { t.Errorf("%+v", f) }); err != nil {
		t.Error(err)
	}
}

// TestTornPages: whatever a disk does to a page, nothing panics: opening refuses it
// or works, and verification names it.
func TestTornPages(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	for range 20 {
		mustAccept(t, s, 10_000)
	}
	s.Close()
	path := filepath.Join(dir, fileName)
	whole := readFile(path)
	used := len(whole)
	for used > 4096 && strings.Trim(string(whole[used-4096:used]), "\x00") == "" {
		used -= 4096
	}
	for _, way := range []string{"zeroed", "torn", "noise", "short"} {
		for at := 0; at < used; at += 3 * 4096 {
			b := append([]byte(nil), whole[:used+4096]...)
			switch way {
			case "zeroed":
				clear(b[at : at+4096])
			case "torn":
				clear(b[at+512 : at+4096])
			case "noise":
				for i := range 4096 {
					b[at+i] = byte(i*7 + 3)
				}
			case "short":
				b = b[:at+100]
			}
			write(t, path, b)
			noticed := false
			if err := VerifyDir(dir, func(Fault) { noticed = true }); err != nil {
				t.Fatalf("%s at %d: %v", way, at, err)
			}
			s, err := Open(dir, Options{}) // for writing: then bbolt walks through all pages
			if err != nil {
				if !noticed {
					t.Errorf("%s at %d: %v, and verification found nothing", way, at, err)
				}
				continue
			}
			_ = s.Each(func(sum queue.Summary) error { _, _ = s.Body(sum.ID); return nil })
			s.Close()
		}
	}
	write(t, path, whole)
}
