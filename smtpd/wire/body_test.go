package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
)

// smuggled are sequences that some server somewhere takes for the end of a
// message (CVE-2023-51764 and its kin). None is one here, and none may stand in
// a message at all.
var smuggled = map[string]string{
	"lf dot lf":          "\n.\n",
	"lf dot crlf":        "\n.\r\n",
	"crlf dot lf":        "\r\n.\n",
	"cr dot cr":          "\r.\r",
	"cr dot crlf":        "\r.\r\n",
	"crlf dot cr":        "\r\n.\rx",
	"crlf dot cr cr lf":  "\r\n.\r\r\n",
	"cr crlf dot crlf":   "\r\r\n.\r\n",
	"lf crlf dot crlf":   "\n\r\n.\r\n",
	"lf lf dot lf":       "\n\n.\n",
	"crlf dot dot cr":    "\r\n..\r\r\n",
	"lone lf":            "a\nb",
	"lone cr":            "a\rb",
	"lf cr":              "\n\r",
	"cr at start":        "\rx",
	"crlf nul dot crlf":  "\r\n\x00.\r\n",
	"crlf dot nul crlf":  "\r\n.\x00\r\n",
	"crlf dot crlf: nul": "\x00\r\n.\r\n",
}

func TestSmuggling(t *testing.T) {
	second := "MAIL FROM:<evil@x>\r\nRCPT TO:<v@x>\r\nDATA\r\nsmuggled\r\n.\r\n"
	for name, s := range smuggled {
		events := "bare line end"
		if strings.Contains(s, "\x00") {
			events = "nul octet"
		}
		tail := s + second + ".\r\n"
		dialog{name: "data " + name, send: envelope + "DATA\r\nbody" + tail, want: enveloped + ", 354, 550 5.5.2", events: events, closed: true}.run(t)
		// At the very beginning there is no line before.
		dialog{name: "data start " + name, send: envelope + "DATA\r\n" + strings.TrimPrefix(s, "\r\n") + "\r\n" + second, want: enveloped + ", 354, 550 5.5.2",
			events: events, closed: true}.run(t)
		dialog{name: "bdat " + name, send: envelope + fmt.Sprintf("BDAT %d LAST\r\nbody%s", len(tail)+4, tail), want: enveloped + ", 550 5.5.2", events: events, closed: true}.run(t)
		// Cut in two chunks at every place: what one chunk alone does not show, the next must.
		for i := range len(s) {
			send := envelope + fmt.Sprintf("BDAT %d\r\nbody%s", 4+i, s[:i]) + fmt.Sprintf("BDAT %d LAST\r\n%s", len(s)-i+1, s[i:]+"z")
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				p := w.dial()
				p.send("EHLO x\r\n" + send)
				if got := p.take(); !strings.Contains(got, "\r\n550 5.5.2 ") || !p.isClosed() {
					t.Errorf("%s cut at %d: %s", name, i, codes(got))
				}
				p.close()
				w.shut()
				if n := len(w.rec.accepted()); n != 0 {
					t.Errorf("%s cut at %d: %d messages", name, i, n)
				}
			})
		}
	}
}

