package deliver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// breaker is a server whose connections end after so many octets, sent or received.
type breaker struct {
	offers   string // lines of EHLO
	lmtp     bool
	sends    int // octets until the end; -1: it goes on
	receives int

	mu    sync.Mutex
	taken int // bodies that came to their end
	told  int // 250 that left for them, whole
}

var errBreak = errors.New("the line breaks here")

// Read and write count.
type breaking struct {
	net.Conn
	b *breaker
}

func (c breaking) Read(p []byte) (int, error) {
	if c.b.receives == 0 {
		return 0, errBreak
	}
	if c.b.receives > 0 && len(p) > c.b.receives {
		p = p[:c.b.receives]
	}
	n, err := c.Conn.Read(p)
	if c.b.receives > 0 {
		c.b.receives -= n
	}
	return n, err
}

func (c breaking) Write(p []byte) (int, error) {
	if c.b.sends < 0 || len(p) <= c.b.sends {
		if c.b.sends >= 0 {
			c.b.sends -= len(p)
		}
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:c.b.sends])
	c.b.sends = 0
	return n, errBreak
}

func (b *breaker) serve(conn net.Conn) {
	defer func() { // what is on its way arrives, as it would on a line that breaks
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}()
	c := breaking{conn, b}
	in := bufio.NewReader(c)
	say := func(line string) error { _, err := io.WriteString(c, line+"\r\n"); return err }
	if say("220 mx") != nil {
		return
	}
	rcpts := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "EHLO", "LHLO":
			err = say("250-mx\r\n" + b.offers + "250 ENHANCEDSTATUSCODES")
		case "RCPT":
			rcpts++
			err = say("250 2.1.5 ok")
		case "DATA":
			if err = say("354 go"); err == nil {
				err = b.body(in, say, rcpts)
			}
			rcpts = 0
		case "BDAT":
			err = b.chunk(in, rest, say, rcpts)
		case "QUIT":
			say("221 bye")
			return
		default:
			err = say("250 2.0.0 ok")
		}
		if err != nil {
			return
		}
	}
}

func (b *breaker) body(in *bufio.Reader, say func(string) error, rcpts int) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			return b.take(say, rcpts)
		}
	}
}

func (b *breaker) chunk(in *bufio.Reader, rest string, say func(string) error, rcpts int) error {
	var n int64
	fmt.Sscan(rest, &n)
	if _, err := io.CopyN(io.Discard, in, n); err != nil {
		return err
	}
	if strings.HasSuffix(rest, "LAST") {
		return b.take(say, rcpts)
	}
	return say("250 2.0.0 more")
}

// take is the moment when the server has the message.
func (b *breaker) take(say func(string) error, rcpts int) error {
	replies := 1
	if b.lmtp {
		replies = rcpts
	}
	b.mu.Lock()
	b.taken++
	b.mu.Unlock()
	for range replies {
		if err := say("250 2.0.0 kept"); err != nil {
			return err
		}
		b.mu.Lock()
		b.told++
		b.mu.Unlock()
	}
	return nil
}

// TestBrokenAnywhere: wherever a connection breaks, a message is given to a second
// host only if the first cannot have it, and is delivered if and only if a host
// has said so.
func TestBrokenAnywhere(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 140) // more than one chunk
	for _, c := range []struct {
		name, offers, body string
		lmtp               bool
		step               int
	}{
		{"line by line", "", "Subject: x\r\n\r\n.x\r\n", false, 1},
		{"PIPELINING", "250-PIPELINING\r\n", "Subject: x\r\n\r\n.x\r\n", false, 1},
		{"CHUNKING", "250-CHUNKING\r\n", long, false, 997},
		{"both", "250-CHUNKING\r\n250-PIPELINING\r\n", long, false, 997},
		{"LMTP", "250-PIPELINING\r\n", "Subject: x\r\n\r\nx\r\n", true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := 0; ; n++ { // octets that are sent
				if done := breakAt(t, &breaker{offers: c.offers, lmtp: c.lmtp, sends: n, receives: -1}, c.body); done {
					break
				}
			}
			for n := 0; ; n += c.step {
				if done := breakAt(t, &breaker{offers: c.offers, lmtp: c.lmtp, sends: -1, receives: n}, c.body); done {
					break
				}
			}
		})
	}
}

// patience is what only a mistake of the test would use up.
const patience = 2 * time.Second

// breakAt reports whether the dialog came to its end.
func breakAt(t *testing.T, first *breaker, body string) (done bool) {
	t.Helper()
	at := fmt.Sprintf("after %d sent, %d received", first.sends, first.receives)
	second := &breaker{offers: first.offers, lmtp: first.lmtp, sends: -1, receives: -1}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var serving sync.WaitGroup
	called := 0
	dial := func() net.Conn {
		called++
		b := first
		if called > 1 {
			b = second
		}
		serving.Go(func() {
			if conn, err := l.Accept(); err == nil {
				b.serve(conn)
			}
		})
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	r := Route{Hosts: []string{"192.0.2.1:2525", "192.0.2.2:2525"}, LMTP: first.lmtp}
	d := newDeliverer(t, Options{Resolver: zone{}, Route: func(string) Route { return r }, Dial: dialTo(dial), Timeouts: smtpclient.Timeouts{Greeting: patience, Hello: patience, Mail: patience, Rcpt: patience, Data: patience, Block: patience, Dot: patience}})
	got := d.attempt(context.Background(), job(body, "b@d.test", "c@d.test"))
	serving.Wait()
	delivered := 0
	for _, o := range got {
		switch o.Result {
		case queue.Delivered:
			delivered++
		case queue.Failed:
			t.Errorf("%s: failed: %s", at, o.Reply)
		}
	}
	told := first.told + second.told
	if !first.lmtp {
		told *= len(got)
	}
	if delivered != told || first.taken > 0 && second.taken > 0 {
		t.Errorf("%s: %s: delivered %d, told %d; taken by the first %d, the second %d", at, text(got), delivered, told, first.taken, second.taken)
	}
	return called == 1 && delivered == len(got)
}
