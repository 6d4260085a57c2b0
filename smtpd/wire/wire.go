// Package wire is the border between the Internet and go-smtp: a net.Conn that
// owns the socket and TLS, and lets pass only what both sides of it read alike.
//
// go-smtp never sees the socket, a *tls.Conn, STARTTLS, DATA or a dot-stuffed
// line. The wire reads one command at a time, answers by itself what needs no
// session (order, syntax, parameters, NOOP, VRFY, QUIT, STARTTLS), writes MAIL
// and RCPT anew in one canonical form, and hands every body over as BDAT chunks
// whose octets it already holds and has checked: DATA and BDAT are one path, and
// a truncated chunk cannot come into being. Replies of go-smtp are rewritten by
// one table (reply.go). After STARTTLS a new go-smtp connection begins, so that
// no state of the plaintext phase survives (RFC 3207 4.2).
//
// Whatever is not clean ends the connection after one reply: a lone CR or LF, a
// NUL, an over-long line, a malformed BDAT. The wire never looks for a place to
// go on, since that place is what request smuggling is made of.
//
// Start at Server (server.go), then Conn.Read (conn.go), dialog.go, command.go and
// body.go; backend.go stands on the other side, between go-smtp and the sessions.
package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/internal/crowd"
)

// Config says what one Server is. What is absent takes the safe choice.
type Config struct {
	// Hostname stands in the greeting and in the EHLO reply; <postmaster>
	// without a domain becomes <postmaster@Hostname>. Required.
	Hostname string
	// TLS serves STARTTLS, or every connection from its first octet when
	// Implicit is set; nil: no TLS. Session tickets must be disabled when client
	// certificates are asked for, and GetConfigForClient must be nil, since a
	// resumed session would bring a certificate back that nobody judged.
	TLS      *tls.Config
	Implicit bool
	// MaxRecipients is told to peers in advance (RFC 9422); sessions see to it. 0:
	// peers are told nothing.
	MaxRecipients int
	// RequireTLS answers 530 5.7.0 before TLS to all but NOOP, EHLO, HELO,
	// STARTTLS and QUIT (RFC 3207 4).
	RequireTLS bool
	// TLSAhead says that TLS has ended before us, at a proxy whom we believe: AUTH then
	// gets through in clear, for what AuthMechanisms names.
	TLSAhead bool
	// SMTP makes the go-smtp server of one phase (plaintext, or TLS) of one
	// connection; it is called again after STARTTLS. It sets Backend,
	// MaxMessageBytes and MaxRecipients; the wire sets all the rest, and the options
	// of DSN, SMTPUTF8 and REQUIRETLS in what sessions get. Required.
	//
	// The wire stands between go-smtp and the sessions, too. Errors that are not
	// *smtp.SMTPError themselves become temporary ones without their text. Reset
	// and Logout wait for a running Data, so a session's methods never overlap;
	// Data must not call (*smtp.Conn).Session. Data's success counts only when it
	// has read the message to io.EOF. AUTH gets through under TLS (or TLSAhead),
	// for what AuthMechanisms names. Addresses come without quotes: the local part is what
	// stands before the last @. After a reply 421 the connection is closed.
	SMTP func(*Conn) *smtp.Server
	// Crowd bounds the connections of all servers that share it; nil: one of this
	// server's own, as crowd.Options' zero value makes it.
	Crowd *crowd.Crowd
	// OnEvent hears of what an operator may want to see; it is called from many
	// goroutines at once. nil: nobody does.
	OnEvent func(Event)
	// OnReply hears the code of each reply, in the same way.
	OnReply func(code int)
	Limits  Limits
}

// Limits bounds one connection. A zero field takes the default beside it.
type Limits struct {
	Line      int // 4096: command line with CRLF; RFC 5321 4.5.3.1.4 and what extensions add: ORCPT alone 500
	AuthLine  int // 12288: line of a SASL exchange, RFC 4954 4
	BodyLine  int // 65536: body line with CRLF; RFC 5321 allows 1000, real mail has more
	Errors    int // 10: replies 5xx before 421 4.7.0
	Commands  int // 100,000: commands before 421 4.7.0; 1,000 messages to 100 recipients each
	Idling    int // 100: of those, since the last message, that move no mail: NOOP, RSET, VRFY, EHLO and the like
	AuthFails int // 3: replies 535 before 421 4.7.0, RFC 4954 9

	Handshake  time.Duration // 10 s: the whole TLS handshake
	Idle       time.Duration // 5 min: one whole command line, RFC 5321 4.5.3.2.7
	Body       time.Duration // 5 min: without an octet of a body
	Write      time.Duration // 5 min: until the peer takes a reply
	Connection time.Duration // 1 h: from accept to close
	Bytes      int64         // 16 GiB: from the peer, before the next transaction gets 421 4.7.0

	// A body may lag behind MinRate octets per second by at most RateGrace;
	// only time spent waiting for the peer counts.
	MinRate   int           // 128
	RateGrace time.Duration // 2 min
}

// withDefaults returns l with every zero field filled in.
func (l Limits) withDefaults() Limits {
	ints := []struct {
		field *int
		value int
	}{{&l.Line, 4096}, {&l.AuthLine, 12288}, {&l.BodyLine, 64 << 10}, {&l.Errors, 10}, {&l.AuthFails, 3}, {&l.MinRate, 128},
		{&l.Commands, 100_000}, {&l.Idling, 100}}
	for _, d := range ints {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	times := []struct {
		field *time.Duration
		value time.Duration
	}{{&l.Handshake, 10 * time.Second}, {&l.Idle, 5 * time.Minute}, {&l.Body, 5 * time.Minute},
		{&l.Write, 5 * time.Minute}, {&l.Connection, time.Hour}, {&l.RateGrace, 2 * time.Minute}}
	for _, d := range times {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return l
}

// Errors of New.
var (
	ErrIncomplete = errors.New("hostname or SMTP server is missing")
	ErrNoTLS      = errors.New("implicit or required TLS without a TLS configuration")
	ErrTickets    = errors.New("client certificates are asked for, but session tickets are not disabled")
	ErrPerClient  = errors.New("GetConfigForClient cannot be checked and is not allowed")
	ErrLine       = errors.New("line limit out of range")
)

func (c *Config) check() error {
	switch {
	case c.Hostname == "" || c.SMTP == nil:
		return ErrIncomplete
	case c.TLS == nil && (c.Implicit || c.RequireTLS):
		return ErrNoTLS
	case c.Limits.Line < minLine || max(c.Limits.Line, c.Limits.AuthLine) > bufferSize:
		return fmt.Errorf("%w: %d and %d (%d to %d)", ErrLine, c.Limits.Line, c.Limits.AuthLine, minLine, bufferSize)
	case c.TLS == nil:
		return nil
	case c.TLS.GetConfigForClient != nil:
		return ErrPerClient
	case c.TLS.ClientAuth != tls.NoClientCert && !c.TLS.SessionTicketsDisabled:
		return ErrTickets
	}
	return nil
}
