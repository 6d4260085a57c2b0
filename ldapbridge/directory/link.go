package directory

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// link is a connection below TLS and LDAP. The LDAP library has neither contexts nor
// bounds for what a server sends: both are here.
type link struct {
	net.Conn
	left atomic.Int64 // octets that the server may still send
}

// renew gives the next question its octets.
func (l *link) renew() { l.left.Store(maxOperation) }

// Read reads no more than a question may bring.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if n > 0 && l.left.Add(-int64(n)) < 0 {
		return 0, fmt.Errorf("an answer of more than %d octets", maxOperation)
	}
	return n, err
}

// until ends all reading and writing when ctx ends, for good. stop, which must be called,
// reports whether that has not happened.
func (l *link) until(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { l.SetDeadline(time.Unix(1, 0)) }) // an error means that it is closed
}
