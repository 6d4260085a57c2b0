package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"dancemta/internal/dialog"
)

// lines makes a body of n lines of 1000 octets.
func lines(n int) string { return strings.Repeat(strings.Repeat("y", 998)+"\r\n", n) }

// onWire is a body as a script: dots are not doubled.
func onWire(body string) string {
	var s strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(body, "\r\n"), "\r\n") {
		s.WriteString("C: " + line + "\n")
	}
	return s.String()
}

// TestChunks: bodies by BDAT.
func TestChunks(t *testing.T) {
	const envelope = "C: MAIL FROM:<a@example.test>\nC: RCPT TO:<b@remote.test>\nC: RCPT TO:<c@remote.test>\n"
	const ok = `S! "250 ok\r\n250 ok\r\n250 ok\r\n"` + "\n"
	one := "." + lines(100)[1:]
	// The first of two chunks is read in whole pieces of the body.
	first, second := lines(200)[:chunkSize], lines(200)[chunkSize:]
	cut := strings.LastIndexByte(first, '\n') + 1
	rest := first[cut:]
	both := fmt.Sprintf("C: BDAT %d\n", chunkSize) + onWire(first[:cut]) +
		fmt.Sprintf("C: %sBDAT %d LAST\n", rest, len(second)) + onWire(second)
	slow := "S: 220 mx\nC: EHLO mx.example.test\nS: 250-mx\nS: 250 CHUNKING\n"
	for _, c := range []struct{ name, script, body, want string }{
		{"one chunk", offers("CHUNKING") + envelope + ok + fmt.Sprintf("C: BDAT %d LAST\n", len(one)) + onWire(one) + "S: 250 2.6.0 queued" + quit, one, "ok, ok"},
		{"small ones by DATA", offers("CHUNKING") + envelope + `
			C: DATA
			S! "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
			C: ..
			C: .
			S: 250 2.6.0 queued
		` + quit, ".\r\n", "ok, ok"},
		{"without an end of the last line", offers("CHUNKING") + envelope + ok + fmt.Sprintf("C: BDAT %d LAST\n", len(one)+3) + onWire(one) + "C: x\nS: 250 ok" + quit, one + "x", "ok, ok"},
		{"one by one", slow + "C: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@remote.test>\nS: 550 5.1.1 x\nC: RCPT TO:<c@remote.test>\nS: 250 ok\n" +
			fmt.Sprintf("C: BDAT %d LAST\n", len(one)) + onWire(one) + "S: 250 ok" + quit, one, "failed 5.1.1, ok"},
		{"two chunks", offers("CHUNKING") + envelope + ok + both + `S! "250 ok\r\n250 2.6.0 queued\r\n"` + quit, first + second, "ok, ok"},
		{"nobody wants it", offers("CHUNKING") + envelope + `S! "250 ok\r\n550 5.1.1 x\r\n450 4.2.1 x\r\n"` + quit, one, "failed 5.1.1, deferred 4.2.1"},
		{"refused at the end", offers("CHUNKING") + envelope + ok + fmt.Sprintf("C: BDAT %d LAST\n", len(one)) + onWire(one) + "S: 554 5.6.0 no" + quit, one, "failed 5.6.0, failed 5.6.0"},
		{"no word at the end", offers("CHUNKING") + envelope + ok + fmt.Sprintf("C: BDAT %d LAST\n", len(one)) + onWire(one) + "DROP", one, "deferred 4.4.2, deferred 4.4.2"},
		{"354 at the end", offers("CHUNKING") + envelope + ok + fmt.Sprintf("C: BDAT %d LAST\n", len(one)) + onWire(one) + "S: 354 go\nHANG", one, "deferred 4.5.0, deferred 4.5.0"},
		{"the first chunk is refused, the second on its way", offers("CHUNKING") + envelope + ok + both + `S! "552 5.3.4 big\r\n503 5.5.1 x\r\n"`, first + second, "failed 5.3.4, failed 5.3.4"},
		{"gone between the chunks, the last on its way", offers("CHUNKING") + envelope + ok + both + "DROP", first + second, "deferred 4.4.2, deferred 4.4.2"},
		{"421 for the first chunk", offers("CHUNKING") + envelope + ok + both + "S: 421 4.3.2 down", first + second, "next 4.3.2, next 4.3.2"},
		{"an answer before the body", offers("CHUNKING") + envelope + `S! "250 ok\r\n250 ok\r\n250 ok\r\n250 queued\r\n"` + "\nHANG", one, "next 4.5.0, next 4.5.0"},
		{"a lone LF", offers("CHUNKING") + envelope + ok + "HANG", one + "x\ny\r\n", "failed 5.6.0, failed 5.6.0"},
		{"a CR at the end", offers("CHUNKING") + envelope + ok + "HANG", one + "x\r", "failed 5.6.0, failed 5.6.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, c.script)
			all := client.Send(t.Context(), message(c.body, "b@remote.test", "c@remote.test"))
			if got := results(all); got != c.want {
				t.Errorf("got %s, want %s: %v", got, c.want, all)
			}
			client.Quit(t.Context())
		})
	}
}

