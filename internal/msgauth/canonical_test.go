package msgauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"testing"
)

// dinner is the body of RFC 8463 A.3.
const dinner = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"

func TestBodyHash(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{dinner, "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="},          // RFC 8463 A.2
		{"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},              // RFC 6376 3.4.4
		{"\r\n \r\n\r\n", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, // only empty lines
	} {
		b := newBodyHash()
		b.Write([]byte(c.body))
		if got := base64.StdEncoding.EncodeToString(b.sum()); got != c.want {
			t.Errorf("%q: %s, want %s", c.body, got, c.want)
		}
	}
}

func TestRelaxedField(t *testing.T) {
	for _, c := range []struct {
		f    field
		want string
	}{
		{field{"A", " X\r\n"}, "a:X"}, // RFC 6376 3.4.5
		{field{"B", " Y\t\r\n\tZ  \r\n"}, "b:Y Z"},
		{field{"SUBJect", ":a: b"}, "subject::a: b"},
		{field{"Empty", "\r\n"}, "empty:"},
		{field{"Bytes", " \xff\xfe \r\n"}, "bytes:\xff\xfe"},
	} {
		if got := relaxed(c.f); got != c.want {
			t.Errorf("%q: %q, want %q", c.f, got, c.want)
		}
	}
}

var (
	spaces   = regexp.MustCompile(`[ \t]+`)
	trailing = regexp.MustCompile(` ?\r\n`)
	empty    = regexp.MustCompile(`(\r\n)+$`)
	end      = regexp.MustCompile(` $`)
)

// rules is RFC 6376 3.4.4 rule by rule.
func rules(body []byte) []byte {
	body = spaces.ReplaceAll(body, []byte(" "))
	body = trailing.ReplaceAll(body, []byte("\r\n"))
	body = end.ReplaceAll(body, nil)
	body = empty.ReplaceAll(body, nil)
	if len(body) > 0 {
		body = append(body, "\r\n"...)
	}
	return body
}

// FuzzBody: however a body comes in pieces, its hash is that of the rules.
func FuzzBody(f *testing.F) {
	f.Add([]byte(dinner), uint8(3))
	f.Add([]byte(" a \t\r\n\r\n \r\nb \r\r\n \r"), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, piece uint8) {
		b := newBodyHash()
		for rest := body; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			b.Write(rest[:n])
			rest = rest[n:]
		}
		want := sha256.Sum256(rules(bytes.Clone(body)))
		if !bytes.Equal(b.sum(), want[:]) {
			t.Errorf("%q", body)
		}
	})
}

// FuzzHeader: a header that anybody may write is read or refused, in any pieces.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("From: a@b.test\r\nTo : c\r\n\r\nbody"))
	f.Add([]byte(" x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		head, more, err := readHeader(bytes.NewReader(text))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(text, append(bytes.Clone(head), more...)) {
			t.Fatalf("%q became %q and %q", text, head, more)
		}
		fields, err := parseHeader(head)
		if err != nil {
			return
		}
		author(fields)
		if h, err := selectFields(fields); err == nil && len(h.names) < len(oversigned) {
			t.Fatalf("%q signs only %v", text, h.names)
		}
	})
}
