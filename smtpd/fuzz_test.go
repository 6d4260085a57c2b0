package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"regexp"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/smtpd/wire"
)

// tube carries octets one way, as many as may come, in pieces.
type tube struct {
	mu    sync.Mutex
	more  *sync.Cond
	held  []byte
	ended bool // nothing more comes
	piece int  // at most so many octets in one Read; 0: any number
}

func newTube(piece int) *tube {
	t := &tube{piece: piece}
	t.more = sync.NewCond(&t.mu)
	return t
}

func (t *tube) Read(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.held) == 0 && !t.ended {
		t.more.Wait()
	}
	if len(t.held) == 0 {
		return 0, io.EOF
	}
	n := len(t.held)
	if t.piece > 0 {
		n = min(n, t.piece)
	}
	n = copy(b, t.held[:n])
	t.held = t.held[n:]
	return n, nil
}

func (t *tube) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return 0, net.ErrClosed
	}
	t.held = append(t.held, b...)
	t.more.Broadcast()
	return len(b), nil
}

func (t *tube) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.more.Broadcast()
}

// tubes is one end of a connection in memory. Its octets are all there at once or never,
// so it needs no deadlines.
type tubes struct {
	in, out *tube
}

func (c *tubes) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *tubes) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *tubes) CloseWrite() error           { c.out.end(); return nil }
func (c *tubes) Close() error {
	c.in.end()
	c.out.end()
	return nil
}
func (c *tubes) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }
func (c *tubes) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4444} }
func (c *tubes) SetDeadline(time.Time) error      { return nil }
func (c *tubes) SetReadDeadline(time.Time) error  { return nil }
func (c *tubes) SetWriteDeadline(time.Time) error { return nil }

// ear hands connections of memory to a server.
type ear struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (e *ear) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}
func (e *ear) Close() error   { e.once.Do(func() { close(e.done) }); return nil }
func (e *ear) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

// fuzzPeers are those who may talk: nobody, a device, a user.
type fuzzPeers struct{ server, device, user tls.Certificate }

func newFuzzPeers() fuzzPeers {
	leaf := func(o lab.LeafOptions) tls.Certificate { return lab.SelfSigned(o).TLSCertificate() }
	return fuzzPeers{
		server: leaf(lab.LeafOptions{Names: []string{"mx.example.test"}}),
		device: leaf(lab.LeafOptions{Names: []string{device}}),
		user:   leaf(lab.LeafOptions{Names: []string{"partner.test"}, UIDs: []string{"rick"}}),
	}
}

// manner is how a session comes: to which listener, as whom, over TLS or in clear.
type manner struct {
	listener string
	implicit bool
	secure   bool
	cert     *tls.Certificate // nil: none
	piece    int
}

func (p *fuzzPeers) manner(how byte, piece uint16) manner {
	l := listeners[int(how&7)%len(listeners)]
	m := manner{listener: l.Name, implicit: l.Kind == Submissions, secure: how&8 != 0 || l.Kind == Submissions, piece: int(piece%2000) + 1}
	switch how >> 4 & 3 {
	case 1:
		m.cert = &p.device
	case 2, 3:
		m.cert = &p.user
	}
	if l.ClientCertificates == Require && m.cert == nil { // no handshake without one
		m.cert = &p.device
	}
	return m
}

// play has one session with a server of its own, and returns the replies.
func (w *world) play(m manner, in []byte) (replies []string) {
	e := &ear{conns: make(chan net.Conn), done: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- w.Serve(m.listener, e) }()
	there, here := newTube(m.piece), newTube(0)
	e.conns <- &tubes{in: there, out: here}
	replies = w.say(&tubes{in: here, out: there}, m, in)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := errors.Join(w.Drain(ctx), <-served); err != nil {
		w.t.Errorf("the session goes on: %v", err)
	}
	return replies
}

// say is the client's side of play: in is all that it says once TLS, if any, is there.
func (w *world) say(raw *tubes, m manner, in []byte) []string {
	var conn interface {
		io.ReadWriter
		CloseWrite() error
	} = raw
	if m.secure {
		if !m.implicit {
			io.WriteString(raw, "EHLO peer.test\r\nSTARTTLS\r\n")
			lines := bufio.NewReader(raw)
			for line := ""; !strings.HasPrefix(line, "220 2.0.0 "); {
				var err error
				if line, err = lines.ReadString('\n'); err != nil {
					w.t.Fatalf("no STARTTLS: %v", err)
				}
			}
		}
		c := tls.Client(raw, clientTLS(m.cert))
		if err := c.Handshake(); err != nil {
			w.t.Fatal(err)
		}
		conn = c
	}
	conn.Write(in) // the server may have hung up: that is what its replies tell
	conn.CloseWrite()
	raw.CloseWrite()
	said, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // a server that hangs up at once says no goodbye to TLS
		w.t.Logf("reading: %v", err)
	}
	return wellFormed(w.t, string(said))
}

