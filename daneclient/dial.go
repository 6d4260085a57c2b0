package daneclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"dancemta/internal/dnsname"
)

const (
	// dialTimeout bounds one address, so that a dead one leaves time for the next.
	dialTimeout = 10 * time.Second
	// maxAddrs bounds the addresses that are tried: a zone may hold hundreds.
	maxAddrs = 5
)

// DialOptions are those of DialTLS.
type DialOptions struct {
	ServerOptions
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer
}

// DialTLS connects to host:port and proves the server by its TLSA records at
// _port._tcp.host (RFC 6698, RFC 7671), which must be secure; it shows our own
// certificate, and tells our own name, where the server asks: DANE in both
// directions. network is tcp, tcp4 or tcp6, and the host a name: an address has
// no records.
//
// A server that cannot be proved is an *Error: Temporary when DNS was at fault.
// A server may refuse our identity only after the handshake is over for us: that
// is an error of the first Read (RFC 8446 4.6).
func DialTLS(ctx context.Context, network, address string, o DialOptions) (*tls.Conn, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, fmt.Errorf("dial %s %s: %w", network, address, ErrNetwork)
	}
	server, err := FindServer(ctx, host, port, o.ServerOptions)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	config, err := server.TLS()
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	raw, err := server.connect(ctx, network, port, o)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return conn, nil
}

func splitAddress(address string) (dnsname.Name, uint16, error) {
	text, service, err := net.SplitHostPort(address)
	if err != nil {
		return dnsname.Name{}, 0, err
	}
	host, err := dnsname.ParseUnicode(text)
	if err != nil {
		return dnsname.Name{}, 0, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return dnsname.Name{}, 0, fmt.Errorf("port %q: %w", service, ErrOwner)
	}
	if _, err := ServerOwner(host, uint16(port)); err != nil {
		return dnsname.Name{}, 0, err
	}
	return host, uint16(port), nil
}

// connect tries the addresses of the network's family in their order.
func (s *Server) connect(ctx context.Context, network string, port uint16, o DialOptions) (net.Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	err := errors.New("no address of this family")
	tried := 0
	for _, addr := range s.Addrs {
		if network == "tcp4" && !addr.Is4() || network == "tcp6" && !addr.Is6() {
			continue
		}
		if tried++; tried > maxAddrs {
			break
		}
		attempt, cancel := context.WithTimeout(ctx, dialTimeout)
		var conn net.Conn
		conn, err = dial(attempt, network, netip.AddrPortFrom(addr, port).String())
		cancel()
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}
