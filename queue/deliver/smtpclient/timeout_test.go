package smtpclient

import (
	"bufio"
	"io"
	"net"
	"strings"
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
