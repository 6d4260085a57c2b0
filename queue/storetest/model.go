package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

// testModel compares random histories with a plain map.
func testModel(t *testing.T, fresh func(testing.TB) Open) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{open: fresh(t), now: start(), messages: map[queue.ID]*message{}, leases: map[string]queue.Job{}, ended: map[queue.ID]string{}}
		m.store = m.open()
		rt.Repeat(map[string]func(*rapid.T){
			"":              m.check,
			"put":           m.put,
			"put cut off":   m.putCutOff,
			"put again":     m.putAgain,
			"due":           m.due,
			"settle":        m.settle,
			"settle gone":   m.settleGone,
			"edit":          m.edit,
			"give ups":      m.giveUps,
			"time passes":   m.pass,
			"crash":         func(*rapid.T) { m.reopen() },
			"close, reopen": m.closeReopen,
		})
		if err := m.store.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

// model is what a store should hold.
type model struct {
	open     Open
	store    queue.Store
	now      time.Time
	ids      int
	messages map[queue.ID]*message
	leases   map[string]queue.Job // by unit
	here     map[string]int       // of the last request, by destination
	ended    map[queue.ID]string  // as they were described at their end
}

type message struct {
	env   queue.Envelope
	body  []byte
	units map[string]*unitState // by destination
}

type unitState struct {
	attempt int
	next    time.Time
	rcpts   []recipientState
}

type recipientState struct {
	address mailaddr.Address
	result  queue.Result
	reply   string
	held    bool
	givenUp bool
}

// open lists those that may be delivered to.
func (u *unitState) open() (waiting []mailaddr.Address) {
	for _, r := range u.rcpts {
		if !r.result.Final() && !r.held && !r.givenUp {
			waiting = append(waiting, r.address)
		}
	}
	return waiting
}

func unitName(id queue.ID, destination string) string { return string(id) + " " + destination }

// draws are few, so that histories meet each other.
func (m *model) drawEnvelope(rt *rapid.T) queue.Envelope {
	env := envelope()
	m.ids++
	env.ID = queue.ID(fmt.Sprintf("%020d", m.ids)) // the same in each run, so that rapid can shorten a history
	rcpts := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a@one.test", "b@one.test", "c@two.test", "d@[192.0.2.1]", "e@two.test.x"}),
		1, 4, rapid.ID).Draw(rt, "recipients")
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, queue.To(mailaddr.MustParse(r))...)
	}
	env.Arrived = m.now
	return env
}

func (m *model) drawBody(rt *rapid.T, id queue.ID) []byte {
	return bodyOf(id, rapid.SampledFrom([]int{0, 10, 5000, 64 << 10, 64<<10 + 1, 150 << 10}).Draw(rt, "size"))
}

// insert enters a message that the store has taken.
func (m *model) insert(env queue.Envelope, at time.Time, body []byte) {
	msg := &message{env: env, body: body, units: map[string]*unitState{}}
	for _, r := range env.Recipients {
		d := queue.Destination(r.Address)
		if msg.units[d] == nil {
			msg.units[d] = &unitState{next: at}
		}
		msg.units[d].rcpts = append(msg.units[d].rcpts, recipientState{address: r.Address})
	}
	m.messages[env.ID] = msg
}

func (m *model) put(rt *rapid.T) {
	env := m.drawEnvelope(rt)
	body := m.drawBody(rt, env.ID)
	at := m.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "wait")) * time.Minute)
	put(rt, m.store, env, at, body)
	m.insert(env, at, body)
}

func (m *model) putCutOff(rt *rapid.T) {
	env := m.drawEnvelope(rt)
	cut := errors.New("cut off")
	body := io.MultiReader(bytes.NewReader(m.drawBody(rt, env.ID)), iotest.ErrReader(cut))
	if err := m.store.Put(context.Background(), env, m.now, body); err != cut {
		rt.Fatalf("put of a body that broke off: %v", err)
	}
}

func (m *model) putAgain(rt *rapid.T) {
	env := m.drawEnvelope(rt)
	env.ID = m.someMessage(rt)
	if err := m.store.Put(context.Background(), env, m.now, bytes.NewReader(m.drawBody(rt, env.ID))); err == nil {
		rt.Fatal("a present id was taken again")
	}
}

func (m *model) someMessage(rt *rapid.T) queue.ID {
	if len(m.messages) == 0 {
		rt.Skip("no message")
	}
	return rapid.SampledFrom(sortedKeys(m.messages)).Draw(rt, "message")
}

func (m *model) pass(rt *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 8).Draw(rt, "minutes")) * time.Minute)
}

func (m *model) reopen() {
	m.store = m.open()
	clear(m.leases)
}

func (m *model) closeReopen(rt *rapid.T) {
	if err := m.store.Close(); err != nil {
		rt.Fatal(err)
	}
	m.reopen()
}

