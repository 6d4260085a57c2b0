package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// from puts a message of a sender.
func from(t *testing.T, s queue.Store, sender, to string, at time.Time) queue.ID {
	t.Helper()
	env := envelope(to)
	env.Sender = mailaddr.MustParse(sender)
	put(t, s, env, at, []byte("x"))
	return env.ID
}

// testSenders: whoever brings many messages to a destination delays the only one of
// somebody else by one.
func testSenders(t *testing.T, open Open) {
	s := open()
	for i := range 50 {
		from(t, s, fmt.Sprintf("u%d@many.test", i), "x@a.test", after(time.Duration(i)*time.Millisecond))
	}
	jobs, _ := due(t, s, request(after(time.Second), 10, 10))
	same(t, "many", len(jobs), 10)
	id := from(t, s, "one@few.test", "x@a.test", after(2*time.Second))
	jobs, _ = due(t, s, request(after(2*time.Second), 2, 10))
	same(t, "the other sender's turn", slices.ContainsFunc(jobs, func(j queue.Job) bool { return j.ID == id }), true)

	// An identity is a sender, whatever it says in its envelopes.
	env := envelope("x@a.test")
	env.Sender, env.Identity = mailaddr.MustParse("z@many.test"), "somebody.test"
	put(t, s, env, after(3*time.Second), []byte("x"))
	s = open() // turns outlive a crash
	jobs, _ = due(t, s, request(after(3*time.Second), 2, 10))
	same(t, "the identity's turn", slices.ContainsFunc(jobs, func(j queue.Job) bool { return j.ID == env.ID }), true)
}

// testTurns: destinations have turns, too.
func testTurns(t *testing.T, open Open) {
	s := open()
	for i := range 20 {
		from(t, s, "a@b.test", "x@many.test", after(time.Duration(i)*time.Millisecond))
	}
	for i := range 3 {
		from(t, s, "a@b.test", fmt.Sprintf("x@d%d.test", i), after(time.Duration(100+i)*time.Millisecond))
	}
	jobs, _ := due(t, s, request(after(time.Second), 6, 10))
	same(t, "in turns", destinations(jobs), "many.test d0.test d1.test d2.test many.test many.test")
}

// testClasses: what was never tried goes first, and leaves every fourth turn.
func testClasses(t *testing.T, open Open) {
	s := open()
	for i := range 20 {
		from(t, s, "a@b.test", fmt.Sprintf("x@old%d.test", i), start())
	}
	jobs, _ := due(t, s, request(start(), 20, 10))
	for _, j := range jobs {
		settle(t, s, settlement(j, queue.Deferred, after(time.Minute)))
	}
	for i := range 20 {
		from(t, s, "a@b.test", fmt.Sprintf("x@new%d.test", i), after(time.Hour))
	}
	jobs, _ = due(t, s, request(after(time.Hour), 20, 10))
	old := 0
	for _, j := range jobs {
		if j.Attempt > 1 {
			old++
		}
	}
	same(t, "old ones among twenty", old, 5)
}

// testOneDestination: a request for one destination leases nothing else.
func testOneDestination(t *testing.T, open Open) {
	s := open()
	for range 3 {
		put(t, s, envelope("x@a.test"), start(), []byte("x"))
		put(t, s, envelope("x@b.test"), start(), []byte("x"))
	}
	put(t, s, envelope("x@a.test"), after(time.Hour), []byte("x"))
	r := request(after(time.Minute), 10, 10)
	r.Destination = "a.test"
	jobs, _ := due(t, s, r)
	same(t, "jobs", destinations(jobs), "a.test a.test a.test")
	jobs, _ = due(t, s, r)
	same(t, "no more", destinations(jobs), "")
	r.Destination = "c.test"
	jobs, _ = due(t, s, r)
	same(t, "an unknown one", destinations(jobs), "")
}

