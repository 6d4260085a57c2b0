package smtpclient

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTimeouts: a server that falls silent at each step, on a fake clock. The
// waits are those of RFC 5321 4.5.3.2.
func TestTimeouts(t *testing.T) {
	const greeting, ehlo, ok, data = "220 x\r\n", "250 x\r\n", "250 ok\r\n", "354 go\r\n"
	for _, c := range []struct {
		name  string
		lines []string // what the server says, one before the first command and one after each
		wait  time.Duration
		want  string
	}{
		{"greeting", nil, 5 * time.Minute, "next 4.4.2"},
		{"EHLO", []string{greeting}, 5 * time.Minute, "next 4.4.2"},
		{"MAIL", []string{greeting, ehlo}, 5 * time.Minute, "next 4.4.2"},
		{"RCPT", []string{greeting, ehlo, ok}, 5 * time.Minute, "next 4.4.2"},
		{"DATA", []string{greeting, ehlo, ok, ok}, 2 * time.Minute, "next 4.4.2"},
		{"dot", []string{greeting, ehlo, ok, ok, data}, 10 * time.Minute, "deferred 4.4.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				defer there.Close()
				go answer(there, c.lines)
				start := time.Now()
				got := oneMessage(t, here)
				if got != c.want || time.Since(start) != c.wait {
					t.Errorf("got %s after %v, want %s after %v", got, time.Since(start), c.want, c.wait)
				}
			})
		})
	}
}

// answer says one line of lines for each line that comes, and then nothing.
func answer(conn net.Conn, lines []string) {
	r := bufio.NewReader(conn)
	for _, line := range lines {
		io.WriteString(conn, line)
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
	}
	io.Copy(io.Discard, r)
}

func oneMessage(t *testing.T, conn net.Conn) string {
	c, err := New(t.Context(), conn, options)
	if err != nil {
		return result(err.(*Error))
	}
	defer c.Close()
	return results(c.Send(t.Context(), message("x\r\n", "b@remote.test")))
}

// TestDripping: a reply has its time as a whole; octets that come now and then
// do not prolong it.
func TestDripping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := there.Write([]byte("220-x\r\n")); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}()
		start := time.Now()
		if _, err := New(t.Context(), here, options); err == nil || time.Since(start) != 5*time.Minute {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		<-done
		there.Close()
	})
}

// TestBlockTimeout: a server that stops reading the body holds us for one block.
func TestBlockTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		go func() {
			r := bufio.NewReader(there)
			for _, line := range []string{"220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n"} {
				io.WriteString(there, line)
				r.ReadString('\n')
			}
			io.WriteString(there, "354 go\r\n") // and read no more
		}()
		c, err := New(t.Context(), here, options)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		all := c.Send(t.Context(), message(strings.Repeat("0123456789\r\n", 10000), "b@remote.test"))
		if got := results(all); got != "next 4.4.2" || time.Since(start) != 3*time.Minute {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
	})
}

// TestSlowSteps: a server that answers each step in its last moment is given the time
// of its phase, and no more. The sums are those of RFC 5321 4.5.3.2 and of pace.go.
func TestSlowSteps(t *testing.T) {
	tenRecipients := make([]string, 10)
	for i := range tenRecipients {
		tenRecipients[i] = "b" + strconv.Itoa(i) + "@remote.test"
	}
	for _, c := range []struct {
		name  string
		lines []string
		slow  int // the line from which on each takes 4 min 59 s
		wait  time.Duration
		want  string
	}{
		{"greeting and EHLO", []string{"220 x\r\n", "502 no\r\n", "250 x\r\n"}, 0, 4*time.Minute + 59*time.Second + 5*time.Minute, "next 4.4.2"},
		{"MAIL and RCPT", slices.Concat([]string{"220 x\r\n", "250 x\r\n"}, slices.Repeat([]string{"250 ok\r\n"}, 11)), 2,
			5*time.Minute + 5*time.Minute + 9*15*time.Second, strings.TrimSuffix(strings.Repeat("next 4.4.2, ", 10), ", ")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				var server sync.WaitGroup
				defer func() { here.Close(); there.Close(); server.Wait() }()
				server.Go(func() {
					r := bufio.NewReader(there)
					for i, line := range c.lines {
						if i >= c.slow {
							time.Sleep(5*time.Minute - time.Second)
						}
						if _, err := io.WriteString(there, line); err != nil {
							return
						}
						if _, err := r.ReadString('\n'); err != nil {
							return
						}
					}
				})
				start := time.Now()
				client, err := New(t.Context(), here, options)
				got := ""
				if err != nil {
					got = result(err.(*Error))
				} else {
					got = results(client.Send(t.Context(), message("x\r\n", tenRecipients...)))
					client.Close()
				}
				if took := time.Since(start); took != c.wait || got != c.want {
					t.Errorf("got %q after %v, want %q after %v", got, took, c.want, c.wait)
				}
			})
		})
	}
}

