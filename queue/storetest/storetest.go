// Package storetest is the suite that each engine of the queue must pass: what
// the comments of queue.Store promise, each as a test, and a comparison of
// random histories with a plain map, through restarts and crashes.
//
// Start with Run; an engine's own tests call it.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// Open opens the one store of a test. When the store that it gave before was
// not closed, that store has crashed: what it answered nil for is there, and
// nobody uses it any more.
type Open func() queue.Store

// Run runs the suite. fresh gives each test an empty store of its own.
func Run(t *testing.T, fresh func(testing.TB) Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"put", testPut},
		{"put refused", testPutRefused},
		{"not found", testNotFound},
		{"due order", testDueOrder},
		{"due destinations", testDueDestinations},
		{"due bound per destination", testDueBound},
		{"due next", testDueNext},
		{"senders have turns", testSenders},
		{"destinations have turns", testTurns},
		{"the tried have every fourth turn", testClasses},
		{"one destination", testOneDestination},
		{"away", testAway},
		{"many away", testAwayMany},
		{"suspended", testSuspended},
		{"clock set back", testClockSetBack},
		{"lease", testLease},
		{"lease lost in a crash", testLeaseLost},
		{"settle", testSettle},
		{"told", testTold},
		{"settle without a time", testSettleNoTime},
		{"settle bounce", testSettleBounce},
		{"settle bounce refused", testSettleBounceRefused},
		{"settle gone", testSettleGone},
		{"each", testEach},
		{"edit", testEdit},
		{"hold during a delivery", testHoldInFlight},
		{"reason of a hold", testHoldReason},
		{"delete during a delivery", testDeleteInFlight},
		{"bounce", testGiveUp},
		{"bounce during a delivery", testGiveUpInFlight},
		{"history", testHistory},
		{"suspensions", testSuspensions},
		{"body outlives its message", testBodyGone},
		{"many at once", testManyAtOnce},
		{"close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
	t.Run("model", func(t *testing.T) { testModel(t, fresh) })
}

// start is the time at which the stories begin. Nanoseconds must survive.
func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC) }

// after is a time of a story.
func after(d time.Duration) time.Time { return start().Add(d) }

// retry is the lease's next time in the stories.
func retry(now time.Time) func(queue.Envelope, int) time.Time {
	return func(_ queue.Envelope, attempt int) time.Time {
		return now.Add(time.Duration(attempt) * 5 * time.Minute)
	}
}

func request(now time.Time, most, perDestination int) queue.DueRequest {
	return queue.DueRequest{Now: now, Max: most, Next: retry(now), Limit: func(string) int { return perDestination }}
}

// tester is what testing and rapid have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// envelope makes a message for the recipients given.
func envelope(rcpts ...string) queue.Envelope {
	env := queue.Envelope{ID: queue.NewID(), Sender: mailaddr.MustParse("rick@partner.test"), Arrived: start()}
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, queue.To(mailaddr.MustParse(r))...)
	}
	return env
}

// bodyOf makes a body of n octets that no other message has.
func bodyOf(id queue.ID, n int) []byte {
	var seed [32]byte
	copy(seed[:], id)
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

func put(t tester, s queue.Store, env queue.Envelope, due time.Time, body []byte) {
	t.Helper()
	if err := s.Put(context.Background(), env, due, bytes.NewReader(body)); err != nil {
		t.Fatalf("put %s: %v", env.ID, err)
	}
}

func due(t tester, s queue.Store, r queue.DueRequest) ([]queue.Job, time.Time) {
	t.Helper()
	jobs, next, err := s.Due(r)
	if err != nil {
		t.Fatalf("due: %v", err)
	}
	return jobs, next
}

func settle(t tester, s queue.Store, st queue.Settlement) {
	t.Helper()
	if err := s.Settle(st); err != nil {
		t.Fatalf("settle %s %s: %v", st.ID, st.Destination, err)
	}
}

// settlement gives all recipients of job the same result.
func settlement(job queue.Job, r queue.Result, next time.Time) queue.Settlement {
	st := queue.Settlement{ID: job.ID, Destination: job.Destination, Next: next}
	for _, a := range job.Recipients {
		st.Outcomes = append(st.Outcomes, queue.Outcome{Recipient: a.Address, Result: r, Reply: r.String() + " it is"})
	}
	return st
}

func readBody(s queue.Store, id queue.ID) ([]byte, error) {
	r, err := s.Body(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// list is the queue as Each shows it: one line per recipient.
func list(t tester, s queue.Store) string {
	t.Helper()
	var b strings.Builder
	err := s.Each(func(sum queue.Summary) error {
		for _, r := range sum.Recipients {
			fmt.Fprintf(&b, "%s %s %d\n", r.Address, r.State, r.Attempts)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("each: %v", err)
	}
	return b.String()
}

// destinations names the jobs by their domain.
func destinations(jobs []queue.Job) string {
	var names []string
	for _, j := range jobs {
		names = append(names, j.Destination)
	}
	return strings.Join(names, " ")
}

func same(t tester, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %.300q, want %.300q", what, g, w)
	}
}
