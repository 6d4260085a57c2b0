package wire

import "dancemta/internal/crowd"

// MemoryPerConnection bounds what one connection holds: 64 KiB of a handshake or of
// a body, 64 KiB of a header that is looked at, a message of 64 KiB on its way to the
// store, a line, and what TLS, go-smtp and two stacks take.
const MemoryPerConnection = 256 << 10

// fulls are the events of those for whom there is no place.
var fulls = map[crowd.Full]Kind{
	crowd.All: TooManyConnections, crowd.OfAddress: TooManyFromPeer, crowd.OfNetwork: TooManyFromNetwork, crowd.Overloaded: Overloaded,
}

// refusals are the replies to those for whom there is no place.
var refusals = map[Kind]string{
	TooManyConnections: "421 4.3.2 Too many connections, try again later",
	TooManyFromPeer:    "421 4.7.0 Too many connections from your address, try again later",
	TooManyFromNetwork: "421 4.7.0 Too many connections from your network, try again later",
	Overloaded:         "421 4.3.2 Too busy, try again later",
}
