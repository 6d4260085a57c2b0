package callout

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLives: each answer holds for its time, and no longer.
func TestLives(t *testing.T) {
	for answer, lives := range map[Answer]time.Duration{Exists: time.Hour, Absent: 5 * time.Minute, Unknown: 10 * time.Second, 77: 10 * time.Second} {
		now, asked := time.Unix(1000, 0), 0
		c := New(Options{Now: func() time.Time { return now }, Ask: func(context.Context, string) Answer { asked++; return answer }})
		want := answer
		if want == 77 { // what is no answer
			want = Unknown
		}
		for i, step := range []struct {
			wait  time.Duration
			asked int
		}{{0, 1}, {lives - 1, 1}, {1, 2}} {
			now = now.Add(step.wait)
			if got := c.Answer(t.Context(), "a@b.test"); got != want || asked != step.asked {
				t.Errorf("%d, step %d: %d after %d questions, want %d after %d", answer, i, got, asked, want, step.asked)
			}
		}
	}
}

// TestOneQuestion: many who want to know the same ask once; who leaves does not wait.
func TestOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, let := 0, make(chan struct{})
		c := New(Options{Ask: func(ctx context.Context, _ string) Answer {
			asked++
			<-let
			return Exists
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { c.Answer(t.Context(), "a@b.test") })
		synctest.Wait()
		for range 9 {
			wait.Go(func() {
				if got := c.Answer(t.Context(), "a@b.test"); got != Exists {
					t.Errorf("%d", got)
				}
			})
		}
		wait.Go(func() {
			if got := c.Answer(ctx, "a@b.test"); got != Unknown {
				t.Errorf("who left got %d", got)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(let)
		wait.Wait()
		if asked != 1 {
			t.Errorf("%d questions", asked)
		}
	})
}

// TestFewQuestions: beyond twenty at once nothing is known, and the backend is left alone.
func TestFewQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wait sync.WaitGroup
		c := New(Options{Ask: func(ctx context.Context, _ string) Answer {
			<-ctx.Done() // a backend that never answers
			return Unknown
		}})
		begin := time.Now()
		for i := range maxAsked {
			wait.Go(func() { c.Answer(t.Context(), fmt.Sprint(i)) })
		}
		synctest.Wait()
		if got := c.Answer(t.Context(), "one more"); got != Unknown || time.Since(begin) != 0 {
			t.Errorf("%d after %v", got, time.Since(begin))
		}
		wait.Wait()
		if took := time.Since(begin); took != askTime {
			t.Errorf("they waited %v", took)
		}
	})
}

// TestPanic: trouble of the one who asks is no answer, and holds up nobody.
func TestPanic(t *testing.T) {
	c := New(Options{Ask: func(context.Context, string) Answer { panic("x") }})
	func() {
		defer func() { _ = recover() }()
		c.Answer(t.Context(), "a")
	}()
	if got := c.Answer(t.Context(), "a"); got != Unknown || c.gate.Len() != 0 {
		t.Errorf("%d, %d places taken", got, c.gate.Len())
	}
}
