package limit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dancemta/internal/limit"
)

var hourly = limit.Rate{N: 4, Per: time.Hour} // a token each quarter of an hour

func charge(account string, r limit.Rate, tokens int) limit.Charge {
	return limit.Charge{Account: account, Rate: r, Tokens: tokens}
}

func TestQuotas(t *testing.T) {
	c := newClock()
	q := limit.NewQuotas(3, c.time)
	daily := limit.Rate{N: 6, Per: 24 * time.Hour}
	for i, s := range []struct {
		wait    time.Duration
		charges []limit.Charge
		want    int
	}{
		{0, nil, -1},
		{0, []limit.Charge{charge("rick/h", hourly, 3), charge("rick/d", daily, 3)}, -1},
		{0, []limit.Charge{charge("rick/h", hourly, 2), charge("rick/d", daily, 2)}, 0}, // one is left
		{0, []limit.Charge{charge("rick/h", hourly, 1), charge("rick/d", daily, 4)}, 1}, // and is not taken when the other is short
		{0, []limit.Charge{charge("rick/h", hourly, 1), charge("rick/d", daily, 1)}, -1},
		{15*time.Minute - 1, []limit.Charge{charge("rick/h", hourly, 1)}, 0},
		{1, []limit.Charge{charge("rick/h", hourly, 1)}, -1},
		{0, []limit.Charge{charge("rick/h", hourly, 1)}, 0},
		{0, []limit.Charge{charge("eve/h", hourly, 4)}, -1},
		{0, []limit.Charge{charge("mallory/h", hourly, 1)}, 0},         // three are known, and none is full
		{time.Hour, []limit.Charge{charge("mallory/h", hourly, 5)}, 0}, // more than there ever is
		{0, []limit.Charge{charge("mallory/h", hourly, 4)}, -1},
		{0, []limit.Charge{charge("rick/d", daily, 3)}, 0}, // 6 - 4, and an hour gives a quarter
		{0, []limit.Charge{charge("rick/d", daily, 2)}, -1},
		{0, []limit.Charge{charge("x", limit.Rate{}, 1)}, 0},
		{0, []limit.Charge{charge("x", hourly, -1)}, 0},
	} {
		c.wait(s.wait)
		if got := q.Take(s.charges); got != s.want {
			t.Errorf("step %d: %d, want %d", i, got, s.want)
		}
	}
	var none *limit.Quotas
	if none.Take([]limit.Charge{charge("x", hourly, 1)}) != 0 || (&limit.Quotas{}).Take([]limit.Charge{charge("x", hourly, 1)}) != 0 {
		t.Error("no quotas let somebody have one")
	}
}

// What was taken stays taken in the next life, and comes back with time.
func TestQuotasKept(t *testing.T) {
	c := newClock()
	q := limit.NewQuotas(100, c.time)
	if _, changed := q.Snapshot(); changed {
		t.Error("nothing was taken")
	}
	q.Take([]limit.Charge{charge("rick", hourly, 4)})
	q.Take([]limit.Charge{charge("eve", hourly, 1)})
	text, changed := q.Snapshot()
	if _, again := q.Snapshot(); !changed || again {
		t.Errorf("changed %v, then %v", changed, again)
	}
	c.wait(20 * time.Minute)
	next := limit.NewQuotas(100, c.time)
	if err := next.Restore(text); err != nil {
		t.Fatal(err)
	}
	if n := next.Accounts(); n != 1 { // eve's is full again
		t.Errorf("%d accounts", n)
	}
	if next.Take([]limit.Charge{charge("rick", hourly, 2)}) != 0 || next.Take([]limit.Charge{charge("rick", hourly, 1)}) != -1 {
		t.Error("rick has one token after twenty minutes")
	}
	if next.Take([]limit.Charge{charge("eve", hourly, 4)}) != -1 {
		t.Error("eve has all")
	}
	if err := next.Restore([]byte(`{"version":1,"full":{"rick":"2199-01-01T00:00:00Z"}}`)); err != nil || next.Take([]limit.Charge{charge("rick", hourly, 1)}) != 0 {
		t.Errorf("far in the future: %v", err)
	}
	if err := next.Restore([]byte(`{"version":1,"full":{"rick":"2026-01-01T01:30:00Z"}}`)); err != nil { // 70 minutes from now
		t.Error(err)
	}
	c.wait(15 * time.Minute)
	if next.Take([]limit.Charge{charge("rick", hourly, 1)}) != 0 {
		t.Error("a token of an account that is empty for 55 minutes more")
	}
	small := limit.NewQuotas(1, newClock().time)
	var many []string
	for i := range 5 {
		many = append(many, fmt.Sprintf(`"k%d":"2027-01-01T00:00:00Z"`, i))
	}
	if err := small.Restore([]byte(`{"version":1,"full":{` + strings.Join(many, ",") + `}}`)); err != nil || small.Accounts() != 1 {
		t.Errorf("%v, %d accounts", err, small.Accounts())
	}
}

func TestBadSnapshots(t *testing.T) {
	q := limit.NewQuotas(9, newClock().time)
	q.Take([]limit.Charge{charge("rick", hourly, 4)})
	for _, text := range []string{"", "{", "[]", `{"version":2}`, `{}`, `{"version":1,"full":{"a":7}}`} {
		if err := q.Restore([]byte(text)); !errors.Is(err, limit.ErrSnapshot) || q.Accounts() != 1 {
			t.Errorf("%q: %v, %d accounts", text, err, q.Accounts())
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"version":1,"full":{"user rick@example.org 4/h":"2026-01-01T01:00:00Z"}}`))
	f.Add([]byte(`{"version":1,"full":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := newClock()
		q := limit.NewQuotas(9, c.time)
		if q.Restore(text) != nil {
			return
		}
		if n := q.Accounts(); n > 9 {
			t.Fatalf("%d accounts", n)
		}
		q.Take([]limit.Charge{charge("x", hourly, 1)})
		again, ok := q.Snapshot()
		if ok && limit.NewQuotas(9, c.time).Restore(again) != nil {
			t.Fatalf("%q does not read back", again)
		}
	})
}
