package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/ldapbridge/message"
)

func paged(cookie string) message.Control {
	value := append([]byte{0x30, byte(5 + len(cookie)), 2, 1, 10, 4, byte(len(cookie))}, cookie...)
	return message.Control{OID: message.OIDPagedResults, Value: value, HasValue: true}
}

// TestReturn: whoever comes next gets the connection, unless something of the one
// before hangs on it.
func TestReturn(t *testing.T) {
	pages := func(cookie string) func(c *fakeConn, m message.Message) error {
		return func(c *fakeConn, m message.Message) error {
			controls := message.AppendControls(nil, paged(cookie))
			return c.say(message.AppendMessage(nil, m.ID, []byte{byte(message.SearchDone), 7, 0x0a, 1, 0, 4, 0, 4, 0}, controls))
		}
	}
	silent := func(c *fakeConn, m message.Message) error { return nil }
	for _, c := range []struct {
		name  string
		serve func(*fakeConn, message.Message) error
		use   func(t *testing.T, l *Lease, s *client)
		kept  bool
	}{
		{"nothing was asked", nil, func(*testing.T, *Lease, *client) {}, true},
		{"all is answered", nil, func(t *testing.T, l *Lease, s *client) { send(t, l, search(1)); s.finished(t, 1) }, true},
		{"something is outstanding", silent, func(t *testing.T, l *Lease, s *client) { send(t, l, search(1)) }, false},
		{"it was abandoned", silent, func(t *testing.T, l *Lease, s *client) {
			send(t, l, search(1))
			l.Abandon(t.Context(), 1)
		}, true},
		{"a page was abandoned", silent, func(t *testing.T, l *Lease, s *client) {
			send(t, l, search(1, paged("")))
			l.Abandon(t.Context(), 1)
		}, false},
		{"more pages are there", pages("abc"), func(t *testing.T, l *Lease, s *client) {
			send(t, l, search(1, paged("")))
			s.finished(t, 1)
			if !l.Paging() {
				t.Error("no page is open")
			}
		}, false},
		{"it was the last page", pages(""), func(t *testing.T, l *Lease, s *client) {
			send(t, l, search(1, paged("")))
			s.finished(t, 1)
			if l.Paging() {
				t.Error("a page is open")
			}
		}, true},
		{"closed", nil, func(t *testing.T, l *Lease, s *client) { l.Close() }, false},
	} {
		f := &fake{t: t, serve: c.serve}
		p := f.pool(t, Options{})
		s := newClient()
		l := lease(t, p, s)
		c.use(t, l, s)
		l.Return()
		l.Return() // once is enough
		settled(t, p)
		next := lease(t, p, newClient())
		if kept := f.connections() == 1; kept != c.kept {
			t.Errorf("%s: kept %v", c.name, kept)
		}
		if err := l.Send(t.Context(), search(2), ""); !errors.Is(err, ErrGone) || l.Outstanding() != 0 {
			t.Errorf("%s: the lease is over, and Send says %v", c.name, err)
		}
		if err := l.Abandon(t.Context(), 1); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		next.Close()
	}
}

// TestPagesEnd: a paged search that goes on from a cookie is over when no further
// one comes.
func TestPagesEnd(t *testing.T) {
	cookies := []string{"one", "two", ""}
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
		cookie := cookies[0]
		cookies = cookies[1:]
		return c.say(message.AppendMessage(nil, m.ID, []byte{byte(message.SearchDone), 7, 0x0a, 1, 0, 4, 0, 4, 0}, message.AppendControls(nil, paged(cookie))))
	}}
	s := newClient()
	l := lease(t, f.pool(t, Options{}), s)
	for i, c := range []struct {
		from string
		open bool
	}{{"", true}, {"one", true}, {"two", false}} {
		send(t, l, search(int32(i+1), paged(c.from)))
		s.finished(t, i+1)
		if l.Paging() != c.open {
			t.Errorf("after page %d: open %v", i+1, l.Paging())
		}
	}
	l.Return()
}

