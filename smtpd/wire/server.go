package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"dancemta/internal/crowd"
)

// Server takes connections and runs a go-smtp server on each.
type Server struct {
	cfg   Config
	crowd *crowd.Crowd
	links *crowd.Set[*link]
}

// New checks the configuration; errors wrap one of ErrIncomplete, ErrNoTLS,
// ErrTickets, ErrPerClient, ErrLine.
func New(cfg Config) (*Server, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	s := &Server{cfg: cfg, crowd: cfg.Crowd, links: crowd.NewSet[*link]()}
	if s.crowd == nil {
		s.crowd = crowd.New(crowd.Options{})
	}
	s.crowd.Join(func() { s.links.Each((*link).hurry) })
	return s, nil
}

// Serve takes connections from l until Drain (nil) or until l is closed by
// someone else (its error). Other errors of l are waited out. It closes l.
func (s *Server) Serve(l net.Listener) error {
	return s.links.Serve(l, s.accept, func(err error) { s.report(Event{Kind: AcceptFailed, Err: err}) })
}

// Drain stops listening, tells idle connections 421 4.3.2, lets the others end
// their message, and waits. When ctx ends first, what is left is cut off and
// ctx's error comes back once the cut connections have been left by go-smtp, or
// soon after.
func (s *Server) Drain(ctx context.Context) error {
	return s.links.Drain(ctx, (*link).interrupt, (*link).cut)
}

// accept begins a connection, or refuses it at once.
func (s *Server) accept(raw net.Conn) {
	peer := raw.RemoteAddr()
	if _, ok := raw.(Introduced); ok {
		peer = nil // of the proxy; see link.introduce
	}
	p, full, why := s.crowd.Enter(peer)
	if p == nil {
		s.refuse(raw, fulls[full], why)
		return
	}
	k := newLink(s, raw, p)
	if !s.links.Add(k) {
		p.Leave()
		raw.Close()
		return
	}
	if s.crowd.Thicken() {
		s.report(Event{Kind: Dense, Err: fmt.Errorf("%d connections: silence is now borne for %v", s.crowd.Len(), crowd.DenseWait)})
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
	k.place.Leave()
	s.links.Remove(k)
}

func (s *Server) isDraining() bool { return s.links.Draining() }

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
