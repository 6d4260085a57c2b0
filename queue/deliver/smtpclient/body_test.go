package smtpclient

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestLineWriter(t *testing.T) {
	for in, want := range map[string]string{
		"":                   ".\r\n",
		"a":                  "a\r\n.\r\n",
		"a\r\n":              "a\r\n.\r\n",
		".":                  "..\r\n.\r\n",
		".\r\n":              "..\r\n.\r\n",
		"..\r\n.a\r\nb.\r\n": "...\r\n..a\r\nb.\r\n.\r\n",
		"\r\n\r\n":           "\r\n\r\n.\r\n",
		"\r\n.\r\n":          "\r\n..\r\n.\r\n",
	} {
		for _, step := range []int{1, 2, 3, 1000} {
			if got, err := stuff(in, step); got != want || err != nil {
				t.Errorf("stuff(%q, by %d) = %q, %v; want %q", in, step, got, err, want)
			}
		}
	}
}

// stuff writes in by pieces.
func stuff(in string, step int) (string, error) {
	var out bytes.Buffer
	d := &lineWriter{w: &out}
	for piece := range slices.Chunk([]byte(in), step) {
		if _, err := d.Write(piece); err != nil {
			return out.String(), err
		}
	}
	err := d.finish()
	return out.String(), err
}

var loneEnd = regexp.MustCompile(`\r[^\n]|\r$|[^\r]\n|^\n|\x00`)

// FuzzLineWriter compares with the obvious way to do it, for any text in pieces
// of any size, and demands that no lone CR or LF ever leaves.
func FuzzLineWriter(f *testing.F) {
	f.Add("a\r\n.b\r\n", 3)
	f.Add("\r\n.\r", 2)
	f.Add("x\r\r\n.\r\n", 1)
	f.Fuzz(func(t *testing.T, in string, step int) {
		got, err := stuff(in, max(1, step))
		if loneEnd.MatchString(got) && err == nil || loneEnd.MatchString(strings.TrimSuffix(got, "\r")) {
			t.Fatalf("%q went out for %q", got, in)
		}
		if bad := loneEnd.MatchString(in); bad != errors.Is(err, errLines) {
			t.Fatalf("%q: error %v", in, err)
		}
		if err == nil && got != reference(in) {
			t.Fatalf("%q became %q, want %q", in, got, reference(in))
		}
	})
}

func reference(in string) string {
	if in != "" && !strings.HasSuffix(in, "\r\n") {
		in += "\r\n"
	}
	out := strings.ReplaceAll("\r\n"+in, "\r\n.", "\r\n..")
	return strings.TrimPrefix(out, "\r\n") + ".\r\n"
}

func BenchmarkLineWriter(b *testing.B) {
	buf := bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), blockSize/72)
	d := &lineWriter{w: discard{}}
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		d.Write(buf)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error)       { return len(p), nil }
func (discard) WriteString(s string) (int, error) { return len(s), nil }
