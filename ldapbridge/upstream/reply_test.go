package upstream

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/ldapbridge/message"
)

// TestReplies: each goes to the operation that it answers, in order, octet for octet;
// those that came together leave together.
func TestReplies(t *testing.T) {
	page := message.AppendControls(nil, message.Control{OID: "1.3.6.1.4.1.42.2.27.8.5.1", Value: []byte{0x30, 0}, HasValue: true})
	var ids []int32
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
		if ids = append(ids, m.ID); len(ids) < 2 {
			return nil
		}
		// An entry with a length in more octets than it needs, as BER allows.
		odd := []byte{0x30, 0x82, 0, 11, 2, 1, byte(ids[0]), 0x64, 0x81, 5, 4, 1, 'x', 0x30, 0}
		done := message.AppendMessage(nil, ids[0], []byte{byte(message.SearchDone), 7, 0x0a, 1, 32, 4, 0, 4, 0}, page)
		return c.say(odd, entry(ids[1], "dc=b"), done, result(ids[1], message.SearchDone, message.Success))
	}}
	s := newClient()
	l := lease(t, f.pool(t, Options{}), s)
	send(t, l, search(300)) // an ID of two octets for one of one
	send(t, l, search(5))
	s.finished(t, 2)
	if len(s.writes) != 1 {
		t.Errorf("%d writes", len(s.writes))
	}
	want := []byte{0x30, 12, 2, 2, 1, 44, 0x64, 0x81, 5, 4, 1, 'x', 0x30, 0}
	want = append(want, entry(5, "dc=b")...)
	want = message.AppendMessage(want, 300, []byte{byte(message.SearchDone), 7, 0x0a, 1, 32, 4, 0, 4, 0}, page)
	want = append(want, result(5, message.SearchDone, message.Success)...)
	if got := bytes.Join(s.writes, nil); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if s.done[0] != (Done{Operation{300, message.SearchRequest}, 32}) || s.done[1] != (Done{Operation{5, message.SearchRequest}, 0}) {
		t.Errorf("%v", s.done)
	}
	l.Return()
}

// TestHostileReplies: whatever a server says that it may not say, the client hears
// what became of his operations, and the connection is closed.
func TestHostileReplies(t *testing.T) {
	for _, c := range []struct {
		name string
		says func(id int32) []byte
		want error
	}{
		{"an ID that was never used", func(id int32) []byte { return result(id+1, message.SearchDone, 0) }, errForeign},
		{"an ID of long ago", func(id int32) []byte { return result(id-1, message.BindResponse, 0) }, errForeign},
		{"a negative ID", func(int32) []byte { return []byte{0x30, 5, 2, 1, 0xff, 0x65, 0} }, message.ErrMalformed},
		{"the end of another kind", func(id int32) []byte { return result(id, message.ModifyResponse, 0) }, errKind},
		{"a request", func(id int32) []byte { return message.AppendMessage(nil, id, message.UnbindOp(), nil) }, errKind},
		{"no result", func(id int32) []byte {
			return message.AppendMessage(nil, id, []byte{byte(message.SearchDone), 0}, nil)
		}, message.ErrMalformed},
		{"garbage", func(int32) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n") }, message.ErrMalformed},
		{"an indefinite length", func(int32) []byte { return []byte{0x30, 0x80, 2, 1} }, message.ErrMalformed},
		{"a huge entry", func(int32) []byte { return []byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 2, 1} }, ErrTooLarge},
		{"a cut entry", func(id int32) []byte { return entry(id, "dc=x")[:9] }, ErrUnavailable},
		{"the end", func(int32) []byte { return nil }, ErrUnavailable},
		{"a notice", func(int32) []byte { return message.NoticeOfDisconnection(nil, message.Unavailable, "shutting down") }, errNotice},
		{"a notice that is none", func(int32) []byte { return result(0, message.SearchDone, 0) }, errForeign},
	} {
		f := &fake{t: t, serve: func(fc *fakeConn, m message.Message) error {
			fc.say(entry(m.ID, "dc=good"), c.says(m.ID))
			return errors.New("closed")
		}}
		events := map[string]int{}
		s := newClient()
		p := f.pool(t, Options{Count: func(e string) { events[e]++ }, Reply: 1 << 20})
		l := lease(t, p, s)
		send(t, l, search(8))
		why := s.lost(t)
		if !errors.Is(why, c.want) || !errors.Is(why, ErrUnavailable) && !errors.Is(why, ErrTooLarge) {
			t.Errorf("%s: %v", c.name, why)
		}
		if len(s.open) != 1 || s.open[0] != (Operation{8, message.SearchRequest}) {
			t.Errorf("%s: open are %v", c.name, s.open)
		}
		if got := bytes.Join(s.writes, nil); !bytes.Equal(got, entry(8, "dc=good")) {
			t.Errorf("%s: the client got %x", c.name, got)
		}
		if err := l.Send(t.Context(), search(9), ""); !errors.Is(err, ErrGone) {
			t.Errorf("%s: Send: %v", c.name, err)
		}
		l.Return() // does nothing
		if st := p.Stats(); st != (Stats{}) || events[EventLost] != 1 {
			t.Errorf("%s: %+v, %v", c.name, st, events)
		}
	}
}