func TestBodies(t *testing.T) {
	big := strings.Repeat(strings.Repeat("x", 997)+"\r\n", 300)
	for _, d := range []dialog{
		{name: "empty", send: envelope + "DATA\r\n.\r\n", want: enveloped + ", 354, 250 2.0.0", bodies: []string{""}},
		{name: "dots", send: envelope + "DATA\r\n..\r\n...\r\n.a\r\na.\r\n\r\n..\r\n.\r\n", want: enveloped + ", 354, 250 2.0.0", bodies: []string{".\r\n..\r\na\r\na.\r\n\r\n.\r\n"}},
		{name: "8 bit", send: envelope + "DATA\r\n\xff\x80\x7f\x01\r\n.\r\n", want: enveloped + ", 354, 250 2.0.0", bodies: []string{"\xff\x80\x7f\x01\r\n"}},
		{name: "bdat is as it is", send: envelope + "BDAT 9\r\n..\r\n.\r\na\rBDAT 3 LAST\r\n\nb.", want: enveloped + ", 250 2.0.0, 250 2.0.0", bodies: []string{"..\r\n.\r\na\r\nb."}},
		{name: "bdat ends in a cr", send: envelope + "BDAT 2 LAST\r\na\r", want: enveloped + ", 550 5.5.2", events: "bare line end", closed: true},
		{name: "bdat ends in a cr before", send: envelope + "BDAT 2\r\na\rBDAT 0 LAST\r\n", want: enveloped + ", 250 2.0.0, 550 5.5.2", events: "bare line end", closed: true},
		{name: "commands behind", send: envelope + "DATA\r\na\r\n.\r\nNOOP\r\nQUIT\r\n", want: enveloped + ", 354, 250 2.0.0, 250 2.0.0, 221 2.0.0", bodies: []string{"a\r\n"}, closed: true},
		{name: "refused chunk is thrown away", send: "BDAT 17\r\nQUIT\nRSET\r\n\x00\r\r\nxxNOOP\r\n", want: "503 5.5.1, 250 2.0.0"},
		{name: "line limit", send: envelope + "DATA\r\n." + strings.Repeat("x", 97) + "\r\n.\r\n" + envelope + "BDAT 101 LAST\r\n\n", bend: func(c *Config, _ *recorder) { c.Limits.BodyLine = 100 },
			want: enveloped + ", 354, 250 2.0.0, " + enveloped + ", 550 5.5.2", bodies: []string{strings.Repeat("x", 97) + "\r\n"}, events: "bare line end", closed: true},
		{name: "line over the limit", send: envelope + "DATA\r\n" + strings.Repeat("x", 99) + "\r\n.\r\n", bend: func(c *Config, _ *recorder) { c.Limits.BodyLine = 100 },
			want: enveloped + ", 354, 550 5.5.2", events: "long line", closed: true},
		{name: "line over the limit in chunks", send: envelope + "BDAT 60\r\n" + strings.Repeat("x", 60) + "BDAT 60\r\n" + strings.Repeat("x", 60), bend: func(c *Config, _ *recorder) { c.Limits.BodyLine = 100 },
			want: enveloped + ", 250 2.0.0, 550 5.5.2", events: "long line", closed: true},
		{name: "size", bend: func(_ *Config, r *recorder) { r.maxBytes = 10 },
			send: "MAIL FROM:<a@b> SIZE=11\r\n" + envelope + "DATA\r\n12345678\r\n.\r\n" + envelope + "DATA\r\n123456789\r\n.\r\n" + envelope + "BDAT 6\r\n123456BDAT 4 LAST\r\n7890" +
				envelope + "BDAT 6\r\n123456BDAT 5 LAST\r\n78901" + envelope + "BDAT 11\r\n12345678901BDAT 1 LAST\r\nx",
			want: "552 5.3.4, " + enveloped + ", 354, 250 2.0.0, " + enveloped + ", 354, 552 5.3.4, " + enveloped + ", 250 2.0.0, 250 2.0.0, " +
				enveloped + ", 250 2.0.0, 552 5.3.4, " + enveloped + ", 552 5.3.4, 503 5.5.1", bodies: []string{"12345678\r\n", "1234567890"}},
	} {
		d.run(t)
	}
	for _, d := range []dialog{ // longer than all buffers; octet by octet it would only take long
		{name: "big data", send: envelope + "DATA\r\n" + big + ".\r\n", want: enveloped + ", 354, 250 2.0.0", bodies: []string{big}},
		{name: "big bdat", send: envelope + fmt.Sprintf("BDAT %d LAST\r\n%s", len(big), big), want: enveloped + ", 250 2.0.0", bodies: []string{big}},
		{name: "big chunk", send: envelope + fmt.Sprintf("BDAT %d\r\n%sBDAT 0 LAST\r\n", len(big), big), want: enveloped + ", 250 2.0.0, 250 2.0.0", bodies: []string{big}},
		{name: "size in the middle", send: envelope + "DATA\r\n" + big + ".\r\nNOOP\r\n", bend: func(_ *Config, r *recorder) { r.maxBytes = 100_000 }, want: enveloped + ", 354, 552 5.3.4, 250 2.0.0"},
		{name: "size in the middle of a chunk", send: envelope + fmt.Sprintf("BDAT %d LAST\r\n%s", len(big), big) + "NOOP\r\n", bend: func(_ *Config, r *recorder) { r.maxBytes = 100_000 },
			want: enveloped + ", 552 5.3.4, 250 2.0.0"},
		{name: "refused in the middle", send: envelope + "DATA\r\n" + big + ".\r\n" + envelope + fmt.Sprintf("BDAT %d\r\n%sBDAT 0 LAST\r\n", len(big), big), bend: func(_ *Config, r *recorder) {
			r.onData = func(_ *Conn, in io.Reader) error {
				_, _ = io.CopyN(io.Discard, in, 10)
				return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "no"}
			}
		}, want: enveloped + ", 354, 554 5.6.0, " + enveloped + ", 554 5.6.0, 503 5.5.1"},
		{name: "smuggled behind 64 kB", send: envelope + "DATA\r\n" + big + "\n.\r\n", want: enveloped + ", 354, 550 5.5.2", events: "bare line end", closed: true},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", d.name, secure), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { d.play(t, secure, false) })
			})
		}
	}
}

