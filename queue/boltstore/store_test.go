package boltstore

import (
	"flag"
	"fmt"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"dancemta/queue"
	"dancemta/queue/storetest"
)

// modelChecks keeps the histories of the model test within seconds; -rapid.checks
// asks for more.
const modelChecks = "15"

func TestMain(m *testing.M) {
	if crashChild() {
		return
	}
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		flag.Set("rapid.checks", modelChecks)
	}
	goleak.VerifyTestMain(m)
}

// checked is a store whose folder is verified when it closes.
type checked struct {
	*Store
	t   testing.TB
	dir string
}

func (c *checked) Close() error {
	err := c.Store.Close()
	expectSound(c.t, c.dir, true)
	return err
}

// open opens a store that is closed and verified at the end of the test.
func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		expectSound(t, dir, false)
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel() // as all that mostly waits for the disk
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"default", Options{}},
		{"all bodies in files", Options{MaxBodyInline: 1}},
		{"no body in a file", Options{MaxBodyInline: 2 << 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t testing.TB) storetest.Open { return crashing(t, c.o) })
		})
	}
}

// crashing opens a store, or, when the last one was not closed, the image that
// its crash would leave.
func crashing(t testing.TB, o Options) storetest.Open {
	base := t.TempDir()
	var last *Store
	generation := 0
	return func() queue.Store {
		t.Helper()
		dir := filepath.Join(base, fmt.Sprint(generation))
		if last != nil && !last.isClosed() {
			lost := last
			generation++
			next := filepath.Join(base, fmt.Sprint(generation))
			copyStore(t, dir, next)
			lost.Close()
			dir = next
		}
		s, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		last = s
		t.Cleanup(func() { s.Close() })
		return &checked{s, t, dir}
	}
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
