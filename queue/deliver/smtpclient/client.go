// Package smtpclient speaks SMTP (RFC 5321) or LMTP (RFC 2033) to one server, for
// the delivery of mail. What a server sends is hostile text: replies are bounded, parsed
// strictly and cleaned before anybody sees them; and what a server is sent
// cannot be misread: addresses are written only by mailaddr, and a body that
// holds a lone CR, LF or NUL is not sent at all.
//
// Start with New, which takes a connection, then StartTLS when the server offers
// it, MarkVerified when that proved who it is, then Send for each message, then
// Quit. A Client belongs to one goroutine.
// Each call closes the connection when its context ends.
package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/foreign"
)

// Timeouts bound the steps of a session. A zero one is replaced by its default.
type Timeouts struct {
	Connect   time.Duration // for whoever dials; default 30 s: longer waits find nobody in practice
	Greeting  time.Duration // default 5 min, RFC 5321 4.5.3.2.1
	Hello     time.Duration // EHLO and STARTTLS; default 5 min, as for the greeting
	Handshake time.Duration // of TLS; default 1 min: no human and no disk takes part in it
	Mail      time.Duration // default 5 min, RFC 5321 4.5.3.2.2
	Rcpt      time.Duration // default 5 min, RFC 5321 4.5.3.2.3
	Data      time.Duration // default 2 min, RFC 5321 4.5.3.2.4
	Block     time.Duration // for each block of the body; default 3 min, RFC 5321 4.5.3.2.5
	Dot       time.Duration // default 10 min, RFC 5321 4.5.3.2.6: less makes duplicates
	Quit      time.Duration // default 5 s: everything is settled by then
}

// OrDefaults returns t with the defaults for what is not above zero.
func (t Timeouts) OrDefaults() Timeouts {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.Greeting, 5*time.Minute)
	set(&t.Hello, 5*time.Minute)
	set(&t.Handshake, time.Minute)
	set(&t.Mail, 5*time.Minute)
	set(&t.Rcpt, 5*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Block, 3*time.Minute)
	set(&t.Dot, 10*time.Minute)
	set(&t.Quit, 5*time.Second)
	return t
}

// Options says how a Client behaves. Hostname is required.
type Options struct {
	Hostname dnsname.Name // our name in EHLO
	LMTP     bool         // speak LMTP
	TLS      *tls.Config  // TLS begins with the first octet (RFC 8314 3); nil: in clear, see StartTLS
	Timeouts Timeouts
}

// Client is one session with one server.
type Client struct {
	raw    net.Conn      // the socket, below TLS
	conn   net.Conn      // raw, or TLS on it
	r      *bufio.Reader // of conn
	name   dnsname.Name
	lmtp   bool
	limits Timeouts
	until  time.Time // of the phase that the session is in; zero: each step has its time alone

	greeting   Reply
	extensions map[string]string // of the last EHLO, keywords in upper case
	verified   bool              // TLS has proved who the server is
	mails      int               // transactions begun
	open       bool              // a transaction may be open
	broken     bool              // the session has lost step, or the server leaves: nothing more can be said

	piece []byte        // of a body, kept for the next one
	out   *bufio.Writer // of bodies, the same
}

// buffers are those for a body.
func (c *Client) buffers() ([]byte, *bufio.Writer) {
	w := blockWriter{c.conn, c.limits.Block, newPace()}
	if c.out == nil {
		c.piece, c.out = make([]byte, blockSize), bufio.NewWriterSize(w, blockSize)
	}
	c.out.Reset(w)
	return c.piece, c.out
}

// New begins TLS if it is to, reads the greeting and says EHLO. It owns conn from
// now on, and closes it when it returns an error, an *Error.
func New(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	if o.Hostname.IsZero() {
		conn.Close()
		return nil, errors.New("smtp client: Hostname is required")
	}
	c := &Client{raw: conn, name: o.Hostname, lmtp: o.LMTP, limits: o.Timeouts.OrDefaults()}
	c.use(conn)
	defer c.guard(ctx)()
	if e := c.greet(ctx, o.TLS); e != nil {
		conn.Close()
		return nil, e.anywhere()
	}
	return c, nil
}

// greet is all that comes before the first transaction.
func (c *Client) greet(ctx context.Context, config *tls.Config) *Error {
	if config != nil {
		if e := c.handshake(ctx, stepTLS, config); e != nil {
			return e
		}
	}
	greeting, e := c.read(ctx, stepGreeting, c.limits.Greeting)
	if e == nil {
		e = c.refusal(stepGreeting, greeting, 2)
	}
	c.greeting = greeting
	c.until = time.Now().Add(openingTime)
	if e != nil && e.Reply.Code == 0 && config != nil {
		return handshakeError(ctx, stepTLS, e.Err) // see StartTLS
	}
	if e != nil {
		return e
	}
	return c.hello(ctx)
}