var (
	fuzzReply    = regexp.MustCompile(`^([2-5])([0-9][0-9])([ -])([ -~]*)$`)
	fuzzEnhanced = regexp.MustCompile(`^([245])\.[0-9]{1,3}\.[0-9]{1,3} `)
)

// helloSyntax is what a malformed EHLO or HELO gets, whose replies have no such codes.
const helloSyntax = "Syntax: one domain name or address literal"

// wellFormed checks all lines that a server has said, and returns the last line of each reply.
func wellFormed(t *testing.T, said string) (replies []string) {
	begun := ""
	for line := range strings.SplitSeq(strings.TrimSuffix(said, "\r\n"), "\r\n") {
		if line == "" && said == "" {
			break
		}
		r := fuzzReply.FindStringSubmatch(line)
		if r == nil || len(line) > 510 { // RFC 5321 4.5.3.1.5
			t.Fatalf("reply line %q", line)
		}
		if begun != "" && begun != line[:3] {
			t.Fatalf("%q goes on with %q", begun, line)
		}
		enhanced := fuzzEnhanced.FindStringSubmatch(r[4])
		if r[1] >= "4" && (enhanced == nil || enhanced[1] != r[1]) && !strings.HasPrefix(r[4], helloSyntax) { // RFC 2034 4
			t.Fatalf("%q is not of its class", line)
		}
		if begun = line[:3]; r[3] == " " {
			replies, begun = append(replies, line), ""
		}
	}
	if begun != "" || said != "" && !strings.HasSuffix(said, "\r\n") {
		t.Fatalf("half a reply: %q", said)
	}
	for i, r := range replies {
		if (strings.HasPrefix(r, "421") || strings.HasPrefix(r, "221")) && i != len(replies)-1 {
			t.Fatalf("more behind the end: %q", replies[i:])
		}
	}
	return replies
}

