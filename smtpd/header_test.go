package smtpd

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTLSOptional(t *testing.T) {
	long := strings.Repeat("X: "+strings.Repeat("x", 900)+"\r\n", 100)
	for _, c := range []struct {
		name, message string
		want          bool
	}{
		{"said", "Subject: x\r\nTLS-Required: No\r\n\r\nbody\r\n", true},
		{"any case, no space", "tls-required:NO\r\n\r\n", true},
		{"folded", "TLS-Required:\r\n\tNo \r\nSubject: x\r\n\r\n", true},
		{"obsolete space", "TLS-Required : no\r\n\r\n", true},
		{"no body", "TLS-Required: No\r\n", true},
		{"no line end", "TLS-Required: No", true},
		{"in a header over the first buffer", long[:20000] + "\r\nTLS-Required: No\r\n\r\n", true},
		{"not said", "Subject: x\r\n\r\n", false},
		{"Yes", "TLS-Required: Yes\r\n\r\n", false},
		{"empty", "TLS-Required:\r\n\r\n", false},
		{"more than No", "TLS-Required: No\r\n way\r\n\r\n", false},
		{"a comment", "TLS-Required: No (thanks)\r\n\r\n", false},
		{"torn", "TLS-Required: N\r\n o\r\n\r\n", false},
		{"twice", "TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false},
		{"folded into another field", "Subject: x\r\n TLS-Required: No\r\n\r\n", false},
		{"another name", "X-TLS-Required: No\r\nTLS-Required-: No\r\n\r\n", false},
		{"a long s", "TL\u017f-Required: No\r\n\r\n", false},
		{"in the body", "Subject: x\r\n\r\nTLS-Required: No\r\n", false},
		{"no header", "\r\nTLS-Required: No\r\n", false},
		{"beyond what is looked at", long + "TLS-Required: No\r\n\r\n", false},
		{"before that, but the header goes on", "TLS-Required: No\r\n" + long + "\r\n", false},
		{"nothing", "", false},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			l := readHead(wrap(strings.NewReader(c.message)))
			if got := l.tlsOptional(); got != c.want {
				t.Errorf("%s: %v", c.name, got)
			}
			if out, err := io.ReadAll(l); err != nil || string(out) != c.message {
				t.Errorf("%s: %d octets of %d, %v", c.name, len(out), len(c.message), err)
			}
		}
	}
}

// TestHeadOfABrokenMessage: the error comes where it came.
func TestHeadOfABrokenMessage(t *testing.T) {
	gone := errors.New("gone")
	l := readHead(io.MultiReader(strings.NewReader("TLS-Required: No\r\n"), iotest.ErrReader(gone)))
	if out, err := io.ReadAll(l); err != gone || string(out) != "TLS-Required: No\r\n" || l.tlsOptional() {
		t.Errorf("%q, %v, %v", out, err, l.tlsOptional())
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("Subject: x\r\nTLS-Required:\r\n No\r\n\r\nbody"), 3)
	f.Add([]byte("\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, message []byte, step int) {
		whole := readHead(bytes.NewReader(message))
		pieces := readHead(&stepper{message, max(1, step%70000)})
		if whole.tlsOptional() != pieces.tlsOptional() {
			t.Errorf("%q: %v in one piece, %v in several", message, whole.tlsOptional(), pieces.tlsOptional())
		}
		if whole.tlsOptional() && !bytes.Contains(bytes.ToLower(message), []byte("tls-required")) {
			t.Errorf("%q says nothing of the kind", message)
		}
		if out, err := io.ReadAll(pieces); err != nil || !bytes.Equal(out, message) {
			t.Errorf("%q became %q, %v", message, out, err)
		}
	})
}

type stepper struct {
	rest []byte
	step int
}

func (s *stepper) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
