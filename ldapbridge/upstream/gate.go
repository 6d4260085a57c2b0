package upstream

import (
	"net"
	"sync"
)

// burst is what is read at once while a server has more than asked for.
const burst = 32 << 10

// bursts are buffers for that; a quiet connection has none.
var bursts = sync.Pool{New: func() any { return new([burst]byte) }}

// gate is the socket below TLS. While its reader is hasty, a read that would wait
// fails instead, so that one sees whether TLS has octets left: crypto/tls
// itself cannot be asked. It belongs to the one reader.
type gate struct {
	net.Conn
	hasty bool
	full  bool         // the last read filled what it had: there is more
	ahead *[burst]byte // what was read ahead
	r, w  int
}

// wouldWait is temporary: crypto/tls goes on after it.
type wouldWait struct{}

var _ net.Error = wouldWait{}

func (wouldWait) Error() string   { return "nothing is there yet" }
func (wouldWait) Timeout() bool   { return true }
func (wouldWait) Temporary() bool { return true }

func (g *gate) Read(b []byte) (int, error) {
	if g.ahead != nil && g.r < g.w {
		n := copy(b, g.ahead[g.r:g.w])
		if g.r += n; g.r == g.w {
			g.release()
		}
		return n, nil
	}
	if g.hasty {
		return 0, wouldWait{}
	}
	if !g.full || len(b) >= burst {
		n, err := g.Conn.Read(b)
		g.full = n == len(b)
		return n, err
	}
	g.ahead = bursts.Get().(*[burst]byte)
	n, err := g.Conn.Read(g.ahead[:])
	g.r, g.w, g.full = 0, n, n == burst
	if err != nil || n == 0 {
		g.release()
		return 0, err
	}
	return g.Read(b)
}

func (g *gate) release() {
	bursts.Put(g.ahead)
	g.ahead = nil
}
