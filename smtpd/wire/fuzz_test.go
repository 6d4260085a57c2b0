package wire

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// tape is a connection that plays its input in pieces and then ends.
type tape struct {
	mu    sync.Mutex
	in    []byte
	piece int
	out   bytes.Buffer
}

func (c *tape) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.in[:min(c.piece, len(c.in))])
	c.in = c.in[n:]
	return n, nil
}

func (c *tape) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *tape) Close() error                     { return nil }
func (c *tape) LocalAddr() net.Addr              { return nil }
func (c *tape) RemoteAddr() net.Addr             { return nil }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// playTape runs one connection in clear and returns what was said and accepted.
func playTape(t *testing.T, in []byte, piece int) (out string, bodies []string, rec *recorder) {
	rec = &recorder{}
	srv, err := New(Config{Hostname: "x", SMTP: rec.server, Limits: Limits{Line: minLine, BodyLine: 1000, Errors: 1 << 30},
		OnEvent: func(e Event) {
			if e.Kind == InternalError && !strings.Contains(e.Err.Error(), "aborted") {
				t.Errorf("internal error: %v", e.Err)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	c := &tape{in: in, piece: piece}
	srv.accept(c)
	srv.links.Wait()
	for _, m := range rec.accepted() {
		bodies = append(bodies, m.body)
	}
	return c.out.String(), bodies, rec
}

var (
	bdatLine  = regexp.MustCompile(`^(?i:BDAT) ([0-9]{1,18})( (?i:LAST))?[ \t]*\r\n$`)
	replyLine = regexp.MustCompile(`^[2-5][0-9][0-9]([ -])[ -~]*$`)
)

// walk reads a connection from the client's side: the octets sent and the
// replies got. It knows nothing of addresses and parameters, but how commands
// and bodies follow each other; it returns the bodies that must have been
// accepted. Whatever is not clean must have ended it.
type walk struct {
	t        *testing.T
	in       []byte
	replies  []string
	mail     bool
	rcpts    int
	chunks   []byte
	accepted []string
}

func (w *walk) next() string {
	if len(w.replies) == 0 {
		return ""
	}
	r := w.replies[0]
	w.replies = w.replies[1:]
	return r
}

func (w *walk) reset() { w.mail, w.rcpts, w.chunks = false, 0, nil }

func (w *walk) run() []string {
	if w.next() != "220" {
		w.t.Fatal("no greeting")
	}
	for w.step() {
	}
	if len(w.replies) > 1 {
		w.t.Fatalf("replies left over: %q", w.replies)
	}
	return w.accepted
}

// step follows one command; false: the connection is over, or ought to be.
func (w *walk) step() bool {
	i := bytes.IndexByte(w.in, '\n')
	if i < 0 || i >= minLine {
		return false
	}
	line := string(w.in[:i+1])
	if inner, ok := strings.CutSuffix(line, "\r\n"); !ok || strings.ContainsAny(inner, "\r\x00") {
		return false
	}
	w.in = w.in[i+1:]
	word, _, _ := strings.Cut(strings.TrimRight(line, " \t\r\n"), " ")
	verb := upper(word)
	if verb == "BDAT" {
		return w.bdat(line)
	}
	code := w.next()
	switch {
	case code == "":
		w.t.Fatalf("no reply to %q", line)
	case code == "221":
		return false
	case code == "354":
		return w.data()
	case code != "250":
	case verb == "MAIL" && !w.mail:
		w.mail = true
	case verb == "RCPT" && w.mail && w.chunks == nil:
		w.rcpts++
	case verb == "RSET" || verb == "EHLO" || verb == "HELO":
		w.reset()
	case verb != "NOOP":
		w.t.Fatalf("250 for %q", line)
	}
	return true
}

func (w *walk) data() bool {
	if !w.mail || w.rcpts == 0 || w.chunks != nil {
		w.t.Fatal("354 out of order")
	}
	all := append([]byte("\r\n"), w.in...) // so that a dot at the start has a line before it
	i := bytes.Index(all, []byte("\r\n.\r\n"))
	if i < 0 {
		return false
	}
	raw := all[2:max(i+2, 2)]
	w.in = all[i+5:]
	if !clean8(raw) {
		return false
	}
	var body []byte
	for line := range bytes.SplitAfterSeq(raw, []byte("\r\n")) {
		if len(line) > 1000 {
			return false
		}
		body = append(body, bytes.TrimPrefix(line, []byte("."))...)
	}
	if code := w.next(); code != "250" {
		w.t.Fatalf("message not accepted: %s", code)
	}
	w.accepted = append(w.accepted, string(body))
	w.reset()
	return true
}

func (w *walk) bdat(line string) bool {
	m := bdatLine.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n > len(w.in) {
		return false
	}
	chunk := w.in[:n]
	w.in = w.in[n:]
	if !w.mail || w.rcpts == 0 {
		if code := w.next(); code != "503" && code != "554" {
			w.t.Fatalf("%q out of order: %s", line, code)
		}
		return true
	}
	if w.chunks == nil {
		w.chunks = []byte{}
	}
	w.chunks = append(w.chunks, chunk...)
	whole := w.chunks
	if m[2] == "" {
		whole = bytes.TrimSuffix(whole, []byte("\r"))
	}
	for l := range bytes.SplitAfterSeq(whole, []byte("\r\n")) {
		if len(l) > 1000 {
			return false
		}
	}
	if !clean8(whole) {
		return false
	}
	if code := w.next(); code != "250" {
		w.t.Fatalf("%q: %s", line, code)
	}
	if m[2] != "" {
		w.accepted = append(w.accepted, string(w.chunks))
		w.reset()
	}
	return true
}

// clean8 reports whether p holds neither NUL nor a CR or LF outside of CRLF.
func clean8(p []byte) bool {
	for part := range bytes.SplitSeq(p, []byte("\r\n")) {
		if bytes.ContainsAny(part, "\r\n\x00") {
			return false
		}
	}
	return true
}

// checkCodes: RFC 2034 4, a code of the right class on all but the greeting, EHLO,
// HELO and 3xx.
func checkCodes(t *testing.T, line string) {
	switch code, _ := cutEnhanced(line[4:]); {
	case code != "" && code[0] == line[0]:
	case code == "" && (line[0] == '3' || line == "220 x ESMTP" || line == "250 x" || line == "250 DSN" || strings.HasPrefix(line, "501 Syntax: one domain name")):
	default:
		t.Fatalf("enhanced code of %q", line)
	}
}

func FuzzSession(f *testing.F) {
	hello := "EHLO x\r\n" + envelope
	for _, s := range smuggled {
		f.Add([]byte(hello+"DATA\r\nbody"+s+"MAIL FROM:<>\r\n.\r\n"), 7)
		f.Add([]byte(hello+"BDAT 20\r\nbody"+s+"BDAT 5 LAST\r\n.\r\n.\r\n"), 1)
	}
	f.Add([]byte(hello+"DATA\r\n..\r\n.\r\n"+envelope+"BDAT 2\r\na\rBDAT 1 LAST\r\n\nRSET\r\nQUIT\r\n"), 100)
	f.Add([]byte(hello+"BDAT 0\r\nRSET\r\nDATA\r\nBDAT 1\r\n\nMAIL FROM:<\"a b\"@c> SIZE=1 BODY=7BIT\r\nSTARTTLS\r\nAUTH EXTERNAL =\r\n"), 3)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		out, bodies, _ := playTape(t, bytes.Clone(in), max(1, piece%5000))
		var replies []string
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			m := replyLine.FindStringSubmatch(line)
			if m == nil || len(line) > 510 {
				t.Fatalf("reply line %q", line)
			}
			if m[1] == " " {
				replies = append(replies, line[:3])
				checkCodes(t, line)
			}
		}
		want := (&walk{t: t, in: in, replies: replies}).run()
		if !slices.Equal(bodies, want) {
			t.Fatalf("accepted %q, want %q", bodies, want)
		}
		for _, b := range bodies {
			if !clean8([]byte(b)) {
				t.Fatalf("unclean body %q", b)
			}
		}
	})
}

// FuzzPath: the session gets the mailbox that readPath read, and no parameters
// but those that were read.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@b>", `<"a b> SIZE=9 <c"@d> SIZE=3`, "<@x,@y:a@b> BODY=7BIT", `<"\"\\@"@[IPv6:::1]> AUTH=a+2Bb@c`, "<>", "<postmaster>", "<ü@b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.ContainsAny(arg, "\r\n\x00") || len(arg) > 400 {
			return
		}
		_, _, rec := playTape(t, []byte("EHLO x\r\nMAIL FROM:"+arg+"\r\n"), 4096)
		calls := rec.called()
		if len(calls) < 2 || !strings.HasPrefix(calls[1], "mail ") {
			return
		}
		m, rest, err := readPath(strings.Trim(arg, " \t"))
		if err != nil {
			t.Fatalf("%q: the session got %q, but %v", arg, calls[1], err)
		}
		address := m.local + "@" + m.domain
		if m.local == "" {
			address = ""
		}
		if !strings.HasPrefix(calls[1], "mail "+address+" size=") {
			t.Errorf("%q: the session got %q, want %q", arg, calls[1], address)
		}
		for _, p := range []string{" size=", " body=", " auth="} {
			_, value, _ := strings.Cut(calls[1][len("mail "+address):], p)
			value, _, _ = strings.Cut(value, " ")
			if value != "" && value != "0" && !strings.Contains(strings.ToLower(rest), p) {
				t.Errorf("%q: %s%s out of nowhere", arg, p, value)
			}
		}
		again, tail, err := readPath("<" + m.String() + ">")
		if err != nil || tail != "" || again != m {
			t.Errorf("%q: %+v is written %q and read as %+v, %v", arg, m, m.String(), again, err)
		}
	})
}
