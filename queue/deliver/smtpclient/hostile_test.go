package smtpclient

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestPasswordInParts: a server that says back what it was told does not put the
// password into logs, whatever cleaning and cutting have left of it.
func TestPasswordInParts(t *testing.T) {
	const user, password = "rick", "pässwörterbuch-17"
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	filler := strings.Repeat("no ", 164)
	for _, c := range []struct{ name, line, want string }{
		{"other words", "5.7.8 no such user", "535 5.7.8 no such user"},
		{"not ASCII", "5.7.8 no " + password, hidden},
		{"its rest is cut off", "5.7.8 " + filler + response, hidden},
		{"in two lines", "5.7.8 no " + response[:20] + "\r\n535 " + response[20:], hidden},
		{"as it was", "5.7.8 no " + response, "535 5.7.8 no ***"},
	} {
		r := newReply(535, strings.Split(c.line, "\r\n535 "))
		r.Text = hide(r.Text, response, password)
		if r.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, r, c.want)
		}
	}
}

const hidden = "535 5.7.8 its words are not shown, they hold a part of what it was told"

// TestManyExtensions: of an endless list no more is kept than a server can have.
func TestManyExtensions(t *testing.T) {
	lines := []string{"mx", "SIZE 1000"}
	for i := range 9000 {
		lines = append(lines, fmt.Sprint("X", i))
	}
	got := parseExtensions(lines)
	if got["SIZE"] != "1000" || len(got) != maxExtensions {
		t.Errorf("SIZE %q, %d extensions", got["SIZE"], len(got))
	}
}
