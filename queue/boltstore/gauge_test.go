package boltstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

func expectGauges(t *testing.T, s *Store, want Gauges) {
	t.Helper()
	got := s.Gauges()
	if !got.Oldest.Equal(want.Oldest) {
		t.Errorf("oldest %v, want %v", got.Oldest, want.Oldest)
	}
	if got.Oldest = want.Oldest; got != want {
		t.Errorf("gauges %+v, want %+v", got, want)
	}
}

// The numbers follow a message to two destinations through its life, and are the
// same after a restart, when the leases are lost.
func TestGauges(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	expectGauges(t, s, Gauges{})
	first := mail("a.test")
	first.ID = queue.ID(strings.Repeat("0", idLen)) // of long ago, as its arrival
	first.Arrived = time.Now().Add(-time.Hour)
	first.Recipients = append(first.Recipients, queue.To(mailaddr.MustParse("ann@b.test"))...)
	if err := accept(s, first, small); err != nil {
		t.Fatal(err)
	}
	expectGauges(t, s, Gauges{New: 2, Oldest: first.Arrived})
	jobs := mustLease(t, s, 2)
	expectGauges(t, s, Gauges{Active: 2, Oldest: first.Arrived})
	later := queue.Settlement{ID: jobs[0].ID, Destination: jobs[0].Destination, Next: time.Now().Add(time.Hour)}
	if err := s.Settle(later); err != nil {
		t.Fatal(err)
	}
	expectGauges(t, s, Gauges{Active: 1, Deferred: 1, Oldest: first.Arrived})
	second := mustAccept(t, s, small)
	expectGauges(t, s, Gauges{New: 1, Active: 1, Deferred: 1, Oldest: first.Arrived})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir, Options{})
	expectGauges(t, s, Gauges{New: 1, Deferred: 2, Oldest: first.Arrived})
	for _, j := range jobs {
		if err := s.Settle(delivered(j)); err != nil {
			t.Fatal(err)
		}
	}
	expectGauges(t, s, Gauges{New: 1, Oldest: second.Arrived})
}

// A settlement with its bounce is one change: one message goes, one comes.
func TestGaugesBounce(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	mustAccept(t, s, small)
	bounce := mail("sender.test")
	st := delivered(mustLease(t, s, 1)[0])
	st.Bounce = &queue.Bounce{Envelope: bounce, Body: []byte("sorry")}
	if err := s.Settle(st); err != nil {
		t.Fatal(err)
	}
	expectGauges(t, s, Gauges{New: 1, Oldest: bounce.Arrived})
}

// A store of before the numbers, and one whose numbers cannot be read, are counted.
func TestGaugesOfOldStore(t *testing.T) {
	for name, old := range map[string]func(*bolt.Bucket) error{
		"none":       func(meta *bolt.Bucket) error { return meta.Delete(keyCounts) },
		"unreadable": func(meta *bolt.Bucket) error { return meta.Put(keyCounts, []byte(`{"new": 7, "tried": "x`)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, env := made(t)
			change(t, dir, func(tx *bolt.Tx) error { return old(tx.Bucket(bucketMeta)) })
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			expectGauges(t, s, Gauges{New: 1, Oldest: env.Arrived})
			mustLease(t, s, 1)
			expectGauges(t, s, Gauges{Active: 1, Oldest: env.Arrived})
			s.Close()
			expectSound(t, dir, true)
		})
	}
}

// A commit that failed has changed no number, and the store says that it is broken.
func TestGaugesBroken(t *testing.T) {
	fail := false
	s, err := Open(t.TempDir(), Options{JournalBytes: 1, commit: func(tx *bolt.Tx) error {
		if fail {
			return errors.Join(tx.Rollback(), errors.New("input/output error"))
		}
		return tx.Commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	env := mustAccept(t, s, small)
	fail = true
	if err := accept(s, mail("a.test"), small); !queue.IsKind(err, queue.Broken) {
		t.Fatal(err)
	}
	expectGauges(t, s, Gauges{New: 1, Oldest: env.Arrived, Broken: true})
}
