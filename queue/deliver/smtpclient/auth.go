package smtpclient

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"dancemta/internal/foreign"
)

const (
	extAuth  = "AUTH"     // RFC 4954 3
	external = "EXTERNAL" // RFC 4422 A
	plain    = "PLAIN"    // RFC 4616
)

var (
	errAuthInClear = errors.New("login without TLS")
	errUnproved    = errors.New("a password is told only to a server that TLS has proved")
	errNoPassword  = errors.New("user and password must not be empty or hold a NUL")
)

// OffersExternal reports whether the server takes the certificate shown in TLS
// for a login.
func (c *Client) OffersExternal() bool { return c.offersLogin(external) }

// OffersPlain reports whether the server takes a password.
func (c *Client) OffersPlain() bool { return c.offersLogin(plain) }

func (c *Client) offersLogin(mechanism string) bool {
	mechanisms, _ := c.Extension(extAuth)
	return slices.Contains(strings.Fields(strings.ToUpper(mechanisms)), mechanism)
}

// AuthExternal logs in as whom the certificate shown in TLS names (RFC 4422 A),
// without asking for another identity. The error is an *Error, Permanent when the
// server refused us for good.
func (c *Client) AuthExternal(ctx context.Context) error {
	if _, ok := c.conn.(*tls.Conn); !ok {
		return &Error{Step: stepAUTH, Err: errAuthInClear, Status: "4.7.0", OtherHost: true}
	}
	// RFC 4954 4: "=" is an initial response of no octets.
	if e := c.login(ctx, "AUTH EXTERNAL ="); e != nil {
		return e
	}
	return nil
}

// AuthPlain logs in with a password (RFC 4616), only in TLS that has proved the
// server (see MarkVerified). The error is an *Error as of AuthExternal; it never
// shows the password, even if the server says it back.
func (c *Client) AuthPlain(ctx context.Context, user, password string) error {
	_, inTLS := c.conn.(*tls.Conn)
	fault := func(err error) error {
		return &Error{Step: stepAUTH, Err: err, Status: "4.7.0", OtherHost: true}
	}
	switch {
	case !inTLS:
		return fault(errAuthInClear)
	case !c.verified:
		return fault(errUnproved)
	case user == "" || password == "" || strings.ContainsRune(user+password, 0): // RFC 4616 2
		return fault(errNoPassword)
	}
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	if e := c.login(ctx, "AUTH PLAIN "+response); e != nil {
		e.Reply.Text = hide(e.Reply.Text, response, password)
		if e.Err != nil && e.Err.Error() != hide(e.Err.Error(), response, password) {
			e.Err = errors.New(hide(e.Err.Error(), response, password))
		}
		return e
	}
	return nil
}

// hide keeps what a server was told out of what it says: its text goes to logs and to
// senders.
func hide(text string, secrets ...string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	for _, s := range secrets {
		if holdsPart(text, foreign.ASCII(s, len(s))) {
			return "its words are not shown, they hold a part of what it was told"
		}
	}
	return text
}

// minPart is how many signs of a secret in a row are no chance.
const minPart = 6

// holdsPart finds what is left of a secret when a text was cleaned or cut.
func holdsPart(text, secret string) bool {
	for i := 0; i+minPart <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+minPart]) {
			return true
		}
	}
	return false
}

func (c *Client) login(ctx context.Context, command string) *Error {
	defer c.guard(ctx)()
	code, lines, e := c.ask(ctx, stepAUTH, command, c.limits.Mail)
	if e == nil {
		e = c.refusal(stepAUTH, newReply(code, lines), 2)
	}
	return e
}