// A body that cannot be read to its end is not ended.
func TestChunkOwnFault(t *testing.T) {
	broken := errors.New("disk gone")
	client := connect(t, offers("CHUNKING")+`
		C: MAIL FROM:<a@example.test>
		C: RCPT TO:<b@remote.test>
		S! "250 ok\r\n250 ok\r\n"
		HANG
	`)
	m := message("", "b@remote.test")
	m.Size = 2 * chunkSize
	m.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(lines(100)), failing{broken})), nil
	}
	if all := client.Send(t.Context(), m); results(all) != "deferred 4.3.0" || !errors.Is(all[0].Err, broken) {
		t.Errorf("got %s: %v", results(all), all[0].Err)
	}
	client.Quit(t.Context())
}

// TestChunksOfAnySize: what is cut into chunks and put together is what it was,
// whatever the sizes of pieces, and no chunk but the only one is empty.
func TestChunksOfAnySize(t *testing.T) {
	for _, size := range []int{0, 1000, chunkSize - 1000, chunkSize, chunkSize + 1000, 2 * chunkSize, 5*chunkSize + 7000} {
		body := lines(size/1000 + 1)[:size]
		body = body[:strings.LastIndexByte(body, '\n')+1]
		for _, step := range []int{7, 1000, blockSize, 1 << 20} {
			c := newChunker(&pieces{strings.NewReader(body), step})
			var got bytes.Buffer
			for last, n := false, 0; !last; n++ {
				var err error
				if last, err = c.fill(); err != nil {
					t.Fatal(err)
				}
				command, chunk, _ := bytes.Cut(c.command(last), []byte("\r\n"))
				want := fmt.Sprintf("BDAT %d", len(chunk))
				if last {
					want += " LAST"
				}
				if string(command) != want || len(chunk) == 0 && n > 0 || len(chunk) > chunkSize+blockSize {
					t.Fatalf("%q before %d octets", command, len(chunk))
				}
				got.Write(chunk)
			}
			if got.String() != body {
				t.Errorf("size %d, step %d: %d octets came", len(body), step, got.Len())
			}
		}
	}
}

// pieces reads at most step octets at a time.
type pieces struct {
	r    io.Reader
	step int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.step)]) }

// TestLMTPChunks: one answer for each recipient who was accepted.
func TestLMTPChunks(t *testing.T) {
	body := lines(100)
	o := options
	o.LMTP = true
	client, err := New(t.Context(), dial(t, dialog.Serve(t, `
		S: 220 store
		C: LHLO mx.example.test
		S: 250-store
		S: 250-CHUNKING
		S: 250 PIPELINING
		C: MAIL FROM:<a@example.test>
		C: RCPT TO:<b@remote.test>
		C: RCPT TO:<c@remote.test>
		S! "250 ok\r\n250 ok\r\n250 ok\r\n"
	`+fmt.Sprintf("C: BDAT %d LAST\n", len(body))+onWire(body)+`S! "250 b\r\n550 5.7.1 c\r\n"`+quit)), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := results(client.Send(t.Context(), message(body, "b@remote.test", "c@remote.test"))); got != "ok, failed 5.7.1" {
		t.Errorf("got %s", got)
	}
	client.Quit(t.Context())
}
