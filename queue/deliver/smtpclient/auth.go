package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
)

const (
	extAuth  = "AUTH"     // RFC 4954 3
	external = "EXTERNAL" // RFC 4422 A
)

var errAuthInClear = errors.New("login without TLS")

// OffersExternal reports whether the server takes the certificate shown in TLS
// for a login.
func (c *Client) OffersExternal() bool {
	mechanisms, _ := c.Extension(extAuth)
	return slices.Contains(strings.Fields(strings.ToUpper(mechanisms)), external)
}

// AuthExternal logs in as whom the certificate shown in TLS names (RFC 4422 A),
// without asking for another identity. The error is an *Error, Permanent when the
// server refused us for good.
func (c *Client) AuthExternal(ctx context.Context) error {
	if _, ok := c.conn.(*tls.Conn); !ok {
		return &Error{Step: stepAUTH, Err: errAuthInClear, Status: "4.7.0", OtherHost: true}
	}
	defer c.guard(ctx)()
	// RFC 4954 4: "=" is an initial response of no octets.
	code, lines, e := c.ask(ctx, stepAUTH, "AUTH EXTERNAL =", c.limits.Mail)
	if e == nil {
		e = c.refusal(stepAUTH, newReply(code, lines), 2)
	}
	if e != nil {
		return e
	}
	return nil
}