func (m *model) settle(rt *rapid.T) {
	if len(m.leases) == 0 {
		rt.Skip("no lease")
	}
	key := rapid.SampledFrom(sortedKeys(m.leases)).Draw(rt, "lease")
	job := m.leases[key]
	st := queue.Settlement{ID: job.ID, Destination: job.Destination, Next: m.now.Add(time.Minute)}
	for i, a := range job.Recipients {
		// 3 stands for an outcome that is missing.
		r := queue.Result(rapid.IntRange(0, 3).Draw(rt, "result"))
		if r <= queue.Failed {
			st.Outcomes = append(st.Outcomes, queue.Outcome{Recipient: a.Address, Result: r, Reply: fmt.Sprint("reply ", i)})
		}
	}
	if rapid.Bool().Draw(rt, "with a bounce") {
		st.Bounce = &queue.Bounce{Envelope: m.drawEnvelope(rt)}
		st.Bounce.Body = m.drawBody(rt, st.Bounce.Envelope.ID)
	}
	st.Now = m.now
	delete(m.leases, key)
	if m.messages[st.ID] == nil {
		if err := m.store.Settle(st); !errors.Is(err, queue.ErrNotFound) {
			rt.Fatalf("settle of a message that was deleted: %v", err)
		}
		m.amend(rt, st.ID)
		return
	}
	settle(rt, m.store, st)
	m.settled(st)
}

// settled does to the map what the settlement does to the store.
func (m *model) settled(st queue.Settlement) {
	msg := m.messages[st.ID]
	u := msg.units[st.Destination]
	for i := range u.rcpts {
		for _, o := range st.Outcomes {
			if o.Recipient == u.rcpts[i].address {
				u.rcpts[i].settled(o)
			}
		}
	}
	u.next = st.Next
	m.end(st.ID)
	if b := st.Bounce; b != nil {
		m.insert(b.Envelope, b.Envelope.Arrived, b.Body)
	}
}

func (m *model) settleGone(rt *rapid.T) {
	st := queue.Settlement{ID: queue.NewID(), Destination: "one.test", Bounce: &queue.Bounce{Envelope: m.drawEnvelope(rt)}}
	if err := m.store.Settle(st); !errors.Is(err, queue.ErrNotFound) {
		rt.Fatalf("settle of nothing: %v", err)
	}
}

// check compares everything that can be read.
func (m *model) check(rt *rapid.T) {
	var got strings.Builder
	err := m.store.Each(func(s queue.Summary) error {
		got.WriteString(describe(s))
		return nil
	})
	if err != nil {
		rt.Fatalf("each: %v", err)
	}
	var want strings.Builder
	for _, id := range sortedKeys(m.messages) {
		want.WriteString(describe(m.summary(m.messages[id])))
	}
	if got.String() != want.String() {
		rt.Fatalf("the store holds\n%swant\n%s", got.String(), want.String())
	}
	m.checkEnded(rt)
	for id, msg := range m.messages {
		if b, err := readBody(m.store, id); err != nil || !bytes.Equal(b, msg.body) {
			rt.Fatalf("body of %s: %d octets, error %v; want %d octets", id, len(b), err, len(msg.body))
		}
	}
}

func (m *model) summary(msg *message) queue.Summary {
	s := queue.Summary{ID: msg.env.ID, Arrived: msg.env.Arrived, Size: int64(len(msg.body)), Sender: msg.env.Sender}
	for _, to := range msg.env.Recipients {
		a := to.Address
		u := msg.units[queue.Destination(a)]
		i := slices.IndexFunc(u.rcpts, func(r recipientState) bool { return r.address == a })
		r := queue.RecipientSummary{Address: a, Destination: queue.Destination(a), State: u.rcpts[i].result.String(),
			Attempts: u.attempt, Next: u.next, LastReply: u.rcpts[i].reply}
		switch {
		case u.rcpts[i].result.Final():
			r.Next = time.Time{}
		case u.rcpts[i].givenUp:
			r.State = queue.StateBouncing
		case u.rcpts[i].held:
			r.State, r.HoldReason = queue.StateHeld, "held by an operator"
		case m.leases[unitName(msg.env.ID, r.Destination)].ID != "":
			r.State = queue.StateActive
		case u.attempt == 0:
			r.State = "queued"
		}
		s.Recipients = append(s.Recipients, r)
	}
	return s
}

func describe(s queue.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %d %s\n", s.ID, s.Arrived.UTC(), s.Size, s.Sender)
	for _, r := range s.Recipients {
		fmt.Fprintf(&b, "    %s %s %s %d %s %q %q\n", r.Address, r.Destination, r.State, r.Attempts, r.Next.UTC(), r.LastReply, r.HoldReason)
	}
	return b.String()
}