func (c *Client) use(conn net.Conn) {
	c.conn = conn
	c.r = bufio.NewReader(conn)
}

// guard closes the connection when ctx ends, until release is called.
func (c *Client) guard(ctx context.Context) (release func()) {
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	return func() { stop() }
}

// hello says EHLO, and HELO to a server that does not know it
// (RFC 5321 3.2), or LHLO (RFC 2033 4.1). What an earlier one offered is forgotten.
func (c *Client) hello(ctx context.Context) *Error {
	c.extensions = nil
	verb := "EHLO "
	if c.lmtp {
		verb = "LHLO "
	}
	code, lines, e := c.ask(ctx, stepEHLO, verb+c.name.String(), c.limits.Hello)
	if e != nil {
		return e
	}
	if code/100 == 5 && !c.lmtp {
		if code, lines, e = c.ask(ctx, stepEHLO, "HELO "+c.name.String(), c.limits.Hello); e != nil {
			return e
		}
		return c.refusal(stepEHLO, newReply(code, lines), 2)
	}
	if e := c.refusal(stepEHLO, newReply(code, lines), 2); e != nil {
		return e
	}
	c.extensions = parseExtensions(lines)
	return nil
}

// Extension returns the parameters of a keyword that the server offered, named
// in upper case.
func (c *Client) Extension(keyword string) (params string, ok bool) {
	params, ok = c.extensions[keyword]
	return params, ok
}

// Greeting returns what the server said first.
func (c *Client) Greeting() Reply { return c.greeting }

// Extensions returns what the last EHLO offered, with parameters, in the order of
// the keywords: cleaned, and no more than maxShownExtensions.
func (c *Client) Extensions() (list []string) {
	for _, keyword := range slices.Sorted(maps.Keys(c.extensions)) {
		if len(list) == maxShownExtensions {
			break
		}
		list = append(list, foreign.ASCII(strings.TrimSpace(keyword+" "+c.extensions[keyword]), maxText))
	}
	return list
}

// maxShownExtensions is more than any server has: they are shown to people.
const maxShownExtensions = 50

// MarkVerified says that TLS has proved who the server is: only then it is told a
// password, or given a message that requires TLS. In clear it does nothing.
func (c *Client) MarkVerified() { _, c.verified = c.conn.(*tls.Conn) }

// OffersDSN reports whether the server takes what senders want to be told of
// (RFC 3461), and so their being told is its matter.
func (c *Client) OffersDSN() bool { return c.offers(extDSN) }

// maxRecipients is how many recipients one transaction has: every server must
// take so many (RFC 5321 4.5.3.1.8).
const maxRecipients = 100

// MaxRecipients is how many recipients one transaction may have.
func (c *Client) MaxRecipients() int {
	if n := c.limit("RCPTMAX"); n > 0 {
		return min(n, maxRecipients)
	}
	return maxRecipients
}

// Full reports whether the server wants no further transaction in this session
// (RFC 9422, MAILMAX).
func (c *Client) Full() bool {
	n := c.limit("MAILMAX")
	return n > 0 && c.mails >= n
}

// limit returns a limit that the server declared (RFC 9422 3); 0: none.
func (c *Client) limit(name string) int {
	for word := range strings.FieldsSeq(c.extensions[extLimits]) {
		key, value, _ := strings.Cut(word, "=")
		if n, err := strconv.ParseUint(value, 10, 20); err == nil && strings.EqualFold(key, name) { // at most six digits
			return int(n)
		}
	}
	return 0
}

// Usable reports whether the session can go on.
func (c *Client) Usable() bool { return !c.broken }

// ErrHandshake marks errors of TLS: the server said 220, but no TLS session came
// about that it answers in. The connection is closed.
var ErrHandshake = errors.New("TLS failed")

// ErrInjected marks bytes that came in clear behind the answer to STARTTLS: they
// would be read as if TLS had protected them. The connection is closed.
var ErrInjected = errors.New("data in clear behind the answer to STARTTLS")

