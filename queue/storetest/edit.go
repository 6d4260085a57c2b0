package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

func edit(t tester, s queue.Store, id queue.ID, e queue.Edit, want int) {
	t.Helper()
	e.Now = start()
	if n, err := s.Edit(id, e); err != nil || n != want {
		t.Errorf("%s %s: %d recipients, error %v; want %d", e.Action, id, n, err, want)
	}
}

// testEdit: each action reaches whom it names, and survives a crash.
func testEdit(t *testing.T, open Open) {
	s := open()
	env := envelope("a@a.test", "b@a.test", "c@b.test")
	put(t, s, env, after(time.Hour), bodyOf(env.ID, 10))
	a := mailaddr.MustParse("a@a.test")
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold, Recipient: a}, 1)
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold, Recipient: a}, 0)
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold, Destination: "b.test"}, 1)
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold, Destination: "c.test"}, 0)
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold, Destination: "b.test", Recipient: a}, 0)
	s = open()
	same(t, "held", list(t, s), "a@a.test held 0\nb@a.test queued 0\nc@b.test held 0\n")
	jobs, next := due(t, s, request(after(time.Hour), 10, 10))
	same(t, "jobs", fmt.Sprint(destinations(jobs), jobs[0].Recipients), "a.test[b@a.test]")
	same(t, "next", next.IsZero() || next.After(after(time.Hour)), true)
	settle(t, s, settlement(jobs[0], queue.Deferred, after(3*time.Hour)))
	edit(t, s, env.ID, queue.Edit{Action: queue.EditRelease, Destination: "b.test"}, 1)
	jobs, _ = due(t, s, request(after(time.Hour), 10, 10))
	same(t, "released", destinations(jobs), "b.test")
	settle(t, s, settlement(jobs[0], queue.Delivered, time.Time{}))
	edit(t, s, env.ID, queue.Edit{Action: queue.EditRetry}, 1)
	jobs, _ = due(t, s, request(start(), 10, 10))
	same(t, "retried", fmt.Sprint(destinations(jobs), jobs[0].Recipients), "a.test[b@a.test]")
	settle(t, s, settlement(jobs[0], queue.Delivered, time.Time{}))
	edit(t, s, env.ID, queue.Edit{Action: queue.EditDelete, Reply: "spam"}, 1)
	if _, err := s.Get(env.ID); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("deleted, and still there: %v", err)
	}
	if _, err := s.Edit(env.ID, queue.Edit{Action: queue.EditHold}); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("edit of what is gone: %v", err)
	}
	s = open()
	sum, err := s.Finished(env.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "history", fmt.Sprint(sum.Recipients[0].State, sum.Recipients[0].LastReply, sum.Recipients[1].State, sum.Recipients[2].State), "deletedspamdelivereddelivered")
}

// testHoldReason: what a host said last stays readable under a hold and after it.
func testHoldReason(t *testing.T, open Open) {
	s := open()
	env := envelope("a@a.test")
	put(t, s, env, start(), bodyOf(env.ID, 10))
	jobs, _ := due(t, s, request(start(), 10, 10))
	settle(t, s, queue.Settlement{ID: env.ID, Destination: "a.test", Next: after(time.Minute), Outcomes: []queue.Outcome{
		{Recipient: jobs[0].Recipients[0].Address, Result: queue.Deferred, Reply: "451 not now"}}})
	shown := func(want string) {
		t.Helper()
		s = open() // and it is on disk
		sum, err := s.Get(env.ID)
		if err != nil {
			t.Fatal(err)
		}
		r := sum.Recipients[0]
		same(t, "shown", r.State+", "+r.LastReply+", "+r.HoldReason, want)
	}
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold, Reply: "looks odd"}, 1)
	shown("held, 451 not now, held by an operator: looks odd")
	edit(t, s, env.ID, queue.Edit{Action: queue.EditRelease}, 1)
	shown("deferred, 451 not now, ")
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold}, 1)
	shown("held, 451 not now, held by an operator")
	edit(t, s, env.ID, queue.Edit{Action: queue.EditBounce, Reply: "enough"}, 1)
	shown("bouncing, enough, ")
}