// TestBorders cuts one dialog in two writes at every place.
func TestBorders(t *testing.T) {
	in := "EHLO x\r\n" + envelope + "DATA\r\n..\r\na\r\n.\r\n" + envelope + "BDAT 3\r\na\r\nBDAT 4 LAST\r\n.\r\nbNOOP\r\n"
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range len(in) {
			p := w.dial()
			p.send(in[:i])
			p.send(in[i:])
			if got, want := p.codes(), "220, 250, "+enveloped+", 354, 250 2.0.0, "+enveloped+", 250 2.0.0, 250 2.0.0, 250 2.0.0"; got != want {
				t.Errorf("cut at %d: %s", i, got)
			}
			p.close()
			if m := w.rec.accepted(); len(m) != 2*i+2 || m[2*i].body != ".\r\na\r\n" || m[2*i+1].body != "a\r\n.\r\nb" {
				t.Fatalf("cut at %d: %q", i, m)
			}
		}
		w.shut()
	})
}

// TestRefusedBorders does the same with chunks that are refused: their octets are
// never taken for commands, wherever a read ends.
func TestRefusedBorders(t *testing.T) {
	in := "EHLO x\r\nBDAT 6\r\nQUIT\r\nMAIL FROM:<a@b>\r\nBDAT 8 LAST\r\n\nQUIT\r\n\x00RCPT TO:<c@d>\r\nBDAT 3\r\n12\rBDAT 8 LAST\r\n\nQUIT\r\nxBDAT 6\r\nRSET\r\nNOOP\r\n"
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config, r *recorder) { r.maxBytes = 10 })
		for i := range len(in) {
			p := w.dial()
			p.send(in[:i])
			p.send(in[i:])
			if got, want := p.codes(), "220, 250, 503 5.5.1, 250 2.1.0, 554 5.5.1, 250 2.1.5, 250 2.0.0, 552 5.3.4, 503 5.5.1, 250 2.0.0"; got != want {
				t.Errorf("cut at %d: %s", i, got)
			}
			p.close()
		}
		w.shut()
		if n := len(w.rec.accepted()); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestSmugglingBorders cuts each of the sequences at every place in two writes,
