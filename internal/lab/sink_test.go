package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// peer speaks SMTP by hand.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, s *Sink) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	p := &peer{t, conn, bufio.NewReader(conn)}
	p.expect("220")
	return p
}

// say writes bytes and demands a reply that begins so.
func (p *peer) say(bytes, reply string) string {
	p.t.Helper()
	p.write(bytes)
	return p.expect(reply)
}

func (p *peer) write(bytes string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(bytes)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) expect(reply string) string {
	p.t.Helper()
	var all strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		all.WriteString(line)
		if err != nil || !strings.HasPrefix(line, reply) {
			p.t.Fatalf("got %q, %v; want %s", all.String(), err, reply)
		}
		if len(line) > 3 && line[3] == ' ' {
			return all.String()
		}
	}
}

// envelope goes as far as DATA's 354.
func (p *peer) envelope() {
	p.t.Helper()
	p.say("EHLO me\r\n", "250")
	p.say("MAIL FROM:<a@x.test>\r\n", "250")
	p.say("RCPT TO:<b@y.test>\r\n", "250")
	p.say("DATA\r\n", "354")
}

func start(t *testing.T, o SinkOptions) *Sink {
	t.Helper()
	s, err := StartSink("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func any1(Message) bool { return true }

func TestSinkKeepsEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := start(t, SinkOptions{Dir: dir})
	p := dial(t, s)
	p.say("EHLO [192.0.2.1]\r\n", "250")
	p.say("MAIL FROM:<> SIZE=5 BODY=8BITMIME\r\n", "250")
	p.say("RCPT TO:<\"a> b\"@y.test> NOTIFY=NEVER\r\nRCPT TO:<c@y.test>\r\n", "250")
	p.expect("250")
	p.say("DATA\r\n", "354")
	body := "Subject: x\r\n\r\n..one\r\nlone\n.\r\nlone\r.\r\r\n.\nnul\x00 \xff\r\n"
	p.say(body+".\r\nQUIT\r\n", "250")
	p.expect("221")
	want := "Subject: x\r\n\r\n.one\r\nlone\n.\r\nlone\r.\r\r\n\nnul\x00 \xff\r\n"
	m := s.Messages()[0]
	if string(m.Data) != want {
		t.Errorf("data %q, want %q", m.Data, want)
	}
	if m.From != "" || m.FromArgs != "SIZE=5 BODY=8BITMIME" || m.Helo != "[192.0.2.1]" || m.TLS != nil || m.Session != 1 {
		t.Errorf("%+v", m)
	}
	if strings.Join(m.To, "|") != "\"a> b\"@y.test|c@y.test" || strings.Join(m.ToArgs, "|") != "NOTIFY=NEVER|" {
		t.Errorf("to %q %q", m.To, m.ToArgs)
	}
	if file, err := os.ReadFile(filepath.Join(dir, "1.eml")); string(file) != want {
		t.Errorf("file %q, %v", file, err)
	}
}

func TestSinkSpeaksTLS(t *testing.T) {
	s := start(t, SinkOptions{})
	p := dial(t, s)
	if text := p.say("EHLO me\r\n", "250"); !strings.Contains(text, "STARTTLS") {
		t.Errorf("EHLO %q", text)
	}
	p.say("STARTTLS\r\n", "220")
	client := SelfSigned(LeafOptions{Names: []string{"me.test"}}).TLSCertificate()
	c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{client}})
	p.conn, p.r = c, bufio.NewReader(c)
	if text := p.say("EHLO me\r\n", "250"); strings.Contains(text, "STARTTLS") {
		t.Errorf("EHLO within TLS %q", text)
	}
	p.say("MAIL FROM:<a@x.test>\r\n", "250")
	p.say("RCPT TO:<b@y.test>\r\n", "250")
	p.say("DATA\r\n", "354")
	p.say(".\r\n", "250")
	m := s.Messages()[0]
	if m.TLS == nil || len(m.TLS.PeerCertificates) != 1 || m.TLS.PeerCertificates[0].DNSNames[0] != "me.test" {
		t.Errorf("TLS %+v", m.TLS)
	}
}

func TestSinkClosesOnInjection(t *testing.T) {
	s := start(t, SinkOptions{})
	p := dial(t, s)
	p.say("EHLO me\r\n", "250")
	p.say("STARTTLS\r\nNOOP\r\n", "220")
	if _, err := p.r.ReadByte(); err == nil {
		t.Error("a reply to a command behind STARTTLS")
	}
}

