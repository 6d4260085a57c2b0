package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"dancemta/queue"
)

// waiting is a unit that may be leased now.
type waiting struct {
	id   queue.ID
	dest string
	at   time.Time
}

// due asks for work and checks all that is promised of the answer, but for the
// order, which has tests of its own.
func (m *model) due(rt *rapid.T) {
	r := request(m.now, rapid.IntRange(1, 6).Draw(rt, "max"), rapid.IntRange(1, 3).Draw(rt, "per destination"))
	jobs, next := due(rt, m.store, r)
	if len(jobs) > r.Max {
		rt.Fatalf("%d jobs, at most %d were asked for", len(jobs), r.Max)
	}
	m.here = map[string]int{}
	for _, j := range jobs {
		m.lease(rt, j, r)
	}
	m.checkLeft(rt, r, jobs)
	m.checkNext(rt, r, jobs, next)
}

// lease checks one job and enters its lease.
func (m *model) lease(rt *rapid.T, j queue.Job, r queue.DueRequest) {
	msg := m.messages[j.ID]
	key := unitName(j.ID, j.Destination)
	if msg == nil || msg.units[j.Destination] == nil {
		rt.Fatalf("job %s: there is no such unit", key)
	}
	u := msg.units[j.Destination]
	at := u.next
	_, leased := m.leases[key]
	switch {
	case leased:
		rt.Fatalf("job %s: is leased already", key)
	case at.After(m.now):
		rt.Fatalf("job %s: due at %v, now is %v", key, at, m.now)
	case fmt.Sprint(j.Recipients) != fmt.Sprint(u.open()):
		rt.Fatalf("job %s: recipients %v, want %v", key, j.Recipients, u.open())
	case m.here[j.Destination] >= r.Limit(j.Destination):
		rt.Fatalf("job %s: beyond the %d of its destination", key, r.Limit(j.Destination))
	case j.Attempt != u.attempt+1 || j.Size != int64(len(msg.body)):
		rt.Fatalf("job %s: attempt %d, size %d; want %d, %d", key, j.Attempt, j.Size, u.attempt+1, len(msg.body))
	}
	m.checkOpen(rt, j, msg)
	u.attempt++
	u.next = r.Next(j.Envelope, u.attempt)
	m.leases[key] = j
	m.here[j.Destination]++
}

func (m *model) checkOpen(rt *rapid.T, j queue.Job, msg *message) {
	if fmt.Sprint(j.Envelope.Recipients, j.Envelope.Sender) != fmt.Sprint(msg.env.Recipients, msg.env.Sender) {
		rt.Fatalf("job %s: envelope %+v, want %+v", j.ID, j.Envelope, msg.env)
	}
	f, err := j.Open()
	if err != nil {
		rt.Fatalf("job %s: %v", j.ID, err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, msg.body) {
		rt.Fatalf("job %s: %d octets, error %v; want %d", j.ID, len(b), err, len(msg.body))
	}
}

// unleased lists the units that wait for their time or for a place.
func (m *model) unleased() (all []waiting) {
	for id, msg := range m.messages {
		for dest, u := range msg.units {
			if _, leased := m.leases[unitName(id, dest)]; !leased && len(u.open()) > 0 {
				all = append(all, waiting{id, dest, u.next})
			}
		}
	}
	return all
}

// checkLeft: who was passed over was not due, stood at a bound, or found no more room.
func (m *model) checkLeft(rt *rapid.T, r queue.DueRequest, jobs []queue.Job) {
	for _, w := range m.unleased() {
		if w.at.After(m.now) || m.here[w.dest] >= r.Limit(w.dest) {
			continue
		}
		if len(jobs) < r.Max {
			rt.Fatalf("%s to %s is due since %v and was passed over", w.id, w.dest, w.at)
		}
	}
}

// checkNext: nobody who may be leased by waiting alone is slept over.
func (m *model) checkNext(rt *rapid.T, r queue.DueRequest, jobs []queue.Job, next time.Time) {
	if !next.IsZero() && !next.After(m.now) {
		rt.Fatalf("next is %v, now is %v", next, m.now)
	}
	if len(jobs) == r.Max {
		return // the caller comes back when it has room
	}
	for _, w := range m.unleased() {
		if m.here[w.dest] < r.Limit(w.dest) && (next.IsZero() || next.After(w.at)) {
			rt.Fatalf("next is %v, but %s to %s is due at %v", next, w.id, w.dest, w.at)
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
