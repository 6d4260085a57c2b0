package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// testPut: what went in comes out, after a restart and after a crash too.
func testPut(t *testing.T, open Open) {
	s := open()
	envs := map[queue.ID]queue.Envelope{}
	bodies := map[queue.ID][]byte{}
	for _, size := range []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		env := envelope("morty@remote.test", `"two  words"@remote.test`, "x@[192.0.2.1]", "x@[IPv6:2001:db8::1]")
		env.Identity, env.Session, env.Helo, env.Peer = "rick@partner.test", "S1", "mx.partner.test", "192.0.2.7"
		env.EightBit, env.SMTPUTF8, env.RequireTLS, env.TLSOptional = size%2 == 1, size > 4096, size < 4096, size == 4096
		env.EnvelopeID, env.Return = "QQ 314159", queue.ReturnHeaders
		env.Recipients[1].Notify, env.Recipients[1].Original = queue.NotifySuccess|queue.NotifyDelay, "rfc822;two words@first.test"
		env.Recipients[3].Notify = queue.NotifyNever
		if size%2 == 1 {
			env.Expires = after(time.Hour)
		}
		if size == 0 {
			env.Sender = mailaddr.Address{}
		}
		body := bodyOf(env.ID, size)
		put(t, s, env, start(), body)
		envs[env.ID], bodies[env.ID] = env, body
	}
	check := func(s queue.Store) {
		t.Helper()
		n := 0
		if err := s.Each(func(queue.Summary) error { n++; return nil }); err != nil || n != len(envs) {
			t.Errorf("%d messages are listed, error %v; want %d", n, err, len(envs))
		}
		for id, env := range envs {
			checkMessage(t, s, env, bodies[id])
		}
	}
	check(s)
	s = open() // a crash
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open() // a restart
	check(s)
	jobs, _ := due(t, s, request(start(), 100, 100))
	same(t, "jobs", len(jobs), 3*len(envs))
	for _, j := range jobs {
		checkEnvelope(t, j.Envelope, envs[j.ID])
		for _, r := range j.Recipients {
			same(t, "recipient of the envelope", slices.Contains(envs[j.ID].Recipients, r), true)
		}
		same(t, "size", j.Size, len(bodies[j.ID]))
		r, err := j.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, bodies[j.ID]) {
			t.Errorf("job %s: %d octets of body, error %v; want %d octets", j.ID, len(b), err, len(bodies[j.ID]))
		}
		r.Close()
	}
}

func checkMessage(t *testing.T, s queue.Store, env queue.Envelope, body []byte) {
	t.Helper()
	if b, err := readBody(s, env.ID); err != nil || !bytes.Equal(b, body) {
		t.Errorf("body of %s: %d octets, error %v; want %d", env.ID, len(b), err, len(body))
	}
	sum, err := s.Get(env.ID)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if sum.ID != env.ID || sum.Sender != env.Sender || !sum.Arrived.Equal(env.Arrived) || sum.Size != int64(len(body)) ||
		sum.Identity != env.Identity || sum.Session != env.Session || len(sum.Recipients) != len(env.Recipients) {
		t.Fatalf("get: %+v, want %+v", sum, env)
	}
	for i, r := range sum.Recipients {
		if r.Address != env.Recipients[i].Address || r.Destination != queue.Destination(env.Recipients[i].Address) || r.State != "queued" ||
			r.Attempts != 0 || !r.Next.Equal(start()) || r.LastReply != "" {
			t.Errorf("recipient: %+v, want %v queued", r, env.Recipients[i])
		}
	}
}

func checkEnvelope(t *testing.T, got, want queue.Envelope) {
	t.Helper()
	if !got.Arrived.Equal(want.Arrived) || !got.Expires.Equal(want.Expires) || !slices.Equal(got.Recipients, want.Recipients) {
		t.Errorf("envelope: %+v, want %+v", got, want)
	}
	got.Arrived, want.Arrived, got.Recipients, want.Recipients = time.Time{}, time.Time{}, nil, nil
	got.Expires, want.Expires = time.Time{}, time.Time{}
	same(t, "envelope", got, want)
}

// testPutRefused: an error leaves nothing, and is the reader's own if it was his.
func testPutRefused(t *testing.T, open Open) {
	s := open()
	kept := envelope("a@a.test")
	put(t, s, kept, start(), []byte("kept"))

	again := envelope("b@b.test")
	again.ID = kept.ID
	for _, size := range []int{10, 100 << 10} {
		if err := s.Put(context.Background(), again, start(), bytes.NewReader(bodyOf(kept.ID, size))); err == nil {
			t.Errorf("a present id was taken again with %d octets", size)
		}
	}
	mine := errors.New("the peer went away")
	for _, before := range []int{0, 10, 64 << 10, 300 << 10} {
		env := envelope("c@c.test")
		body := io.MultiReader(bytes.NewReader(bodyOf(env.ID, before)), iotest.ErrReader(mine))
		if err := s.Put(context.Background(), env, start(), body); err != mine {
			t.Errorf("error of the body after %d octets: got %v", before, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Put(ctx, envelope("d@d.test"), start(), strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put after its context's end: %v", err)
	}
	for range 2 {
		same(t, "list", list(t, s), "a@a.test queued 0\n")
		b, err := readBody(s, kept.ID)
		same(t, "body", string(b), "kept")
		same(t, "error of body", err, nil)
		s = open()
	}
}

func testNotFound(t *testing.T, open Open) {
	s := open()
	id := queue.NewID()
	if _, err := s.Get(id); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Body(id); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("body: %v", err)
	}
	jobs, next := due(t, s, request(start(), 10, 10))
	if len(jobs) != 0 || !next.IsZero() {
		t.Errorf("an empty store has %d jobs, next %v", len(jobs), next)
	}
}

// testEach: in the order of ids, through many pages, and the store may be used
// meanwhile.
func testEach(t *testing.T, open Open) {
	s := open()
	const n = 600
	var want []queue.ID
	for range n {
		env := envelope("a@a.test")
		put(t, s, env, start(), []byte("x"))
		want = append(want, env.ID)
	}
	slices.Sort(want)
	var got []queue.ID
	err := s.Each(func(sum queue.Summary) error {
		got = append(got, sum.ID)
		if len(got) == 300 {
			put(t, s, envelope("b@b.test"), start(), []byte("y")) // sorts behind all others
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < n || !slices.Equal(got[:n], want) || len(got) > n+1 {
		t.Errorf("each gave %d messages, or in another order", len(got))
	}
	stop := errors.New("enough")
	calls := 0
	if err := s.Each(func(queue.Summary) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("after its error f was called %d times; each returned %v", calls, err)
	}
}

func testClose(t *testing.T, open Open) {
	s := open()
	env := envelope("a@a.test")
	put(t, s, env, start(), []byte("x"))
	jobs, _ := due(t, s, request(start(), 1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(context.Background(), envelope("b@b.test"), start(), strings.NewReader("x")); err == nil {
		t.Error("put after close succeeded")
	}
	if err := s.Settle(settlement(jobs[0], queue.Delivered, start())); err == nil {
		t.Error("settle after close succeeded")
	}
	if _, _, err := s.Due(request(after(time.Hour), 1, 1)); err == nil {
		t.Error("due after close succeeded")
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	same(t, "list", list(t, open()), "a@a.test deferred 1\n")
}
