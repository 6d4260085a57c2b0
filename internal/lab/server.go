package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	portTries    = 20              // a port free for TCP may be taken for UDP
	closeTimeout = 5 * time.Second // for handlers still at work when the server closes
)

// Query is one question that reached the server.
type Query struct {
	Name      string // lower case, no final dot; "." for the root
	Type      uint16
	TypeName  string // "TLSA"
	Transport string // "udp", "tcp" or "tls"
	DO, CD    bool
}

// DNSServer answers for a World on one port of UDP and TCP, or of TLS.
type DNSServer struct {
	addr    string
	servers []*dns.Server
	serving sync.WaitGroup

	mu      sync.Mutex
	world   *World
	queries []Query
	tamper  func(q, reply *dns.Msg) *dns.Msg
}

// Start serves the world on an address such as "127.0.0.1:0", the same port
// for UDP and TCP, until Close.
func (w *World) Start(addr string) (*DNSServer, error) {
	pc, l, err := listenBoth(addr)
	if err != nil {
		return nil, err
	}
	s := &DNSServer{world: w, addr: pc.LocalAddr().String()}
	s.serve(&dns.Server{PacketConn: pc, Handler: s.handler("udp")}, &dns.Server{Listener: l, Handler: s.handler("tcp")})
	return s, nil
}

// StartTLS serves the world over TLS alone (RFC 7858) on an address such as
// "127.0.0.1:0", until Close.
func (w *World) StartTLS(addr string, c *tls.Config) (*DNSServer, error) {
	l, err := tls.Listen("tcp", addr, c)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s := &DNSServer{world: w, addr: l.Addr().String()}
	s.serve(&dns.Server{Listener: l, Handler: s.handler("tls")})
	return s, nil
}

// serve returns when the servers have started.
func (s *DNSServer) serve(servers ...*dns.Server) {
	s.servers = servers
	started := make(chan struct{}, len(servers))
	for _, server := range servers {
		server.NotifyStartedFunc = func() { started <- struct{}{} }
		s.serving.Go(func() {
			server.ActivateAndServe() // ends by Close; before that only if the socket broke, and then clients time out
		})
	}
	for range servers {
		<-started
	}
}

func listenBoth(addr string) (net.PacketConn, net.Listener, error) {
	var last error
	for range portTries {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return pc, l, nil
		}
		l.Close()
		last = err
	}
	return nil, nil, fmt.Errorf("one port for UDP and TCP on %s: %w", addr, last)
}

// Addr returns host:port.
func (s *DNSServer) Addr() string { return s.addr }

// Close stops serving and waits for the handlers.
func (s *DNSServer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var err error
	for _, server := range s.servers {
		err = errors.Join(err, server.ShutdownContext(ctx))
	}
	s.serving.Wait()
	return err
}

// Queries returns what was asked since the start or the last Reset, in order.
func (s *DNSServer) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Asked tells whether any query was for this name (any type) or for a name
// below it.
func (s *DNSServer) Asked(name string) bool {
	return slices.ContainsFunc(s.Queries(), func(q Query) bool { return within(canon(name), canon(q.Name)) })
}

// Reset empties the log.
func (s *DNSServer) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = nil
}

// Tamper lets fn rewrite every reply before it is sent (and cut to the size
// of the client's buffer); when fn returns nil, nothing is sent. It is called
// by several goroutines at once and may block. nil ends the tampering.
func (s *DNSServer) Tamper(fn func(q, reply *dns.Msg) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tamper = fn
}

// Mute makes the server take queries and never answer, until false ends it.
func (s *DNSServer) Mute(on bool) {
	if !on {
		s.Tamper(nil)
		return
	}
	s.Tamper(func(_, _ *dns.Msg) *dns.Msg { return nil })
}

func (s *DNSServer) handler(transport string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		world, tamper := s.record(q, transport)
		reply := world.Answer(q)
		if tamper != nil {
			if reply = tamper(q, reply); reply == nil {
				return
			}
		}
		if transport == "udp" {
			reply.Truncate(bufferOf(q))
		} else {
			reply.Compress = true
		}
		if err := w.WriteMsg(reply); err != nil {
			refusal := new(dns.Msg) // over 64 KiB, or spoilt by tampering
			refusal.SetRcode(q, dns.RcodeServerFailure)
			w.WriteMsg(refusal) // the client may be gone
		}
	}
}

// record writes a query down and returns the world and the tampering now in force.
func (s *DNSServer) record(q *dns.Msg, transport string) (*World, func(q, reply *dns.Msg) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(q.Question) == 1 {
		e := Query{Name: bare(q.Question[0].Name), Type: q.Question[0].Qtype, Transport: transport, CD: q.CheckingDisabled}
		e.TypeName = dns.TypeToString[e.Type]
		if opt := q.IsEdns0(); opt != nil {
			e.DO = opt.Do()
		}
		s.queries = append(s.queries, e)
	}
	return s.world, s.tamper
}

// bare drops the final dot, except from the root.
func bare(name string) string {
	if name = canon(name); name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	return name
}

func bufferOf(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return max(int(opt.UDPSize()), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}