func TestSinkAnswersAsTold(t *testing.T) {
	s := start(t, SinkOptions{})
	s.Answer(func(c Command) string {
		switch {
		case c.Verb == "RCPT" && strings.Contains(c.Line, "<no@"):
			return "550 5.1.1 no"
		case c.Verb == "RCPT" && strings.Contains(c.Line, "<later@"):
			return "450 4.2.0 later"
		case c.Verb == "." && c.Session == 1:
			return "452 4.3.1 full"
		case c.Verb == "NOOP":
			return Drop
		}
		return ""
	})
	p := dial(t, s)
	p.say("EHLO me\r\n", "250")
	p.say("MAIL FROM:<a@x.test>\r\n", "250")
	p.say("RCPT TO:<no@y.test>\r\n", "550 5.1.1 no")
	p.say("DATA\r\n", "503")
	p.say("RCPT TO:<later@y.test>\r\n", "450")
	p.say("RCPT TO:<b@y.test>\r\n", "250")
	p.say("DATA\r\n", "354")
	p.say(".\r\n", "452")
	if len(s.Messages()) != 0 {
		t.Error("a refused message was kept")
	}
	p.write("NOOP\r\n")
	if _, err := p.r.ReadByte(); err == nil {
		t.Error("not dropped")
	}
	p = dial(t, s)
	p.envelope()
	p.say("x\r\n.\r\n", "250")
	if m := s.Messages(); len(m) != 1 || m[0].To[0] != "b@y.test" || m[0].Session != 2 {
		t.Errorf("%+v", m)
	}
}

func TestWaitSeesOldAndNew(t *testing.T) {
	s := start(t, SinkOptions{})
	found := make(chan error, 1)
	go func() {
		_, err := s.Wait(deadline(t), func(m Message) bool { return string(m.Data) == "two\r\n" })
		found <- err
	}()
	p := dial(t, s)
	for _, text := range []string{"one", "two"} {
		p.envelope()
		p.say(text+"\r\n.\r\n", "250")
	}
	if err := <-found; err != nil {
		t.Error(err)
	}
	if m, err := s.Wait(deadline(t), any1); err != nil || string(m.Data) != "one\r\n" {
		t.Errorf("%q %v", m.Data, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Wait(ctx, func(Message) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting without end: %v", err)
	}
}

func TestHeldDeliveryGoesOn(t *testing.T) {
	s := start(t, SinkOptions{})
	s.Hold()
	p := dial(t, s)
	p.envelope()
	p.write("x\r\n.\r\n")
	q := dial(t, s)
	q.envelope()
	q.write("y\r\n.\r\nNOOP\r\n") // its next command is there already
	if err := s.WaitHeld(deadline(t), 2); err != nil {
		t.Fatal(err)
	}
	if len(s.Messages()) != 0 {
		t.Error("a held message counts as accepted")
	}
	s.Release()
	p.expect("250")
	q.expect("250")
	q.expect("250")
	p.say("QUIT\r\n", "221") // the session goes on after the wait
	if len(s.Messages()) != 2 {
		t.Errorf("%d messages", len(s.Messages()))
	}
}

func TestHeldDeliveryOfALostClientWasNone(t *testing.T) {
	s := start(t, SinkOptions{})
	s.Hold()
	p := dial(t, s)
	p.envelope()
	p.write("x\r\n.\r\n")
	if err := s.WaitHeld(deadline(t), 1); err != nil {
		t.Fatal(err)
	}
	p.conn.Close()
	if err := s.until(deadline(t), func() bool { return s.held == 0 }); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if len(s.Messages()) != 0 {
		t.Error("kept")
	}
}

func TestSinkStopsAndStartsOnItsPort(t *testing.T) {
	s := start(t, SinkOptions{})
	addr := s.Addr()
	s.Hold()
	p := dial(t, s)
	p.envelope()
	p.write("x\r\n.\r\n")
	if err := s.WaitHeld(deadline(t), 1); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := p.r.ReadByte(); err == nil {
		t.Error("the session went on")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the port is open")
	}
	s.Release()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr {
		t.Errorf("moved from %s to %s", addr, s.Addr())
	}
	p = dial(t, s)
	p.envelope()
	p.say("y\r\n.\r\n", "250")
	if m := s.Messages(); len(m) != 1 || string(m[0].Data) != "y\r\n" {
		t.Errorf("%+v", m)
	}
}
