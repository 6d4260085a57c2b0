package upstream

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"dancemta/ldapbridge/message"
)

// The controls of RFC 4370 that must stand behind an operation, written by hand.
const (
	asRick      = "302c" + "0418" + proxiedHex + "0101ff040d" + "753a7269636b40612e74657374"
	asDN        = "30280418" + proxiedHex + "0101ff0409" + "646e3a64633d612c62"
	asAnonymous = "301f0418" + proxiedHex + "0101ff0400"
	proxiedHex  = "322e31362e3834302e312e3131333733302e332e342e3138" // 2.16.840.1.113730.3.4.18
)

func TestSendProxies(t *testing.T) {
	noDN := message.Control{OID: "1.3.6.1.1.12", Critical: true, Value: []byte{0x87, 1, 'x'}, HasValue: true}
	const theirs = "3016040c" + "312e332e362e312e312e3132" + "0101ff0403870178"
	for _, c := range []struct {
		name string
		m    message.Message
		as   Authzid
		want string // the controls
	}{
		{"a user", search(7), "u:rick@a.test", "a02e" + asRick},
		{"a DN", search(7), "dn:dc=a,b", "a02a" + asDN},
		{"anonymous", search(7), "", "a021" + asAnonymous},
		{"behind the client's own", search(7, noDN), "u:rick@a.test", "a046" + theirs + asRick},
		{"an update", message.Message{ID: 9, Op: []byte{byte(message.DeleteRequest), 2, 'd', 'c'}}, "", "a021" + asAnonymous},
		{"an extended operation", message.Message{ID: 9, Op: message.ExtendedOp(message.OIDPasswordModify, []byte{0x30, 0})}, "", "a021" + asAnonymous},
	} {
		f := &fake{t: t}
		s := newClient()
		l := lease(t, f.pool(t, Options{}), s)
		if err := l.Send(t.Context(), c.m, c.as); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		s.finished(t, 1)
		got := f.requests()[0]
		if hex.EncodeToString(got.Controls) != c.want || !bytes.Equal(got.Op, c.m.Op) {
			t.Errorf("%s:\ngot  %x %x\nwant %s %x", c.name, got.Controls, got.Op, c.want, c.m.Op)
		}
		if got.ID != 2 || s.done[0] != (Done{Operation{c.m.ID, c.m.Tag()}, message.Success}) { // 1 was the bind
			t.Errorf("%s: ID %d, %v", c.name, got.ID, s.done)
		}
		l.Return()
	}
}

// TestSendProxiesEach: one client's operations run as whom each was sent, whoever the
// one before was.
func TestSendProxiesEach(t *testing.T) {
	f := &fake{t: t}
	s := newClient()
	l := lease(t, f.pool(t, Options{}), s)
	for i, c := range []struct {
		as   Authzid
		want string
	}{
		{"u:rick@a.test", "a02e" + asRick}, {"u:rick@a.test", "a02e" + asRick}, {"", "a021" + asAnonymous},
		{"dn:dc=a,b", "a02a" + asDN}, {"", "a021" + asAnonymous}, {"u:rick@a.test", "a02e" + asRick},
	} {
		if err := l.Send(t.Context(), search(int32(i+1)), c.as); err != nil {
			t.Fatal(err)
		}
		s.finished(t, i+1)
		if got := hex.EncodeToString(f.requests()[i].Controls); got != c.want {
			t.Errorf("%d, %s: %s", i, c.as, got)
		}
	}
	l.Return()
}

