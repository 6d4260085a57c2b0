package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// TestOutcomesAreCounted: one for each recipient and attempt, as they are settled.
func TestOutcomesAreCounted(t *testing.T) {
	var mu sync.Mutex
	seen := map[queue.Result]int{}
	count := func(o *queue.Options) {
		o.OnOutcome = func(out queue.Outcome) {
			mu.Lock()
			defer mu.Unlock()
			seen[out.Result]++
		}
	}
	inWorld(t, count, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			switch {
			case job.Destination != "remote.test": // the bounce
				return all(job, queue.Delivered, "250 ok")
			case job.Attempt == 1:
				return all(job, queue.Deferred, "451 later")[:1] // and none for the other
			}
			out := all(job, queue.Delivered, "250 ok")
			out[0].Result = queue.Failed
			return out
		}
		w.run()
		w.accept("morty@remote.test", "summer@remote.test")
		w.pass(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		w.equal("deferred", seen[queue.Deferred], 2)
		w.equal("failed", seen[queue.Failed], 1)
		w.equal("delivered", seen[queue.Delivered], 2)
	})
}

// TestRetryCurve follows one message that is always put off, to its bounce.
func TestRetryCurve(t *testing.T) {
	t.Run("deferred", func(t *testing.T) { testRetryCurve(t, queue.Deferred) })
	t.Run("a result of no name", func(t *testing.T) { testRetryCurve(t, 77) })
}

func testRetryCurve(t *testing.T, result queue.Result) {
	inWorld(t, nil, func(w *world) {
		var bounce string
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "partner.test" {
				bounce = read(t, job)
				return all(job, queue.Delivered, "250 ok")
			}
			return all(job, result, "451 4.3.0 come back")
		}
		w.run()
		w.accept("morty@remote.test")
		w.pass(5*24*time.Hour + time.Minute)

		tries := w.tried("remote.test")
		if len(tries) < 110 || len(tries) > 140 {
			t.Fatalf("%d attempts in 5 days", len(tries))
		}
		w.equal("first attempt", tries[0].at, time.Duration(0))
		waits := map[time.Duration]bool{}
		for i, a := range tries {
			w.equal("attempt", a.n, i+1)
			if i == 0 || i == len(tries)-1 {
				continue
			}
			// 5, 10, 20, 40 minutes, then hourly, an eighth more or less.
			wait := []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour}[min(i-1, 4)]
			if got := a.at - tries[i-1].at; got < wait*7/8 || got > wait*9/8 {
				t.Errorf("wait before attempt %d: %v, want %v ± 1/8", i+1, got, wait)
			}
			waits[a.at-tries[i-1].at] = true
		}
		if len(waits) < len(tries)/2 {
			t.Errorf("%d waits of %d differ: what failed together comes back together", len(waits), len(tries))
		}
		w.equal("last attempt", tries[len(tries)-1].at, 5*24*time.Hour)
		w.equal("list", w.list(), "")
		w.equal("deferred lines", len(w.lines("deferred")), len(tries)-1)
		w.equal("failed lines", len(w.lines("failed")), 1)
		for _, want := range []string{"Status: 4.4.7", "Diagnostic-Code: smtp; 451 4.3.0 come back", "To: <rick@partner.test>", "Wubba"} {
			if !strings.Contains(bounce, want) {
				t.Errorf("the bounce lacks %q:\n%s", want, bounce)
			}
		}
	})
}

// TestTwoTriesInTheFirstHour: RFC 5321 4.5.4.1 asks for them.
func TestTwoTriesInTheFirstHour(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return nil }
		w.run()
		w.accept("morty@remote.test")
		w.pass(time.Hour)
		if n := len(w.tried("remote.test")); n < 3 || n > 5 {
			t.Errorf("%d attempts in the first hour", n)
		}
	})
}

