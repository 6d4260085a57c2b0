package admin

import (
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
)

// Clients at once: an operator, his scripts, and a backup. Whoever opens the socket
// is trusted, but a script that runs wild must not take all of the server's files.
const maxClients = 32

// guard lets in those whom the kernel names as the server's own user or root. The
// mode of the socket says the same, but that of a folder may be changed by mistake,
// and some systems do not look at the mode of a socket at all.
type guard struct {
	net.Listener
	allowed func(uid int) bool
	log     *slog.Logger

	mu      sync.Mutex
	clients int
}

func ownOrRoot(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// Accept implements net.Listener.
func (g *guard) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if why := g.refuse(conn); why != "" {
			g.log.Warn("control socket: client refused", "reason", why)
			conn.Close()
			continue
		}
		return &client{Conn: conn, g: g}, nil
	}
}

// refuse says why a client is not let in; empty: it is, and is counted.
func (g *guard) refuse(conn net.Conn) string {
	uid, err := peerUID(conn)
	switch {
	case err != nil: // fail closed
		return "its user is not known: " + err.Error()
	case !g.allowed(uid):
		return "it is another user"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.clients >= maxClients {
		return "too many clients"
	}
	g.clients++
	return ""
}

// client is a connection that counts.
type client struct {
	net.Conn
	g    *guard
	once sync.Once
}

func (c *client) Close() error {
	c.once.Do(func() {
		c.g.mu.Lock()
		c.g.clients--
		c.g.mu.Unlock()
	})
	return c.Conn.Close()
}

// peerUID asks the kernel who opened the connection.
func peerUID(conn net.Conn) (uid int, err error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return -1, syscall.ENOTSOCK
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *syscall.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		cred, asked = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return -1, err
	}
	if asked != nil {
		return -1, asked
	}
	return int(cred.Uid), nil
}
