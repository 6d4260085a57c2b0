package milter

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/emersion/go-milter"
)

// conversation is one milter's part in one transaction.
type conversation struct {
	filter  *Filter
	guard   *guard
	session *milter.ClientSession
	stop    func() bool // of the watch over the context
	done    bool        // it has said all that it wants to say
}

// dialed gives go-milter the connection that is there.
type dialed struct{ conn net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.conn, nil }

// begin connects, negotiates, and tells who the peer is.
func (f *Filter) begin(ctx context.Context, p Peer) (*conversation, *milter.Action, error) {
	dialer := net.Dialer{Timeout: min(dialTime, f.o.Timeout)}
	conn, err := dialer.DialContext(ctx, f.o.Network, f.o.Address)
	if err != nil {
		return nil, nil, err
	}
	c := &conversation{filter: f, guard: &guard{Conn: conn}}
	c.stop = context.AfterFunc(ctx, func() { conn.Close() })
	c.bound(f.o.Timeout)
	act, err := c.introduce(p)
	if err != nil {
		c.close()
		return nil, nil, err
	}
	return c, act, nil
}

// bound sets the last moment of what comes next.
func (c *conversation) bound(d time.Duration) { c.guard.last = time.Now().Add(d) }

func (c *conversation) introduce(p Peer) (*milter.Action, error) {
	o := milter.ClientOptions{Dialer: dialed{c.guard}, ReadTimeout: c.filter.o.Timeout, WriteTimeout: c.filter.o.Timeout,
		ActionMask: actions, ProtocolMask: protocol}
	var err error
	if c.session, err = milter.NewClientWithOptions(c.filter.o.Network, c.filter.o.Address, o).Session(); err != nil {
		return nil, err
	}
	if c.session.ActionOpts&^actions != 0 || c.session.ProtocolOpts&^(protocol|silent) != 0 { // go-milter takes whatever comes
		return nil, fmt.Errorf("%w: wants %#x and %#x, of which not all was offered", errProtocol, uint32(c.session.ActionOpts), uint32(c.session.ProtocolOpts))
	}
	address, port := p.Address.Addr().Unmap().WithZone(""), p.Address.Port()
	name, family := "unknown", milter.FamilyUnknown
	if address.IsValid() {
		name, family = "["+address.String()+"]", milter.FamilyInet
		if address.Is6() {
			family = milter.FamilyInet6
		}
	}
	err = c.session.Macros(milter.CodeConn, "j", p.Hostname, "{daemon_name}", plain(p.Listener), "v", "dancemta",
		"_", name, "{client_name}", name, "{client_ptr}", "unknown",
		"{client_addr}", text(address.IsValid(), address.String()), "{client_port}", strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	act, err := c.session.Conn(name, family, port, text(address.IsValid(), address.String()))
	if err != nil || act.Code != milter.ActContinue {
		return act, err
	}
	if err := c.session.Macros(milter.CodeHelo, "{tls_version}", p.TLS, "{cipher}", p.Cipher, "{cipher_bits}", text(p.TLS != "", strconv.Itoa(p.Bits))); err != nil {
		return nil, err
	}
	return c.session.Helo(plain(p.Helo))
}

func text(is bool, s string) string {
	if is {
		return s
	}
	return ""
}

// Envelope is a transaction as milters see it.
type Envelope struct {
	ID     string // of the message in the queue
	Sender string // without brackets; "": the null sender
	Args   []string
}

func (c *conversation) mail(p Peer, e Envelope) (*milter.Action, error) {
	c.bound(c.filter.o.Timeout)
	err := c.session.Macros(milter.CodeMail, "i", e.ID, "{mail_addr}", plain(e.Sender), "{auth_type}", p.How, "{auth_authen}", plain(p.Login))
	if err != nil {
		return nil, err
	}
	return c.session.Mail(plain(e.Sender), e.Args)
}

func (c *conversation) rcpt(id, to string) (*milter.Action, error) {
	c.bound(c.filter.o.Timeout)
	if err := c.session.Macros(milter.CodeRcpt, "i", id, "{rcpt_addr}", plain(to)); err != nil {
		return nil, err
	}
	return c.session.Rcpt(plain(to), nil)
}

// message sends header and body, and returns what the milter wants changed. A nil
// writer: it wants no other body.
func (c *conversation) message(id string, m *message) (*milter.Action, []milter.ModifyAction, *bodyWriter, error) {
	c.bound(c.filter.o.MessageTime)
	if act, err := c.header(id, m.fields); err != nil || act.Code != milter.ActContinue {
		return act, nil, nil, err
	}
	if act, err := c.body(m.body.reader()); err != nil || act.Code != milter.ActContinue {
		return act, nil, nil, err
	}
	if err := c.session.Macros(milter.CodeEOB, "i", id); err != nil {
		return nil, nil, nil, err
	}
	w := &bodyWriter{spool: spool{dir: c.filter.o.Dir}, left: c.filter.o.MaxBytes}
	if c.session.ActionOption(milter.OptChangeBody) {
		c.guard.body = w
	}
	changes, act, err := c.session.End()
	c.guard.body = nil
	if err == nil && w.any {
		err = w.finish()
	}
	if err != nil || !w.any {
		w.Close()
		w = nil
	}
	return act, changes, w, err
}

func (c *conversation) header(id string, fields []field) (*milter.Action, error) {
	if err := c.session.Macros(milter.CodeEOH, "i", id); err != nil {
		return nil, err
	}
	for _, f := range fields {
		if act, err := c.session.HeaderField(f.name, f.told()); err != nil || act.Code != milter.ActContinue {
			return act, err
		}
	}
	return c.session.HeaderEnd()
}

func (c *conversation) body(r io.Reader) (*milter.Action, error) {
	buf := make([]byte, milter.MaxBodyChunk)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if act, err := c.session.BodyChunk(buf[:n]); err != nil || act.Code != milter.ActContinue {
				return act, err
			}
		}
		if err != nil {
			return &milter.Action{Code: milter.ActContinue}, nil // the end; spools that cannot be read are found when the queue reads them
		}
	}
}

// packets without data.
var (
	abort = []byte{0, 0, 0, 1, 'A'}
	quit  = []byte{0, 0, 0, 1, 'Q'}
)

// close ends the conversation, whatever it was about. The milter is told so, as far
// as it listens at once.
func (c *conversation) close() {
	if c.stop != nil && !c.stop() {
		return // the context has closed the connection
	}
	c.guard.last = time.Time{}
	_ = c.guard.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	if !c.done {
		_, _ = c.guard.Conn.Write(abort)
	}
	_, _ = c.guard.Conn.Write(quit)
	c.guard.Conn.Close()
}