// TestUnknownNotice: what is not known to end the connection does not.
func TestUnknownNotice(t *testing.T) {
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
		return c.say(message.AppendResult(nil, 0, message.ExtendedResponse, message.Result{OID: "1.2.3"}), result(m.ID, message.SearchDone, 0))
	}}
	s := newClient()
	l := lease(t, f.pool(t, Options{}), s)
	send(t, l, search(8))
	s.finished(t, 1)
	l.Return()
}

// TestSilence: a server that owes a reply and says nothing is given up; one that says
// a little now and then is not.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
			for range 3 {
				time.Sleep(50 * time.Second)
				c.say(entry(m.ID, "dc=slow"))
			}
			return nil
		}}
		s := newClient()
		l := lease(t, f.pool(t, Options{Silence: time.Minute, IdleTime: 20 * time.Second}), s)
		time.Sleep(3 * time.Minute) // the client is silent: that is no fault
		began := time.Now()
		send(t, l, search(1))
		if why := s.lost(t); !errors.Is(why, errSilent) {
			t.Error(why)
		}
		if took := time.Since(began); took != 3*50*time.Second+time.Minute || len(s.writes) != 3 {
			t.Errorf("after %v, %d entries", took, len(s.writes))
		}
	})
}

// TestBabble: an operation that was abandoned may go on for a moment, not for ever.
func TestBabble(t *testing.T) {
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
		if m.Tag() != message.AbandonRequest {
			return nil
		}
		late := bytes.Repeat(entry(2, "dc=late"), 1000)
		for range 2 * maxStray / 1000 {
			if err := c.say(late); err != nil {
				return err
			}
		}
		return errors.New("enough")
	}}
	s := newClient()
	l := lease(t, f.pool(t, Options{}), s)
	send(t, l, search(1))
	if err := l.Abandon(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if why := s.lost(t); !errors.Is(why, errBabble) || len(s.open) != 0 {
		t.Errorf("%v, %v", why, s.open)
	}
}

// TestSlowClient: the server is not read on behalf of a client who takes nothing, and
// another one is served meanwhile.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := 0
		f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
			if c.number > 1 {
				return c.say(result(m.ID, message.SearchDone, 0))
			}
			for written < 10_000 {
				if err := c.say(entry(m.ID, strings.Repeat("x", 1000))); err != nil {
					return err
				}
				written++
			}
			return c.say(result(m.ID, message.SearchDone, 0))
		}}
		p := f.pool(t, Options{})
		slow, quick := newClient(), newClient()
		slow.changed = make(chan struct{}, 20_000)
		slow.block = make(chan struct{})
		l := lease(t, p, slow)
		send(t, l, search(1))
		synctest.Wait()
		if written > 3 {
			t.Errorf("%d entries are somewhere between", written)
		}
		other := lease(t, p, quick)
		send(t, other, search(1))
		quick.finished(t, 1)
		other.Return()
		close(slow.block)
		slow.finished(t, 1)
		if written != 10_000 {
			t.Errorf("%d entries", written)
		}
		l.Return()
	})
}

// count is a client who takes all and keeps nothing.
type count struct {
	octets, writes int
	done           chan []Done
}

func (c *count) Replies(octets []byte, done []Done) error {
	c.octets += len(octets)
	c.writes++
	if len(done) > 0 {
		c.done <- done
	}
	return nil
}

func (c *count) Lost([]Operation, error) { close(c.done) }

// TestStream: a search of 100,000 entries needs no more memory than one of ten.
func TestStream(t *testing.T) {
	const entries = 100_000
	someone := "uid=" + strings.Repeat("x", 500) + ",dc=test"
	one := len(entry(2, someone))
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
		many := bytes.Repeat(entry(m.ID, someone), 100)
		for range entries / 100 {
			if err := c.say(many); err != nil {
				return err
			}
		}
		return c.say(result(m.ID, message.SearchDone, 0))
	}}
	s := &count{done: make(chan []Done, 1)}
	l := lease(t, f.pool(t, Options{}), s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send(t, l, search(1))
	if done := <-s.done; len(done) != 1 || s.octets != entries*one+len(result(1, message.SearchDone, 0)) {
		t.Errorf("%v, %d octets", done, s.octets)
	}
	runtime.ReadMemStats(&after)
	// Garbage and all; what passed is 54 MB.
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 32<<20 {
		t.Errorf("the heap grew by %d octets", grown)
	}
	if s.writes > entries/20 {
		t.Errorf("%d writes", s.writes)
	}
	l.Return()
}
