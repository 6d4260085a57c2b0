// Package webclient asks HTTPS hosts whose names strangers have chosen: those of
// MTA-STS policies and those that want TLS reports. Mail makes us call them, so what
// is called is bounded here, once for all who ask:
//
//   - addresses come from validated DNS, and only those that may be called count, so
//     that nobody is led to our own services;
//   - no redirect is followed and no proxy used: nothing is called but the host asked for;
//   - TLS 1.2 at least, and a certificate that proves the host's name;
//   - a minute in all, few addresses, small headers; nothing of one host's session is
//     kept for another's.
//
// Start at Client.Do.
package webclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
)

const (
	// timeout is for all of a request, its answer included. RFC 8461 3.3 suggests it.
	timeout     = time.Minute
	dialTimeout = 10 * time.Second
	maxDials    = 4        // addresses of a host that are tried
	maxHeader   = 32 << 10 // octets of an answer's header
	httpsPort   = "443"
)

// ErrAddress: DNS knows no address of the host that may be called.
var ErrAddress = errors.New("the host has no address that may be called")

// Resolver is who knows the addresses of hosts.
type Resolver interface {
	Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer
}

// Options say what a Client is made of. Resolver and Permitted are required.
type Options struct {
	Resolver Resolver
	// Permitted says which addresses may be called.
	Permitted func(netip.Addr) bool
	Roots     *x509.CertPool // nil: the system's
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
	Now       func() time.Time // nil: time.Now
}

// Client asks hosts. It may be used by many goroutines at once.
type Client struct{ o Options }

// New makes a Client.
func New(o Options) (*Client, error) {
	if o.Resolver == nil || o.Permitted == nil {
		return nil, errors.New("webclient: Resolver and Permitted are required")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{o}, nil
}

// Do asks once, over a connection of its own, and hands the answer to read, whatever
// its status; read must bound what it takes of the body, which is closed after it.
// Errors: those of DNS, TLS (*tls.CertificateVerificationError when the certificate
// proves nothing) and HTTP, ErrAddress, and what read returns.
func (c *Client) Do(request *http.Request, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(request.Context(), timeout)
	defer cancel()
	u := request.URL
	if u.Scheme != "https" {
		return fmt.Errorf("%.60q is not https", u.Scheme)
	}
	host, err := dnsname.Parse(strings.ToLower(u.Hostname()))
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = httpsPort
	}
	transport := &http.Transport{
		Proxy: nil, // a proxy would see, and could call, what we must not
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return c.dial(ctx, network, host, port)
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.o.Roots, MinVersion: tls.VersionTLS12, ServerName: host.String(), Time: c.o.Now},
		DisableKeepAlives:      true,
		DisableCompression:     true, // what is bounded is what is sent, not what it unpacks to
		MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // RFC 8461 3.3: no redirect is followed; where it would lead, nobody has published
	}}
	response, err := client.Do(request.WithContext(ctx))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return read(response)
}

// dial calls the addresses of a host that mail may make us call.
func (c *Client) dial(ctx context.Context, network string, host dnsname.Name, port string) (net.Conn, error) {
	err := ErrAddress
	tried := 0
	for _, t := range []dnssec.Type{dnssec.TypeAAAA, dnssec.TypeA} {
		for _, addr := range c.o.Resolver.Lookup(ctx, host, t).Addrs { // of bogus answers none is there
			if !c.o.Permitted(addr) {
				continue
			}
			if tried++; tried > maxDials {
				return nil, err
			}
			conn, trouble := c.dialOne(ctx, network, net.JoinHostPort(addr.String(), port))
			if trouble == nil {
				return conn, nil
			}
			err = trouble
		}
	}
	return nil, err
}

func (c *Client) dialOne(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return c.o.Dial(ctx, network, address)
}
