package queue

import (
	"testing"
	"time"

	"dancemta/internal/mailaddr"
)

// nobody delivers.
type nobody struct{ Deliverer }

// oneMessage is a store that holds one message, and counts edits.
type oneMessage struct {
	Store
	id    ID
	rcpts []string
	edits []Edit
}

func (s *oneMessage) Get(id ID) (sum Summary, err error) {
	if id != s.id {
		return sum, ErrNotFound
	}
	for _, r := range s.rcpts {
		a := mailaddr.MustParse(r)
		sum.Recipients = append(sum.Recipients, RecipientSummary{Address: a, Destination: Destination(a)})
	}
	return sum, nil
}

func (s *oneMessage) Edit(_ ID, e Edit) (int, error) {
	s.edits = append(s.edits, e)
	return 1, nil
}

// TestRetryEndsBackoff: what an operator wants tried is tried, at its own destination.
func TestRetryEndsBackoff(t *testing.T) {
	s := &oneMessage{id: NewID(), rcpts: []string{"a@one.test", "b@two.test"}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	q, err := New(Options{Store: s, Deliverer: nobody{}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"one.test", "two.test", "three.test"} {
		q.dests.arrive(d, 0)
		q.dests.fail(d, now, "421 no")
	}
	check := func(what, want string) {
		t.Helper()
		got := ""
		for _, d := range []string{"one.test", "two.test", "three.test"} {
			if _, away := q.dests.away(d); away {
				got += d + " "
			}
		}
		if got != want {
			t.Errorf("%s: away are %q, want %q", what, got, want)
		}
	}
	check("before", "one.test two.test three.test ")
	for _, e := range []Edit{{Action: EditHold}, {Action: EditRetry, Destination: "two.test"}} {
		if n, err := q.Edit(s.id, e); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	check("after a retry at two.test", "one.test three.test ")
	if _, err := q.Edit(s.id, Edit{Action: EditRetry, Reply: "a\r\nb"}); err != nil {
		t.Fatal(err)
	}
	check("after a retry", "three.test ")
	last := s.edits[len(s.edits)-1]
	if last.Now.IsZero() || last.Reply != "a??b" {
		t.Errorf("the store was asked %+v", last)
	}
}