// TestPerDestination: one domain gets no more than its share of deliveries,
// although there is room for more.
func TestPerDestination(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.PerDestination = 3 }, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Minute)
			return all(job, queue.Delivered, "250 ok")
		}
		w.run()
		for range 9 {
			w.accept("morty@slow.test")
		}
		w.accept("summer@quick.test")
		w.pass(time.Second)
		w.equal("of a stranger at once", w.peak("slow.test"), 2)
		w.pass(4 * time.Minute)
		w.equal("at once to one", w.peak("slow.test"), 3)
		w.equal("list", w.list(), "")
	})
}

// TestManyDestinations: the bound of all holds, and every place is used.
func TestManyDestinations(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Concurrency = 10 }, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Minute)
			return all(job, queue.Delivered, "250 ok")
		}
		for i := range 100 {
			w.acceptOf(fmt.Sprint("sender", i%10), "rick@partner.test", fmt.Sprintf("morty@d%d.test", i))
		}
		w.run()
		w.pass(time.Second)
		w.equal("strangers at once", w.peak(""), 8)
		w.pass(14 * time.Minute)
		w.equal("list", w.list(), "")
	})
}

// TestBlackHole: a domain that swallows every connection, with ten thousand
// messages for it, stops nobody else.
func TestBlackHole(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, job queue.Job) []queue.Outcome {
			if job.Destination != "hole.test" {
				return all(job, queue.Delivered, "250 ok")
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Minute):
			}
			return all(job, queue.Deferred, "no answer")
		}
		var writers sync.WaitGroup
		for range 100 {
			writers.Go(func() {
				for range 100 {
					w.accept("morty@hole.test")
				}
			})
		}
		writers.Wait()
		w.run()
		w.pass(time.Second)
		w.equal("in the hole", w.visits("hole.test"), 2)
		for i := range 100 {
			w.accept(fmt.Sprintf("morty@d%d.test", i%10))
		}
		w.pass(time.Second)
		delivered := 0
		for i := range 10 {
			delivered += len(w.tried(fmt.Sprintf("d%d.test", i)))
		}
		w.equal("delivered to others within a second", delivered, 100)
		w.equal("in the hole", w.peak("hole.test"), 2)
	})
}

// TestWake: a message that comes is tried at once; while nothing is to be done
// nobody asks the store.
func TestWake(t *testing.T) {
	counting := &faultyStore{}
	inWorld(t, counting.wrap, func(w *world) {
		w.run()
		w.pass(24 * time.Hour)
		w.equal("asked while the queue was empty", counting.dues.Load(), 1)
		w.accept("morty@remote.test")
		synctest.Wait()
		w.equal("attempts", len(w.tried("remote.test")), 1)
		w.equal("list", w.list(), "")

		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return nil }
		w.accept("morty@remote.test")
		synctest.Wait()
		before := counting.dues.Load()
		w.pass(4 * time.Minute)
		w.equal("asked before the next time", counting.dues.Load()-before, 0)
	})
}

// TestRecipients: each recipient has its own outcome; only those still open
// are tried again.
func TestRecipients(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Attempt > 1 || job.Destination != "remote.test" {
				return all(job, queue.Delivered, "250 ok")
			}
			return []queue.Outcome{
				{Recipient: mailaddr.MustParse("ok@remote.test"), Result: queue.Delivered},
				{Recipient: mailaddr.MustParse("no@remote.test"), Result: queue.Failed, Reply: "550 no", Status: "5.1.1"},
				{Recipient: mailaddr.MustParse("later@remote.test"), Result: queue.Deferred},
				{Recipient: mailaddr.MustParse("odd@remote.test"), Result: 77},
				{Recipient: mailaddr.MustParse("stranger@remote.test"), Result: queue.Failed},
			}
		}
		w.run()
		w.accept("ok@remote.test", "no@remote.test", "later@remote.test", "odd@remote.test", "silent@remote.test", "ok@remote.test")
		synctest.Wait()
		w.equal("list", w.list(), "ok@remote.test delivered 1; no@remote.test failed 1; later@remote.test deferred 1; "+
			"odd@remote.test deferred 1; silent@remote.test deferred 1; ")
		w.equal("bounces", len(w.tried("partner.test")), 1)
		w.pass(6 * time.Minute)
		w.equal("first", w.tried("remote.test")[0].rcpts, "[ok@remote.test no@remote.test later@remote.test odd@remote.test silent@remote.test]")
		w.equal("second", w.tried("remote.test")[1].rcpts, "[later@remote.test odd@remote.test silent@remote.test]")
		w.equal("list", w.list(), "")
	})
}

