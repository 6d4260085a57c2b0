package dialog

import (
	"io"
	"net"
	"testing"
)

// TestPlay: a client that keeps to the script, and those that do not.
func TestPlay(t *testing.T) {
	for _, c := range []struct {
		name, script, says string
		ok                 bool
	}{
		{"as written", "C: EHLO a\nC: QUIT\n", "EHLO a\r\nQUIT\r\n", true},
		{"other words", "C: EHLO a\n", "EHLO b\r\n", false},
		{"a bare LF", "C: EHLO a\n", "EHLO a\n", false},
		{"too little", "C: EHLO a\nC: QUIT\n", "EHLO a\r\n", false},
		{"leaves when it should", "HANG\n", "", true},
		{"goes on when it should not", "HANG\n", "x", false},
		{"anything will do", "BYTE\n", "x", true},
		{"a slip in the script", "c: EHLO\n", "", false},
	} {
		here, there := net.Pipe()
		done := make(chan error)
		go func() { done <- Play(there, nil, c.script) }()
		io.WriteString(here, c.says)
		here.Close()
		if err := <-done; (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