// testHoldInFlight: a hold that comes during a delivery stays when it settles.
func testHoldInFlight(t *testing.T, open Open) {
	s := open()
	env := envelope("ok@a.test", "later@a.test")
	put(t, s, env, start(), bodyOf(env.ID, 10))
	jobs, _ := due(t, s, request(start(), 10, 10))
	same(t, "jobs", len(jobs), 1)
	edit(t, s, env.ID, queue.Edit{Action: queue.EditHold}, 2)
	settle(t, s, queue.Settlement{ID: env.ID, Destination: "a.test", Next: after(time.Minute), Outcomes: []queue.Outcome{
		{Recipient: mailaddr.MustParse("ok@a.test"), Result: queue.Delivered},
		{Recipient: mailaddr.MustParse("later@a.test"), Result: queue.Deferred, Reply: "450 later"},
	}})
	want := "ok@a.test delivered 1\nlater@a.test held 1\n"
	same(t, "after the settlement", list(t, s), want)
	jobs, next := due(t, s, request(after(24*time.Hour), 10, 10))
	same(t, "jobs of what is held", len(jobs), 0)
	same(t, "next", next.IsZero(), true)
	s = open()
	same(t, "after a crash", list(t, s), want)
	edit(t, s, env.ID, queue.Edit{Action: queue.EditRelease}, 1)
	jobs, _ = due(t, s, request(after(time.Hour), 10, 10))
	same(t, "jobs after the release", len(jobs), 1)
}

// testDeleteInFlight: a deletion wins over a delivery under way, whose bounce is not
// made; but what was delivered is remembered so.
func testDeleteInFlight(t *testing.T, open Open) {
	for _, size := range []int{10, 100 << 10} {
		s := open()
		env := envelope("ok@a.test", "no@a.test", "later@a.test")
		put(t, s, env, start(), bodyOf(env.ID, size))
		due(t, s, request(start(), 10, 10))
		edit(t, s, env.ID, queue.Edit{Action: queue.EditDelete}, 3)
		bounce := envelope("rick@partner.test")
		err := s.Settle(queue.Settlement{ID: env.ID, Destination: "a.test", Next: after(time.Minute), Now: start(),
			Bounce: &queue.Bounce{Envelope: bounce, Body: []byte("x")}, Outcomes: []queue.Outcome{
				{Recipient: mailaddr.MustParse("ok@a.test"), Result: queue.Delivered, Reply: "250 ok"},
				{Recipient: mailaddr.MustParse("no@a.test"), Result: queue.Failed, Reply: "550 no"},
			}})
		if !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("settle after the deletion: %v", err)
		}
		same(t, "queue", list(t, s), "")
		s = open()
		sum, err := s.Finished(env.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "history", fmt.Sprint(sum.Recipients[0].State, " ", sum.Recipients[0].LastReply, " ", sum.Recipients[1].State, " ", sum.Recipients[2].State),
			"delivered 250 ok deleted deleted")
	}
}

// testGiveUp: those given up are found, apart from what is due, until they are settled.
func testGiveUp(t *testing.T, open Open) {
	s := open()
	env := envelope("a@a.test", "b@a.test", "c@b.test")
	put(t, s, env, after(time.Hour), bodyOf(env.ID, 10))
	edit(t, s, env.ID, queue.Edit{Action: queue.EditBounce, Recipient: mailaddr.MustParse("a@a.test"), Reply: "no use"}, 1)
	for _, crash := range []bool{false, true} {
		if crash {
			s = open()
		}
		all, err := s.GiveUps(10)
		if err != nil || len(all) != 1 {
			t.Fatalf("%d given up, error %v", len(all), err)
		}
		g := all[0]
		same(t, "given up", fmt.Sprint(g.Job.Destination, g.Job.Recipients, g.Outcomes[0].Result, g.Outcomes[0].Reply, g.Next.Equal(after(time.Hour))),
			"a.test[a@a.test] failedno usetrue")
		if again, err := s.GiveUps(10); err != nil || len(again) != 0 {
			t.Errorf("given up twice: %d, %v", len(again), err)
		}
		if crash {
			settle(t, s, queue.Settlement{ID: env.ID, Destination: "a.test", Outcomes: g.Outcomes, Next: g.Next})
		}
	}
	same(t, "list", list(t, s), "a@a.test failed 0\nb@a.test queued 0\nc@b.test queued 0\n")
	if all, err := s.GiveUps(10); err != nil || len(all) != 0 {
		t.Errorf("given up after the end: %d, %v", len(all), err)
	}
	jobs, _ := due(t, s, request(after(time.Hour), 10, 10))
	same(t, "the others", len(jobs), 2)
}

