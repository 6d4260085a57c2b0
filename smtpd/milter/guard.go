package milter

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-milter"
)

const (
	maxPacket  = 1 << 20   // go-milter's own bound
	maxSaid    = 4 << 20   // all that a milter may say about a message but for its body
	maxPackets = 10_000    // of these, those that say "I am still at it" included
	maxText    = 128 << 10 // one packet that is no body: a header field at the most
	progress   = 'p'       // SMFIR_PROGRESS
)

// guard is the connection to a milter as go-milter reads it. It bounds what the
// milter says, holds one last moment for all of it, and takes a new body out of the
// stream into a spool, which go-milter would keep in memory whole.
type guard struct {
	net.Conn
	last    time.Time // no deadline goes beyond it; zero: none is set
	frame   []byte    // read and not handed on yet
	said    int
	packets int
	body    *bodyWriter // what replaces the body; nil: nothing may
}

func (g *guard) clamp(t time.Time) time.Time {
	if !g.last.IsZero() && (t.IsZero() || t.After(g.last)) {
		return g.last
	}
	return t
}

func (g *guard) SetReadDeadline(t time.Time) error  { return g.Conn.SetReadDeadline(g.clamp(t)) }
func (g *guard) SetWriteDeadline(t time.Time) error { return g.Conn.SetWriteDeadline(g.clamp(t)) }
func (g *guard) SetDeadline(t time.Time) error      { return g.Conn.SetDeadline(g.clamp(t)) }

// Read gives whole packets, one after the other.
func (g *guard) Read(b []byte) (int, error) {
	for len(g.frame) == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, g.frame)
	g.frame = g.frame[n:]
	return n, nil
}

// next reads a packet: its length in four octets, and a code with its data.
func (g *guard) next() error {
	var head [5]byte
	if _, err := io.ReadFull(g.Conn, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < 1 || size > maxPacket {
		return fmt.Errorf("%w: a packet of %d octets", errProtocol, size)
	}
	if g.packets++; g.packets > maxPackets {
		return fmt.Errorf("%w: over %d packets", errTooMuch, maxPackets)
	}
	if milter.ModifyActCode(head[4]) == milter.ActReplBody {
		if g.body == nil {
			return fmt.Errorf("%w: a new body, for which it did not ask or it is not the time", errProtocol)
		}
		return g.body.take(io.LimitReader(g.Conn, int64(size-1)), int64(size-1))
	}
	if g.said += int(size); size > maxText || g.said > maxSaid {
		return fmt.Errorf("%w: over %d octets", errTooMuch, maxSaid)
	}
	frame := make([]byte, 4+size)
	copy(frame, head[:])
	if _, err := io.ReadFull(g.Conn, frame[5:]); err != nil {
		return err
	}
	if head[4] != progress { // go-milter would wait on with a time of its own
		g.frame = frame
	}
	return nil
}
