package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/queue"
)

// flood puts n messages of one sender in, a hundred at a time.
func (w *world) flood(n int, sender, to string) {
	var writers sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range 100 {
		writers.Go(func() {
			for left.Add(-1) >= 0 {
				w.acceptOf("", sender, to)
			}
		})
	}
	writers.Wait()
}

// unreachable is the outcome of a visit that found nobody.
func unreachable(job queue.Job, reply string) []queue.Outcome {
	out := all(job, queue.Deferred, reply)
	for i := range out {
		out[i].Unreachable, out[i].RemoteMTA = true, ""
	}
	return out
}

// TestSendersHaveTurns: ten thousand messages of one sender do not hold up the one of
// another to the same destination.
func TestSendersHaveTurns(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Expire = time.Hour * 1000 }, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Second)
			return all(job, queue.Delivered, "250 ok")
		}
		w.flood(10_000, "many@bulk.test", "x@example.org")
		w.run()
		w.pass(time.Minute)
		before := len(w.tried("example.org"))
		if before < 500 || before > 2000 {
			t.Fatalf("%d attempts in the first minute", before)
		}
		id := w.acceptOf("", "one@few.test", "x@example.org")
		w.pass(3 * time.Second)
		for i, a := range w.tried("example.org")[before:] {
			if a.id == id {
				if i > 25 { // twenty visits may have taken theirs in the same second
					t.Errorf("%d messages of the other sender went first", i)
				}
				return
			}
		}
		t.Error("it was not tried within three seconds")
	})
}

// TestUnreachable: a destination that nobody answers for gets one probe at a time,
// further and further apart. What waits for it meanwhile shows why, and ends in time;
// and others keep their rate.
func TestUnreachable(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Expire = 2 * time.Hour }, func(w *world) {
		w.deliver = func(ctx context.Context, job queue.Job) []queue.Outcome {
			if job.Destination != "hole.test" {
				return all(job, queue.Delivered, "250 ok")
			}
			time.Sleep(2 * time.Minute)
			return unreachable(job, "connect to mx.hole.test: no answer")
		}
		w.flood(2_000, "many@bulk.test", "x@hole.test")
		w.run()
		offered := 0
		for range 600 { // an hour
			w.acceptOf("", "rick@few.test", fmt.Sprintf("x@d%d.test", offered%10))
			offered++
			w.pass(6 * time.Second)
		}
		delivered := 0
		for i := range 10 {
			delivered += len(w.tried(fmt.Sprintf("d%d.test", i)))
		}
		if delivered*10 < offered*9 {
			t.Errorf("%d of %d messages to others were delivered", delivered, offered)
		}
		tried := w.tried("hole.test")
		if w.peak("hole.test") > 2 || len(tried) < 3 || len(tried) > 12 {
			t.Errorf("%d visits in the hole, at most %d at once", len(tried), w.peak("hole.test"))
		}
		w.equal("all show why", strings.Count(w.replies(), "no answer"), 2_000)
		st, err := w.q.Destinations()
		if err != nil || len(st) != 1 {
			t.Fatalf("%d destinations in trouble, error %v", len(st), err)
		}
		w.equal("trouble", fmt.Sprint(st[0].Destination, " ", st[0].Reason, " ", st[0].Waiting+st[0].Active >= 1_999),
			"hole.test connect to mx.hole.test: no answer true")
		w.pass(2 * time.Hour)
		if n := strings.Count(w.list(), "hole.test"); n > 0 {
			t.Errorf("%d messages have outlived their time", n)
		}
		if n := len(w.tried("hole.test")); n > 40 {
			t.Errorf("%d visits in three hours", n)
		}
	})
}

// TestBack: a destination that is back is not punished for its past.
func TestBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Second)
			if down.Load() {
				return unreachable(job, "no answer")
			}
			return all(job, queue.Delivered, "250 ok")
		}
		w.flood(200, "many@bulk.test", "x@hole.test")
		w.run()
		w.pass(30 * time.Minute)
		down.Store(false)
		w.pass(90 * time.Minute)
		w.equal("list", w.list(), "")
		st, err := w.q.Destinations()
		w.equal("trouble", fmt.Sprint(st, err), "[] <nil>")
	})
}

