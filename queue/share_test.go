package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"dancemta/queue"
)

// TestShare: destinations that share visits never have more at once, though each could;
// others are not held up, a panic gives its place back, and a reload holds at once.
func TestShare(t *testing.T) {
	most := 3
	share := func(d string) queue.Share {
		if d == "free.test" {
			return queue.Share{}
		}
		return queue.Share{Key: "smarthost", Visits: most}
	}
	inWorld(t, func(o *queue.Options) { o.Share = share }, func(w *world) {
		var panics atomic.Int64
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			<-time.After(time.Minute)
			if job.Destination != "free.test" && panics.Add(1) <= 5 {
				panic("a mistake in a deliverer")
			}
			return all(job, queue.Delivered, "250 ok")
		}
		for i := range 30 {
			w.accept(fmt.Sprintf("x@d%d.test", i))
		}
		w.accept("x@free.test")
		w.run()
		w.pass(90 * time.Second)
		w.equal("at once", w.peak(""), most+1)
		w.equal("of all others", len(w.tried("free.test")), 1)
		w.pass(time.Hour)
		w.equal("at once, later", w.peak(""), most+1)
		w.equal("list", w.list(), "")
	})
}