// TestPanic: a deliverer that panics has deferred its message and harmed no
// other.
func TestPanic(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "remote.test" {
				panic("boom")
			}
			return all(job, queue.Delivered, "250 ok")
		}
		w.run()
		w.accept("morty@remote.test")
		w.accept("morty@other.test")
		synctest.Wait()
		w.equal("list", w.list(), "morty@remote.test deferred 1; ")
		w.equal("faults", len(w.lines("fault in the queue")), 1)
		w.equal("Run ends well", w.stop(), nil)
	})
}

// TestStop: nothing new begins, what runs may end, what does not is cancelled,
// and Run waits for all.
func TestStop(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Concurrency = 2; o.Grace = 20 * time.Second }, func(w *world) {
		w.deliver = func(ctx context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "quick.test" {
				time.Sleep(10 * time.Second)
				return all(job, queue.Delivered, "250 ok")
			}
			<-ctx.Done()
			time.Sleep(time.Second)
			return all(job, queue.Deferred, "cut off")
		}
		for _, rcpt := range []string{"a@quick.test", "b@slow.test", "c@waiting.test"} {
			w.accept(rcpt)
			w.pass(time.Millisecond) // ids sort by time
		}
		w.run()
		w.pass(time.Second)
		begin := time.Now()
		w.equal("error", w.stop(), nil)
		w.equal("time until Run ended", time.Since(begin), 21*time.Second)
		w.equal("begun after the stop", len(w.tried("waiting.test")), 0)
		w.equal("list", w.list(), "b@slow.test deferred 1; c@waiting.test queued 0; ")
	})
}

// TestStopEarly: when all deliveries have ended, nobody waits for the grace.
func TestStopEarly(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.run()
		w.accept("morty@remote.test")
		w.pass(time.Second)
		begin := time.Now()
		w.equal("error", w.stop(), nil)
		w.equal("time until Run ended", time.Since(begin), time.Duration(0))
	})
}

// faultyStore fails where a test says so.
type faultyStore struct {
	queue.Store
	dues       atomic.Int64
	settles    atomic.Int64
	due        func() error
	settlement func() error
}

func (s *faultyStore) wrap(o *queue.Options) { s.Store, o.Store = o.Store, s }

func (s *faultyStore) Due(r queue.DueRequest) ([]queue.Job, time.Time, error) {
	s.dues.Add(1)
	if s.due != nil {
		if err := s.due(); err != nil {
			return nil, time.Time{}, err
		}
	}
	return s.Store.Due(r)
}

func (s *faultyStore) Settle(st queue.Settlement) error {
	s.settles.Add(1)
	if s.settlement != nil {
		if err := s.settlement(); err != nil {
			return err
		}
	}
	return s.Store.Settle(st)
}

var (
	full   = &queue.Error{Kind: queue.Full, Err: syscall.ENOSPC}
	broken = &queue.Error{Kind: queue.Broken, Err: syscall.EIO}
)