// TestReturnWhileDelivering: the next client does not wait for one that is slow to
// take his last reply, and the connection comes back when he has it.
func TestReturnWhileDelivering(t *testing.T) {
	for _, gone := range []error{nil, errors.New("the client has gone")} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{t: t}
			p := f.pool(t, Options{})
			slow := newClient()
			slow.block, slow.fails = make(chan struct{}), gone
			l := lease(t, p, slow)
			send(t, l, search(1))
			synctest.Wait()
			l.Return()
			if st := p.Stats(); st.Idle != 0 || st.Leased != 1 {
				t.Errorf("%+v", st)
			}
			other := newClient()
			next := lease(t, p, other)
			send(t, next, search(1))
			other.finished(t, 1)
			next.Return()
			close(slow.block)
			synctest.Wait()
			if st := p.Stats(); st.Idle != 2 || st.Leased != 0 {
				t.Errorf("%+v", st)
			}
			if len(slow.done) != 1 || len(other.done) != 1 || slow.why != nil {
				t.Errorf("%v, %v, %v", slow.done, other.done, slow.why)
			}
		})
	}
}

// TestClientGone: what a client leaves outstanding is taken from the server.
func TestClientGone(t *testing.T) {
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error { return c.say(entry(m.ID, "dc=x")) }}
	p := f.pool(t, Options{})
	s := newClient()
	s.fails = errors.New("broken pipe")
	l := lease(t, p, s)
	send(t, l, search(1))
	if why := s.lost(t); !errors.Is(why, s.fails) {
		t.Error(why)
	}
	if st := p.Stats(); st != (Stats{}) {
		t.Errorf("%+v", st)
	}
}

// TestBusy: there is a bound of connections, one of those that wait, and one of how
// long.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		var events []string
		p := f.pool(t, Options{Connections: 1, Waiters: 1, Wait: 3 * time.Second, Count: func(e string) { events = append(events, e) }})
		l := lease(t, p, newClient())
		began := time.Now()
		if _, err := p.Lease(t.Context(), newClient()); !errors.Is(err, ErrBusy) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		waited := make(chan error)
		go func() {
			next, err := p.Lease(t.Context(), newClient())
			if err == nil {
				next.Return()
			}
			waited <- err
		}()
		synctest.Wait()
		began = time.Now()
		if _, err := p.Lease(t.Context(), newClient()); !errors.Is(err, ErrBusy) || time.Since(began) != 0 {
			t.Errorf("one more than may wait: %v after %v", err, time.Since(began))
		}
		l.Return()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		l = lease(t, p, newClient())
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := p.Lease(gone, newClient()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		l.Return()
		if f.connections() != 1 || !slices.Equal(events, []string{EventConnected, EventBusy, EventBusy}) {
			t.Errorf("%d connections, %v", f.connections(), events)
		}
	})
}

// TestFailover: the next server serves while the first is down, which is asked again
// later and later, and preferred again when it is well.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		first, second := Server{Transport: Unix, Address: "/first"}, Server{Transport: Unix, Address: "/second"}
		f := &fake{t: t, bind: func(c *fakeConn, m message.Message) {
			code := message.Success
			if c.f.refused(c.number) {
				code = message.InvalidCredentials
			}
			c.say(result(m.ID, message.BindResponse, code))
		}}
		p := f.pool(t, Options{Servers: []Server{first, second}, Logger: logTo(&log)})
		dials := func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			s := strings.Join(f.dials, " ")
			f.dials = nil
			return s
		}
		use := func() error {
			l, err := p.Lease(t.Context(), newClient())
			if err == nil {
				l.Close()
			}
			return err
		}
		f.down("/first")
		for i, want := range []string{"/first /second", "/second", "/second"} {
			if err := use(); err != nil || dials() != want {
				t.Errorf("%d: %v", i, err)
			}
		}
		for _, pause := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
			time.Sleep(pause - 1)
			if err := use(); err != nil || dials() != "/second" {
				t.Errorf("before %v: %v", pause, err)
			}
			time.Sleep(time.Nanosecond)
			if err := use(); err != nil || dials() != "/first /second" {
				t.Errorf("after %v: %v", pause, err)
			}
		}
		f.down("/first", "/second")
		if err := use(); !errors.Is(err, ErrUnavailable) || dials() != "/second" {
			t.Errorf("both are down: %v", err)
		}
		if err := use(); !errors.Is(err, ErrUnavailable) || dials() != "" {
			t.Errorf("they are left alone: %v", err)
		}
		f.down()
		time.Sleep(30 * time.Second)
		if err := use(); err != nil || dials() != "/first" {
			t.Errorf("the first is well again: %v", err)
		}
		for _, want := range []string{`msg="directory server failed"`, "server=unix:/first", "step=bind", "invalidCredentials", "advice=", "again=500ms"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, log.String())
			}
		}
	})
}

