package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
)

const (
	fetchTimeout = time.Minute // RFC 8461 3.3 suggests it
	dialTimeout  = 10 * time.Second
	maxDials     = 4        // addresses of a policy host that are tried
	maxHeader    = 32 << 10 // octets
	policyPath   = "/.well-known/mta-sts.txt"
)

// Kind is where it was that a policy could not be had.
type Kind uint8

// The kinds.
const (
	FetchError   Kind = iota + 1 // nobody answered, or not with a policy
	InvalidError                 // what came is no policy
	WebPKIError                  // the host's certificate proves nothing
)

// String returns a word for counters.
func (k Kind) String() string {
	switch k {
	case InvalidError:
		return "invalid"
	case WebPKIError:
		return "webpki-invalid"
	}
	return "fetch-error"
}

func resultOf(err error) string {
	if err == nil {
		return "fetched"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind.String()
	}
	return FetchError.String()
}

// Error says why a policy could not be had.
type Error struct {
	Kind   Kind
	Domain dnsname.Name
	Err    error
}

// Error is one line for the log. What a stranger's server said is bounded in it.
func (e *Error) Error() string {
	return fmt.Sprintf("MTA-STS policy of %s: %.300s", e.Domain, e.Err.Error())
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var errAddress = errors.New("the policy host has no address that may be called")

// fetch gets and reads the policy of a domain (RFC 8461 3.3).
func (c *Client) fetch(ctx context.Context, domain dnsname.Name) (Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	host, err := domain.Prepend("mta-sts")
	if err != nil {
		return Policy{}, &Error{FetchError, domain, err}
	}
	text, err := c.get(ctx, host)
	if err != nil {
		kind := FetchError
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			kind = WebPKIError
		}
		return Policy{}, &Error{kind, domain, err}
	}
	p, err := parsePolicy(text)
	if err != nil {
		return Policy{}, &Error{InvalidError, domain, err}
	}
	p.Domain, p.Fetched = domain, c.o.Now()
	return p, nil
}

// get asks a policy host once. Nothing of one domain's session is kept for another.
func (c *Client) get(ctx context.Context, host dnsname.Name) (string, error) {
	transport := &http.Transport{
		Proxy: nil, // a proxy would see, and could call, what we must not
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return c.dial(ctx, network, host)
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.o.Roots, MinVersion: tls.VersionTLS12, ServerName: host.String(), Time: c.o.Now},
		DisableKeepAlives:      true,
		DisableCompression:     true, // 64 KiB of what is sent, not of what it unpacks to
		MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // RFC 8461 3.3: no redirect is followed
	}}
	authority := host.String()
	if c.o.Port != httpsPort {
		authority += ":" + strconv.Itoa(c.o.Port)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+authority+policyPath, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	return readPolicy(response)
}

// readPolicy takes the body of a good answer only (RFC 8461 3.3).
func readPolicy(response *http.Response) (string, error) {
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the policy host answers %d", response.StatusCode)
	}
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || kind != "text/plain" { // RFC 8461 3.2: guards against hosts that take uploads
		return "", fmt.Errorf("the policy is %.60q, not text/plain", response.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy+1))
	switch {
	case err != nil:
		return "", err
	case len(body) > maxPolicy:
		return "", fmt.Errorf("the policy has more than %d octets", maxPolicy)
	}
	return string(body), nil
}

// dial calls the addresses of a policy host that mail may make us call.
func (c *Client) dial(ctx context.Context, network string, host dnsname.Name) (net.Conn, error) {
	err := errAddress
	tried := 0
	for _, t := range []dnssec.Type{dnssec.TypeAAAA, dnssec.TypeA} {
		for _, addr := range c.o.Resolver.Lookup(ctx, host, t).Addrs { // of bogus answers none is there
			if !c.o.Permitted(addr) {
				continue
			}
			if tried++; tried > maxDials {
				return nil, err
			}
			attempt, cancel := context.WithTimeout(ctx, dialTimeout)
			conn, trouble := c.o.Dial(attempt, network, netip.AddrPortFrom(addr, uint16(c.o.Port)).String())
			cancel()
			if trouble == nil {
				return conn, nil
			}
			err = trouble
		}
	}
	return nil, err
}
