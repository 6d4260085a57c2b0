package recall

import (
	"context"
	"errors"
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
	now, asked := time.Unix(1000, 0), 0
	m := New(Options[int]{Max: 9, Now: func() time.Time { return now }, Ask: func(context.Context, string) (int, time.Duration) {
		asked++
		return asked, time.Minute
	}})
	for i, step := range []struct {
		wait  time.Duration
		want  int
		known bool
	}{{0, 1, false}, {time.Minute - 1, 1, true}, {1, 2, false}, {0, 2, true}} {
		now = now.Add(step.wait)
		if got, known, err := m.Answer(t.Context(), "a"); got != step.want || known != step.known || err != nil {
			t.Errorf("step %d: %d, %v, %v; want %d, %v", i, got, known, err, step.want, step.known)
		}
	}
}

// TestOneQuestion: many who want to know the same ask once; who leaves does not wait.
func TestOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, let := 0, make(chan struct{})
		m := New(Options[string]{Max: 9, Ask: func(context.Context, string) (string, time.Duration) {
			asked++
			<-let
			return "yes", 0 // for those who wait alone
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if got, _, err := m.Answer(t.Context(), "a"); got != "yes" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
			synctest.Wait()
		}
		wait.Go(func() {
			if got, _, err := m.Answer(ctx, "a"); got != "" || !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %q, %v", got, err)
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
		if m.Answer(t.Context(), "a"); asked != 2 {
			t.Errorf("an answer without a life was remembered")
		}
	})
}

// TestPanic: a panic is no answer, and holds up nobody.
func TestPanic(t *testing.T) {
	m := New(Options[int]{Max: 9, AfterPanic: time.Hour, Ask: func(context.Context, string) (int, time.Duration) { panic("x") }})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic got lost")
			}
		}()
		m.Answer(t.Context(), "a")
	}()
	if got, known, err := m.Answer(t.Context(), "a"); got != 0 || !known || err != nil {
		t.Errorf("%d, %v, %v", got, known, err)
	}
}

// TestBound: what holds no more goes first, then anything.
func TestBound(t *testing.T) {
	const most = 100
	now := time.Unix(1000, 0)
	m := New(Options[int]{Max: most, Now: func() time.Time { return now }, Ask: func(context.Context, string) (int, time.Duration) { return 1, time.Minute }})
	for i := range 2*most + 10 {
		m.Answer(t.Context(), fmt.Sprint(i))
		if m.Len() > most {
			t.Fatalf("%d are known", m.Len())
		}
	}
	for m.Len() < most {
		m.Answer(t.Context(), fmt.Sprint("more", m.Len()))
	}
	now = now.Add(time.Hour)
	m.Answer(t.Context(), "new")
	if m.Len() != 1 {
		t.Errorf("%d are known, and all but one hold no more", m.Len())
	}
}
