package upstream

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"dancemta/ldapbridge/message"
)

// piped is a connection that says what it was given, and hears all.
type piped struct {
	net.Conn // nil: what is not here is not used
	says     *bytes.Reader
}

func (p *piped) Read(b []byte) (int, error)       { return p.says.Read(b) }
func (p *piped) Write(b []byte) (int, error)      { return len(b), nil }
func (p *piped) Close() error                     { return nil }
func (p *piped) SetDeadline(time.Time) error      { return nil }
func (p *piped) SetReadDeadline(time.Time) error  { return nil }
func (p *piped) SetWriteDeadline(time.Time) error { return nil }

// checked is a client who looks at what he gets: whole messages with IDs of his own,
// each operation ended once.
type checked struct {
	t    *testing.T
	open map[int32]message.Op
	lost bool
}

func (c *checked) Replies(octets []byte, done []Done) error {
	if c.lost {
		c.t.Fatal("replies after the end")
	}
	ended := 0
	for rest := octets; len(rest) > 0; {
		m, used := first(c.t, rest)
		rest = rest[used:]
		op, known := c.open[m.ID]
		if !known {
			c.t.Fatalf("a reply with ID %d", m.ID)
		}
		if m.Tag() == op.Reply() {
			if done[ended].ID != m.ID || done[ended].Op != op {
				c.t.Fatalf("%v ended, not %v", done[ended], op)
			}
			delete(c.open, m.ID)
			ended++
		}
	}
	if ended != len(done) {
		c.t.Fatalf("%d ended, not %d", ended, len(done))
	}
	return nil
}

func (c *checked) Lost(open []Operation, why error) {
	if c.lost || why == nil || len(open) != len(c.open) {
		c.t.Fatalf("lost twice or wrongly: %v, %v, of %v", open, why, c.open)
	}
	c.lost = true
}

// first reads the message that b begins with, and says how long it is.
func first(t *testing.T, b []byte) (message.Message, int) {
	r := bytes.NewReader(b)
	in := bufio.NewReader(r)
	m, err := message.Read(in, message.Limits{Elements: -1, Bytes: 1 << 20})
	if err != nil {
		t.Fatalf("the client got %x: %v", b, err)
	}
	return m, len(b) - r.Len() - in.Buffered()
}

// FuzzReplies: whatever a server says, the client gets whole messages of his own
// operations, each of which ends once.
func FuzzReplies(f *testing.F) {
	ok := [][]byte{entry(2, "dc=x"), result(2, message.SearchDone, 0), result(3, message.ModifyResponse, 50), result(4, message.SearchDone, 4)}
	f.Add(bytes.Join(ok, nil))
	f.Add(bytes.Join(append(ok, ok...), nil))
	f.Add(append(entry(4, "dc=x"), message.NoticeOfDisconnection(nil, 52, "bye")...))
	f.Add(message.AppendMessage(nil, 2, []byte{byte(message.SearchDone), 7, 0x0a, 1, 0, 4, 0, 4, 0}, message.AppendControls(nil, paged("abc"))))
	f.Add([]byte{0x30, 0x84, 0, 0, 0, 5, 2, 1, 2, 0x79, 0})
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, says []byte) {
		bound := result(1, message.BindResponse, 0)
		conn := &piped{says: bytes.NewReader(bound)}
		c := &checked{t: t, open: map[int32]message.Op{10: message.SearchRequest, 11: message.ModifyRequest, 12: message.SearchRequest}}
		p, err := New(Options{
			Servers: []Server{{Transport: Unix, Address: "/fuzz"}}, Reply: 1 << 20,
			Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		// The reader starts when the operations are there.
		one, err := p.prepare(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		l := &Lease{sink: c}
		p.places <- struct{}{}
		if !one.begin(l) {
			t.Fatal("it has ended")
		}
		for _, m := range []message.Message{search(10, paged("")), {ID: 11, Op: []byte{byte(message.ModifyRequest), 5, 4, 1, 'x', 0x30, 0}}, search(12)} {
			if err := l.Send(t.Context(), m, ""); err != nil {
				t.Fatal(err)
			}
		}
		conn.says.Reset(says)
		if !p.add(one) {
			t.Fatal("closed")
		}
		p.wait.Wait()
		if !c.lost || len(p.places) != 0 {
			t.Fatal("the end went by")
		}
		p.Close()
	})
}