// testAway: what is due at a destination that is away moves on without an attempt, and
// shows why; what is too old is leased for its end.
func testAway(t *testing.T, open Open) {
	s := open()
	young, old := envelope("x@away.test"), envelope("x@away.test")
	old.Arrived = after(-time.Hour)
	put(t, s, young, start(), []byte("x"))
	put(t, s, old, start(), []byte("x"))
	put(t, s, envelope("x@here.test"), start(), []byte("x"))
	r := request(start(), 10, 10)
	r.Away = func(d string) (string, bool) { return "no answer", d == "away.test" }
	r.Speak = func(env queue.Envelope, _ bool) bool { return env.ID == old.ID }
	jobs, next := due(t, s, r)
	got := map[queue.ID]bool{}
	for _, j := range jobs {
		got[j.ID] = j.Away
	}
	same(t, "jobs", len(jobs), 2)
	same(t, "the old one", got[old.ID], true)
	same(t, "no attempt", attempts(t, s, old.ID), 0)
	same(t, "next", next.UTC(), after(5*time.Minute))
	s = open()
	sum, err := s.Get(young.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what it shows", fmt.Sprint(sum.Recipients[0].State, sum.Recipients[0].Attempts, sum.Recipients[0].LastReply), "deferred0no answer")
	same(t, "its time", sum.Recipients[0].Next.UTC(), after(5*time.Minute))
	jobs, _ = due(t, s, request(after(5*time.Minute), 10, 10))
	for _, j := range jobs {
		if j.ID == young.ID {
			same(t, "attempt, tries", fmt.Sprint(j.Attempt, j.Tries, j.Away), "1 2 false")
		}
	}
	same(t, "back again", len(jobs), 3)
}

// testAwayMany: a long queue for a destination that is away does not hold up others.
func testAwayMany(t *testing.T, open Open) {
	s := open()
	const n = 1200
	for range n {
		put(t, s, envelope("x@away.test"), start(), []byte("x"))
	}
	put(t, s, envelope("x@here.test"), after(time.Second), []byte("x"))
	r := request(after(time.Minute), 10, 10)
	r.Away = func(d string) (string, bool) { return "no answer", d == "away.test" }
	for i := 0; ; i++ {
		jobs, next := due(t, s, r)
		if len(jobs) > 0 {
			same(t, "jobs", destinations(jobs), "here.test")
			break
		}
		if i > n/100 || next.After(r.Now) {
			t.Fatalf("after %d requests nothing was leased; next is %v, now is %v", i, next, r.Now)
		}
	}
}

// testSuspended: a suspended destination is set aside, over restarts, until a request
// finds it so no more.
func testSuspended(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("x@a.test"), start(), []byte("x"))
	put(t, s, envelope("x@b.test"), start(), []byte("x"))
	r := request(start(), 10, 10)
	r.Suspended = func(d string) bool { return d == "a.test" }
	jobs, next := due(t, s, r)
	same(t, "jobs", destinations(jobs), "b.test")
	same(t, "next", next.IsZero(), true)
	one := r
	one.Destination = "a.test"
	jobs, _ = due(t, s, one)
	same(t, "asked for by name", destinations(jobs), "")
	put(t, s, envelope("x@a.test"), start(), []byte("x"))
	s = open()
	jobs, _ = due(t, s, r)
	same(t, "still suspended", destinations(jobs), "")
	r.Resume = true
	jobs, _ = due(t, s, r)
	same(t, "resumed, but suspended", destinations(jobs), "")
	r.Suspended = func(string) bool { return false }
	jobs, _ = due(t, s, r)
	same(t, "resumed", destinations(jobs), "a.test a.test")
}

// testClockSetBack: what waits for a time that no wait reaches is due.
func testClockSetBack(t *testing.T, open Open) {
	s := open()
	for range 3 {
		put(t, s, envelope("x@a.test"), after(24*time.Hour), []byte("x"))
	}
	jobs, _ := due(t, s, request(after(24*time.Hour), 2, 10))
	settle(t, s, settlement(jobs[0], queue.Deferred, after(25*time.Hour)))
	put(t, s, envelope("x@a.test"), start(), []byte("x"))
	r := request(start(), 10, 10)
	jobs, _ = due(t, s, r)
	same(t, "without a horizon", len(jobs), 0)
	r.Horizon = 2 * time.Hour
	jobs, _ = due(t, s, r)
	same(t, "with one", len(jobs), 3)
	settle(t, s, settlement(jobs[0], queue.Deferred, after(5*time.Minute)))
	jobs, next := due(t, s, r)
	same(t, "and then", len(jobs), 0)
	same(t, "next", next.UTC(), after(5*time.Minute))
}

// attempts is what the list shows of a message.
func attempts(t *testing.T, s queue.Store, id queue.ID) int {
	t.Helper()
	sum, err := s.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return sum.Recipients[0].Attempts
}
