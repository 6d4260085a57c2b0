package msgauth_test

import (
	"io"
	"strings"
	"testing"
	"time"
)

// TestHeaderBombs: a header as long as it may be costs no more than its length,
// whatever it is made of.
func TestHeaderBombs(t *testing.T) {
	s := signer(t, key("example.org", "ed", edKey))
	long := func(unit string) string { return strings.Repeat(unit, ((256<<10)-200)/len(unit)) }
	for name, header := range map[string]string{
		"folds":     "From: rick@example.org\r\nSubject: x\r\n" + long(" \r\n"),
		"comments":  "From: " + strings.Repeat("(", (256<<10)-300) + "\r\n",
		"groups":    "From: " + long("a:;,") + "rick@example.org\r\n",
		"words":     "From: " + long("a ") + "<rick@example.org>\r\n",
		"encoded":   "From: " + long("=?utf-8?q?a?= ") + "<rick@example.org>\r\n",
		"mailboxes": "From: " + long("a@example.org,") + "rick@example.org\r\n",
		"quotes":    "From: \"" + long(`\"`) + "\" <rick@example.org>\r\n",
		"literal":   "From: rick@[" + long("a") + "]\r\n",
		"dots":      "From: " + long("a.") + "@example.org\r\n",
		"white":     "From: " + long(" ") + "rick@example.org\r\n",
	} {
		began := time.Now()
		m, err := s.Sign(strings.NewReader(header+"\r\nbody\r\n"), anybody)
		if err == nil {
			_, err = io.Copy(io.Discard, m)
			m.Close()
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: %v, %v", name, took, err)
		}
	}
}
