package queue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"dancemta/queue"
)

// silent answers for all but one destination after minutes, and then with nothing.
func silent(w *world, except string) func(context.Context, queue.Job) []queue.Outcome {
	return func(_ context.Context, job queue.Job) []queue.Outcome {
		if job.Destination == except && len(w.tried(except)) > 1 {
			return all(job, queue.Delivered, "250 ok")
		}
		if job.Destination != except {
			w.takes(5 * time.Minute)
		}
		out := all(job, queue.Deferred, "no answer")
		for i := range out {
			out[i].Unreachable, out[i].RemoteMTA = true, ""
		}
		return out
	}
}

// TestManySilentHosts: one sender writes to hundreds of hosts that never answer. The
// mail of another to a host of which nothing is known, and which fails once, is tried
// as soon as that of anybody.
func TestManySilentHosts(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.deliver = silent(w, "other.test")
		for i := range 600 {
			w.acceptOf("sensor7", "sensor7@partner.test", fmt.Sprintf("morty@silent%d.test", i))
		}
		w.run()
		w.pass(12 * time.Minute)
		if n := w.count("silent"); n < 20 {
			t.Errorf("%d visits at once to hosts that do not answer: they get too little", n)
		}
		w.acceptOf("rick", "rick@partner.test", "summer@other.test")
		w.pass(2 * time.Second)
		w.equal("first attempts", len(w.tried("other.test")), 1)
		w.pass(7 * time.Minute) // its wait is of five, and one eighth
		w.equal("attempts", len(w.tried("other.test")), 2)
		if strings.Contains(w.list(), "other.test") {
			t.Error("it was not delivered")
		}
	})
}

// TestFairWithinLine: where one sender holds his share, another one's mail for the same
// destination is not behind his.
func TestFairWithinLine(t *testing.T) {
	inWorld(t, func(o *queue.Options) { o.Concurrency = 12 }, func(w *world) {
		w.deliver = silent(w, "")
		for i := range 20 {
			w.acceptOf("sensor7", "sensor7@partner.test", fmt.Sprintf("morty@silent%d.test", i))
		}
		w.run()
		w.pass(time.Second)
		w.equal("of one sender", w.count("silent"), 6) // of nine: twice the three that are free
		w.acceptOf("rick", "rick@partner.test", "summer@silent19.test")
		w.pass(time.Second)
		w.equal("of both", w.count("silent"), 7)
		for _, a := range w.tried("silent19.test") {
			w.equal("to whom", a.rcpts, "[summer@silent19.test]")
		}
	})
}
