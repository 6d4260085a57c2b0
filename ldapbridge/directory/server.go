package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"dancemta/internal/maillog"
)

// Server is one LDAP server.
type Server struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of a socket
	// Implicit begins TLS with the first octet (ldaps); else it begins by StartTLS, always.
	Implicit bool
	// TLS verifies the server, by roots and by ServerName, and may show a certificate
	// of ours. Required but for sockets of this host.
	TLS *tls.Config
}

func (s Server) check() error {
	switch {
	case s.Network == "unix" && s.Address != "":
		return nil
	case s.Network != "tcp" || s.Address == "":
		return fmt.Errorf("server %q: neither tcp nor unix", s.Address)
	case s.TLS == nil || s.TLS.InsecureSkipVerify || s.TLS.ServerName == "":
		return fmt.Errorf("server %s: nothing verifies it", s.Address)
	}
	return nil
}

// Bind is who we are at the servers: DN with Password, or whom the server takes us for
// by EXTERNAL, over TLS by our certificate and over a socket by our user.
type Bind struct{ DN, Password string }

const (
	// maxOperation bounds what a server may send in answer to one question: an entry of
	// thousands of groups has some 100 KiB.
	maxOperation = 1 << 20
	// breakerFailures in a row open the breaker of a server, for breakerPause. A restart
	// of a server takes longer than a second, and mail need not wait a minute for it.
	breakerFailures = 3
	breakerPause    = 10 * time.Second
)

var errNoServer = errors.New("no directory server answers")

// breaker keeps us from a server that has failed several times in a row. After a pause
// one question at a time tries it again.
type breaker struct {
	now func() time.Time

	mu       sync.Mutex
	failures int
	until    time.Time // no question before
	trying   bool      // one is under way that may close it
}

// allow reports whether a question may go there now. Whoever got true says done.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerFailures {
		return true
	}
	if b.trying || b.now().Before(b.until) {
		return false
	}
	b.trying = true
	return true
}

// done takes what came of a question; changed: the breaker has opened, or closed.
func (b *breaker) done(ok bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	open := b.failures >= breakerFailures
	b.trying = false
	if ok {
		b.failures = 0
		return open
	}
	b.failures++
	if b.failures >= breakerFailures {
		b.until = b.now().Add(breakerPause)
		return !open
	}
	return false
}

// servers are all of them, with what is known of each.
type servers struct {
	o        Options
	breakers []*breaker
}

func newServers(o Options) *servers {
	s := &servers{o: o}
	for range o.Servers {
		s.breakers = append(s.breakers, &breaker{now: o.Now})
	}
	return s
}

// connect returns a connection to the first server that has one for us; bound: as
// ourselves.
func (s *servers) connect(ctx context.Context, bound bool) (*conn, error) {
	all := errNoServer // and behind it, in one line, what each of them did
	for i, server := range s.o.Servers {
		if !s.breakers[i].allow() {
			continue
		}
		c, err := s.try(ctx, i, bound)
		if err == nil {
			return c, nil
		}
		all = fmt.Errorf("%w; %s: %w", all, server.Address, err)
	}
	return nil, all
}

// try opens a connection to a server that the breaker lets us ask. What came of the
// questions is reported by whoever has the connection.
func (s *servers) try(ctx context.Context, i int, bound bool) (*conn, error) {
	err := errPanic // at what the server says: else its one try would never end
	defer func() {
		if err != nil {
			s.done(i, err)
		}
	}()
	c, failure := s.open(ctx, s.o.Servers[i], bound)
	if err = failure; err != nil {
		return nil, err
	}
	c.report = func(err error) { s.done(i, err) }
	return c, nil
}

// done takes what came of a question to a server.
func (s *servers) done(i int, err error) {
	if s.breakers[i].done(err == nil) {
		maillog.DirectoryServer(s.o.Logger, s.o.Servers[i].Address, err)
	}
}

// open dials, makes TLS and binds, all of it within the time of one question.
func (s *servers) open(ctx context.Context, server Server, bound bool) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, server.Network, server.Address)
	if err != nil {
		return nil, err
	}
	link := &link{Conn: raw}
	link.renew()
	stop := link.until(ctx)
	c, err := s.talk(ctx, link, server)
	if err == nil && bound {
		err = s.bind(c)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if raw.Close(); c != nil {
			c.hangUp()
		}
		return nil, err
	}
	return c, nil
}

// talk begins LDAP, under TLS unless the server is on a socket of this host.
func (s *servers) talk(ctx context.Context, link *link, server Server) (*conn, error) {
	var under net.Conn = link
	if server.Implicit {
		t := tls.Client(link, server.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		under = t
	}
	c := &conn{Conn: ldap.NewConn(under, server.Implicit), link: link}
	c.SetTimeout(s.o.Timeout)
	c.Start()
	if server.Network == "tcp" && !server.Implicit {
		if err := c.StartTLS(server.TLS); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (s *servers) bind(c *conn) error {
	if s.o.Bind.DN == "" {
		if err := c.ExternalBind(); err != nil {
			return fmt.Errorf("bind by EXTERNAL: %w", worded(err))
		}
		return nil
	}
	if err := c.Bind(s.o.Bind.DN, s.o.Bind.Password); err != nil {
		return fmt.Errorf("bind as %q: %w", s.o.Bind.DN, without(s.o.Bind.Password, worded(err)))
	}
	return nil
}
