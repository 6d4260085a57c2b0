package storetest

import (
	"fmt"
	"testing"
	"time"

	"dancemta/queue"
)

// testDueOrder: the longest waiting first, at most Max, nothing before its time.
func testDueOrder(t *testing.T, open Open) {
	s := open()
	for _, m := range []struct {
		domain string
		minute int
	}{{"c.test", 30}, {"a.test", 10}, {"d.test", 40}, {"b.test", 20}} {
		put(t, s, envelope("x@"+m.domain), after(time.Duration(m.minute)*time.Minute), []byte("x"))
	}
	jobs, next := due(t, s, request(after(9*time.Minute), 10, 10))
	same(t, "too early", destinations(jobs), "")
	same(t, "next", next.UTC(), after(10*time.Minute))

	jobs, _ = due(t, s, request(after(30*time.Minute), 2, 10))
	same(t, "first two", destinations(jobs), "a.test b.test")
	jobs, _ = due(t, s, request(after(30*time.Minute), 2, 10))
	same(t, "third", destinations(jobs), "c.test")
	jobs, next = due(t, s, request(after(30*time.Minute), 0, 10))
	same(t, "no room", destinations(jobs), "")
	same(t, "next with leases open", next.UTC(), after(40*time.Minute))
}

// testDueDestinations: a message is one job for each of its domains.
func testDueDestinations(t *testing.T, open Open) {
	s := open()
	env := envelope("a@one.test", "b@two.test", "c@one.test", "d@[192.0.2.1]")
	put(t, s, env, start(), []byte("x"))
	jobs, _ := due(t, s, request(start(), 10, 10))
	got := map[string]string{}
	for _, j := range jobs {
		got[j.Destination] = fmt.Sprint(j.Recipients, j.Attempt, j.ID == env.ID, len(j.Envelope.Recipients))
	}
	same(t, "jobs", got, map[string]string{
		"one.test":    "[a@one.test c@one.test] 1 true 4",
		"two.test":    "[b@two.test] 1 true 4",
		"[192.0.2.1]": "[d@[192.0.2.1]] 1 true 4",
	})
}

// testDueBound: leases of one destination are bounded, and hold nobody else back.
func testDueBound(t *testing.T, open Open) {
	s := open()
	for i := range 5 {
		put(t, s, envelope("x@slow.test"), after(time.Duration(i)*time.Second), []byte("x"))
	}
	put(t, s, envelope("x@quick.test"), after(10*time.Second), []byte("x"))
	put(t, s, envelope("x@later.test"), after(time.Hour), []byte("x"))

	jobs, next := due(t, s, request(after(time.Minute), 10, 2))
	same(t, "first", destinations(jobs), "slow.test quick.test slow.test")
	same(t, "held back is not next", next.After(after(time.Minute)), true)
	again, _ := due(t, s, request(after(time.Minute), 10, 0))
	same(t, "at the bound", destinations(again), "")

	settle(t, s, settlement(jobs[0], queue.Delivered, time.Time{}))
	again, _ = due(t, s, request(after(time.Minute), 10, 1))
	same(t, "one was freed", destinations(again), "slow.test")
	settle(t, s, settlement(again[0], queue.Deferred, after(2*time.Hour)))
	again, _ = due(t, s, request(after(time.Minute), 10, 1))
	same(t, "freed by a deferral", destinations(again), "slow.test")
}

// testDueNext: next is the time to come back, and is exact.
func testDueNext(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("x@a.test"), after(time.Hour), []byte("x"))
	put(t, s, envelope("x@a.test"), after(2*time.Hour), []byte("x"))
	_, next := due(t, s, request(start(), 10, 10))
	same(t, "next", next.UTC(), after(time.Hour))
	jobs, _ := due(t, s, request(next, 10, 10))
	same(t, "at next", destinations(jobs), "a.test")
	settle(t, s, settlement(jobs[0], queue.Delivered, time.Time{}))
	_, next = due(t, s, request(next, 10, 10))
	same(t, "the other one", next.UTC(), after(2*time.Hour))
	jobs, _ = due(t, s, request(next, 10, 10))
	settle(t, s, settlement(jobs[0], queue.Delivered, time.Time{}))
	_, next = due(t, s, request(next, 10, 10))
	same(t, "nothing left", next.IsZero(), true)
}

// testLease: a leased unit is nobody else's, even when the time comes that was
// written with the lease.
func testLease(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("x@a.test"), start(), []byte("x"))
	first, _ := due(t, s, request(start(), 10, 10))
	for _, d := range []time.Duration{0, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		jobs, next := due(t, s, request(after(d), 10, 10))
		same(t, "leased twice", destinations(jobs), "")
		same(t, "next is ahead", next.IsZero() || next.After(after(d)), true)
	}
	settle(t, s, settlement(first[0], queue.Deferred, after(25*time.Hour)))
	jobs, _ := due(t, s, request(after(25*time.Hour), 10, 10))
	same(t, "after the settlement", destinations(jobs), "a.test")
	same(t, "attempt", jobs[0].Attempt, 2)
}

// testLeaseLost: who crashes in a delivery finds it due at the written time.
func testLeaseLost(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("x@a.test"), start(), []byte("x"))
	due(t, s, request(start(), 10, 10))
	for attempt := 2; attempt < 4; attempt++ {
		s = open()
		at := start()
		for i := 1; i < attempt; i++ {
			at = at.Add(time.Duration(i) * 5 * time.Minute)
		}
		jobs, next := due(t, s, request(at.Add(-1), 10, 10))
		same(t, "too early", destinations(jobs), "")
		same(t, "next", next.UTC(), at)
		jobs, _ = due(t, s, request(at, 10, 10))
		same(t, "at its time", destinations(jobs), "a.test")
		same(t, "attempt", jobs[0].Attempt, attempt)
	}
}
