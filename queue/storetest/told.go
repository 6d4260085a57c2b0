package storetest

import (
	"testing"
	"time"

	"dancemta/queue"
)

// testTold: that a sender knows of a delay is written with the settlement, holds for
// its unit alone, and is there after a crash.
func testTold(t *testing.T, open Open) {
	s := open()
	env := envelope("a@one.test", "b@two.test")
	put(t, s, env, start(), []byte("x"))
	jobs, _ := due(t, s, request(start(), 10, 10))
	for _, j := range jobs {
		same(t, "before", j.Told, false)
		st := settlement(j, queue.Deferred, after(time.Hour))
		st.Told = j.Destination == "one.test"
		settle(t, s, st)
	}
	s = open()
	for n := range 2 {
		now := after(time.Duration(n+1) * time.Hour)
		jobs, _ = due(t, s, request(now, 10, 10))
		same(t, "jobs", len(jobs), 2)
		for _, j := range jobs {
			same(t, j.Destination, j.Told, j.Destination == "one.test")
			settle(t, s, settlement(j, queue.Deferred, now.Add(time.Hour)))
		}
	}
	r := request(after(4*time.Hour), 10, 10)
	r.Away = func(string) (string, bool) { return "no answer", true }
	r.Speak = func(_ queue.Envelope, told bool) bool { return !told }
	jobs, _ = due(t, s, r)
	same(t, "whoever has to hear of it", destinations(jobs), "two.test")
}
