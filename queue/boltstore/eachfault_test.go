package boltstore

import (
	"fmt"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"dancemta/queue"
)

// TestEachFault lets each single call of the disk fail, one after the other, and each
// checkpoint: without room, or with an error of the medium. Whatever was promised
// before and after it holds at the next start, and nothing else is there.
func TestEachFault(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		for _, journal := range []int64{1, 0} {
			k := 0
			for faultAt(t, k, errno, journal) > k { // it came to that call
				if t.Failed() {
					t.Fatalf("call %d failed with %v, journal of %d octets", k, errno, journal)
				}
				k++
			}
			if k < 20 {
				t.Errorf("%d calls only", k)
			}
		}
	}
}

// faultAt runs a store whose k-th call fails, checks what it leaves, and returns how
// many calls there were.
func faultAt(t *testing.T, k int, errno syscall.Errno, journal int64) (calls int) {
	t.Helper()
	hit := func(op, name string) error {
		if op == "free" {
			return nil
		}
		if calls++; calls-1 != k {
			return nil
		}
		return failing(op, errno)(op, name)
	}
	dir := t.TempDir()
	o := Options{disk: &faultyDisk{fail: hit}, JournalBytes: journal, commit: func(tx *bolt.Tx) error {
		if err := hit("write", fileName); err != nil { // before anything is written
			tx.Rollback()
			return err
		}
		return tx.Commit()
	}}
	want := map[queue.ID]int{} // must be there
	may := map[queue.ID]bool{} // nobody knows
	if s, err := Open(dir, o); err == nil {
		work(s, want, may)
		s.Close() // may fail, too
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Errorf("after the fault: %v", err)
		return calls
	}
	there := map[queue.ID]bool{}
	s.Each(func(sum queue.Summary) error {
		there[sum.ID] = true
		expectKept(t, s, sum.ID, int(sum.Size))
		if _, ok := want[sum.ID]; !ok && !may[sum.ID] {
			t.Errorf("message %s is there and should not be", sum.ID)
		}
		return nil
	})
	for id := range want {
		if !there[id] {
			t.Errorf("message %s was promised and is lost", id)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	expectSound(t, dir, true)
	return calls
}

// work takes and ends messages, and notes what was promised. An error of kind Full is
// the promise that nothing has changed.
func work(s *Store, want map[queue.ID]int, may map[queue.ID]bool) {
	for i, size := range []int{large, small, 20000, large, small} {
		env := mail(fmt.Sprintf("d%d.test", i%2))
		switch err := accept(s, env, size); {
		case err == nil:
			want[env.ID] = size
		case !queue.IsKind(err, queue.Full):
			may[env.ID] = true
		}
		if i != 2 {
			continue
		}
		jobs, _ := lease(s)
		for _, j := range jobs {
			err := s.Settle(delivered(j))
			if err == nil {
				delete(want, j.ID)
			} else if !queue.IsKind(err, queue.Full) {
				may[j.ID] = true
				delete(want, j.ID)
			}
		}
	}
}