// TestFullDisk: leases and settlements that find no room are tried again, and
// what was delivered meanwhile does not go out twice.
func TestFullDisk(t *testing.T) {
	for name, fault := range map[string]error{"full": full, "unknown": errors.New("who knows")} {
		t.Run(name, func(t *testing.T) {
			var end atomic.Int64 // nanoseconds since 1970
			fillUp := func() { end.Store(time.Now().Add(time.Hour).UnixNano()) }
			fail := func() error {
				if time.Now().UnixNano() < end.Load() {
					return fault
				}
				return nil
			}
			s := &faultyStore{settlement: fail, due: fail}
			inWorld(t, s.wrap, func(w *world) {
				w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
					fillUp()
					return all(job, queue.Delivered, "250 ok")
				}
				w.run()
				w.accept("morty@remote.test")
				w.pass(59 * time.Minute)
				w.equal("before there is room", w.list(), "morty@remote.test active 1; ")
				w.pass(2 * time.Minute)
				w.equal("afterwards", w.list(), "")
				w.equal("attempts", len(w.tried("remote.test")), 1)
				fillUp()
				w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return all(job, queue.Delivered, "250 ok") }
				w.accept("morty@other.test")
				w.pass(30 * time.Minute)
				w.equal("attempts without room for a lease", len(w.tried("other.test")), 0)
				w.pass(31 * time.Minute)
				w.equal("attempts with room", len(w.tried("other.test")), 1)
			})
		})
	}
}

// TestFullDiskStop: a settlement that finds no room does not keep Run from
// ending.
func TestFullDiskStop(t *testing.T) {
	s := &faultyStore{settlement: func() error { return full }}
	inWorld(t, s.wrap, func(w *world) {
		w.run()
		w.accept("morty@remote.test")
		w.pass(time.Second)
		begin := time.Now()
		w.equal("error", w.stop(), nil)
		w.equal("time until Run ended", time.Since(begin), 20*time.Second)
		w.equal("list", w.list(), "morty@remote.test active 1; ")
	})
}

// TestBrokenStore: Run says so, after what runs has ended. The message is due
// again at the time that was written before the attempt.
func TestBrokenStore(t *testing.T) {
	breaking := false
	s := &faultyStore{settlement: func() error {
		if breaking {
			return broken
		}
		return nil
	}}
	inWorld(t, s.wrap, func(w *world) {
		breaking = true
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "slow.test" {
				time.Sleep(10 * time.Second)
			}
			return all(job, queue.Deferred, "451 later")
		}
		w.accept("morty@remote.test")
		w.accept("morty@slow.test")
		begin := time.Now()
		if err := w.runFor(time.Hour); !errors.Is(err, broken) {
			t.Errorf("Run: %v", err)
		}
		w.equal("time until Run ended", time.Since(begin), 10*time.Second)

		w.store.Close()
		breaking = false
		w.open(nil)
		w.run()
		w.pass(4 * time.Minute)
		w.equal("attempts before the written time", len(w.tried("remote.test")), 1)
		w.pass(2 * time.Minute)
		tries := w.tried("remote.test")
		w.equal("attempts after it", len(tries), 2)
		w.equal("attempt", tries[1].n, 2)
		if wait := tries[1].at - tries[0].at; wait < 5*time.Minute*7/8 || wait > 5*time.Minute*9/8 {
			t.Errorf("it was tried again after %v", wait)
		}
	})
}

// TestBrokenDue: a store that breaks while nothing runs ends Run too.
func TestBrokenDue(t *testing.T) {
	s := &faultyStore{due: func() error { return broken }}
	inWorld(t, s.wrap, func(w *world) {
		if err := w.runFor(time.Hour); !errors.Is(err, broken) {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestSettleGone: a message that was taken out of the queue meanwhile is no
// trouble, and makes no bounce.
func TestSettleGone(t *testing.T) {
	s := &faultyStore{settlement: func() error { return queue.ErrNotFound }}
	inWorld(t, s.wrap, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return all(job, queue.Failed, "550 no") }
		w.run()
		w.accept("morty@remote.test")
		w.pass(time.Minute)
		w.equal("settlements", s.settles.Load(), 1)
		w.equal("bounced lines", len(w.lines("bounced")), 0)
		w.equal("error", w.stop(), nil)
	})
}
