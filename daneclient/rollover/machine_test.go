package rollover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

// Keys and their records.
var (
	keyA, keyB       = Key{SPKI: Digest{1}, Made: noon}, Key{SPKI: Digest{2}, Made: noon}
	recordA, recordB = keyA.Record(), keyB.Record()
)

// seen makes a look at two servers, of which the second shows other records.
func seen(ttl time.Duration, first []tlsa.Record, second []tlsa.Record) Look {
	return Look{Zone: "z.test.", Servers: []ServerSight{{Server: "ns1", Records: first, TTL: ttl}, {Server: "ns2", Records: second, TTL: ttl}}}
}

func both(ttl time.Duration, records ...tlsa.Record) Look { return seen(ttl, records, records) }

func records(r ...tlsa.Record) []tlsa.Record { return r }

// Phases in the middle of a rollover from A to B.
func published(ttl time.Duration, since time.Time) State {
	return State{Owner: Owner{dnsname.MustParse("_x.z.test")}, Phase: Published, Current: keyA, Next: &keyB, LongestTTL: Seconds(ttl), SeenSince: since}
}

func switched(phase Phase, ttl time.Duration, when time.Time) State {
	return State{Owner: Owner{dnsname.MustParse("_x.z.test")}, Phase: phase, Current: keyB, Old: &keyA, LongestTTL: Seconds(ttl), SwitchedAt: when}
}

// TestDecide: with what is remembered and seen, what may be done when.
func TestDecide(t *testing.T) {
	const ttl = 15 * time.Minute
	never := time.Time{}
	silent := both(ttl, recordA, recordB)
	silent.Servers[1].Fault = "no answer"
	unknown := recordB
	unknown.Usage = 1
	for _, c := range []struct {
		name  string
		state State
		look  Look
		now   time.Time
		do    Do
		until time.Time
		seen  time.Time // SeenSince afterwards
	}{
		{"steady", State{Phase: Steady, Current: keyA}, both(ttl, recordA), noon, Prepare, never, never},
		{"prepared", State{Phase: Prepared, Current: keyA, Next: &keyB}, both(ttl, recordA, recordB), noon, Publish, never, never},

		{"nobody shows it", published(ttl, never), both(ttl, recordA), noon, Wait, never, never},
		{"no servers", published(ttl, noon), Look{}, at(300), Wait, never, never},
		{"one shows it", published(ttl, never), seen(ttl, records(recordA, recordB), records(recordA)), noon, Wait, never, never},
		{"other usage", published(ttl, never), both(ttl, recordA, unknown), noon, Wait, never, never},
		{"first seen", published(ttl, never), both(ttl, recordA, recordB), noon, Wait, at(30), noon},
		{"one TTL", published(ttl, noon), both(ttl, recordA, recordB), at(15), Wait, at(30), noon},
		{"two TTLs", published(ttl, noon), both(ttl, recordA, recordB), at(30), Wait, at(30), noon},
		{"more than two", published(ttl, noon), both(ttl, recordA, recordB), at(30).Add(time.Second), Switch, never, noon},
		{"it went from one", published(ttl, noon), seen(ttl, records(recordA, recordB), records(recordA)), at(31), Wait, never, never},
		{"one is silent", published(ttl, noon), silent, at(31), Wait, never, never},
		{"came back", published(ttl, never), both(ttl, recordA, recordB), at(31), Wait, at(61), at(31)},
		{"TTL was larger", published(time.Hour, noon), both(ttl, recordA, recordB), at(31), Wait, at(120), noon},
		{"TTL is larger now", published(ttl, noon), both(time.Hour, recordA, recordB), at(31), Wait, at(120), noon},
		{"TTL is tiny", published(time.Second, noon), both(time.Second, recordA, recordB), at(2), Wait, at(2), noon},
		{"TTL is tiny, later", published(time.Second, noon), both(time.Second, recordA, recordB), at(3), Switch, never, noon},
		{"the clock went back", published(ttl, at(100)), both(ttl, recordA, recordB), at(50), Wait, at(80), at(50)},

		{"just switched", switched(Switched, ttl, noon), both(ttl, recordA, recordB), at(1), Wait, at(90), never},
		{"two TTLs and an hour", switched(Switched, ttl, noon), both(ttl, recordA, recordB), at(90), Wait, at(90), never},
		{"more than that", switched(Switched, ttl, noon), both(ttl, recordA, recordB), at(91), Withdraw, never, never},
		{"the new one went", switched(Switched, ttl, noon), seen(ttl, records(recordA, recordB), records(recordA)), at(91), Wait, never, never},
		{"TTL larger since", switched(Switched, ttl, noon), both(time.Hour, recordA, recordB), at(91), Wait, at(180), never},

		{"old one still there", switched(Withdrawing, ttl, noon), seen(ttl, records(recordB), records(recordA, recordB)), at(100), Wait, never, never},
		{"old one gone", switched(Withdrawing, ttl, noon), both(ttl, recordB), at(100), Finish, never, never},
		{"the wrong one gone", switched(Withdrawing, ttl, noon), both(ttl, recordA), at(100), Wait, never, never},
		{"both gone", switched(Withdrawing, ttl, noon), both(ttl), at(100), Wait, never, never},
		{"gone, one silent", switched(Withdrawing, ttl, noon), func() Look { l := both(ttl, recordB); l.Servers[0].Fault = "x"; return l }(), at(100), Wait, never, never},
		{"unknown phase", State{Phase: "later", Current: keyA}, both(ttl, recordA), noon, Wait, never, never},
	} {
		state := c.state.Observe(c.look, c.now)
		d := state.Decide(c.look, c.now)
		if d.Do != c.do || !d.Until.Equal(c.until) || !state.SeenSince.Equal(c.seen) {
			t.Errorf("%s: do %d until %v, seen since %v; want %d, %v, %v", c.name, d.Do, d.Until, state.SeenSince, c.do, c.until, c.seen)
		}
		if (d.Why == "") != (d.Do != Wait) {
			t.Errorf("%s: why: %q", c.name, d.Why)
		}
	}
}