// TestSendRefuses: what would make the connection somebody else's is not even
// written.
func TestSendRefuses(t *testing.T) {
	with := func(oid string) message.Message { return search(7, message.Control{OID: oid}) }
	op := func(op ...byte) message.Message { return message.Message{ID: 7, Op: op} }
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		name string
		m    message.Message
		as   Authzid
		ctx  context.Context
		want error
	}{
		{"a bind", op(0x60, 7, 2, 1, 3, 4, 0, 0x80, 0), "", nil, ErrOperation},
		{"an unbind", op(0x42, 0), "", nil, ErrOperation},
		{"an abandon", op(0x50, 1, 2), "", nil, ErrOperation},
		{"a reply", op(0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0), "", nil, ErrOperation},
		{"a search of another form", op(0x43, 0), "", nil, ErrOperation},
		{"nothing", op(), "", nil, ErrOperation},
		{"StartTLS", op(message.ExtendedOp("1.3.6.1.4.1.1466.20037", nil)...), "", nil, ErrOperation},
		{"Cancel with an ID of the client's", op(message.ExtendedOp("1.3.6.1.1.8", []byte{0x30, 3, 2, 1, 1})...), "", nil, ErrOperation},
		{"an extended operation without a name", op(0x77, 0), "", nil, ErrForm},
		// Behind these slapd does not find our control, and runs them as the bridge.
		{"an element too many", op(0x6e, 13, 4, 1, 'x', 0x30, 6, 4, 1, 'a', 4, 1, 'b', 4, 0), "", nil, ErrForm},
		{"an element too many, extended", op(0x77, 7, 0x80, 3, '1', '.', '2', 4, 0), "", nil, ErrForm},
		{"a part that is missing", op(0x66, 3, 4, 1, 'x'), "", nil, ErrForm},
		{"proxied authorization of its own", with("2.16.840.1.113730.3.4.18"), "", nil, ErrControl},
		{"the old proxied authorization", with("2.16.840.1.113730.3.4.12"), "", nil, ErrControl},
		{"controls that are cut off", message.Message{ID: 7, Op: search(7).Op, Controls: []byte{0xa0, 5, 0x30}}, "", nil, ErrControl},
		{"a page without a cookie", with(message.OIDPagedResults), "", nil, ErrControl},
		{"a name of another form", search(7), "rick@a.test", nil, ErrAuthzid},
		{"no message ID", search(0), "", nil, ErrOperation},
		{"a client who has gone", search(7), "", ended, context.Canceled},
	} {
		f := &fake{t: t}
		l := lease(t, f.pool(t, Options{}), newClient())
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		if err := l.Send(c.ctx, c.m, c.as); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", c.name, err, c.want)
		}
		if l.Outstanding() != 0 {
			t.Errorf("%s: is outstanding", c.name)
		}
		l.Return()
		if got := f.requests(); len(got) != 0 {
			t.Errorf("%s: the server heard %x", c.name, got[0].Op)
		}
	}
}

// TestSendBounds: message IDs tell a client's operations apart, and there is a bound.
func TestSendBounds(t *testing.T) {
	f := &fake{t: t, serve: func(*fakeConn, message.Message) error { return nil }}
	l := lease(t, f.pool(t, Options{Outstanding: 2}), newClient())
	defer l.Close()
	send(t, l, search(1))
	if err := l.Send(t.Context(), search(1), ""); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
	send(t, l, search(2))
	if err := l.Send(t.Context(), search(3), ""); !errors.Is(err, ErrCrowded) {
		t.Error(err)
	}
	if n := l.Outstanding(); n != 2 {
		t.Errorf("%d are outstanding", n)
	}
}

// TestAbandonAndCancel: the server gets its own ID of what the client names, and what
// it still says of it goes nowhere.
func TestAbandonAndCancel(t *testing.T) {
	var first int32
	f := &fake{t: t, serve: func(c *fakeConn, m message.Message) error {
		switch m.Tag() {
		case message.AbandonRequest:
			target, err := message.ParseAbandon(m.Op)
			if err != nil || target != first || m.Controls != nil {
				t.Errorf("abandons %d: %v", target, err)
			}
			return c.say(entry(target, "dc=late"), result(target, message.SearchDone, message.Success))
		case message.ExtendedRequest:
			x, err := message.ParseExtended(m.Op)
			target, err2 := message.ParseCancel(x.Value)
			if err != nil || err2 != nil || x.OID != "1.3.6.1.1.8" {
				t.Errorf("%v %v %q", err, err2, x.OID)
			}
			return c.say(result(target, message.SearchDone, message.Canceled), result(m.ID, message.ExtendedResponse, message.Success))
		}
		if first == 0 {
			first = m.ID
		}
		return nil
	}}
	s := newClient()
	p := f.pool(t, Options{})
	l := lease(t, p, s)
	send(t, l, search(70))
	send(t, l, search(71))
	if err := l.Abandon(t.Context(), 70); err != nil {
		t.Fatal(err)
	}
	if err := l.Abandon(t.Context(), 99); err != nil { // RFC 4511 4.11: nothing to be said
		t.Fatal(err)
	}
	if err := l.Cancel(t.Context(), 73, 70); !errors.Is(err, ErrUnknown) {
		t.Errorf("Cancel of what was abandoned: %v", err)
	}
	if err := l.Cancel(t.Context(), 72, 71); err != nil {
		t.Fatal(err)
	}
	s.finished(t, 2)
	want := []Done{{Operation{71, message.SearchRequest}, message.Canceled}, {Operation{72, message.ExtendedRequest}, message.Success}}
	if s.done[0] != want[0] || s.done[1] != want[1] {
		t.Errorf("got %v", s.done)
	}
	got := bytes.Join(s.writes, nil)
	if want := append(result(71, message.SearchDone, message.Canceled), result(72, message.ExtendedResponse, message.Success)...); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	l.Return()
	settled(t, p)
	next := lease(t, p, newClient())
	defer next.Return()
	if f.connections() != 1 {
		t.Error("the connection was not kept, and nothing was outstanding")
	}
}
