package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"dancemta/ldapbridge/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a directory server in memory, that does what a test says.
type fake struct {
	t *testing.T
	// serve answers a request after the bind; nil: with success. An error ends the
	// connection.
	serve func(c *fakeConn, m message.Message) error
	// bind answers the bind; nil: success.
	bind func(c *fakeConn, m message.Message)
	// refuse: no connection.
	refuse error
	// away are the servers whose binds are refused.
	away []string

	mu    sync.Mutex
	dials []string
	conns []*fakeConn
	heard []message.Message
	wait  sync.WaitGroup
}

// fakeConn is one connection to it.
type fakeConn struct {
	net.Conn
	f       *fake
	number  int // from 1
	address string
}

// say writes octets, all in one write.
func (c *fakeConn) say(octets ...[]byte) error {
	if len(octets) == 1 {
		_, err := c.Write(octets[0])
		return err
	}
	var all []byte
	for _, o := range octets {
		all = append(all, o...)
	}
	_, err := c.Write(all)
	return err
}

func (f *fake) dial(_ context.Context, _, address string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, address)
	if f.refuse != nil {
		return nil, f.refuse
	}
	ours, theirs := net.Pipe()
	c := &fakeConn{Conn: theirs, f: f, number: len(f.conns) + 1, address: address}
	f.conns = append(f.conns, c)
	f.wait.Go(c.run)
	return ours, nil
}

func (c *fakeConn) run() {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		m, err := message.Read(r, message.Limits{})
		if err != nil || m.Tag() == message.UnbindRequest {
			return
		}
		if m.Tag() == message.BindRequest {
			c.f.mu.Lock()
			bind := c.f.bind
			c.f.mu.Unlock()
			if bind != nil {
				bind(c, m)
			} else {
				c.say(result(m.ID, message.BindResponse, message.Success))
			}
			continue
		}
		c.f.mu.Lock()
		c.f.heard = append(c.f.heard, m)
		c.f.mu.Unlock()
		if c.f.serve == nil {
			if m.Tag().Reply() != 0 {
				err = c.say(result(m.ID, m.Tag().Reply(), message.Success))
			}
		} else {
			err = c.f.serve(c, m)
		}
		if err != nil {
			return
		}
	}
}

// binds sets how binds are answered.
func (f *fake) binds(answer func(c *fakeConn, m message.Message)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bind = answer
}

// down names the servers that take no bind.
func (f *fake) down(addresses ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = addresses
}

// refused reports whether a connection is one to a server that is down.
func (f *fake) refused(number int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.away, f.conns[number-1].address)
}

// logTo logs without times.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil))
}

// requests are those that came after binds.
func (f *fake) requests() []message.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]message.Message{}, f.heard...)
}

func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// pool is one whose only server is the fake, unless o names others.
func (f *fake) pool(t *testing.T, o Options) *Pool {
	t.Helper()
	if o.Servers == nil {
		o.Servers = []Server{{Transport: Unix, Address: "/fake"}}
	}
	o.Dial = f.dial
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); f.wait.Wait() })
	return p
}

func result(id int32, op message.Op, code message.Code) []byte {
	return message.AppendResult(nil, id, op, message.Result{Code: code})
}

func entry(id int32, dn string) []byte {
	return message.AppendEntry(nil, id, dn, []message.Attribute{{Name: "cn", Values: []string{"x"}}}, false)
}

func search(id int32, controls ...message.Control) message.Message {
	op := message.Search{Base: []byte("dc=test"), Filter: message.FilterPresent("objectClass"), Attributes: message.AttributeSelection()}.AppendOp(nil)
	return message.Message{ID: id, Op: op, Controls: message.AppendControls(nil, controls...)}
}

// client is a sink that notes what it gets.
type client struct {
	block chan struct{} // not nil: Replies waits for it

	mu      sync.Mutex
	writes  [][]byte
	done    []Done
	open    []Operation
	why     error
	fails   error
	changed chan struct{}
}

func newClient() *client { return &client{changed: make(chan struct{}, 1000)} }

func (c *client) Replies(octets []byte, done []Done) error {
	if c.block != nil {
		<-c.block
	}
	c.mu.Lock()
	c.writes = append(c.writes, append([]byte{}, octets...))
	c.done = append(c.done, done...)
	err := c.fails
	c.mu.Unlock()
	c.changed <- struct{}{}
	return err
}

func (c *client) Lost(open []Operation, why error) {
	c.mu.Lock()
	c.open, c.why = open, why
	c.mu.Unlock()
	c.changed <- struct{}{}
}

// until waits for a state.
func (c *client) until(t *testing.T, state func() bool) {
	t.Helper()
	for {
		c.mu.Lock()
		ok := state()
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.changed:
		case <-t.Context().Done():
			t.Fatal("it never came to that")
		}
	}
}

func (c *client) finished(t *testing.T, n int) {
	t.Helper()
	c.until(t, func() bool { return len(c.done) >= n })
}

func (c *client) lost(t *testing.T) error {
	t.Helper()
	c.until(t, func() bool { return c.why != nil })
	return c.why
}

// lease takes one, and fails the test when there is none.
func lease(t *testing.T, p *Pool, s Sink) *Lease {
	t.Helper()
	l, err := p.Lease(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// settled waits until no lease is under way: a connection comes back when its client has
// what was said to him, a moment after he has seen it.
func settled(t *testing.T, p *Pool) {
	t.Helper()
	for p.Stats().Leased > 0 {
		if t.Context().Err() != nil {
			t.Fatal("a lease does not end")
		}
		runtime.Gosched()
	}
}

func send(t *testing.T, l *Lease, m message.Message) {
	t.Helper()
	if err := l.Send(t.Context(), m, "u:rick@a.test"); err != nil {
		t.Fatal(err)
	}
}

var errNoServer = errors.New("connection refused")
