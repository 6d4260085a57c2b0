package smtpclient

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"dancemta/internal/mailaddr"
)

// recorder is a server that accepts everything and keeps each octet that came.
type recorder struct {
	keywords []string
	lmtp     bool
	all      bytes.Buffer // whatever came
	bodies   []string     // whole messages, dots removed
	rcpts    int
}

// serve plays until the client leaves.
func (s *recorder) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(io.TeeReader(conn, &s.all))
	say := func(line string) { io.WriteString(conn, line+"\r\n") }
	var body strings.Builder
	done := func() {
		s.bodies = append(s.bodies, body.String())
		body.Reset()
		for range max(1, s.rcpts) {
			if say("250 2.0.0 ok"); !s.lmtp {
				break
			}
		}
		s.rcpts = 0
	}
	say("220 mx")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var n int
		switch verb, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " "); verb {
		case "EHLO", "LHLO":
			for _, k := range s.keywords {
				say("250-" + k)
			}
			say("250 8BITMIME")
		case "RCPT":
			s.rcpts++
			say("250 ok")
		case "DATA":
			say("354 go")
			for line, err := r.ReadString('\n'); line != ".\r\n"; line, err = r.ReadString('\n') {
				if err != nil {
					return
				}
				body.WriteString(strings.TrimPrefix(line, "."))
			}
			done()
		case "BDAT":
			fmt.Sscanf(line, "BDAT %d", &n)
			chunk := make([]byte, n)
			if _, err := io.ReadFull(r, chunk); err != nil {
				return
			}
			if body.Write(chunk); strings.Contains(line, "LAST") {
				done()
			} else {
				say("250 ok")
			}
		default:
			say("250 ok")
		}
	}
}

// TestNoLoneLineEnd: whatever a message holds, and whichever way it goes, every CR
// and LF that leaves is a part of CRLF, and no NUL does; and a message that holds
// others never gets an end. Senders chose the addresses, too.
func TestNoLoneLineEnd(t *testing.T) {
	ends := []string{"\r\n", "\r\n", "\r\n", "\r\n.\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n.", "\x00", "."}
	line := strings.Repeat("x", 998) + "\r\n"
	random := rand.New(rand.NewPCG(1, 2))
	for _, way := range []recorder{
		{}, {keywords: []string{"PIPELINING"}}, {keywords: []string{"CHUNKING"}},
		{keywords: []string{"PIPELINING", "CHUNKING", "DSN", "SIZE", "SMTPUTF8"}},
		{keywords: []string{"PIPELINING", "CHUNKING"}, lmtp: true},
	} {
		for n := range 30 {
			filler := strings.Repeat(line, random.IntN(2)*(minChunked/len(line)+random.IntN(200)))
			body := filler
			bad := n%2 == 0
			for range 1 + random.IntN(8) {
				kinds := 4
				if bad {
					kinds = len(ends)
				}
				body += "text" + ends[random.IntN(kinds)]
			}
			checkStream(t, way, body)
		}
	}
}

func checkStream(t *testing.T, s recorder, body string) {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan struct{})
	go func() { defer close(served); s.serve(there) }()
	o := options
	o.LMTP = s.lmtp
	c, err := New(t.Context(), here, o)
	if err != nil {
		t.Fatal(err)
	}
	m := message(body, "b@remote.test")
	m.EnvelopeID, m.Recipients[0].Original = "x\ry\nz", "rfc822;a\nb\rc"
	m.Sender = mailaddr.MustParse(`"a> SIZE=1 <b"@example.test`)
	all := c.Send(t.Context(), m)
	c.Close()
	<-served
	if hasLone(s.all.String()) {
		t.Errorf("%q left for %q", tail(s.all.String()), tail(body))
	}
	switch bad := hasLone(body); {
	case bad && (len(s.bodies) != 0 || results(all) != "failed 5.6.0"):
		t.Errorf("%q arrived with its end: %s", tail(body), results(all))
	case !bad && (results(all) != "ok" || len(s.bodies) != 1 || s.bodies[0] != ended(body)):
		t.Errorf("%q did not arrive as it was: %s", tail(body), results(all))
	}
}

// hasLone is loneEnd for long texts.
func hasLone(s string) bool {
	return strings.ContainsAny(strings.ReplaceAll(s, "\r\n", ""), "\r\n\x00")
}

func tail(s string) string { return s[max(0, len(s)-80):] }

func ended(s string) string {
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return s
}

// FuzzSession: whatever a server says, and however it is cut, ends in an outcome
// for each recipient, and nobody is taken for served unless the server said 250
// behind its 354 or to a chunk.
func FuzzSession(f *testing.F) {
	const start = "220 x\r\n250-x\r\n250 PIPELINING\r\n"
	f.Add(start+"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", 1000, false)
	f.Add(start+"250 ok\r\n550 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n421 x\r\n", 3, true)
	f.Add("220 x\r\n250 CHUNKING\r\n250 ok\r\n250-ok\r\n251 ok\r\n", 7, false)
	f.Fuzz(func(t *testing.T, says string, step int, lmtp bool) {
		here, there := net.Pipe()
		done := make(chan struct{}, 2)
		go func() { io.Copy(io.Discard, there); done <- struct{}{} }()
		go func() {
			io.Copy(there, &pieces{strings.NewReader(says), max(1, step)})
			there.Close()
			done <- struct{}{}
		}()
		defer func() { here.Close(); <-done; <-done }()
		o := options
		o.LMTP = lmtp
		c, err := New(t.Context(), here, o)
		if err != nil {
			return
		}
		all := c.Send(t.Context(), message("x\r\n", "b@remote.test", "c@remote.test"))
		c.Close()
		if len(all) != 2 {
			t.Fatalf("%d results", len(all))
		}
		for _, r := range all {
			switch {
			case r.Err == nil && (r.Reply.Code/100 != 2 || !strings.Contains(says, "3")):
				t.Errorf("%+v was taken for an acceptance of %q", r.Reply, says)
			case r.Err != nil && strings.ContainsAny(r.Err.Error(), "\r\n\x00\x1b"):
				t.Errorf("%q is not clean", r.Err)
			}
		}
	})
}
