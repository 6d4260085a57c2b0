package msgauth

import (
	"strings"
	"testing"
)

func TestAuthors(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"Subject: x\r\n", ""},
		{"From: rick@example.org\r\nSubject: x\r\n", "rick@example.org"},
		{"FROM:\r\n \"Rick, the boss\" <rick@example.org>,\r\n eve@example.org\r\n", "rick@example.org eve@example.org"},
		{"From : rick@example.org\r\n", "rick@example.org"}, // RFC 5322 4.5.2
		{"Resent-From: eve@example.org\r\nFrom: rick@example.org\r\n", "rick@example.org"},
		{"From: rick@example.org\r\nFrom: eve@example.org\r\n", "error"},
		{"From: rick@example.org\r\nfrom : eve@example.org\r\n", "error"},
		{"From:\r\n", "error"},
		{"From: undisclosed:;\r\n", "error"},
		{"From: Rick\r\n", "error"},
		{"From: rick@example.org <eve@example.org>\r\n", "error"},
	} {
		all, err := Authors([]byte(c.header))
		var words []string
		for _, a := range all {
			words = append(words, a.String())
		}
		got := strings.Join(words, " ")
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q (%v)", c.header, got, c.want, err)
		}
	}
}

func FuzzAuthors(f *testing.F) {
	f.Add([]byte("From: \"a\" <b@c.test>, d@e.test\r\nFrom :x\r\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		all, err := Authors(header)
		if err != nil && len(all) > 0 {
			t.Fatal("an error with addresses")
		}
	})
}
