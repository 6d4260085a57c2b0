//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// recorder is a proxy between our server and another one, which keeps each octet
// that ours says.
type recorder struct {
	l    net.Listener
	to   string
	wait sync.WaitGroup

	mu      sync.Mutex
	streams []*bytes.Buffer // one for each connection
}

func startRecorder(t *testing.T, address, to string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	r := &recorder{l: l, to: to}
	r.wait.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.wait.Wait() // the server, which is stopped first, ends its connections
	})
	return r
}

func (r *recorder) accept() {
	for {
		conn, err := r.l.Accept()
		if err != nil {
			return
		}
		r.wait.Go(func() { r.pass(conn) })
	}
}

func (r *recorder) pass(conn net.Conn) {
	defer conn.Close()
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer far.Close()
	stream := new(bytes.Buffer)
	r.mu.Lock()
	r.streams = append(r.streams, stream)
	r.mu.Unlock()
	var wait sync.WaitGroup
	wait.Go(func() {
		io.Copy(conn, far)
		conn.Close()
	})
	io.Copy(io.MultiWriter(recordedStream{&r.mu, stream}, far), conn)
	far.Close()
	wait.Wait()
}

type recordedStream struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l recordedStream) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// said returns what was recorded.
func (r *recorder) said() (streams [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		streams = append(streams, bytes.Clone(s.Bytes()))
	}
	return streams
}

// hostileBodies are contents that some server takes for the end of a message, or for
// two lines where another sees one; hostileChunks are the same in pieces.
func hostileBodies() (bodies []string) {
	pad := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 2500) // leaves by BDAT
	for _, core := range []string{
		"", "plain\r\n", "\r\n.\r\n", "a\n.\nb\r\n", "a\r.\rb\r\n", "a\r\n.\rb\r\n", "a\r\n.\nb\r\n", "a\n.\r\nMAIL FROM:<evil@x.test>\r\n",
		"a\r.\r\nb\r\n", "a\rb\r\n", "a\nb\r\n", "\r\r\n", "\n\r\n", "\r\n\r", "end\r", "end\n", "no end", "\x00\r\n", ".", "..", "\r\n.", "\r\n.\r\n.\r\n",
		"X: y\rZ: z\r\n\r\n", "\r\n" + strings.Repeat("y", 2000) + "\r\n",
	} {
		bodies = append(bodies, core, pad+core, strings.Repeat("z", 128<<10-20)+"\r\n"+core+pad)
	}
	// Wherever a chunk ends, it is in the middle of a line end of one of these.
	ends := strings.Repeat("\r\n", 140<<10)
	return append(bodies, ends, "x"+ends)
}

// No octet CR leaves without LF behind it, and no LF without CR before it, whatever was
// handed in, and however it leaves: by DATA, pipelined or not, or by BDAT.
func TestStoriesNoLoneCROrLF(t *testing.T) {
	s := newReceiverStage(t)
	s.start(t, receivers[0], "TLS", "")
	sink := s.startSmtpSink(t, "127.0.0.7", "-p -D "+filepath.Join(s.work, "log", "sink."))
	exim := startRecorder(t, "127.0.0.8:0", fmt.Sprintf("%s:%d", receivers[0].ip, s.port))
	plain := startRecorder(t, "127.0.0.9:0", sink)
	s.relay = startServer(t, s.ownConfig(t, "[[relay_domain]]\ndomain = \"exim.out.test\"\nrecipients = \"any\"\n"+
		"[[relay_domain]]\ndomain = \"plain.test\"\nrecipients = \"any\"\n"+
		fmt.Sprintf("[[route]]\ndomain = \"exim.out.test\"\nnext_hop = [%q]\n[[route]]\ndomain = \"plain.test\"\nnext_hop = [%q]\n", exim.l.Addr(), plain.l.Addr())))
	taken, refused := 0, 0
	for _, domain := range []string{"exim.out.test", "plain.test"} {
		for _, body := range hostileBodies() {
			for _, door := range []func(*testing.T, string, string) bool{s.byDATA, s.byBDAT} {
				if door(t, domain, "Subject: hostile\r\n\r\n"+body) {
					taken++
				} else {
					refused++
				}
			}
		}
	}
	t.Logf("%d were taken, %d were refused", taken, refused)
	if taken < 20 || refused < 20 {
		t.Error("that proves little")
	}
	eventually(t, func() error { // what cannot leave has come back
		left, err := queueList(t.Context(), s.relay.cmd.Args[3])
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d messages are still queued, one of them:\n%s", len(left), logEnd(s.relay))
		}
		return err
	})
	said := map[string]bool{}
	for _, stream := range append(exim.said(), plain.said()...) {
		for _, word := range []string{"MAIL FROM", "RCPT TO", "DATA\r\n", "BDAT ", " LAST\r\n"} {
			said[word] = said[word] || bytes.Contains(stream, []byte(word))
		}
		if at := loneCROrLF(stream); at >= 0 {
			t.Errorf("octet %d of %d: %q", at, len(stream), stream[max(0, at-60):min(len(stream), at+60)])
		}
		if bytes.Contains(stream, []byte("\nMAIL FROM:<evil")) {
			t.Error("a body became a command")
		}
	}
	if len(said) != 5 || said["BDAT "] == false || said["DATA\r\n"] == false {
		t.Errorf("not every way was gone: %v", said)
	}
}

// loneCROrLF returns where the first one is, or -1.
func loneCROrLF(b []byte) int {
	for i, c := range b {
		if c == '\r' && (i+1 == len(b) || b[i+1] != '\n') || c == '\n' && (i == 0 || b[i-1] != '\r') {
			return i
		}
	}
	return -1
}

// byDATA tries to queue a body as it is, but for dots; it reports whether it was taken.
func (s *receiverStage) byDATA(t *testing.T, domain, content string) bool {
	d := newDoor(t, s.relay.addresses["relay"])
	defer d.conn.Close()
	must(t, d.ask("MAIL FROM:<>", "250"))
	must(t, d.ask("RCPT TO:<ann@"+domain+">", "250"))
	must(t, d.ask("DATA", "354"))
	stuffed := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]
	if !strings.HasSuffix(stuffed, "\r\n") {
		stuffed += "\r\n"
	}
	return d.ask(stuffed+".", "250") == nil
}

// byBDAT does the same in chunks that tear lines apart.
func (s *receiverStage) byBDAT(t *testing.T, domain, content string) bool {
	d := newDoor(t, s.relay.addresses["relay"])
	defer d.conn.Close()
	must(t, d.ask("MAIL FROM:<>", "250"))
	must(t, d.ask("RCPT TO:<ann@"+domain+">", "250"))
	for first := true; ; first = false {
		size := min(len(content), 60000)
		if at := strings.LastIndexAny(content[:size], "\r\n"); first && at > 0 {
			size = at
		}
		last := ""
		if size == len(content) {
			last = " LAST"
		}
		fmt.Fprintf(d.conn, "BDAT %d%s\r\n%s", size, last, content[:size])
		if d.reply("250") != nil {
			return false
		}
		if content = content[size:]; last != "" {
			return true
		}
	}
}