// TestOneFindsOut: of those that come while a server is on trial, one asks it.
func TestOneFindsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, refuse: errNoServer}
		p := f.pool(t, Options{})
		if _, err := p.Lease(t.Context(), newClient()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errNoServer) {
			t.Error(err)
		}
		time.Sleep(time.Second)
		f.refuse = nil
		f.binds(func(*fakeConn, message.Message) {}) // it takes connections, and says nothing
		waited := make(chan error)
		go func() {
			_, err := p.Lease(t.Context(), newClient())
			waited <- err
		}()
		synctest.Wait()
		began := time.Now()
		if _, err := p.Lease(t.Context(), newClient()); !errors.Is(err, ErrUnavailable) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := <-waited; !errors.Is(err, ErrUnavailable) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// A client who goes says nothing of the server.
		time.Sleep(time.Second)
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := p.Lease(gone, newClient()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		f.binds(nil)
		lease(t, p, newClient()).Return()
	})
}

// TestIdle: a connection that nobody needs is closed, with a word; so is one that
// shows an old certificate, and one beyond those that are kept.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		p := f.pool(t, Options{Idle: 2, IdleTime: 20 * time.Second})
		var all []*Lease
		for range 3 {
			all = append(all, lease(t, p, newClient()))
		}
		for _, l := range all {
			l.Return()
		}
		if st := p.Stats(); st != (Stats{Idle: 2}) {
			t.Errorf("%+v", st)
		}
		time.Sleep(20*time.Second - 1)
		lease(t, p, newClient()).Return()
		time.Sleep(2 * time.Nanosecond)
		if st := p.Stats(); st != (Stats{Idle: 1}) {
			t.Errorf("%+v", st)
		}
		l := lease(t, p, newClient())
		p.Renew()
		s := newClient()
		l.Return()
		if st := p.Stats(); st != (Stats{}) {
			t.Errorf("%+v", st)
		}
		l = lease(t, p, s)
		time.Sleep(2 * time.Hour) // it may have what it has
		send(t, l, search(1))
		s.finished(t, 1)
		l.Return() // and is not kept
		settled(t, p)
		if st := p.Stats(); st != (Stats{}) || f.connections() != 4 {
			t.Errorf("%+v, %d connections", st, f.connections())
		}
		l = lease(t, p, s)
		l.Return()
		settled(t, p)
		p.Renew()
		synctest.Wait()
		if st := p.Stats(); st != (Stats{}) || len(p.all) != 0 {
			t.Errorf("%+v, %d live", st, len(p.all))
		}
	})
}

// TestClosed: leases are lost, and none is given any more.
func TestClosed(t *testing.T) {
	f := &fake{t: t, serve: func(*fakeConn, message.Message) error { return nil }}
	p := f.pool(t, Options{})
	s := newClient()
	l := lease(t, p, s)
	send(t, l, search(1))
	p.Close()
	if why := s.lost(t); !errors.Is(why, ErrUnavailable) || len(s.open) != 1 {
		t.Errorf("%v, %v", why, s.open)
	}
	if _, err := p.Lease(t.Context(), newClient()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

// TestServerEndsIdle: a server may close what nobody uses, and nobody notices.
func TestServerEndsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		var events []string
		p := f.pool(t, Options{Count: func(e string) { events = append(events, e) }})
		lease(t, p, newClient()).Return()
		f.conns[0].Close()
		synctest.Wait()
		s := newClient()
		l := lease(t, p, s)
		send(t, l, search(1))
		s.finished(t, 1)
		l.Return()
		if f.connections() != 2 || slices.Contains(events, EventLost) {
			t.Errorf("%d connections, %v", f.connections(), events)
		}
	})
}

// TestUsedUp: a connection with few message IDs left serves nobody else.
func TestUsedUp(t *testing.T) {
	f := &fake{t: t}
	p := f.pool(t, Options{})
	l := lease(t, p, newClient())
	l.c.last = lastID
	l.Return()
	lease(t, p, newClient()).Return()
	if f.connections() != 2 {
		t.Error("it was leased again")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "no directory server is named"},
		{Options{Servers: []Server{{Transport: Unix}}}, "a directory server without an address"},
		{Options{Servers: []Server{{Transport: TLS, Address: "h:636", Name: "h"}}}, "ldaps://h:636: no roots that prove it"},
	} {
		if _, err := New(c.o); err == nil || err.Error() != c.want {
			t.Errorf("%v, not %s", err, c.want)
		}
	}
	if got := fmt.Sprint(Server{Address: "h:389"}, Server{Transport: Unix, Address: "/s"}); got != "ldap://h:389 unix:/s" {
		t.Error(got)
	}
}