// testGiveUpInFlight: who is given up during a delivery is bounced after it, unless it
// ended him.
func testGiveUpInFlight(t *testing.T, open Open) {
	s := open()
	env := envelope("ok@a.test", "later@a.test")
	put(t, s, env, start(), bodyOf(env.ID, 10))
	jobs, _ := due(t, s, request(start(), 10, 10))
	edit(t, s, env.ID, queue.Edit{Action: queue.EditBounce}, 2)
	if all, err := s.GiveUps(10); err != nil || len(all) != 0 {
		t.Errorf("given up under delivery: %d, %v", len(all), err)
	}
	st := settlement(jobs[0], queue.Deferred, after(time.Hour))
	st.Outcomes[0].Result = queue.Delivered
	settle(t, s, st)
	same(t, "list", list(t, s), "ok@a.test delivered 1\nlater@a.test bouncing 1\n")
	if jobs, _ := due(t, s, request(after(24*time.Hour), 10, 10)); len(jobs) != 0 {
		t.Errorf("%d jobs of what is given up", len(jobs))
	}
	all, err := s.GiveUps(10)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d given up, error %v", len(all), err)
	}
	same(t, "given up", fmt.Sprint(all[0].Job.Recipients), "[later@a.test]")
}

// testHistory: in the order of their end, through a crash.
func testHistory(t *testing.T, open Open) {
	s := open()
	var ids []queue.ID
	for range 3 {
		env := envelope("a@a.test")
		ids = append(ids, env.ID)
		put(t, s, env, start(), bodyOf(env.ID, 10))
	}
	for i, n := range []int{2, 0, 1} {
		if _, err := s.Edit(ids[n], queue.Edit{Action: queue.EditDelete, Now: after(time.Duration(i) * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	s = open()
	var got []queue.ID
	if err := s.EachFinished(func(sum queue.Summary) error { got = append(got, sum.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	same(t, "order", got, []queue.ID{ids[2], ids[0], ids[1]})
	sum, err := s.Finished(ids[0])
	if err != nil || !sum.Finished.Equal(after(time.Minute)) || !sum.Arrived.Equal(start()) {
		t.Errorf("%+v, %v", sum, err)
	}
	if _, err := s.Finished(queue.NewID()); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("nobody's history: %v", err)
	}
	stop := errors.New("stop")
	if err := s.EachFinished(func(queue.Summary) error { return stop }); err != stop {
		t.Errorf("the callback's error: %v", err)
	}
}

// testSuspensions: they are kept, replaced and taken back.
func testSuspensions(t *testing.T, open Open) {
	s := open()
	set := func(pattern string, one *queue.Suspension) {
		t.Helper()
		if err := s.SetSuspension(pattern, one); err != nil {
			t.Fatal(err)
		}
	}
	set("b.test", &queue.Suspension{Reason: "moves", Since: start()})
	set("*.a.test", &queue.Suspension{Reason: "first", Since: start()})
	set("*.a.test", &queue.Suspension{Reason: "second", Since: start(), Until: after(time.Hour)})
	set("c.test", &queue.Suspension{})
	set("c.test", nil)
	set("d.test", nil)
	s = open()
	all, err := s.Suspensions()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d suspensions, error %v", len(all), err)
	}
	same(t, "suspensions", fmt.Sprint(all[0].Pattern, all[0].Reason, all[0].Until.Equal(after(time.Hour)), all[1].Pattern, all[1].Until.IsZero()),
		"*.a.testsecondtrueb.testtrue")
}
