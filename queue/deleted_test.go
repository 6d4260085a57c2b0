package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// TestDeletedInFlight: of whom is deleted while a delivery fails, the sender hears
// nothing; of the others he does.
func TestDeletedInFlight(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var told []string
		w.deliver = func(_ context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "partner.test" {
				told = append(told, read(t, job))
				return all(job, queue.Delivered, "250 ok")
			}
			w.takes(time.Minute)
			return all(job, queue.Failed, "550 no")
		}
		id := w.accept("morty@one.test", "summer@one.test", "beth@two.test")
		w.run()
		w.pass(time.Second)
		for _, a := range []string{"morty@one.test", "beth@two.test"} {
			if n, err := w.q.Edit(id, queue.Edit{Action: queue.EditDelete, Recipient: mailaddr.MustParse(a)}); n != 1 || err != nil {
				t.Fatal(a, n, err)
			}
		}
		w.pass(2 * time.Minute)
		w.equal("list", w.list(), "")
		if len(told) != 1 {
			t.Fatalf("%d bounces", len(told))
		}
		for a, want := range map[string]bool{"<morty@one.test>": false, "<summer@one.test>": true, "<beth@two.test>": false} {
			if strings.Contains(told[0], a) != want {
				t.Errorf("the bounce speaks of %s: %v", a, !want)
			}
		}
	})
}
