package smtpd

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

func TestInspectorCountsReceived(t *testing.T) {
	const field = "Received: from a by b; date\r\n"
	for _, c := range []struct {
		name, message string
		hops          int
	}{
		{"none", "Subject: x\r\n\r\nbody\r\n", 0},
		{"one", field + "Subject: x\r\n\r\n", 1},
		{"any case", "RECEIVED: x\r\nreceived: y\r\nReCeIvEd: z\r\n\r\n", 3},
		{"obsolete space", "Received : x\r\nReceived \t: y\r\n\r\n", 2},
		{"folded", "Subject: x\r\n Received: not a field\r\n\tReceived: nor this\r\n\r\n", 0},
		{"other names", "X-Received: x\r\nReceived-SPF: y\r\nReceive: z\r\nReceivedx: v\r\nRec\r\n\r\n", 0},
		{"in the body", "Subject: x\r\n\r\n" + field, 0},
		{"no header", "\r\n" + field, 0},
		{"no body", field + field, 2},
		{"end within the name", field + "Recei", 1},
		{"empty", "", 0},
		{"100", strings.Repeat(field, 100) + "\r\n", 100},
	} {
		for _, chunk := range []struct {
			name string
			wrap func(io.Reader) io.Reader
		}{{"whole", func(r io.Reader) io.Reader { return r }}, {"octets", iotest.OneByteReader}, {"halves", iotest.HalfReader}} {
			in := &inspector{r: chunk.wrap(strings.NewReader(c.message)), left: 1 << 20, max: 100}
			out, err := io.ReadAll(in)
			if err != nil || string(out) != c.message {
				t.Errorf("%s in %s: %v, %d octets of %d", c.name, chunk.name, err, len(out), len(c.message))
			}
			if in.hops != c.hops || in.size != int64(len(c.message)) || in.fault != nil {
				t.Errorf("%s in %s: %d hops, %d octets, fault %v", c.name, chunk.name, in.hops, in.size, in.fault)
			}
		}
	}
}

func TestInspectorRefuses(t *testing.T) {
	gone := errors.New("gone")
	for _, c := range []struct {
		name  string
		r     io.Reader
		left  int64
		want  error
		fault error
	}{
		{"101 hops", strings.NewReader(strings.Repeat("Received: x\r\n", 101)), 1 << 20, errHops, nil},
		{"as long as allowed", strings.NewReader("12345"), 5, nil, nil},
		{"one octet more", strings.NewReader("123456"), 5, errTooBig, nil},
		{"gone", io.MultiReader(strings.NewReader("1234"), iotest.ErrReader(gone)), 5, gone, gone},
	} {
		in := &inspector{r: c.r, left: c.left, max: 100}
		if _, err := io.Copy(io.Discard, in); err != c.want || in.fault != c.fault {
			t.Errorf("%s: %v, fault %v", c.name, err, in.fault)
		}
	}
}

func FuzzInspector(f *testing.F) {
	f.Add("Received: x\r\n\r\nReceived: y\r\n", uint8(3))
	f.Add("Subject: a\r\n b\r\nreceived \t: y\r\n", uint8(1))
	fields := regexp.MustCompile(`(?mi)^received[ \t]*:`)
	f.Fuzz(func(t *testing.T, message string, step uint8) {
		header := message
		if strings.HasPrefix(header, "\n") || strings.HasPrefix(header, "\r") {
			header = ""
		} else if m := regexp.MustCompile(`\n[\r\n]`).FindStringIndex(header); m != nil {
			header = header[:m[0]+1]
		}
		want := len(fields.FindAllString(header, -1))
		in := &inspector{}
		for s := int(step) + 1; len(message) > 0; {
			n := min(s, len(message))
			in.scan([]byte(message[:n]))
			message = message[n:]
		}
		if in.hops != want {
			t.Errorf("%d hops, want %d", in.hops, want)
		}
	})
}