// inside TLS too: what is left over of a read is judged with the next.
func TestSmugglingBorders(t *testing.T) {
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			for name, s := range smuggled {
				in := "body" + s + "MAIL FROM:<evil@x>\r\n"
				for i := range len("body" + s) {
					p := w.dial()
					if secure {
						p.close()
						p = w.dialTLS()
					}
					p.send("EHLO x\r\n" + envelope + "DATA\r\n")
					p.take()
					p.send(in[:i+1])
					p.send(in[i+1:])
					if got := p.codes(); got != "550 5.5.2" || !p.isClosed() {
						t.Errorf("%s cut at %d: %s, closed %v", name, i, got, p.isClosed())
					}
					p.close()
				}
			}
			w.shut()
			if n := len(w.rec.accepted()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// TestLongText: lines over 1000 octets are taken as they are, and told of.
func TestLongText(t *testing.T) {
	line := func(n int) string { return strings.Repeat("x", n-2) + "\r\n" }
	fits, long := line(1000), line(1001)
	for _, d := range []dialog{
		{name: "data", send: envelope + "DATA\r\n" + fits + fits + ".\r\n", want: enveloped + ", 354, 250 2.0.0", bodies: []string{fits + fits}},
		{name: "long data", send: envelope + "DATA\r\n" + long + fits + long + ".\r\n", want: enveloped + ", 354, 250 2.0.0", bodies: []string{long + fits + long}, events: "long text"},
		{name: "bdat", send: envelope + "BDAT 2000 LAST\r\n" + fits + fits, want: enveloped + ", 250 2.0.0", bodies: []string{fits + fits}},
		{name: "long bdat", send: envelope + "BDAT 1000\r\n" + long[:1000] + "BDAT 1 LAST\r\n\n", want: enveloped + ", 250 2.0.0, 250 2.0.0", bodies: []string{long}, events: "long text"},
		{name: "not told of the next", send: envelope + "DATA\r\n" + long + ".\r\n" + envelope + "DATA\r\n.\r\n", want: enveloped + ", 354, 250 2.0.0, " + enveloped + ", 354, 250 2.0.0",
			bodies: []string{long, ""}, events: "long text"},
		{name: "nor after RSET", send: envelope + "BDAT 1001\r\n" + long + "RSET\r\n" + envelope + "DATA\r\n.\r\n", want: enveloped + ", 250 2.0.0, 250 2.0.0, " + enveloped + ", 354, 250 2.0.0",
			bodies: []string{""}},
	} {
		d.run(t)
	}
}

// TestTruncated: a body that the peer leaves does not end (RFC 3030 2, RFC 5321 3.8).
func TestTruncated(t *testing.T) {
	for _, send := range []string{"DATA\r\n", "DATA\r\nab", "DATA\r\nab\r\n", "DATA\r\nab\r\n.", "DATA\r\nab\r\n.\r",
		"BDAT 5\r\n", "BDAT 5\r\nab", "BDAT 5 LAST\r\n", "BDAT 5 LAST\r\nab\r\n", "BDAT 2\r\nabBDAT 100000 LAST\r\n" + strings.Repeat("x\r\n", 33333)} {
		for _, end := range []string{"fin", "close_notify", "fin in tls"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				p := w.dial()
				if end != "fin" {
					p.close()
					p = w.dialTLS()
				}
				p.send("EHLO x\r\n" + envelope + send)
				if end == "close_notify" {
					_ = p.conn.(*tls.Conn).CloseWrite()
					synctest.Wait()
					if !p.isClosed() {
						t.Errorf("%q: not closed", send)
					}
				}
				p.take()
				p.close()
				w.shut()
				if n := len(w.rec.accepted()); n != 0 {
					t.Errorf("%.20q, %s: %d messages were accepted", send, end, n)
				}
				if got := w.events(); got != "truncated body" {
					t.Errorf("%.20q, %s: events %q", send, end, got)
				}
			})
		}
	}
}

