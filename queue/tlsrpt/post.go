package tlsrpt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
)

const (
	postTimeout = time.Minute
	dialTimeout = 10 * time.Second
	maxDials    = 4        // addresses of a host that are tried
	maxHeader   = 32 << 10 // octets of an answer's
	maxAnswer   = 4 << 10  // octets that are read, and of no use
	httpsPort   = "443"
)

var errAddress = errors.New("the host has no address that may be called")

// post sends a report by HTTPS. RFC 8460 5.4
func (r *Reporter) post(ctx context.Context, u *url.URL, packed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	host, err := dnsname.Parse(strings.ToLower(u.Hostname()))
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = httpsPort
	}
	transport := &http.Transport{
		Proxy: nil, // a proxy could call what we must not
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return r.dial(ctx, network, host, port)
		},
		TLSClientConfig:        &tls.Config{RootCAs: r.o.Roots, MinVersion: tls.VersionTLS12, ServerName: host.String(), Time: r.o.Now},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // where it would lead, nobody has published
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(packed))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/tlsrpt+gzip") // RFC 8460 5.4, 6.5
	request.Header.Set("User-Agent", "dancemta")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // the status has said it
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the host answers %d", response.StatusCode)
	}
	return nil
}

// dial calls the addresses of a host that mail may make us call.
func (r *Reporter) dial(ctx context.Context, network string, host dnsname.Name, port string) (net.Conn, error) {
	err := errAddress
	tried := 0
	for _, t := range []dnssec.Type{dnssec.TypeAAAA, dnssec.TypeA} {
		for _, addr := range r.o.Resolver.Lookup(ctx, host, t).Addrs { // of bogus answers none is there
			if !r.o.Permitted(addr) {
				continue
			}
			if tried++; tried > maxDials {
				return nil, err
			}
			conn, trouble := r.dialOne(ctx, network, addr, port)
			if trouble == nil {
				return conn, nil
			}
			err = trouble
		}
	}
	return nil, err
}

func (r *Reporter) dialOne(ctx context.Context, network string, addr netip.Addr, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return r.o.Dial(ctx, network, net.JoinHostPort(addr.String(), port))
}
