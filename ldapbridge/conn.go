package ldapbridge

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/crowd"
	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
	"dancemta/internal/maillog"
	"dancemta/ldapbridge/message"
	"dancemta/saslext/door"
)

// conn is one connection from accept to close. Its goroutine reads requests; what
// stands below a lock is touched by those that bring replies of the server, too.
type conn struct {
	*front
	raw     net.Conn
	place   *crowd.Place
	remote  netip.Addr
	log     maillog.Session
	expires time.Time
	ctx     context.Context
	stop    context.CancelFunc
	closing sync.Once

	in        *bufio.Reader
	buffer    []byte // of the request
	state     tls.ConnectionState
	secure    bool
	cred      daneclient.Credential
	certified bool   // cred may give an identity
	user      *user  // nil: anonymous
	lease     *lease // nil: none
	binds     int    // refused in a row
	refusals  int    // of operations in a row

	writing sync.Mutex
	out     net.Conn
	answers []byte // for results of our own

	mu      sync.Mutex
	working bool         // this client has a place in the share of domain
	sending bool         // and is about to have one more operation outstanding
	domain  dnsname.Name // of the user who took it
	open    []int32      // message IDs of operations that the server has not answered
	waiting bool         // for the first octet of a request
	active  time.Time
}

func newConn(f *front, raw net.Conn, p *crowd.Place) *conn {
	now := time.Now()
	c := &conn{front: f, raw: raw, out: raw, place: p, remote: door.Addr(raw.RemoteAddr()), active: now, expires: now.Add(f.opts.Limits.Connection)}
	// 50 bits: enough to find one line in a log.
	c.log = maillog.Session{ID: rand.Text()[:10], Listener: f.Name, Peer: raw.RemoteAddr().String()}
	c.ctx, c.stop = context.WithCancel(context.Background()) // a connection has no caller to inherit one from
	return c
}

// connKey is the key of a handshake's context.
type connKey struct{}

// connOf returns the connection whose handshake gave its context to a callback.
func connOf(ctx context.Context) *conn {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return c
	}
	return &conn{}
}

// start serves the connection to its end.
func (c *conn) start() {
	defer c.close()
	defer c.rescue()
	c.opts.Counters.Event(accepted)
	c.in = bufio.NewReaderSize(c.raw, smallBuffer)
	if c.Implicit && !c.beginTLS() {
		return
	}
	c.serve()
}

// rescue ends only this connection when something panics.
func (c *conn) rescue() {
	if p := recover(); p != nil {
		c.report(fault, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	}
}

func (c *conn) report(e Event, err error) { c.front.report(e, c.log, err) }

func (c *conn) close() {
	c.closing.Do(func() {
		c.stop()
		c.raw.Close() // before the lease ends: a reply that waits for this client is let go
		c.detach()
		c.place.Leave()
		c.conns.Remove(c)
	})
}

// cut ends the socket under a connection that still runs.
func (c *conn) cut() {
	c.stop()
	c.raw.Close()
}

// beginTLS does the handshake of a listener for ldaps.
func (c *conn) beginTLS() bool {
	if !c.place.BeginHandshake() {
		c.report(tooManyHandshakes, nil)
		return false
	}
	return c.handshake()
}

// handshake begins the TLS phase. When it fails the connection is over: there is no
// way back to clear (RFC 4511 4.14.3 would allow one; nobody asked for it).
func (c *conn) handshake() bool {
	limits := c.opts.Limits
	d := limits.Handshake
	switch {
	case d > 0:
	case c.Judges():
		d = door.JudgedHandshake
	default:
		d = defaultHandshake
	}
	socket := limit.NewHandshake(c.raw)
	secure := tls.Server(socket, c.tls)
	_ = c.raw.SetDeadline(time.Time{}) // the last one was for a request
	ctx, cancel := context.WithDeadline(context.WithValue(c.ctx, connKey{}, c), time.Now().Add(c.patience(d)))
	defer cancel()
	if err := handshakeAside(ctx, secure); err != nil {
		c.report(handshakeFailed, err)
		crowd.Linger(c.raw) // a client of TLS 1.3 may have sent a request before our alert reaches it
		return false
	}
	socket.Done()
	c.place.EndHandshake()
	c.writing.Lock()
	c.out = secure
	c.writing.Unlock()
	c.in = bufio.NewReaderSize(secure, smallBuffer)
	c.state, c.secure = secure.ConnectionState(), true
	c.cred, c.certified = c.Names.Credential(c.state, c.remote)
	return true
}

const defaultHandshake = 10 * time.Second

// handshakeAside does a handshake on a stack of its own: it needs a deep one, which
// the connection would keep for as long as it is idle.
func handshakeAside(ctx context.Context, secure *tls.Conn) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		err = secure.HandshakeContext(ctx)
	}()
	<-done
	return err
}

