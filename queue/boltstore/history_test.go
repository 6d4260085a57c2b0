package boltstore

import (
	"testing"
	"testing/synctest"
	"time"

	"dancemta/queue"
)

// ends delivers messages that are in the store alone.
func ends(t *testing.T, s *Store, n int) {
	t.Helper()
	for range n {
		env := mail("a.test")
		if err := accept(s, env, small); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Edit(env.ID, queue.Edit{Action: queue.EditDelete, Now: time.Now()}); n == 0 || err != nil {
			t.Fatal(n, err)
		}
	}
}

// TestHistoryEndsByTime: what is remembered of messages ends in time, also where no
// further message ends.
func TestHistoryEndsByTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, Options{History: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		remembered := func() (n int) {
			t.Helper()
			if err := s.EachFinished(func(queue.Summary) error { n++; return nil }); err != nil {
				t.Fatal(err)
			}
			if counted := s.counts.Load().History; counted != n {
				t.Errorf("%d are counted, %d are there", counted, n)
			}
			return n
		}
		ends(t, s, 20)
		time.Sleep(30 * time.Minute)
		ends(t, s, 3)
		time.Sleep(29 * time.Minute)
		if n := remembered(); n != 23 {
			t.Errorf("%d are remembered before the time", n)
		}
		time.Sleep(trimPause + time.Minute)
		synctest.Wait()
		if n := remembered(); n != 3 {
			t.Errorf("%d are remembered of the last three", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := remembered(); n != 0 {
			t.Errorf("%d are remembered after the time", n)
		}
	})
	s := open(t, dir, Options{History: time.Hour}) // and its check finds nothing wrong
	if n := s.counts.Load().History; n != 0 {
		t.Errorf("%d after a restart", n)
	}
}

// TestLongHistoryEnds: in pieces, so that nobody waits.
func TestLongHistoryEnds(t *testing.T) {
	s := open(t, t.TempDir(), Options{History: time.Hour})
	ends(t, s, 20)
	dropped := 0
	err := s.submit(&op{apply: func(x *txn) (err error) { dropped, err = x.forget(stamp(time.Now()), 0, 7); return err }})
	if err != nil || dropped != 7 || s.counts.Load().History != 13 {
		t.Errorf("%d dropped, %d left, %v", dropped, s.counts.Load().History, err)
	}
}
