package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"dancemta/ldapbridge/message"
)

// stepError says where the way to a bound connection ended, and what to do.
type stepError struct {
	step, advice string
	err          error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// What to do when a step fails.
const (
	adviceConnect  = "see that the directory server runs and listens there"
	adviceStartTLS = "give the directory server a certificate, or write ldaps:// for a port with TLS from the first octet"
	adviceTLS      = "compare ldap.roots and the host name with the directory server's certificate, and see that it takes ours"
	adviceBind     = "see that the directory server asks for client certificates, trusts the issuer of ldap.certificate, and offers EXTERNAL"
	adviceUnix     = "see that the directory server offers EXTERNAL on its socket"
)

var errInjected = errors.New("octets in clear behind the reply to StartTLS")

// Replies before a connection is anybody's: a result with a word.
const (
	greeting   = 64 << 10
	small      = 1 << 10 // the buffer of a quiet connection; bursts pass the gate
	unbindTime = time.Second
)

// connect makes a bound connection to a server, with its reader. It does so on a stack
// of its own: a handshake needs a deep one, which the client's goroutine would keep.
func (p *Pool) connect(ctx context.Context, i int) (c *conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err = p.prepare(ctx, i)
	}()
	<-done
	if err != nil {
		return nil, err
	}
	if !p.add(c) {
		c.gate.Close()
		return nil, &stepError{"connect", adviceConnect, errClosed}
	}
	return c, nil
}

// prepare makes a bound connection to a server, within Options.Connect.
func (p *Pool) prepare(ctx context.Context, i int) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Connect)
	defer cancel()
	s := p.o.Servers[i]
	network := "tcp"
	if s.Transport == Unix {
		network = "unix"
	}
	p.mu.Lock()
	generation := p.generation
	p.mu.Unlock()
	raw, err := p.o.Dial(ctx, network, s.Address)
	if err != nil {
		return nil, &stepError{"connect", adviceConnect, err}
	}
	c := &conn{pool: p, server: i, generation: generation, made: time.Now(), gate: &gate{Conn: raw}}
	c.net, c.active = c.gate, c.made
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	err = c.introduce(ctx, s)
	if !stop() && err == nil {
		err = &stepError{"connect", adviceConnect, ctx.Err()}
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	c.gate.SetDeadline(time.Time{})
	c.gate.SetReadDeadline(c.made.Add(p.o.IdleTime))
	return c, nil
}

// tlsConfig is the same for all connections to a server, which are many.
func (o Options) tlsConfig(s Server) *tls.Config {
	return &tls.Config{
		// The certificate must name the server that was configured, by the roots that
		// were configured; so crypto/tls checks both.
		ServerName: s.Name, RootCAs: o.Roots, MinVersion: tls.VersionTLS12,
		// Whatever CAs the server hints at: it shall see who we are.
		GetClientCertificate: o.Certificate,
	}
}

// introduce proves the server, and ourselves.
func (c *conn) introduce(ctx context.Context, s Server) error {
	if s.Transport == StartTLS {
		if err := c.startTLS(); err != nil {
			return &stepError{"StartTLS", adviceStartTLS, err}
		}
	}
	advice := adviceUnix
	if s.Transport != Unix {
		secure := tls.Client(c.gate, c.pool.tls[c.server])
		if err := secure.HandshakeContext(ctx); err != nil {
			return &stepError{"TLS", adviceTLS, err}
		}
		c.net, advice = secure, adviceBind
	}
	c.in = bufio.NewReaderSize(c.net, small)
	if err := c.bind(); err != nil {
		return &stepError{"bind", advice, err}
	}
	return nil
}

// startTLS asks for TLS. Nothing may stand behind the reply: it would be read as if
// it came within TLS (RFC 4511 4.14.2).
func (c *conn) startTLS() error {
	c.in = bufio.NewReaderSize(c.net, small)
	c.last++
	c.out = message.AppendExtended(c.out[:0], c.last, message.OIDStartTLS, nil)
	if err := c.ask(message.ExtendedResponse); err != nil {
		return err
	}
	if c.in.Buffered() > 0 || c.gate.ahead != nil {
		return errInjected
	}
	return nil
}

// bind makes the connection ours.
func (c *conn) bind() error {
	c.last++
	c.out = message.AppendBindExternal(c.out[:0], c.last)
	return c.ask(message.BindResponse)
}

// ask sends what is in out and wants success for it.
func (c *conn) ask(reply message.Op) error {
	if _, err := c.net.Write(c.out); err != nil {
		return err
	}
	m, err := message.Read(c.in, message.Limits{Bytes: greeting})
	if err != nil {
		return err
	}
	if m.ID != c.last || m.Tag() != reply {
		return fmt.Errorf("%w: %#02x with ID %d", errKind, byte(m.Tag()), m.ID)
	}
	result, err := message.ParseResult(m.Op)
	if err != nil {
		return err
	}
	if result.Code != message.Success {
		return fmt.Errorf("the directory server says %v (%d) %q", result.Code, result.Code, result.Diagnostic)
	}
	return nil
}

// part ends a connection that nobody has, with the word for it if the server listens
// (RFC 4511 4.3).
func (c *conn) part(why error) {
	if c.writing.TryLock() {
		c.mu.Lock()
		c.last++
		id := c.last
		c.mu.Unlock()
		c.out = message.AppendMessage(c.out[:0], id, message.UnbindOp(), nil)
		c.gate.SetWriteDeadline(time.Now().Add(unbindTime))
		c.net.Write(c.out)
		c.writing.Unlock()
	}
	c.fail(why)
}