// StartTLS begins TLS and says EHLO again. All errors are *Error. When the
// server refused with a proper reply, the client stays usable in clear; errors
// that are ErrHandshake say that TLS itself is what failed.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) error {
	defer c.guard(ctx)()
	code, lines, e := c.ask(ctx, stepSTARTTLS, "STARTTLS", c.limits.Hello)
	if e != nil {
		return e.anywhere()
	}
	if code != 220 { // RFC 3207 4: nothing else begins TLS
		e := c.refusal(stepSTARTTLS, newReply(code, lines), 0)
		return e.anywhere()
	}
	if c.r.Buffered() > 0 {
		c.abort()
		return &Error{Step: stepSTARTTLS, Err: ErrInjected, Status: "4.7.0", OtherHost: true}
	}
	if e := c.handshake(ctx, stepSTARTTLS, config); e != nil {
		return e
	}
	if e := c.hello(ctx); e != nil {
		c.abort()
		if e.Reply.Code == 0 {
			// A TLS 1.3 server refuses a client only after our side of the handshake.
			return handshakeError(ctx, stepSTARTTLS, e.Err)
		}
		return e.anywhere()
	}
	return nil
}

// handshake puts TLS on the socket.
func (c *Client) handshake(ctx context.Context, step string, config *tls.Config) *Error {
	c.verified = false
	tc := tls.Client(c.raw, config)
	c.raw.SetDeadline(c.deadline(c.limits.Handshake))
	if err := tc.HandshakeContext(ctx); err != nil {
		c.abort()
		return handshakeError(ctx, step, err)
	}
	c.raw.SetDeadline(time.Time{})
	c.use(tc)
	return nil
}

func handshakeError(ctx context.Context, step string, err error) *Error {
	if ctx.Err() != nil {
		return lost(ctx, step, err) // our own doing, not a fault of its TLS
	}
	return &Error{Step: step, Err: fmt.Errorf("%w: %w", ErrHandshake, err), Status: "4.7.0", OtherHost: true}
}

// Quit takes leave and closes the connection. It waits only shortly: all that
// matters was answered before.
func (c *Client) Quit(ctx context.Context) {
	defer c.guard(ctx)()
	c.until = time.Time{}
	if !c.broken {
		c.ask(ctx, "QUIT", "QUIT", c.limits.Quit)
	}
	c.conn.SetDeadline(time.Now().Add(c.limits.Quit)) // for the close_notify of TLS
	c.conn.Close()
}

// Close ends the session without a word.
func (c *Client) Close() { c.abort() }

// abort makes sure that nothing more is sent, not even what TLS would add.
func (c *Client) abort() {
	c.broken = true
	c.raw.Close()
}

// ask writes one command and reads its reply.
func (c *Client) ask(ctx context.Context, step, command string, limit time.Duration) (int, []string, *Error) {
	if e := c.write(ctx, step, command+"\r\n", limit); e != nil {
		return 0, nil, e
	}
	return c.readLines(ctx, step, limit)
}

// unasked looks, before anything is said, whether a reply is there already. It
// answers nothing that was asked, and each reply behind it would be taken for that
// to a later command: a refusal of one recipient for the acceptance of another.
func (c *Client) unasked(step string) *Error {
	if c.r.Buffered() == 0 {
		return nil
	}
	c.broken = true
	return &Error{Step: step, Err: errors.New("the server answered before it was asked"), Status: "4.5.0", OtherHost: true}
}

func (c *Client) write(ctx context.Context, step, text string, limit time.Duration) *Error {
	if e := c.unasked(step); e != nil {
		return e
	}
	c.conn.SetWriteDeadline(c.deadline(limit))
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.broken = true
		return lost(ctx, step, err)
	}
	return nil
}

// read reads one reply.
func (c *Client) read(ctx context.Context, step string, limit time.Duration) (Reply, *Error) {
	code, lines, e := c.readLines(ctx, step, limit)
	if e != nil {
		return Reply{}, e
	}
	return newReply(code, lines), nil
}

// readLines reads one reply within limit. What is no reply, and 421, end the
// session (RFC 5321 3.8).
func (c *Client) readLines(ctx context.Context, step string, limit time.Duration) (int, []string, *Error) {
	c.conn.SetReadDeadline(c.deadline(limit))
	code, lines, err := readReply(c.r)
	switch {
	case errors.Is(err, errMalformed):
		c.broken = true
		return 0, nil, &Error{Step: step, Err: err, Status: "4.5.0", OtherHost: true}
	case err != nil:
		c.broken = true
		return 0, nil, lost(ctx, step, err)
	case code == 421:
		c.broken = true
		return 0, nil, &Error{Step: step, Reply: newReply(code, lines), OtherHost: true}
	}
	return code, lines, nil
}
