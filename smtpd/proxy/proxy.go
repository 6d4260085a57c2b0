// Package proxy reads what a load balancer says about a connection before its
// first octet is handed on: the header of the PROXY protocol, versions 1 and 2.
//
// Who says it decides what it is worth. A Listener takes connections from the
// networks of its Sources alone; all others are closed, header or not, because a
// receiver must not guess (PROXY protocol 2). A source that may assert identities
// tells them in two fields that are ours: 0xE0 holds the owner name of a DANE
// client, 0xE1 a user. They count only where TLS 1.3 ended at the proxy and the
// proxy has verified the certificate of this very connection. Whatever is not clean
// ends the connection: a half-believed header is worse than none.
//
// Start at Listener; Conn.Introduce reads the header, assertion.go judges it.
package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"dancemta/internal/dnsname"
	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// headerTime is how long a header may take. It comes with the first packet, or the
// proxy is in trouble (PROXY protocol 2 wants at least three seconds for a lost one).
const headerTime = 5 * time.Second

// Source is one proxy, or several of one kind.
type Source struct {
	Networks []netip.Prefix
	// Identities are those that it may assert; empty: none, and then the fields of
	// identities are passed over.
	Identities []pattern.Pattern
}

// Told is what a header says. Without a proxied connection (LOCAL, UNKNOWN) it is
// zero. At most one of Client and User is set.
type Told struct {
	Remote, Local netip.AddrPort
	Client        dnsname.Name
	User          saslext.Identity
}

// Listener gives connections that are introduced by a proxy. Sources is required.
type Listener struct {
	net.Listener
	Sources []Source
	// Allowed says whether an asserted identity could be allowed anything here, so
	// that one that no rule names ends at the door; nil refuses all.
	Allowed func(Told) bool
}

// Accept returns a connection that still has to be introduced.
func (l *Listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: raw, listener: l}, nil
}

// Conn is a connection through a proxy. Its addresses are those of the proxy's own
// connection until Introduce has returned, and from then on those that it told.
type Conn struct {
	net.Conn
	listener *Listener
	told     atomic.Pointer[Told]
	ahead    *bufio.Reader // read with the header; nil: nothing
}

// Errors of Introduce. All of them mean: close.
var (
	ErrStranger   = errors.New("not from a network of the proxies")
	ErrHeader     = errors.New("bad header of the PROXY protocol")
	ErrTransport  = errors.New("the header tells of no TCP connection")
	ErrChecksum   = errors.New("the checksum of the header is wrong")
	ErrIdentities = errors.New("more than one identity in the header")
	ErrTLS        = errors.New("an identity without a verified certificate under TLS 1.3")
	ErrName       = errors.New("an identity that is not in its normal form")
	ErrNotAllowed = errors.New("an identity that this proxy may not assert, or no rule allows")
)

// Introduce reads the header. It must be called once, before anything is read; an
// error says that the connection must be closed without a word.
func (c *Conn) Introduce(ctx context.Context) error {
	peer := addrPort(c.Conn.RemoteAddr())
	identities, listed := c.listener.listed(peer.Addr())
	if !listed {
		return fmt.Errorf("%w: %v", ErrStranger, peer)
	}
	stop := context.AfterFunc(ctx, func() { c.Conn.Close() })
	defer stop()
	if err := c.Conn.SetReadDeadline(time.Now().Add(headerTime)); err != nil {
		return err
	}
	in := bufio.NewReader(c.Conn)
	told, err := read(in, identities, c.listener.Allowed)
	if err != nil {
		return fmt.Errorf("from %v: %w", peer, err)
	}
	if in.Buffered() > 0 { // of the client, for whom the proxy did not wait
		c.ahead = in
	}
	c.told.Store(&told)
	return c.Conn.SetReadDeadline(time.Time{})
}

// listed reports whether connections from here are believed, and what they may
// assert; identities is nil where that is nothing.
func (l *Listener) listed(peer netip.Addr) (identities []pattern.Pattern, ok bool) {
	peer = peer.Unmap().WithZone("")
	for _, s := range l.Sources {
		if slices.ContainsFunc(s.Networks, func(n netip.Prefix) bool { return n.Contains(peer) }) {
			identities, ok = append(identities, s.Identities...), true
		}
	}
	return identities, ok
}

// read reads and judges a header.
func read(in *bufio.Reader, identities []pattern.Pattern, allowed func(Told) bool) (Told, error) {
	h, err := proxyproto.Read(in)
	if err != nil {
		return Told{}, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if h.Command.IsLocal() {
		return Told{}, nil // the proxy itself, to see whether we live: nobody's addresses, nobody's identity
	}
	told, err := addresses(h)
	if err != nil {
		return Told{}, err
	}
	fields, err := h.TLVs()
	if err != nil {
		return Told{}, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if err := checksum(h, fields); err != nil {
		return Told{}, err
	}
	if len(identities) == 0 {
		return told, nil
	}
	return told, told.assert(fields, identities, allowed)
}

// addresses returns those of the client's connection to the proxy.
func addresses(h *proxyproto.Header) (Told, error) {
	if h.TransportProtocol != proxyproto.TCPv4 && h.TransportProtocol != proxyproto.TCPv6 {
		return Told{}, ErrTransport
	}
	told := Told{Remote: addrPort(h.SourceAddr), Local: addrPort(h.DestinationAddr)}
	if !told.Remote.IsValid() || !told.Local.IsValid() {
		return Told{}, ErrTransport
	}
	return told, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// Told returns what the proxy said; zero before Introduce.
func (c *Conn) Told() Told {
	if t := c.told.Load(); t != nil {
		return *t
	}
	return Told{}
}

// RemoteAddr is the client's address as the proxy told it.
func (c *Conn) RemoteAddr() net.Addr {
	if t := c.Told(); t.Remote.IsValid() {
		return net.TCPAddrFromAddrPort(t.Remote)
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr is the address that the client reached.
func (c *Conn) LocalAddr() net.Addr {
	if t := c.Told(); t.Local.IsValid() {
		return net.TCPAddrFromAddrPort(t.Local)
	}
	return c.Conn.LocalAddr()
}

// Read gives what came behind the header.
func (c *Conn) Read(b []byte) (int, error) {
	if c.ahead == nil {
		return c.Conn.Read(b)
	}
	n, err := c.ahead.Read(b[:min(len(b), c.ahead.Buffered())])
	if c.ahead.Buffered() == 0 {
		c.ahead = nil
	}
	return n, err
}

// CloseWrite ends our side, where the socket can do that.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
