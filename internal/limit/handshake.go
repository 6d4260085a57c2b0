package limit

import (
	"errors"
	"math"
	"net"
)

// handshakeBytes bounds what a client may say in a handshake. crypto/tls takes
// Certificate messages of 256 KiB and keeps the whole message as long as the
// connection, whatever extensions fill it. An honest handshake has 10 KiB.
const handshakeBytes = 64 << 10

var errHandshakeBytes = errors.New("more than 64 KiB in a handshake")

// Handshake is a socket from which only so many octets may be read until Done.
type Handshake struct {
	net.Conn
	left int
}

// NewHandshake bounds what may be read from a socket.
func NewHandshake(c net.Conn) *Handshake { return &Handshake{Conn: c, left: handshakeBytes} }

// Done says that the handshake is over.
func (h *Handshake) Done() { h.left = math.MaxInt }

func (h *Handshake) Read(b []byte) (int, error) {
	if h.left == 0 {
		return 0, errHandshakeBytes
	}
	n, err := h.Conn.Read(b[:min(len(b), h.left)])
	h.left -= n
	return n, err
}
