package upstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/ldapbridge/message"
)

// leaseOf is what a second client gets while the first has the only place.
func leaseOf(t *testing.T, p *Pool) (*Lease, time.Duration, error) {
	t.Helper()
	begin := time.Now()
	l, err := p.Lease(t.Context(), newClient())
	return l, time.Since(begin), err
}

// TestRestingLeases: nobody is refused because of a client who asks for nothing; those
// who ask for something, or have had no turn, keep what they have.
func TestRestingLeases(t *testing.T) {
	pages := func(c *fakeConn, m message.Message) error {
		return c.say(message.AppendMessage(nil, m.ID, []byte{byte(message.SearchDone), 7, 0x0a, 1, 0, 4, 0, 4, 0}, message.AppendControls(nil, paged("abc"))))
	}
	slow := func(c *fakeConn, m message.Message) error {
		time.Sleep(2 * time.Second)
		return c.say(result(m.ID, message.SearchDone, message.Success))
	}
	silent := func(*fakeConn, message.Message) error { return nil }
	for _, c := range []struct {
		name  string
		serve func(*fakeConn, message.Message) error
		send  *message.Message
		rest  time.Duration
		after time.Duration // that the second client gets it; -1: never
		kept  bool          // the connection
	}{
		{"it rests", nil, new(search(1)), 0, 0, true},
		{"it has had no turn", nil, nil, time.Hour, -1, false},
		{"what was sent is refused", nil, &message.Message{ID: 1, Op: []byte{byte(message.SearchRequest), 0}}, 0, 0, true},
		{"an operation is outstanding", silent, new(search(1)), time.Minute, -1, false},
		{"an operation ends", slow, new(search(1)), 0, 2 * time.Second, true},
		{"a page is open", pages, new(search(1, paged(""))), pageRest - time.Second, -1, false},
		{"a page is open for long", pages, new(search(1, paged(""))), pageRest, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{t: t, serve: c.serve}
				p := f.pool(t, Options{Connections: 1, Wait: 10 * time.Second, IdleTime: 24 * time.Hour})
				first := lease(t, p, newClient())
				if c.send != nil {
					if err := first.Send(t.Context(), *c.send, ""); err != nil && !errors.Is(err, ErrForm) {
						t.Fatal(err)
					}
				}
				if c.after <= 0 {
					synctest.Wait()
				}
				time.Sleep(c.rest)
				second, took, err := leaseOf(t, p)
				if c.after < 0 {
					if !errors.Is(err, ErrBusy) {
						t.Errorf("the second client: %v", err)
					}
					first.Close()
					return
				}
				if err != nil || took != c.after {
					t.Fatalf("after %v: %v", took, err)
				}
				if err := first.Send(t.Context(), search(2), ""); !errors.Is(err, ErrGone) {
					t.Errorf("the first client: %v", err)
				}
				first.Return()
				f.serve = nil
				send(t, second, search(3))
				second.sink.(*client).finished(t, 1)
				if kept := f.connections() == 1; kept != c.kept {
					t.Errorf("the connection was kept: %v", kept)
				}
				second.Return()
				synctest.Wait() // its reader may be on its way back from the client
				if s := p.Stats(); s.Leased != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