// Ends of a connection that are no trouble.
var (
	errUnbind = errors.New("unbind")
	errDrain  = errors.New("the server goes down")
)

// serve reads requests until the connection ends, and says why it does.
func (c *conn) serve() {
	err := c.requests()
	switch {
	case err == errUnbind, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return
	case errors.Is(err, errDrain):
		c.leave(goingDown)
	case errors.Is(err, errIdle):
		c.report(idleTimeout, nil)
		c.leave(silent)
	case errors.Is(err, errExpired):
		c.report(connectionTimeout, nil)
		c.leave(tooLong)
	case errors.Is(err, errRefused):
		c.report(tooManyRefusals, nil)
		c.leave(refusedOften)
	case errors.Is(err, errInjection):
		c.report(injection, err)
	case errors.Is(err, message.ErrTooBig), errors.Is(err, message.ErrTooDeep), errors.Is(err, message.ErrTooMany):
		c.report(tooBig, err)
		c.leave(notLDAP)
	case errors.Is(err, message.ErrMalformed):
		c.report(malformed, err)
		c.leave(notLDAP)
	case isTimeout(err):
		c.report(slowRequest, nil)
	}
}

func (c *conn) requests() error {
	for {
		if err := c.await(); err != nil {
			return err
		}
		_ = c.raw.SetReadDeadline(time.Now().Add(c.opts.Limits.Request))
		m, err := message.ReadInto(c.buffer, c.in, c.messageLimits())
		if err != nil {
			return err
		}
		if c.buffer = m.Buffer(); cap(c.buffer) > 2*smallBuffer {
			c.buffer = nil
		}
		if err := c.serveOne(m); err != nil {
			return err
		}
	}
}

// messageLimits are those of the next request. A client who has not bound needs a bind,
// TLS or the root DSE, and gets no more memory than these.
func (c *conn) messageLimits() message.Limits {
	l := c.opts.Limits.Message
	if c.user == nil && (l.Bytes == 0 || l.Bytes > unboundMessage) {
		l.Bytes = unboundMessage
	}
	return l
}

// serveOne does one request. An error ends the connection.
func (c *conn) serveOne(m message.Message) error {
	if m.ID == 0 || !m.Tag().IsRequest() { // RFC 4511 4.1.1, 4.1.1.1
		return fmt.Errorf("%w: %#02x with ID %d", message.ErrMalformed, byte(m.Tag()), m.ID)
	}
	switch m.Tag() {
	case message.UnbindRequest:
		return errUnbind
	case message.BindRequest:
		return c.bind(m)
	case message.AbandonRequest:
		return c.abandon(m)
	case message.ExtendedRequest:
		return c.extended(m)
	}
	return c.operate(m)
}

// leave sends a Notice of Disconnection and lets the client read it (RFC 4511 4.4.1).
func (c *conn) leave(o outcome) {
	c.detach()
	c.writing.Lock()
	_ = c.raw.SetWriteDeadline(time.Now().Add(lastWords))
	_, err := c.out.Write(notice(o, c.log.ID))
	if secure, ok := c.out.(*tls.Conn); ok && err == nil {
		_ = secure.CloseWrite() // close_notify, so that the client can tell an end from a cut
	}
	c.writing.Unlock()
	crowd.Linger(c.raw)
}

// lastWords is how long a notice may take: it fits an empty socket buffer.
const lastWords = time.Second

// write sends octets to the client; the caller has the lock.
func (c *conn) write(octets []byte) error {
	_ = c.raw.SetWriteDeadline(time.Now().Add(c.opts.Limits.Write))
	_, err := c.out.Write(octets)
	_ = c.raw.SetWriteDeadline(time.Time{}) // TLS may have to answer a KeyUpdate at any time
	if err != nil {
		if isTimeout(err) {
			c.report(slowReader, nil)
		}
		c.raw.Close() // what was written in part cannot be gone on with
	}
	return err
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// begin notes an operation that goes to the server, and end that it is answered.
func (c *conn) begin(id int32) {
	c.mu.Lock()
	c.open = append(c.open, id)
	c.mu.Unlock()
}

// end forgets operations; of two with one ID, of which the second is about to be
// refused, one. With the last one the client begins to be idle, or ends if
// the server's stop waits for it.
func (c *conn) end(ids ...int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if i := slices.Index(c.open, id); i >= 0 {
			c.open = slices.Delete(c.open, i, i+1)
		}
	}
	c.active = time.Now()
	c.restLocked()
	switch {
	case len(c.open) > 0 || !c.waiting:
	case c.conns.Draining():
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	default:
		_ = c.raw.SetReadDeadline(c.active.Add(c.opts.Limits.LeaseIdle))
	}
}

// outstanding counts the operations that are not answered. One whose last reply is on
// its way to the client just now is not done before that; he may have read it already.
func (c *conn) outstanding() int {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
