package rollover

import (
	"fmt"
	"time"
)

const (
	// ttls that a record must have stood: with one, whoever asked just before
	// it came asks again; the second is for resolvers that refresh late and for
	// forwarders behind forwarders.
	ttls = 2
	// minTTL is what a TTL counts at least: resolvers keep an answer for about
	// a minute even when its TTL says less.
	minTTL = time.Minute
	// maxIdentity is how long a server may believe in an identity that it
	// proved; the old record must not go before.
	maxIdentity = time.Hour
)

// Do is what comes next.
type Do uint8

// The steps, and Wait for none.
const (
	Wait     Do = iota // for time to pass or for servers to show or drop a record
	Prepare            // make the next key
	Publish            // put the next record beside the current one
	Switch             // take the next key into use
	Withdraw           // take the old record away
	Finish             // forget the old key
)

// Decision is the next step, or why there is none yet.
type Decision struct {
	Do    Do
	Why   string    // of Wait
	Until time.Time // of Wait; zero when it does not hang on time
}

// Observe notes what a look teaches. Any server that does not show the next
// record begins the wait anew: whoever asks that one would not know the key.
func (s State) Observe(l Look, now time.Time) State {
	s.LongestTTL = max(s.LongestTTL, Seconds(l.longestTTL()))
	if s.Phase != Published {
		return s
	}
	switch {
	case !l.Shown(s.Next.Record()):
		s.SeenSince = time.Time{}
	case s.SeenSince.IsZero() || now.Before(s.SeenSince): // or the clock was turned back
		s.SeenSince = now
	}
	return s
}

// Decide says what comes next, from a state that has observed the look.
func (s State) Decide(l Look, now time.Time) Decision {
	switch s.Phase {
	case Steady:
		return Decision{Do: Prepare}
	case Prepared:
		return Decision{Do: Publish}
	case Published:
		return s.mayTake(l, now)
	case Switched:
		return s.mayWithdraw(l, now)
	case Withdrawing:
		return s.mayFinish(l)
	}
	return Decision{Why: fmt.Sprintf("the phase %q is not known", s.Phase)}
}

// mayTake allows the next key when nobody can be left who has not heard of it.
func (s State) mayTake(l Look, now time.Time) Decision {
	if s.SeenSince.IsZero() || !l.Shown(s.Next.Record()) {
		return Decision{Why: "until all servers show the next record"}
	}
	ready := s.SeenSince.Add(s.memory())
	if !now.After(ready) {
		return Decision{Why: "until nobody remembers a time before the next record", Until: ready}
	}
	return Decision{Do: Switch}
}

// mayWithdraw keeps the old record until its last identity has ended.
func (s State) mayWithdraw(l Look, now time.Time) Decision {
	ready := s.SwitchedAt.Add(s.memory() + maxIdentity)
	if !now.After(ready) {
		return Decision{Why: "until the last login by the old key is over", Until: ready}
	}
	if !l.Shown(s.Current.Record()) {
		return Decision{Why: "until all servers show the record of the key in use"}
	}
	return Decision{Do: Withdraw}
}

func (s State) mayFinish(l Look) Decision {
	if !l.Shown(s.Current.Record()) {
		return Decision{Why: "until all servers show the record of the key in use"}
	}
	if !l.Gone(s.Old.Record()) {
		return Decision{Why: "until no server shows the old record"}
	}
	return Decision{Do: Finish}
}

// memory is how long somebody may go on without having heard of a change.
func (s State) memory() time.Duration { return ttls * max(s.LongestTTL.Duration(), minTTL) }

// The transitions. Each takes the state that the one before it left.

func (s State) prepared(next Key) State {
	s.Phase, s.Next, s.SeenSince = Prepared, &next, time.Time{}
	return s
}

func (s State) published() State {
	s.Phase, s.SeenSince = Published, time.Time{}
	return s
}

func (s State) switched(now time.Time) State {
	old := s.Current
	s.Phase, s.Current, s.Old, s.Next = Switched, *s.Next, &old, nil
	s.SeenSince, s.SwitchedAt = time.Time{}, now
	return s
}

func (s State) withdrawing() State {
	s.Phase = Withdrawing
	return s
}

// steady keeps the TTL of the last look: should the next rollover begin within
// it, answers of today are still about.
func (s State) steady(l Look) State {
	s.Phase, s.Old, s.SwitchedAt = Steady, nil, time.Time{}
	s.LongestTTL = Seconds(l.longestTTL())
	return s
}

// wanted are the keys whose records should stand now.
func (s State) wanted() []Key {
	keys := []Key{s.Current}
	if s.Next != nil {
		keys = append(keys, *s.Next)
	}
	if s.Old != nil && s.Phase != Withdrawing {
		keys = append(keys, *s.Old)
	}
	return keys
}

// check refuses a state that no step leaves.
func (s State) check() error {
	next, old := s.Phase == Prepared || s.Phase == Published, s.Phase == Switched || s.Phase == Withdrawing
	switch {
	case s.Phase != Steady && !next && !old:
		return fmt.Errorf("the phase %q is not known", s.Phase)
	case s.Owner.IsZero():
		return fmt.Errorf("no owner name")
	case s.Current.SPKI == Digest{}:
		return fmt.Errorf("no current key")
	case next != (s.Next != nil) || old != (s.Old != nil) || old == s.SwitchedAt.IsZero():
		return fmt.Errorf("the phase %q does not fit the keys and times", s.Phase)
	case next && s.Next.SPKI == s.Current.SPKI, old && s.Old.SPKI == s.Current.SPKI:
		return fmt.Errorf("one key is current and something else too")
	}
	return nil
}
