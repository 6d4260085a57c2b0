package dialog

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// TestCall: servers that keep to a script, and those that do not.
func TestCall(t *testing.T) {
	for _, c := range []struct {
		name, script, says string
		ok                 bool
	}{
		{"as written", "S: 220 a\nC: QUIT\nS: 221 b\nCLOSED", "220 a\r\n|221 b\r\n", true},
		{"any text", "S: 220 *, a*\nC: QUIT\nS: 2*\nCLOSED", "220 b, a\r\n|221 c\r\n", true},
		{"a whole reply", "R: 220 \nC: QUIT\nR: 221\nCLOSED", "220-a\r\n220 b\r\n|221 c\r\n", true},
		{"another code", "S: 220 a\nC: QUIT\nS: 221 b", "220 a\r\n|421 b\r\n", false},
		{"another code in a reply", "R: 220\nC: QUIT\nR: 221", "220 a\r\n|421 b\r\n", false},
		{"a bare LF", "S: 220 a\nC: QUIT\nS: 221 b", "220 a\r\n|221 b\n", false},
		{"too much before", "C: QUIT\nS: 221 b", "220 a\r\n|221 b\r\n", false},
		{"too much behind", "S: 220 a\nC: QUIT\nS: 221 b\nCLOSED", "220 a\r\n|221 b\r\n221 c\r\n", false},
		{"too much at the end", "S: 220 a\nC: QUIT\nS: 221 b", "220 a\r\n|221 b\r\n221 c\r\n", false},
		{"open", "S: 220 a\nCLOSED", "220 a\r\n|221 b\r\n", false},
		{"other words", "S: 220 a\nC: NOOP\nS: 221 b", "220 a\r\n|221 b\r\n", false},
		{"a group", "S: 220 a\nC+ QU\nC! \"IT\"\nS: 221 b", "220 a\r\n|221 b\r\n", false},
		{"a slip in the script", "s: 220 a", "220 a\r\n", false},
	} {
		for _, drip := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				go answer(there, c.says)
				call := &Call{Drip: drip}
				call.Begin(here)
				var err error
				for line := range strings.Lines(c.script) {
					if err = call.Line(strings.TrimSpace(line)); err != nil {
						break
					}
				}
				if end := call.End(); err == nil {
					err = end
				}
				if (err == nil) != c.ok {
					t.Errorf("%s, drip %v: %v", c.name, drip, err)
				}
			})
		}
	}
}

// answer says what stands before the bar, and the rest when it has read QUIT.
func answer(conn net.Conn, says string) {
	defer conn.Close()
	first, rest, _ := strings.Cut(says, "|")
	io.WriteString(conn, first)
	buf := make([]byte, len("QUIT\r\n"))
	if _, err := io.ReadFull(conn, buf); err == nil && string(buf) == "QUIT\r\n" {
		io.WriteString(conn, rest)
	}
}
