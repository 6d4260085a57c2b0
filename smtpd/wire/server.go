package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// Server takes connections and runs a go-smtp server on each.
type Server struct {
	cfg   Config
	crowd *Crowd

	links    sync.WaitGroup // one per open link
	drained  chan struct{}  // closed by Drain
	mu       sync.Mutex
	draining bool
	ears     map[net.Listener]struct{}
	open     map[*link]struct{}
}

// New checks the configuration; errors wrap one of ErrIncomplete, ErrNoTLS,
// ErrTickets, ErrPerClient, ErrLine.
func New(cfg Config) (*Server, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	crowd := cfg.Crowd
	if crowd == nil {
		crowd = NewCrowd(CrowdOptions{})
	}
	s := &Server{cfg: cfg, crowd: crowd, drained: make(chan struct{}),
		ears: map[net.Listener]struct{}{}, open: map[*link]struct{}{}}
	crowd.join(s)
	return s, nil
}

// Serve takes connections from l until Drain (nil) or until l is closed by
// someone else (its error). Other errors of l are waited out. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return nil
	}
	defer s.unlisten(l)
	var pause time.Duration
	for {
		raw, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(raw)
			continue
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-s.drained:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		s.report(Event{Kind: AcceptFailed, Err: err})
		select { // out of file descriptors, most likely: let some connections end
		case <-s.drained:
			return nil
		case <-time.After(pause):
		}
	}
}

// Drain stops listening, tells idle connections 421 4.3.2, lets the others end
// their message, and waits. When ctx ends first, what is left is cut off and
// ctx's error comes back once the cut connections have been left by go-smtp or
// cutGrace is over.
func (s *Server) Drain(ctx context.Context) error {
	s.stopListening()
	done := make(chan struct{})
	go func() {
		s.links.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.each((*link).cut)
	select {
	case <-done:
	case <-time.After(cutGrace):
	}
	return ctx.Err()
}

const cutGrace = time.Second // a session that is still syncing a message must not hold up the exit for long

func (s *Server) stopListening() {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		close(s.drained)
	}
	for l := range s.ears {
		l.Close()
	}
	s.mu.Unlock()
	s.each((*link).interrupt)
}

// each calls f for every open link, without the lock.
func (s *Server) each(f func(*link)) {
	s.mu.Lock()
	links := make([]*link, 0, len(s.open))
	for k := range s.open {
		links = append(links, k)
	}
	s.mu.Unlock()
	for _, k := range links {
		f(k)
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.ears[l] = struct{}{}
	}
	return !s.draining
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	delete(s.ears, l)
	s.mu.Unlock()
}

// accept begins a connection, or refuses it at once.
func (s *Server) accept(raw net.Conn) {
	peer := raw.RemoteAddr()
	if _, ok := raw.(Introduced); ok {
		peer = nil // of the proxy; see link.introduce
	}
	p, kind, why := s.crowd.enter(peer)
	if p == nil {
		s.refuse(raw, kind, why)
		return
	}
	k := newLink(s, raw, p)
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		p.leave()
		raw.Close()
		return
	}
	s.open[k] = struct{}{}
	s.links.Add(1)
	s.mu.Unlock()
	if s.crowd.thicken() {
		s.report(Event{Kind: Dense, Err: fmt.Errorf("%d connections: silence is now borne for %v", s.crowd.Len(), denseWait)})
	}
	go k.start()
}

// refuseWrite bounds the writing of a refusal: the socket's buffer is empty, so
// it never waits for an honest peer.
const refuseWrite = time.Second

// refuse answers a connection beyond a limit. Under implicit TLS there is
// nothing to say before a handshake, and a handshake is what we cannot afford.
func (s *Server) refuse(raw net.Conn, kind Kind, why string) {
	e := Event{Kind: kind, Peer: raw.RemoteAddr()}
	if why != "" {
		e.Err = errors.New(why)
	}
	s.report(e)
	if !s.cfg.Implicit {
		text := refusals[kind]
		s.replied(text)
		_ = raw.SetWriteDeadline(time.Now().Add(refuseWrite))
		_, _ = raw.Write([]byte(text + "\r\n"))
	}
	raw.Close()
}

// forget ends what accept began.
func (s *Server) forget(k *link) {
	s.mu.Lock()
	delete(s.open, k)
	s.mu.Unlock()
	k.place.leave()
	s.links.Done()
}

func (s *Server) isDraining() bool {
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}

func (s *Server) report(e Event) {
	if s.cfg.OnEvent != nil {
		s.cfg.OnEvent(e)
	}
}

// replied tells of a reply, which begins with its code (RFC 5321 4.2).
func (s *Server) replied(text string) {
	if s.cfg.OnReply == nil {
		return
	}
	code, err := strconv.Atoi(text[:3])
	if err == nil {
		s.cfg.OnReply(code)
	}
}
