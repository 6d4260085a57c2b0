package crowd

import (
	"io"
	"net"
	"time"
)

const (
	lingerTime  = 2 * time.Second // two round trips of a bad line
	lingerBytes = 1 << 20         // what may have been under way
)

// Linger lets the peer read our last words: closing a socket with unread input makes
// the kernel send a reset, which takes them away from the peer.
func Linger(c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c, lingerBytes)
}