// TestTransitions: what each step leaves behind is a state that can be read again.
func TestTransitions(t *testing.T) {
	s := State{Owner: Owner{dnsname.MustParse("_x.z.test")}, Phase: Steady, Current: keyA, LongestTTL: Seconds(time.Hour)}
	steps := []struct {
		name string
		do   func()
		want []Key // whose records should stand
	}{
		{"start", func() {}, []Key{keyA}},
		{"prepared", func() { s = s.prepared(keyB) }, []Key{keyA, keyB}},
		{"published", func() { s = s.published() }, []Key{keyA, keyB}},
		{"switched", func() { s = s.switched(at(1)) }, []Key{keyB, keyA}},
		{"withdrawing", func() { s = s.withdrawing() }, []Key{keyB}},
		{"steady", func() { s = s.steady(both(5*time.Minute, recordB)) }, []Key{keyB}},
	}
	for _, step := range steps {
		step.do()
		if err := s.check(); err != nil || !slices.Equal(s.wanted(), step.want) {
			t.Errorf("%s: %v, records of %v", step.name, err, s.wanted())
		}
	}
	if s.LongestTTL.Duration() != 5*time.Minute || s.Current != keyB || s.Next != nil || s.Old != nil || !s.SwitchedAt.IsZero() {
		t.Errorf("at the end %+v", s)
	}
}

func TestCheckRefuses(t *testing.T) {
	good := published(time.Minute, noon)
	for name, spoil := range map[string]func(*State){
		"unknown phase": func(s *State) { s.Phase = "later" },
		"no owner":      func(s *State) { s.Owner = Owner{} },
		"no key":        func(s *State) { s.Current = Key{} },
		"no next":       func(s *State) { s.Next = nil },
		"old too early": func(s *State) { s.Old = &keyA },
		"no time":       func(s *State) { *s = switched(Switched, 0, time.Time{}) },
		"same key":      func(s *State) { s.Next = &keyA },
		"same old key":  func(s *State) { *s = switched(Switched, 0, noon); s.Old = &keyB },
		"next stays":    func(s *State) { s.Phase = Steady },
	} {
		s := good
		spoil(&s)
		if s.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.check(); err != nil {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	const ttl = 15 * time.Minute
	foreign := tlsa.Record{Usage: 3, Selector: 1, Matching: 1, Data: []byte{9, 9}}
	walkable := both(ttl, recordA)
	walkable.Walkable = true
	for _, c := range []struct {
		name  string
		state State
		look  Look
		want  []string
	}{
		{"all well", State{Current: keyA}, both(ttl, recordA), nil},
		{"longest", State{Current: keyA}, both(time.Hour, recordA), nil},
		{"shortest", State{Current: keyA}, both(time.Minute, recordA), nil},
		{"too long", State{Current: keyA}, both(time.Hour+time.Second, recordA), []string{"ns1: the TTL is 1h0m1s, over", "ns2: the TTL"}},
		{"too short", State{Current: keyA}, both(59*time.Second, recordA), []string{"ns1: the TTL is 59s, under", "ns2: the TTL"}},
		{"no record", State{Current: keyA}, seen(ttl, records(recordA), nil), []string{"the key in use has no live record: ns2: not there"}},
		{"walkable", State{Current: keyA}, walkable, []string{"z.test. denies by NSEC"}},
		{"foreign", State{Current: keyA, Owner: Owner{dnsname.MustParse("_x.z.test")}}, both(ttl, recordA, foreign), []string{"somebody else's record stands at _x.z.test: 3 1 1 0909"}},
		{"ours", published(ttl, noon), both(ttl, recordA, recordB), nil},
		{"old one early", switched(Switched, ttl, noon), both(ttl, recordB), []string{"the old record went too early: ns1", "the old record went too early: ns2"}},
	} {
		r := Report{State: c.state, Look: &c.look}
		r.judge()
		ok := len(r.Warnings) == len(c.want)
		for i := range min(len(r.Warnings), len(c.want)) {
			ok = ok && strings.HasPrefix(r.Warnings[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", c.name, r.Warnings, c.want)
		}
	}
}
