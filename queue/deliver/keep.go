package deliver

import (
	"context"
	"slices"
	"sync"
	"time"

	"dancemta/queue/deliver/smtpclient"
)

// maxKept bounds connections that wait for a message. Each is a socket here and a
// process there.
const maxKept = 50

// session is a connection that can take messages.
type session struct {
	client   *smtpclient.Client // nil: no connection
	at       target
	terms    terms
	tls      string
	made     time.Time
	messages int
}

// keeper keeps connections for a moment after their visit: where mail for one
// destination comes steadily, its next message need not say hello again.
type keeper struct {
	span func(destination string) time.Duration // 0: nothing is kept

	mu     sync.Mutex
	visits map[string]int // under way, by destination
	idle   map[string][]*kept
	count  int
	closed bool
	wait   sync.WaitGroup // those in idle, and those that take leave
}

// kept is a session in idle.
type kept struct {
	session
	timer *time.Timer
}

func newKeeper(span func(string) time.Duration) *keeper {
	return &keeper{span: span, visits: map[string]int{}, idle: map[string][]*kept{}}
}

// arrive begins a visit, with the connection that was kept last, if there is one.
func (k *keeper) arrive(destination string) (s session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.visits[destination]++
	if all := k.idle[destination]; len(all) > 0 {
		one := all[len(all)-1]
		k.remove(destination, one)
		one.timer.Stop() // or it finds nothing
		k.wait.Done()
		return one.session
	}
	return session{}
}

// leave ends a visit, which may hand in its connection; false: it is not kept. busy:
// the visit has seen that more mail comes; so has one that others run beside. A host
// may have few places, and one that nobody needs is not to be held.
func (k *keeper) leave(destination string, s session, busy bool) bool {
	span := k.span(destination)
	k.mu.Lock()
	defer k.mu.Unlock()
	others := k.visits[destination] - 1
	if k.visits[destination] = others; others == 0 {
		delete(k.visits, destination)
	}
	if s.client == nil || span <= 0 || k.closed || k.count >= maxKept || !busy && others == 0 ||
		s.messages >= maxMessages || time.Since(s.made) >= maxVisit {
		return false
	}
	one := &kept{session: s}
	k.idle[destination] = append(k.idle[destination], one)
	k.count++
	k.wait.Add(1)
	one.timer = time.AfterFunc(span, func() { k.expire(destination, one) })
	return true
}

// remove takes one out of idle; false: it is not there any more.
func (k *keeper) remove(destination string, one *kept) bool {
	all := k.idle[destination]
	i := slices.Index(all, one)
	if i < 0 {
		return false
	}
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(k.idle, destination)
	} else {
		k.idle[destination] = all
	}
	k.count--
	return true
}

func (k *keeper) expire(destination string, one *kept) {
	k.mu.Lock()
	mine := k.remove(destination, one)
	k.mu.Unlock()
	if mine {
		one.client.Quit(context.Background()) // it has a time limit of its own
		k.wait.Done()
	}
}

// Close takes leave of all connections that are kept. No visit keeps one any more.
func (d *Deliverer) Close() {
	k := d.keeper
	k.mu.Lock()
	k.closed = true
	for _, all := range k.idle {
		for _, one := range all {
			one.timer.Reset(0)
		}
	}
	k.mu.Unlock()
	k.wait.Wait()
}
