package wire

import (
	"context"
	"errors"
	"net"
	"time"
)

// Introduced is a connection that begins with what a proxy says of it. Until
// Introduce has returned its addresses are the proxy's, and from then on those of
// the peer behind it. Limits, events and sessions know only the latter.
type Introduced interface {
	net.Conn
	// Introduce reads what the proxy says, within a time of its own. After an error,
	// or when ctx has ended, the connection is closed without a word.
	Introduce(ctx context.Context) error
}

// Socket is the connection that the listener gave, for what an Introduced one knows.
func (c *Conn) Socket() net.Conn { return c.link.raw }

// introduce lets the proxy speak first, and then counts the connection for its peer.
func (k *link) introduce() bool {
	conn, ok := k.raw.(Introduced)
	if !ok {
		return true
	}
	if err := conn.Introduce(k.ctx); err != nil {
		k.report(NotIntroduced, err)
		return false
	}
	full, why := k.place.Count(conn.RemoteAddr())
	if full == 0 {
		return true
	}
	kind := fulls[full]
	k.report(kind, errors.New(why))
	if text := refusals[kind]; !k.srv.cfg.Implicit {
		k.srv.replied(text)
		_ = k.raw.SetWriteDeadline(time.Now().Add(refuseWrite))
		_, _ = k.raw.Write([]byte(text + "\r\n"))
	}
	return false
}
