package wire

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"dancemta/internal/crowd"
)

// TestRepliesAreCounted: every reply is told once, those of the wire, those of sessions, and
// that of a connection that is refused.
func TestRepliesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var codes []string
		w := newWorld(t, func(c *Config, _ *recorder) {
			c.Crowd = crowd.New(crowd.Options{Connections: 1})
			c.OnReply = func(code int) {
				mu.Lock()
				defer mu.Unlock()
				codes = append(codes, fmt.Sprint(code))
			}
		})
		defer w.shut()
		p := w.dial()
		p.send("EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
		p.send("x\r\n.\r\n")
		p.send("NONSENSE\r\n")
		w.dial()
		p.send("NOOP\x00\r\n") // ends the connection
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got, want := strings.Join(codes, " "), "220 250 250 250 354 250 500 421 500"; got != want {
			t.Errorf("replies %s, want %s", got, want)
		}
	})
}