// TestAdapts: visits to a destination grow with its answers up to the bound, and shrink
// when one finds nobody.
func TestAdapts(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.PerDestination = 8 }, func(w *world) {
		var fail atomic.Bool
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Second)
			if fail.Swap(false) {
				return unreachable(job, "421 too many connections")
			}
			return all(job, queue.Delivered, "250 ok")
		}
		w.flood(3000, "many@bulk.test", "x@example.org")
		w.run()
		var seen []int
		for range 12 {
			w.pass(time.Second)
			seen = append(seen, w.visits("example.org"))
		}
		if seen[0] > 3 || seen[11] != 8 {
			t.Errorf("visits at once, by second: %v", seen)
		}
		w.equal("at most", w.peak("example.org"), 8)
		fail.Store(true)
		w.pass(90 * time.Second)
		w.equal("no back-off for one visit among good ones", w.visits("example.org") > 1, true)
	})
}

// TestSilentHosts: fifty hosts that say nothing hold not all fifty places, neither when
// nobody knows them nor later.
func TestSilentHosts(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, job queue.Job) []queue.Outcome {
			if !strings.HasPrefix(job.Destination, "silent") {
				return all(job, queue.Delivered, "250 ok")
			}
			time.Sleep(5 * time.Minute)
			return unreachable(job, "no answer")
		}
		w.run()
		w.accept("x@known.test")
		w.pass(time.Second)
		for i := range 200 {
			w.accept(fmt.Sprintf("x@silent%d.test", i%100))
		}
		w.pass(time.Second)
		if n := w.count("silent"); n > 38 {
			t.Errorf("%d strangers at once", n)
		}
		w.accept("x@known.test")
		w.pass(time.Second)
		w.equal("known", len(w.tried("known.test")), 2)
		w.pass(30 * time.Minute) // all are known to be silent
		for i := range 100 {
			w.accept(fmt.Sprintf("x@silent%d.test", i))
		}
		w.pass(time.Minute)
		if n := w.count("silent"); n > 10 {
			t.Errorf("%d silent ones at once", n)
		}
		w.accept("x@new.test")
		w.pass(time.Second)
		w.equal("new", len(w.tried("new.test")), 1)
	})
}

// TestRate: messages are spread evenly, over all destinations of one key; another
// rate counts from the next message on.
func TestRate(t *testing.T) {
	var per atomic.Int64
	per.Store(int64(time.Minute))
	rate := func(d string) queue.Rate {
		if d == "free.test" {
			return queue.Rate{}
		}
		return queue.Rate{Key: "smarthost", Messages: 10, Per: time.Duration(per.Load())}
	}
	inWorld(t, func(o *queue.Options) { o.Rate = rate }, func(w *world) {
		for i := range 100 {
			w.accept(fmt.Sprintf("x@d%d.test", i%5))
			w.accept("x@free.test")
		}
		w.run()
		w.pass(time.Second)
		w.equal("without a rate", len(w.tried("free.test")), 100)
		w.pass(3 * time.Minute)
		w.equal("in three minutes", w.total("d"), 31)
		per.Store(int64(time.Second)) // as after a reload
		w.pass(15 * time.Second)
		w.equal("in the end", w.total("d"), 100)
		w.equal("list", w.list(), "")
	})
}

// TestVisit: a visit takes further messages of its destination, up to a bound, so that
// others have their turn.
func TestVisit(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Concurrency, o.PerDestination = 1, 1 }, func(w *world) {
		w.flood(300, "many@bulk.test", "x@example.org")
		for i := range 3 {
			w.acceptOf("", "rick@few.test", fmt.Sprintf("x@d%d.test", i))
		}
		w.run()
		w.pass(time.Second)
		w.equal("list", w.list(), "")
		if n := w.calls("example.org"); n < 3 || n > 31 {
			t.Errorf("%d visits for 300 messages", n)
		}
		for i := range 3 {
			if at := w.position(fmt.Sprintf("d%d.test", i)); at > 150 {
				t.Errorf("d%d.test had its turn after %d messages", i, at)
			}
		}
	})
}