// TestLeastRate: a server that reads a little now and then holds us for the time that
// the least rate leaves it, by DATA and by BDAT.
func TestLeastRate(t *testing.T) {
	const size = 1 << 20 // at 2 KiB/s 512 s, after 5 free minutes; the server takes 960 s
	for _, c := range []struct {
		name  string
		lines []string
	}{
		{"DATA", []string{"220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"}},
		{"BDAT", []string{"220 x\r\n", "250-x\r\n250 CHUNKING\r\n", "250 ok\r\n", "250 ok\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				var server sync.WaitGroup
				defer func() { here.Close(); there.Close(); server.Wait() }()
				server.Go(func() {
					for i, line := range c.lines {
						io.WriteString(there, line)
						if i == len(c.lines)-1 {
							break
						}
						for b := make([]byte, 1); b[0] != '\n'; {
							if _, err := there.Read(b); err != nil {
								return
							}
						}
					}
					for buf := make([]byte, 32<<10); ; time.Sleep(30 * time.Second) { // 1092 octets per second
						if _, err := there.Read(buf); err != nil {
							return
						}
					}
				})
				client, err := New(t.Context(), here, options)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				m := message(strings.Repeat("0123456789\r\n", size/12), "b@remote.test")
				m.Size = size
				got := results(client.Send(t.Context(), m))
				if took := time.Since(start); got != "next 4.4.2" || took < freeTime || took > freeTime+513*time.Second {
					t.Errorf("got %s after %v", got, took)
				}
			})
		})
	}
}

// TestSlowButMoving: what moves at the least rate arrives, however long it takes.
func TestSlowButMoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		var server sync.WaitGroup
		defer func() { here.Close(); there.Close(); server.Wait() }()
		server.Go(func() {
			r := bufio.NewReader(there)
			for _, line := range []string{"220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n"} {
				io.WriteString(there, line)
				r.ReadString('\n')
			}
			io.WriteString(there, "354 go\r\n")
			last := ""
			for buf := make([]byte, 2*leastRate); ; time.Sleep(2 * time.Second) {
				n, err := there.Read(buf)
				if last = last + string(buf[:n]); err != nil {
					return
				}
				if strings.HasSuffix(last, "\r\n.\r\n") {
					break
				}
				last = last[max(0, len(last)-5):]
			}
			io.WriteString(there, "250 taken\r\n")
		})
		client, err := New(t.Context(), here, options)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		start := time.Now()
		got := results(client.Send(t.Context(), message(strings.Repeat("0123456789\r\n", (2<<20)/12), "b@remote.test")))
		if took := time.Since(start); got != "ok" || took < 15*time.Minute {
			t.Errorf("got %s after %v", got, took)
		}
	})
}

// TestKeptLonger: the time of an opening and of a body ends with them; a session that
// is kept for longer can go on.
func TestKeptLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		var server sync.WaitGroup
		defer func() { here.Close(); there.Close(); server.Wait() }()
		server.Go(func() {
			r := bufio.NewReader(there)
			io.WriteString(there, "220 x\r\n")
			for _, line := range []string{"250-x\r\n250 CHUNKING\r\n", "250 ok\r\n", "250 ok\r\n", "552 too large\r\n", "250 reset\r\n", "550 not you\r\n", "221 bye\r\n"} {
				command, err := r.ReadString('\n')
				var chunk int64
				if n, _ := fmt.Sscanf(command, "BDAT %d", &chunk); n == 1 {
					io.CopyN(io.Discard, r, chunk)
				}
				if err != nil {
					return
				}
				io.WriteString(there, line)
			}
		})
		client, err := New(t.Context(), here, options)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * openingTime)
		for _, m := range []Message{message(strings.Repeat("0123456789\r\n", 20_000), "b@remote.test"), message("x\r\n", "b@remote.test")} {
			all := client.Send(t.Context(), m)
			if e := all[0].Err; e == nil || e.Reply.Code/10 != 55 || !client.Usable() {
				t.Errorf("got %v", e)
			}
			time.Sleep(time.Hour)
		}
		start := time.Now()
		client.Quit(t.Context())
		if time.Since(start) > 0 {
			t.Errorf("QUIT took %v", time.Since(start))
		}
	})
}
