package storetest

import (
	"errors"
	"strings"

	"pgregory.net/rapid"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// edit does one action of an operator to store and map.
func (m *model) edit(rt *rapid.T) {
	id := m.someMessage(rt)
	e := queue.Edit{Action: queue.Action(rapid.IntRange(1, 5).Draw(rt, "action")), Now: m.now}
	e.Destination = rapid.SampledFrom([]string{"", "", "one.test", "two.test"}).Draw(rt, "destination")
	if rapid.IntRange(0, 2).Draw(rt, "one recipient") == 0 {
		e.Recipient = mailaddr.MustParse(rapid.SampledFrom([]string{"a@one.test", "c@two.test"}).Draw(rt, "recipient"))
	}
	got, err := m.store.Edit(id, e)
	if err != nil {
		rt.Fatalf("%s of %s: %v", e.Action, id, err)
	}
	want := 0
	for dest, u := range m.messages[id].units {
		changed := 0
		for i := range u.rcpts {
			if r := &u.rcpts[i]; !r.result.Final() && e.Applies(r.address) && r.edit(e.Action) {
				changed++
			}
		}
		_, leased := m.leases[unitName(id, dest)]
		if changed > 0 && e.Action == queue.EditRetry && !leased {
			u.next = m.now
		}
		want += changed
	}
	if got != want {
		rt.Fatalf("%s of %s: %d recipients, want %d", e.Action, id, got, want)
	}
	m.end(id)
}

func (r *recipientState) edit(a queue.Action) bool {
	switch a {
	case queue.EditHold:
		if r.held || r.givenUp {
			return false
		}
		r.held = true
	case queue.EditRelease:
		if !r.held {
			return false
		}
		r.held = false
	case queue.EditRetry:
		return !r.held && !r.givenUp
	case queue.EditDelete:
		r.result, r.reply, r.held, r.givenUp = queue.Deleted, "deleted by an operator", false, false
	case queue.EditBounce:
		if r.givenUp {
			return false
		}
		r.reply, r.held, r.givenUp = "given up by an operator", false, true
	}
	return true
}

// settled enters an outcome.
func (r *recipientState) settled(o queue.Outcome) {
	deleted := r.result == queue.Deleted && o.Result == queue.Delivered
	if r.result.Final() && !deleted || r.givenUp && !o.Result.Final() {
		return
	}
	r.result, r.reply = o.Result, o.Reply
	if r.result.Final() {
		r.held, r.givenUp = false, false
	}
}

// giveUps leases those given up and settles some of them.
func (m *model) giveUps(rt *rapid.T) {
	all, err := m.store.GiveUps(10)
	if err != nil {
		rt.Fatalf("give ups: %v", err)
	}
	seen := map[string]bool{}
	for _, g := range all {
		key := unitName(g.Job.ID, g.Job.Destination)
		msg := m.messages[g.Job.ID]
		if _, leased := m.leases[key]; leased || seen[key] || msg == nil {
			rt.Fatalf("%s is given up, leased or gone", key)
		}
		seen[key] = true
		u := msg.units[g.Job.Destination]
		var want []string
		for _, r := range u.rcpts {
			if r.givenUp {
				want = append(want, r.address.String())
			}
		}
		var got []string
		for _, o := range g.Outcomes {
			got = append(got, o.Recipient.String())
		}
		if strings.Join(got, " ") != strings.Join(want, " ") || len(got) == 0 || !g.Next.Equal(u.next) {
			rt.Fatalf("%s: %v are given up, next %v; want %v, %v", key, got, g.Next, want, u.next)
		}
		st := queue.Settlement{ID: g.Job.ID, Destination: g.Job.Destination, Outcomes: g.Outcomes, Next: g.Next, Now: m.now}
		settle(rt, m.store, st)
		m.settled(st)
	}
	for id, msg := range m.messages {
		for dest, u := range msg.units {
			for _, r := range u.rcpts {
				if _, leased := m.leases[unitName(id, dest)]; r.givenUp && !leased && len(all) < 10 {
					rt.Fatalf("%s to %s was given up and is not found", id, r.address)
				}
			}
		}
	}
}

// end removes a message of which nothing is open, and remembers it.
func (m *model) end(id queue.ID) {
	msg := m.messages[id]
	for _, u := range msg.units {
		for _, r := range u.rcpts {
			if !r.result.Final() {
				return
			}
		}
	}
	m.ended[id] = describe(m.summary(msg))
	delete(m.messages, id)
}

// amend: what was delivered although it had been deleted is remembered so; the words
// are the store's.
func (m *model) amend(rt *rapid.T, id queue.ID) {
	sum, err := m.store.Finished(id)
	if err != nil {
		rt.Fatalf("history of %s: %v", id, err)
	}
	m.ended[id] = describe(sum)
}

// checkEnded: what has ended is remembered as it was at its end.
func (m *model) checkEnded(rt *rapid.T) {
	n := 0
	err := m.store.EachFinished(func(s queue.Summary) error {
		n++
		if got := describe(s); got != m.ended[s.ID] {
			rt.Fatalf("history holds\n%swant\n%s", got, m.ended[s.ID])
		}
		return nil
	})
	if err != nil || n != len(m.ended) {
		rt.Fatalf("history of %d messages, error %v; want %d", n, err, len(m.ended))
	}
	for id := range m.messages {
		if _, err := m.store.Finished(id); !errors.Is(err, queue.ErrNotFound) {
			rt.Fatalf("%s is open and in the history: %v", id, err)
		}
	}
}