// TestHeldInFlight: what is held while it is delivered stays held, and a visit to a
// destination that is suspended gets no further message.
func TestHeldInFlight(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.PerDestination = 1 }, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Minute)
			return all(job, queue.Deferred, "450 later")
		}
		w.run()
		id := w.accept("x@example.org")
		synctest.Wait()
		w.equal("list", w.list(), "x@example.org active 1; ")
		n, err := w.q.Edit(id, queue.Edit{Action: queue.EditHold})
		w.equal("held", fmt.Sprint(n, err), "1 <nil>")
		w.pass(24 * time.Hour)
		w.equal("list", w.list(), "x@example.org held 1; ")
		w.equal("attempts", len(w.tried("example.org")), 1)
		if _, err := w.q.Edit(id, queue.Edit{Action: queue.EditRelease}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.equal("released", len(w.tried("example.org")), 2)
	})
}

func TestSuspendedInVisit(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.PerDestination = 1 }, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			time.Sleep(time.Second)
			return all(job, queue.Delivered, "250 ok")
		}
		w.flood(5, "many@bulk.test", "x@mx.example.org")
		w.run()
		w.pass(1500 * time.Millisecond)
		w.equal("tried", len(w.tried("mx.example.org")), 2)
		if err := w.q.Suspend(queue.Suspension{Pattern: "*.example.org", Until: time.Now().Add(24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		w.pass(23 * time.Hour)
		w.equal("tried while suspended", len(w.tried("mx.example.org")), 2)
		w.accept("x@other.test")
		w.pass(time.Second)
		w.equal("others", len(w.tried("other.test")), 1)
		w.pass(time.Hour + 5*time.Second)
		w.equal("tried afterwards", len(w.tried("mx.example.org")), 5)
	})
}

// TestRetryNow: an operator's retry is made, even where a destination is left alone.
func TestRetryNow(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return unreachable(job, "no answer") }
		w.run()
		id := w.accept("x@hole.test")
		w.pass(time.Second)
		w.accept("x@hole.test")
		w.pass(time.Second)
		w.equal("tried", len(w.tried("hole.test")), 1)
		if _, err := w.q.Edit(id, queue.Edit{Action: queue.EditRetry}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.equal("tried at once", len(w.tried("hole.test")), 2)
		w.pass(time.Second)
		w.equal("and left alone again", len(w.tried("hole.test")), 2)
	})
}

// TestGivenUp: what an operator gives up is bounced at once.
func TestGivenUp(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "example.org" {
				return all(job, queue.Deferred, "450 later")
			}
			return all(job, queue.Delivered, "250 ok")
		}
		w.run()
		id := w.accept("x@example.org")
		w.pass(time.Second)
		if _, err := w.q.Edit(id, queue.Edit{Action: queue.EditBounce}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.equal("bounces", len(w.tried("partner.test")), 1)
		w.equal("list", w.list(), "")
	})
}

// TestClockJumps: a clock that is set forward brings no flood and no expiry, one that
// is set back no standstill.
func TestClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 20 * 24 * time.Hour, "back": -20 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			var off atomic.Int64
			now := func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) }
			inWorld(t, func(o *queue.Options) { o.Now = now }, func(w *world) {
				w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome { return all(job, queue.Deferred, "450 later") }
				w.run()
				w.accept("x@example.org")
				w.pass(time.Second)
				off.Store(int64(jump))
				w.accept("x@new.test")
				w.pass(3 * time.Hour)
				for _, d := range []string{"example.org", "new.test"} {
					if n := len(w.tried(d)); n < 3 || n > 9 {
						t.Errorf("%s: %d attempts in three hours", d, n)
					}
				}
				w.equal("nothing has expired", len(w.lines("failed")), 0)
			})
		})
	}
}
