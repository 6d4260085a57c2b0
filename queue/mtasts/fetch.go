package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"dancemta/internal/dnsname"
)

const policyPath = "/.well-known/mta-sts.txt"

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

// fetch gets and reads the policy of a domain (RFC 8461 3.3).
func (c *Client) fetch(ctx context.Context, domain dnsname.Name) (Policy, error) {
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

// get asks a policy host once.
func (c *Client) get(ctx context.Context, host dnsname.Name) (text string, err error) {
	authority := host.String()
	if c.o.Port != httpsPort {
		authority += ":" + strconv.Itoa(c.o.Port)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+authority+policyPath, nil)
	if err != nil {
		return "", err
	}
	err = c.web.Do(request, func(response *http.Response) (err error) {
		text, err = readPolicy(response)
		return err
	})
	return text, err
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
