package ldapbridge

import (
	"context"
	"errors"
	"sync/atomic"

	"dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
)

// lease is a connection to the directory server while it is this client's, from his
// first operation until he unbinds, binds again or is idle: message IDs and paging
// cookies belong to it.
type lease struct {
	*upstream.Lease
	conn *conn
	lost atomic.Bool // the server has gone
	dead bool        // the client has gone on without it: what comes is for nobody; under conn.writing
}

// attach returns the lease of this connection, which begins if there is none.
func (c *conn) attach() (*lease, error) {
	if c.lease != nil {
		if !c.lease.lost.Load() {
			return c.lease, nil
		}
		c.detach()
	}
	l := &lease{conn: c}
	var err error
	if l.Lease, err = c.opts.Pool.Lease(c.ctx, l); err != nil {
		return nil, err
	}
	c.lease = l
	return l, nil
}

// detach ends the lease, if there is one. Operations that are outstanding are
// abandoned, and nothing of them reaches the client after it (RFC 4511 4.2.1).
func (c *conn) detach() {
	l := c.lease
	if l == nil {
		return
	}
	c.lease = nil
	c.writing.Lock()
	l.dead = true
	c.writing.Unlock()
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.restLocked()
	c.mu.Unlock()
	for _, id := range open {
		_ = l.Abandon(context.WithoutCancel(c.ctx), id) // an error closes the connection there, which is as good
	}
	l.Return()
}

// Replies passes on what the server says; see upstream.Sink. The lock lasts until the
// operations are noted as ended: the client may use their IDs again from the moment on
// that he reads this.
func (l *lease) Replies(octets []byte, ended []upstream.Done) error {
	c := l.conn
	c.writing.Lock()
	defer c.writing.Unlock()
	if l.dead {
		return nil
	}
	if err := c.write(octets); err != nil {
		return err
	}
	for _, d := range ended {
		c.opts.Counters.Operation(d.Op.String(), d.Code)
		c.end(d.ID)
	}
	return nil
}

// Lost tells the client of operations that the server will not answer any more.
func (l *lease) Lost(open []upstream.Operation, why error) {
	c := l.conn
	l.lost.Store(true)
	c.writing.Lock()
	defer c.writing.Unlock()
	if l.dead {
		return
	}
	o := sentOutcome(why)
	var octets []byte
	ids := make([]int32, 0, len(open))
	for _, op := range open {
		octets = message.AppendResult(octets, op.ID, op.Op.Reply(), o.result(c.log.ID))
		ids = append(ids, op.ID)
		c.opts.Counters.Operation(op.Op.String(), o.code())
	}
	if len(octets) > 0 && c.write(octets) != nil {
		return
	}
	c.end(ids...)
}

var errRefused = errors.New("refused too often")

// send forwards a request, once more if the connection was lost since the last one.
func (c *conn) send(m message.Message, do func(l *lease) error) error {
	if !c.work() {
		return errShare
	}
	defer c.rest()
	for retry := true; ; retry = false {
		l, err := c.attach()
		if err == nil {
			c.begin(m.ID)
			if err = do(l); err == nil {
				return nil
			}
			c.end(m.ID)
		}
		if !retry || !errors.Is(err, upstream.ErrGone) {
			return err
		}
		c.detach()
	}
}