// unstuffSlow is unstuff as one reads it in the RFC, octet by octet.
func unstuffSlow(p []byte, limit int) (body []byte, n int, end bool, bad bool) {
	start, length := true, 0
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == 0:
			return body, i, false, true
		case start && c == '.' && bytes.HasPrefix(p[i:], []byte(".\r\n")):
			return body, i + 3, true, false
		case start && c == '.':
			start, length = false, 1
		case c == '\r' && i+1 == len(p):
			return body, i, false, false
		case c == '\r' && p[i+1] == '\n':
			if length+2 > limit {
				return body, i, false, true
			}
			body, start, length = append(body, '\r', '\n'), true, 0
			i++
		case c == '\r' || c == '\n':
			return body, i, false, true
		default:
			if length++; length > limit {
				return body, i, false, true
			}
			body, start = append(body, c), false
		}
	}
	return body, len(p), false, false
}

// inPieces runs unstuff over p as gather does, p coming in pieces of the given sizes.
func inPieces(p []byte, limit int, size func() int) (body []byte, n int, end bool, err error) {
	s := scanner{limit: limit}
	var held []byte
	for at := 0; at < len(p); {
		k := min(size(), len(p)-at)
		buf := append(slices.Clone(held), p[at:at+k]...)
		at += k
		w, used, end, err := s.unstuff(buf, buf)
		body = append(body, buf[:w]...)
		n += used
		if err != nil || end {
			return body, n, end, err
		}
		held = slices.Clone(buf[used:])
		if len(held) > 2 {
			return body, n, end, errors.New("too much is left over")
		}
	}
	return body, n, false, nil
}

func checkUnstuff(t *testing.T, p []byte, size func() int) {
	t.Helper()
	const limit = 12
	want, wantN, wantEnd, bad := unstuffSlow(p, limit)
	got, n, end, err := inPieces(p, limit, size)
	if bad != (err != nil) || !bad && end != wantEnd {
		t.Fatalf("%q: end %v, err %v; want end %v, bad %v", p, end, err, wantEnd, bad)
	}
	if bad {
		return
	}
	if !wantEnd { // what is held back is not in either
		want, wantN = want[:min(len(want), len(got))], n
	}
	if !bytes.Equal(got, want) || n != wantN {
		t.Fatalf("%q: %q, %d; want %q, %d", p, got, n, want, wantN)
	}
}

func TestScanner(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"\r\n", "\r\n", "\r\n", ".", "..", "\r\n.", "\r\n.\r\n", "a", "bcd", "\r", "\n", "\x00", "0123456789"}
	for round := range 40_000 {
		var p []byte
		for range r.IntN(12) {
			k := r.IntN(len(words))
			if k >= 9 && r.IntN(6) > 0 { // mostly clean
				k %= 9
			}
			p = append(p, words[k]...)
		}
		checkUnstuff(t, p, func() int { return 1 + r.IntN(1+round%7) })
		checkCRLF(t, p, func() int { return 1 + r.IntN(1+round%7) })
	}
}

func checkCRLF(t *testing.T, p []byte, size func() int) {
	t.Helper()
	rest := bytes.ReplaceAll(p, []byte("\r\n"), nil)
	bad := bytes.ContainsAny(rest, "\r\n\x00") || bytes.IndexByte(p, 0) >= 0
	for line := range bytes.SplitSeq(p, []byte("\r\n")) {
		bad = bad || len(line) > 12
	}
	for _, line := range bytes.SplitAfter(p, []byte("\r\n")) {
		bad = bad || len(line) > 12
	}
	s := scanner{limit: 12}
	var err error
	for at := 0; at < len(p) && err == nil; {
		k := min(size(), len(p)-at)
		at += k
		err = s.check(p[at-k:at], at == len(p))
	}
	if bad != (err != nil) {
		t.Fatalf("%q: %v, want bad=%v", p, err, bad)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range smuggled {
		f.Add([]byte("a"+s+"b\r\n.\r\n"), uint8(1))
	}
	f.Fuzz(func(t *testing.T, p []byte, size uint8) {
		checkUnstuff(t, p, func() int { return 1 + int(size)%9 })
		checkCRLF(t, p, func() int { return 1 + int(size)%9 })
	})
}
