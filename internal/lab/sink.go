package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const sinkHost = "sink.test" // default of SinkOptions.Hostname

// SinkOptions say how a sink behaves; the zero value will do.
type SinkOptions struct {
	Hostname    string           // in greeting and EHLO; default "sink.test"
	Certificate *tls.Certificate // for STARTTLS; nil: a self-signed one for Hostname
	NoTLS       bool             // STARTTLS is not offered
	Dir         string           // each message is also written there, as N.eml, before it is acknowledged
}

// Message is what a sink accepted.
type Message struct {
	From, FromArgs string               // the reverse-path without <>, and the parameters behind it
	To, ToArgs     []string             // accepted forward-paths and their parameters
	Data           []byte               // as sent, byte for byte, after dot-stuffing was undone
	Helo           string               // argument of the last EHLO or HELO
	TLS            *tls.ConnectionState // nil in clear
	Peer           string               // remote address and port
	Session        int                  // which connection since the start, from 1
}

// Command is one step of a dialog, shown to the function that Answer sets.
type Command struct {
	Verb    string // "EHLO", "MAIL", "RCPT", "DATA" …; "CONNECT" for the greeting, "." for the end of a message
	Line    string // the whole line without its end
	TLS     bool
	Session int
}

// Drop, as an answer, closes the connection without a word.
const Drop = "drop"

// Sink is an SMTP server that accepts everything for everybody and keeps it.
// Its methods may be called at once and while it serves.
type Sink struct {
	opts    SinkOptions
	addr    string
	tls     *tls.Config
	serving sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil when stopped
	stop     chan struct{}
	conns    map[net.Conn]bool
	sessions int
	messages []Message
	answer   func(Command) string
	hold     chan struct{} // closed by Release; nil: nothing is held
	held     int
	changed  chan struct{} // closed and replaced at every change of messages or held
}

// StartSink listens on an address such as "127.0.0.1:0" until Close.
func StartSink(addr string, o SinkOptions) (*Sink, error) {
	if o.Hostname == "" {
		o.Hostname = sinkHost
	}
	s := &Sink{opts: o, addr: addr, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	if !o.NoTLS {
		if o.Certificate == nil {
			cert := SelfSigned(LeafOptions{Names: []string{o.Hostname}}).TLSCertificate()
			o.Certificate = &cert
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{*o.Certificate}, ClientAuth: tls.RequestClientCert}
	}
	if err := s.Restart(); err != nil {
		return nil, err
	}
	return s, nil
}

// Restart listens again after Stop, on the same port.
func (s *Sink) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return errors.New("the sink is running already")
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	s.addr, s.listener, s.stop = l.Addr().String(), l, make(chan struct{})
	s.serving.Go(func() { s.accept(l) })
	return nil
}

// accept serves connections until the listener is closed.
func (s *Sink) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if c := s.session(l, conn); c != nil {
			s.serving.Go(c.serve)
		}
	}
}

// session registers a connection; nil when the sink was stopped meanwhile.
func (s *Sink) session(l net.Listener, conn net.Conn) *sinkConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != l {
		conn.Close()
		return nil
	}
	s.conns[conn] = true
	s.sessions++
	return newSinkConn(s, conn, s.sessions, s.stop)
}

// Stop closes the port and every connection at once, as a crash would, and
// waits for the sessions. What was accepted is kept.
func (s *Sink) Stop() {
	s.mu.Lock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
		close(s.stop)
	}
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// Close stops the sink for good.
func (s *Sink) Close() { s.Stop() }

// Addr returns host:port; the port stays over Stop and Restart.
func (s *Sink) Addr() string { return s.addr }

// Sessions returns how many connections were taken since the start.
func (s *Sink) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Messages returns what was accepted so far, in order.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Wait returns the first accepted message that match wants, of those there
// already or those to come, or the error of the context.
func (s *Sink) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	var found Message
	seen := 0
	err := s.until(ctx, func() bool {
		for ; seen < len(s.messages); seen++ {
			if match(s.messages[seen]) {
				found = s.messages[seen]
				return true
			}
		}
		return false
	})
	return found, err
}

// until waits for a condition, which is asked under the lock.
func (s *Sink) until(ctx context.Context, ok func() bool) error {
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("sink: %w", ctx.Err())
		}
	}
}

// Answer lets fn choose replies: a whole reply such as "450 4.2.1 later" (lines
// of a longer one joined by CRLF), Drop, or "" for what the sink would say. Only
// a reply that begins with 2 accepts a recipient or a message. It is called by
// several goroutines at once. nil ends it.
func (s *Sink) Answer(fn func(Command) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = fn
}

func (s *Sink) answerTo(c Command) string {
	s.mu.Lock()
	fn := s.answer
	s.mu.Unlock()
	if fn == nil {
		return ""
	}
	return fn(c)
}

// Hold keeps deliveries waiting between the final dot and its reply, until
// Release. A message whose client goes away meanwhile was never accepted.
func (s *Sink) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold == nil {
		s.hold = make(chan struct{})
	}
}

// Release ends Hold and lets the waiting deliveries go on.
func (s *Sink) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		close(s.hold)
		s.hold = nil
	}
}

// WaitHeld waits until at least n deliveries are held.
func (s *Sink) WaitHeld(ctx context.Context, n int) error {
	return s.until(ctx, func() bool { return s.held >= n })
}

// enter counts a delivery as held, if deliveries are; else it returns nil.
func (s *Sink) enter() (hold chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		s.held++
		s.announce()
	}
	return s.hold
}

func (s *Sink) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.announce()
}

// keep accepts a message.
func (s *Sink) keep(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Dir != "" {
		path := filepath.Join(s.opts.Dir, fmt.Sprintf("%d.eml", len(s.messages)+1))
		part := path + ".part" // renamed when complete: whoever watches the folder sees whole messages
		if err := os.WriteFile(part, m.Data, 0o644); err != nil {
			return err
		}
		if err := os.Rename(part, path); err != nil {
			return err
		}
	}
	s.messages = append(s.messages, m)
	s.announce()
	return nil
}

// announce wakes whoever waits; the caller holds the lock.
func (s *Sink) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Sink) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}
