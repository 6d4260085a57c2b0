package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// BenchmarkPut is the durable acceptance of 4 KB messages: what bounds how
// many 250s a second the server can give.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			body := text(4096)
			b.SetBytes(4096)
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if err := s.Put(context.Background(), mail(fmt.Sprintf("d%d.test", w)), time.Now(), bytes.NewReader(body)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// fill puts n messages in, spread over some domains.
func fill(b testing.TB, s *Store, n int) {
	b.Helper()
	const writers = 100
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				if err := accept(s, mail(fmt.Sprintf("d%d.test", i%1000)), small); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkDueSettle is the store's part of a delivery: one lease and one
// settlement, with 50 deliveries at once and 10,000 messages that wait.
func BenchmarkDueSettle(b *testing.B) {
	const deliveries = 50
	s := open(b, b.TempDir(), Options{})
	fill(b, s, max(10000, b.N))
	b.ResetTimer()
	jobs := make(chan queue.Job)
	freed := make(chan struct{}, deliveries)
	var all sync.WaitGroup
	for range deliveries {
		all.Go(func() {
			for j := range jobs {
				if err := s.Settle(delivered(j)); err != nil {
					b.Error(err)
				}
				freed <- struct{}{}
			}
		})
	}
	active := 0
	for done := 0; done < b.N; {
		got, _, err := s.Due(queue.DueRequest{Now: time.Now(), Max: min(deliveries-active, b.N-done), Limit: func(string) int { return 5 },
			Next: func(queue.Envelope, int) time.Time { return time.Now().Add(time.Hour) }})
		if err != nil {
			b.Fatal(err)
		}
		for _, j := range got {
			jobs <- j
			done++
			active++
		}
		for active > 0 && (active == deliveries || len(freed) > 0 || len(got) == 0) {
			<-freed
			active--
		}
	}
	close(jobs)
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkOpen is a start with 100,000 messages in the queue, to its first lease.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, 100_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if some, at, err := s.look(newWalk(queue.DueRequest{Now: time.Now()})); err != nil || !some {
			b.Fatal(at, err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEach lists 10,000 messages.
func BenchmarkEach(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	fill(b, s, 10_000)
	for b.Loop() {
		n := 0
		if err := s.Each(func(queue.Summary) error { n++; return nil }); err != nil || n < 10_000 {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkManyRecipients is a message to 100 domains: 100 units in one commit.
func BenchmarkManyRecipients(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	for b.Loop() {
		env := mail("remote.test")
		for i := range 99 {
			env.Recipients = append(env.Recipients, queue.To(mailaddr.MustParse(fmt.Sprintf("x@d%d.test", i)))...)
		}
		if err := accept(s, env, 4096); err != nil {
			b.Fatal(err)
		}
	}
}
