package wire

import (
	"context"
	"net"
)

// sessionKey is the key of a handshake's context.
type sessionKey struct{}

// Peer tells a callback of the TLS configuration whose handshake it is part of.
type Peer struct {
	Session string // as Conn.Session
	Addr    net.Addr
}

func withSession(ctx context.Context, k *link) context.Context {
	return context.WithValue(ctx, sessionKey{}, Peer{k.session, k.raw.RemoteAddr()})
}

// PeerOf returns the peer of the handshake that gave its context to a callback;
// the zero Peer for any other context.
func PeerOf(ctx context.Context) Peer {
	p, _ := ctx.Value(sessionKey{}).(Peer)
	return p
}
