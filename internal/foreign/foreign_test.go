package foreign

import (
	"testing"
	"unicode/utf8"
)

func TestTexts(t *testing.T) {
	for _, test := range []struct {
		text             string
		most             int
		ascii, printable string
	}{
		{"", 10, "", ""},
		{"550 5.1.1 no such user", 40, "550 5.1.1 no such user", "550 5.1.1 no such user"},
		{"a\r\nBcc: b", 10, "a??Bcc: b", "a??Bcc: b"},
		{"\x1b[2Jx\x00\x7f", 10, "?[2Jx??", "?[2Jx??"},
		{"bücher", 10, "b?cher", "bücher"},
		{"a\u202eb\u200fc\u2028d\u0085e", 40, "a?b?c?d?e", "a?b?c?d?e"}, // direction, ends of lines
		{"a\xffb\ufffd", 10, "a?b?", "a?b?"},
		{"0123456789", 10, "0123456789", "0123456789"},
		{"0123456789a", 10, "0123456...", "0123456..."},
		{"012345ü89a", 10, "012345?...", "012345?..."}, // half of the ü
		{"0123", 2, "..", ".."},
	} {
		if got := ASCII(test.text, test.most); got != test.ascii {
			t.Errorf("ASCII(%q, %d) = %q, want %q", test.text, test.most, got, test.ascii)
		}
		if got := Printable(test.text, test.most); got != test.printable {
			t.Errorf("Printable(%q, %d) = %q, want %q", test.text, test.most, got, test.printable)
		}
	}
}

func FuzzTexts(f *testing.F) {
	f.Add("a\r\nb", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 0 || most > 1000 {
			return
		}
		a, p := ASCII(s, most), Printable(s, most)
		if len(a) > most || len(p) > most || !utf8.ValidString(p) {
			t.Errorf("%q, %d: %q, %q", s, most, a, p)
		}
		for _, b := range []byte(a) {
			if b < ' ' || b > '~' {
				t.Errorf("%q: %q", s, a)
			}
		}
		for _, r := range p {
			if r < ' ' || r == 0x7f {
				t.Errorf("%q: %q", s, p)
			}
		}
	})
}