// fuzzWorld is newWorld without what costs time.
func fuzzWorld(t *testing.T, p *fuzzPeers) *world {
	w := &world{t: t, verifier: &fakeVerifier{t: t}, queue: &fakeQueue{}}
	w.setRules(standardRules())
	w.setClock(start)
	verified(w.verifier, start.Add(time.Hour))
	var err error
	w.Server, err = New(Options{
		Hostname: dnsname.MustParse("mx.example.test"), Postmaster: mailaddr.MustParse("boss@example.test"),
		Queue: w.queue, Verifier: w.verifier, Rules: w.rules.Load, Listeners: listeners,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &p.server, nil },
		Limits:      wire.Limits{Errors: 1 << 20}, // more to see in one session
		Logger:      slog.New(slog.DiscardHandler),
		Now:         func() time.Time { return *w.clock.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// checkQueue: each message was acknowledged, and each acknowledgement has a message; they
// are clean, from and to whom they may be.
func (w *world) checkQueue(m manner, in []byte, replies []string) {
	ms := w.queue.messages()
	var ids []string
	for _, r := range replies {
		if id, ok := strings.CutPrefix(r, "250 2.6.0 queued as "); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) != len(ms) {
		w.t.Fatalf("%d messages, %d acknowledged: %q", len(ms), len(ids), replies)
	}
	for i, q := range ms {
		if string(q.ID) != ids[i] {
			w.t.Errorf("queued as %s, said %s", q.ID, ids[i])
		}
		if !ended(in, q.body) {
			w.t.Errorf("%q was not ended", q.body)
		}
		if rest := strings.ReplaceAll(q.body, "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") {
			w.t.Errorf("unclean: %q", q.body)
		}
		if m.listener != "mx" && m.listener != "plain" && q.Identity == "" {
			w.t.Errorf("%s took mail of nobody", m.listener)
		}
		if q.Identity != "" && (m.cert == nil || !m.secure) {
			w.t.Errorf("%s is proved by nothing", q.Identity)
		}
		for _, r := range q.Recipients {
			if again, err := mailaddr.Parse(r.Address.String()); err != nil || again != r.Address {
				w.t.Errorf("recipient %q: %v", r.Address, err)
			}
			if q.Identity == "" && r.Address.Domain().String() != "example.test" {
				w.t.Errorf("relayed to %s for nobody", r.Address)
			}
		}
	}
}

var lastChunk = regexp.MustCompile(`(?i)BDAT ([0-9]{1,9})[ \t]+LAST[ \t]*\r\n`)

// ended reports whether the end of a message was said: by a lone dot behind its body, or
// by a last chunk of which all octets came. The header may have been changed on the way.
func ended(in []byte, message string) bool {
	_, body, _ := strings.Cut(message, "\r\n\r\n")
	stuffed := strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n..")[2:]
	if bytes.Contains(in, []byte(stuffed+".\r\n")) {
		return true
	}
	for _, at := range lastChunk.FindAllSubmatchIndex(in, -1) {
		n, err := strconv.Atoi(string(in[at[2]:at[3]]))
		if rest := string(in[at[1]:]); err == nil && n <= len(rest) && (strings.HasSuffix(body, rest[:n]) || strings.HasSuffix(rest[:n], body)) {
			return true
		}
	}
	return false
}

// allocated is all memory that was ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

const (
	fuzzBase    = 8 << 20 // of a session with TLS and the test itself
	fuzzPerByte = 4096    // a command of a few octets has a reply, a log line and a look at the rules
)

// FuzzSession: whoever says whatever, to any listener, in clear or over TLS.
func FuzzSession(f *testing.F) {
	const hello, mail = "EHLO peer.test\r\n", "MAIL FROM:<sensor7@partner.test>\r\nRCPT TO:<info@example.test>\r\n"
	const mine = "MAIL FROM:<rick@partner.test>\r\nRCPT TO:<a@remote.test>\r\n"
	body := "DATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"
	for i, s := range []string{
		hello + mail + body + "QUIT\r\n",
		hello + mail + body + mail + "BDAT 4\r\nx\r\nyBDAT 2 LAST\r\n\r\nRSET\r\nNOOP\r\nVRFY x\r\nHELP\r\n",
		hello + "AUTH EXTERNAL =\r\n" + mine + "DATA\r\nFrom: rick@partner.test\r\n\r\nx\r\n.\r\nQUIT\r\n",
		hello + "AUTH EXTERNAL\r\n\r\n" + mine + "RCPT TO:<postmaster>\r\n" + body,
		hello + "AUTH PLAIN AGEAYg==\r\nAUTH EXTERNAL\r\n*\r\nMAIL FROM:<>\r\nMAIL FROM:<a@b>\r\nRCPT TO:<rick@example.test> NOTIFY=NEVER\r\n" + body,
		hello + mail + "DATA\r\nx\n.\r\nMAIL FROM:<a@b>\r\n.\r\n",
		hello + mail + "DATA\r\nx\ry\r\n.\r\n" + body,
		hello + mail + "DATA\r\nx\x00y\r\n.\r\n",
		hello + mail + "BDAT 40 LAST\r\nSubject: cut off\r\n\r\nhere",
		hello + mail + "BDAT 15\r\nSubject: x\r\n\r\n\rBDAT 3 LAST\r\nx\r\n",
		hello + "NOOP\r" + mail + body,
		"HELO x\r\n" + mail + body + "STARTTLS\r\n" + hello,
		hello + "MAIL FROM:<ü@partner.test> SMTPUTF8 SIZE=9999999999 BODY=8BITMIME RET=HDRS ENVID=x+2By REQUIRETLS\r\nMAIL FROM:<a@b> SIZE=1 SIZE=2\r\n",
		hello + mail + "DATA\r\n" + strings.Repeat("Received: x\r\n", 120) + "\r\n.\r\n" + mail + "BDAT 99999999999999999999\r\nBDAT 4294967296 LAST\r\n",
	} {
		for l := range listeners {
			for secure := range 2 {
				f.Add([]byte(s), byte(l|secure<<3|(i+l)%3<<4), uint16(i*l*37))
			}
		}
	}
	peers := newFuzzPeers()
	f.Fuzz(func(t *testing.T, in []byte, how byte, piece uint16) {
		if len(in) > 1<<16 {
			return
		}
		w, m := fuzzWorld(t, &peers), peers.manner(how, piece)
		before, goroutines := allocated(), runtime.NumGoroutine()
		replies := w.play(m, in)
		if used := allocated() - before; used > fuzzBase+fuzzPerByte*uint64(len(in)) {
			t.Errorf("%d octets cost %d of memory", len(in), used)
		}
		w.checkQueue(m, in, replies)
		waitFor(t, "all goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
	})
}
