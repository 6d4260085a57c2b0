package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// testSettle: each recipient has its own end; the message goes with the last.
func testSettle(t *testing.T, open Open) {
	for _, size := range []int{10, 100 << 10} {
		s := open()
		env := envelope("ok@a.test", "later@a.test", "no@a.test", "silent@a.test", "ok@b.test")
		put(t, s, env, start(), bodyOf(env.ID, size))
		jobs, _ := due(t, s, request(start(), 10, 10))
		for _, j := range jobs {
			settle(t, s, queue.Settlement{ID: j.ID, Destination: j.Destination, Next: after(time.Hour), Outcomes: []queue.Outcome{
				{Recipient: mailaddr.MustParse("ok@a.test"), Result: queue.Delivered},
				{Recipient: mailaddr.MustParse("ok@b.test"), Result: queue.Delivered},
				{Recipient: mailaddr.MustParse("later@a.test"), Result: queue.Deferred, Reply: "450 later"},
				{Recipient: mailaddr.MustParse("no@a.test"), Result: queue.Failed, Reply: "550 no"},
			}})
		}
		want := "ok@a.test delivered 1\nlater@a.test deferred 1\nno@a.test failed 1\nsilent@a.test deferred 1\nok@b.test delivered 1\n"
		same(t, "after the first attempt", list(t, s), want)
		s = open()
		same(t, "after a crash", list(t, s), want)
		sum, err := s.Get(env.ID)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range []string{"true ", "false 450 later", "true 550 no", "false ", "true "} {
			same(t, "no next time when final, reply", fmt.Sprint(sum.Recipients[i].Next.IsZero(), " ", sum.Recipients[i].LastReply), w)
		}
		jobs, _ = due(t, s, request(after(time.Hour), 10, 10))
		same(t, "second attempt", destinations(jobs), "a.test")
		same(t, "recipients", jobs[0].Recipients, "[later@a.test silent@a.test]")
		// What is final stays so, whatever is said of it later.
		st := settlement(jobs[0], queue.Delivered, after(2*time.Hour))
		st.Outcomes = append(st.Outcomes, queue.Outcome{Recipient: mailaddr.MustParse("ok@a.test"), Result: queue.Deferred})
		settle(t, s, st)
		if _, err := s.Get(env.ID); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("the message is still there: %v", err)
		}
		if body, err := s.Body(env.ID); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("its body is still there: %v", err)
			if err == nil {
				body.Close() // an open one would hold up the store's Close
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// testSettleNoTime: who says no time, or one beyond all others, harms no order.
func testSettleNoTime(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("x@a.test"), time.Time{}, []byte("x"))
	put(t, s, envelope("y@a.test"), start(), []byte("y"))
	jobs, _ := due(t, s, request(start(), 10, 10))
	same(t, "jobs", len(jobs), 2)
	for _, j := range jobs {
		settle(t, s, settlement(j, queue.Deferred, time.Time{}))
	}
	jobs, _ = due(t, s, request(start(), 10, 10))
	same(t, "due at once", len(jobs), 2)
	for _, j := range jobs {
		settle(t, s, settlement(j, queue.Deferred, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	jobs, next := due(t, s, request(start(), 10, 10))
	same(t, "due in the end", len(jobs), 0)
	same(t, "next", next.After(after(200*365*24*time.Hour)), true)
}

// bounceOf is a bounce for the sender of the stories.
func bounceOf(body string) *queue.Bounce {
	env := envelope("rick@partner.test")
	env.Sender, env.Arrived = mailaddr.Address{}, after(time.Minute)
	return &queue.Bounce{Envelope: env, Body: []byte(body)}
}

// testSettleBounce: the bounce is a message like others, due at once.
func testSettleBounce(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("no@a.test"), start(), []byte("x"))
	jobs, _ := due(t, s, request(start(), 10, 10))
	st := settlement(jobs[0], queue.Failed, time.Time{})
	st.Bounce = bounceOf("it failed")
	settle(t, s, st)
	s = open()
	same(t, "list", list(t, s), "rick@partner.test queued 0\n")
	jobs, _ = due(t, s, request(after(time.Minute), 10, 10))
	same(t, "bounce", destinations(jobs), "partner.test")
	same(t, "null sender", jobs[0].Envelope.Sender.IsNull(), true)
	same(t, "id", jobs[0].ID, st.Bounce.Envelope.ID)
	body, err := readBody(s, jobs[0].ID)
	same(t, "body", string(body), "it failed")
	same(t, "error", err, nil)
}

// testSettleBounceRefused: outcomes and bounce are kept together or not at all.
func testSettleBounceRefused(t *testing.T, open Open) {
	s := open()
	put(t, s, envelope("no@a.test"), start(), []byte("x"))
	jobs, _ := due(t, s, request(start(), 10, 10))
	st := settlement(jobs[0], queue.Failed, time.Time{})
	st.Bounce = bounceOf("it failed")
	st.Bounce.Envelope.ID = jobs[0].ID // is taken
	if err := s.Settle(st); err == nil {
		t.Fatal("a bounce with a present id was taken")
	}
	same(t, "nothing changed", list(t, s), "no@a.test active 1\n")
	again, _ := due(t, s, request(after(time.Hour), 10, 10))
	same(t, "still leased", destinations(again), "")
	st.Bounce = bounceOf("it failed")
	settle(t, s, st)
	same(t, "second try", list(t, s), "rick@partner.test queued 0\n")
}

// testSettleGone: without a message there is nothing to settle, and no bounce.
func testSettleGone(t *testing.T, open Open) {
	s := open()
	env := envelope("x@a.test", "x@b.test")
	put(t, s, env, start(), []byte("x"))
	jobs, _ := due(t, s, request(start(), 10, 10))
	for _, j := range jobs {
		settle(t, s, settlement(j, queue.Delivered, time.Time{}))
	}
	for _, st := range []queue.Settlement{
		settlement(jobs[0], queue.Failed, start()),
		{ID: queue.NewID(), Destination: "a.test"},
		{ID: env.ID, Destination: "c.test"},
	} {
		st.Bounce = bounceOf("of nothing")
		if err := s.Settle(st); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("settle %s %s: %v", st.ID, st.Destination, err)
		}
	}
	same(t, "list", list(t, s), "")
}

// testBodyGone: a reader that is slower than the delivery sees an error or the
// whole body, never a short one.
func testBodyGone(t *testing.T, open Open) {
	s := open()
	for _, size := range []int{60 << 10, 1 << 20} {
		env := envelope("x@a.test")
		put(t, s, env, start(), bodyOf(env.ID, size))
		jobs, _ := due(t, s, request(start(), 10, 10))
		r, err := jobs[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		settle(t, s, settlement(jobs[0], queue.Delivered, time.Time{}))
		b, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(b, bodyOf(env.ID, size)) {
			t.Errorf("%d octets of %d came without an error", len(b), size)
		}
		r.Close()
	}
}

// testManyAtOnce: each message is delivered once, whoever asks.
func testManyAtOnce(t *testing.T, open Open) {
	const writers, readers, each = 8, 4, 25
	s := open()
	ctx := context.Background()
	var mu sync.Mutex
	delivered := map[queue.ID]int{}
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := range each {
				env := envelope("x@a.test")
				body := bodyOf(env.ID, 100+i*7000)
				if err := s.Put(ctx, env, start(), bytes.NewReader(body)); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	work := func() bool {
		jobs, _, err := s.Due(request(start(), 10, 1000))
		if err != nil {
			t.Errorf("due: %v", err)
			return true
		}
		for _, j := range jobs {
			b, err := readBody(s, j.ID)
			if err != nil || !bytes.Equal(b, bodyOf(j.ID, int(j.Size))) {
				t.Errorf("body of %s: %d octets, error %v", j.ID, len(b), err)
			}
			if err := s.Settle(settlement(j, queue.Delivered, time.Time{})); err != nil {
				t.Errorf("settle: %v", err)
			}
			mu.Lock()
			delivered[j.ID]++
			mu.Unlock()
		}
		mu.Lock()
		defer mu.Unlock()
		return len(delivered) == writers*each
	}
	limit := time.Now().Add(time.Minute)
	for range readers {
		all.Go(func() {
			for !work() && time.Now().Before(limit) {
			}
		})
	}
	all.Wait()
	same(t, "messages", len(delivered), writers*each)
	for id, n := range delivered {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	same(t, "list", list(t, s), "")
}
