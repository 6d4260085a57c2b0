package queue_test

import (
	"context"
	"testing"
	"time"

	"dancemta/queue"
)

// TestExpires: a message that says when it is of no use any more is tried until
// then, and not for days; one that says a later time than its age permits is not
// tried longer.
func TestExpires(t *testing.T) {
	for _, c := range []struct{ says, want time.Duration }{
		{24 * time.Hour, 24 * time.Hour},
		{30 * 24 * time.Hour, 5 * 24 * time.Hour},
		{-time.Hour, 0}, // one attempt is made all the same
	} {
		inWorld(t, nil, func(w *world) {
			w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
				return all(job, queue.Deferred, "451 4.3.0 come back")
			}
			w.run()
			w.acceptEnvelope(queue.Envelope{Expires: w.start.Add(c.says)}, "rick@partner.test", original, "morty@remote.test")
			w.pass(6 * 24 * time.Hour)
			tries := w.tried("remote.test")
			w.equal("last attempt", tries[len(tries)-1].at, c.want)
		})
	}
}
