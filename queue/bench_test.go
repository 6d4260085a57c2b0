package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/boltstore"
)

// BenchmarkBlackHole is the delivery of messages to ten quick destinations, in real
// time, alone and beside ten thousand messages for one that says nothing.
func BenchmarkBlackHole(b *testing.B) {
	for _, hole := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("hole=%d", hole), func(b *testing.B) { benchmarkHole(b, hole) })
	}
}

func benchmarkHole(b *testing.B, hole int) {
	s, err := boltstore.Open(b.TempDir(), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fill := func(n int, to func(i int) string) {
		var all sync.WaitGroup
		for w := range 100 {
			all.Go(func() {
				for i := w; i < n; i += 100 {
					env := queue.Envelope{ID: queue.NewID(), Sender: mailaddr.MustParse("rick@partner.test"), Arrived: time.Now(),
						Recipients: queue.To(mailaddr.MustParse(to(i)))}
					if err := s.Put(context.Background(), env, time.Now(), strings.NewReader(original)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
	fill(hole, func(int) string { return "x@hole.test" })
	fill(b.N, func(i int) string { return fmt.Sprintf("x@d%d.test", i%10) })
	var left sync.WaitGroup
	left.Add(b.N)
	q, err := queue.New(queue.Options{Store: s, Hostname: "mx.example.test", Grace: time.Second, Deliverer: deliverFunc(
		func(ctx context.Context, job queue.Job) []queue.Outcome {
			if job.Destination == "hole.test" {
				<-ctx.Done()
				return unreachable(job, "no answer")
			}
			left.Done()
			return all(job, queue.Delivered, "250 ok")
		})})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b.ResetTimer()
	go func() { done <- q.Run(ctx) }()
	left.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
