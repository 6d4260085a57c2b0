package pages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// made writes a bbolt file with branches, overflow, an inline and an empty bucket,
// and returns what is in it. It has no list of free pages.
func made(t testing.TB) (path string, want map[string]string) {
	t.Helper()
	return madeWith(t, false)
}

func madeWith(t testing.TB, freelist bool) (path string, want map[string]string) {
	t.Helper()
	path, want = filepath.Join(t.TempDir(), "db"), map[string]string{}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: !freelist, PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for bucket, n := range map[string]int{"many": 3000, "few": 3, "none": 0, "big": 4} {
			b, err := tx.CreateBucket([]byte(bucket))
			if err != nil {
				return err
			}
			for i := range n {
				k, v := fmt.Sprintf("key %08d", i), fmt.Sprintf("value %d of %s", i, bucket)
				if bucket == "big" {
					v = strings.Repeat(v, 1500)
				}
				if err := b.Put([]byte(k), []byte(v)); err != nil {
					return err
				}
				want[bucket+" "+k] = v
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// walk returns all that can be reached and the faults.
func walkFile(t testing.TB, path string) (got map[string]string, faults []Fault, usage Usage, err error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := Open(f)
	if p == nil {
		return nil, nil, Usage{}, err
	}
	defer p.Close()
	got = map[string]string{}
	usage, err = p.Walk(Visitor{
		Entry: func(e Entry) error { got[e.Bucket+" "+string(e.Key)] = string(e.Value); return nil },
		Fault: func(f Fault) { faults = append(faults, f) },
	})
	return got, faults, usage, err
}

func TestWalk(t *testing.T) {
	path, want := made(t)
	got, faults, usage, err := walkFile(t, path)
	if err != nil || len(faults) > 0 {
		t.Fatalf("error %v, faults %v", err, faults)
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
	for k, v := range want {
		if got[k] != v {
			t.Fatalf("%q: got %.40q, want %.40q", k, got[k], v)
		}
	}
	if usage.Used < 20 || usage.Used > usage.Pages || usage.Free() < 0 || usage.Free() > 0.9 {
		t.Errorf("usage %+v", usage)
	}
}

// TestDamage: whatever is wrong with one page, the walk ends, tells nothing that was
// not there, and names a fault when something is missing.
func TestDamage(t *testing.T) {
	path, want := made(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const size = 4096
	ways := map[string]func(b []byte, page int) []byte{
		"zeroed":     func(b []byte, n int) []byte { clear(b[n*size : (n+1)*size]); return b },
		"torn":       func(b []byte, n int) []byte { clear(b[n*size+size/2 : (n+1)*size]); return b },
		"noise":      func(b []byte, n int) []byte { copy(b[n*size:], bytes.Repeat([]byte{0xA5}, size)); return b },
		"short":      func(b []byte, n int) []byte { return b[:n*size+100] },
		"misplaced":  func(b []byte, n int) []byte { copy(b[n*size:(n+1)*size], b[5*size:]); return b },
		"count":      func(b []byte, n int) []byte { b[n*size+10] ^= 0xff; return b },
		"overflow":   func(b []byte, n int) []byte { b[n*size+14] ^= 0xff; return b },
		"element":    func(b []byte, n int) []byte { b[n*size+20] ^= 0x7f; return b },
		"key length": func(b []byte, n int) []byte { b[n*size+25] ^= 0x41; return b },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			at := filepath.Join(t.TempDir(), "db")
			for n := range len(whole) / size {
				if err := os.WriteFile(at, way(bytes.Clone(whole), n), 0o600); err != nil {
					t.Fatal(err)
				}
				got, faults, _, err := walkFile(t, at)
				// Without page 0 the other meta counts, which knows the transaction before.
				if n > 0 && len(got) < len(want) && len(faults) == 0 && err == nil {
					t.Errorf("page %d: %d of %d keys, and no fault", n, len(got), len(want))
				}
				for k, v := range got {
					// Pages carry no checksum: what is within its bounds is believed.
					if _, ok := want[k]; !ok && (name == "zeroed" || name == "short") {
						t.Errorf("page %d: key %q was never there (%.20q)", n, k, v)
					}
				}
			}
		})
	}
}

// TestOrphans: a lost root page takes no leaf with it.
func TestOrphans(t *testing.T) {
	path, want := made(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[:2*4096]) // both metas
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := Open(f)
	if !errors.Is(err, ErrNoFile) || p == nil {
		t.Fatalf("open: %v", err)
	}
	defer p.Close()
	values := map[string]bool{}
	if err := p.Orphans(func(e Entry) error { values[string(e.Value)] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for k, v := range want {
		if !values[v] {
			t.Fatalf("%q is lost", k)
		}
	}
}

// TestFreelist: a list of free pages that names one in use, or cannot be read, is a
// fault: bbolt would write over that page.
func TestFreelist(t *testing.T) {
	path, want := madeWith(t, true)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &File{data: whole}
	if err := p.readMeta(); err != nil || p.free == noFreelist {
		t.Fatalf("free %d, %v: no list", p.free, err)
	}
	at := int(p.free * p.pageSize)
	count := int(binary.NativeEndian.Uint16(whole[at+10:]))
	if count < 2 {
		t.Fatalf("%d free pages: too few for this test", count)
	}
	put := func(b []byte, i int, id uint64) { binary.NativeEndian.PutUint64(b[at+headerLen+8*i:], id) }
	// A page that is in use, in its place in the order: the one before all, or behind all.
	place, used := 0, binary.NativeEndian.Uint64(whole[at+headerLen:])-1
	if used < firstPage {
		place, used = count-1, binary.NativeEndian.Uint64(whole[at+headerLen+8*(count-1):])+1
	}
	for name, way := range map[string]func(b []byte){
		"":          func([]byte) {},
		"used":      func(b []byte) { put(b, place, used) },
		"itself":    func(b []byte) { put(b, 0, p.free) },
		"meta":      func(b []byte) { put(b, 0, 1) },
		"twice":     func(b []byte) { copy(b[at+headerLen+8:at+headerLen+16], b[at+headerLen:]) },
		"high":      func(b []byte) { put(b, count-1, p.high) },
		"too many":  func(b []byte) { binary.NativeEndian.PutUint16(b[at+10:], 60000) },
		"far more":  func(b []byte) { binary.NativeEndian.PutUint16(b[at+10:], manyFree); put(b, 0, 1<<60) },
		"leaf":      func(b []byte) { b[at+8] = flagLeaf },
		"zeroed":    func(b []byte) { clear(b[at : at+4096]) },
		"elsewhere": func(b []byte) { b[at]++ },
	} {
		b := bytes.Clone(whole)
		way(b)
		changed := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(changed, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, faults, _, err := walkFile(t, changed)
		if err != nil || len(got) != len(want) || (len(faults) == 0) != (name == "") {
			t.Errorf("%q: %d keys, faults %v, error %v", name, len(got), faults, err)
		}
	}
}

func TestNoFile(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "short": "x", "other": strings.Repeat("mbox ", 10000)} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := walkFile(t, path); !errors.Is(err, ErrNoFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzWalk(f *testing.F) {
	path, _ := made(f)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(2*4096+10), []byte{0xff, 0xff})
	f.Add(uint32(4*4096+16), []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, noise []byte) {
		b := bytes.Clone(whole)
		copy(b[int(at)%len(b):], noise)
		p := &File{data: b}
		if err := p.readMeta(); err != nil {
			p.pageSize, p.high = 4096, uint64(len(b))/4096
		}
		p.Walk(Visitor{})
		if err := p.Orphans(func(Entry) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}
