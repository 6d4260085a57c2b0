package wire

import "net"

// Kind is what an Event tells of; its String is a stable word for logs.
type Kind uint8

// The kinds of events.
const (
	HandshakeFailed    Kind = iota + 1 // TLS did not come about; the connection is closed
	Injection                          // octets behind the STARTTLS line; closed (CVE-2011-0411)
	BareLineEnd                        // a lone CR or LF; closed
	NUL                                // a NUL octet; closed
	LongLine                           // a command or body line over the limit; closed
	BadChunkSize                       // a malformed BDAT; closed
	Truncated                          // the peer went away inside a body; nothing was accepted
	IdleTimeout                        // no command in time
	SlowBody                           // no octet of a body in time, or too few on average
	ConnectionTimeout                  // the connection lasted too long
	TooManyErrors                      // too many 5xx or 535
	TooManyConnections                 // refused at the door
	AcceptFailed                       // the listener gave an error; it is tried again
	InternalError                      // a session returned an error that is no SMTP reply, or panicked
	TooManyFromPeer                    // refused at the door: one address has enough already
	TooManyFromNetwork                 // the same for one network
	Overloaded                         // refused at the door: no memory for one more
	TooManyHandshakes                  // TLS refused: enough handshakes are under way
	TooManyCommands                    // on one connection
	TooManyOctets                      // on one connection
	Dense                              // three quarters of all connections are taken
	NotIntroduced                      // a proxy, or who is none, said nothing right of the peer; closed
	LongText                           // a message has lines over 1000 octets, and was taken as it is
)

var kindWords = [...]string{"unknown", "handshake failed", "injection behind starttls", "bare line end", "nul octet", "long line",
	"bad chunk size", "truncated body", "idle timeout", "slow body", "connection timeout", "too many errors",
	"too many connections", "accept failed", "internal error",
	"too many from one peer", "too many from one network", "overloaded", "too many handshakes", "too many commands",
	"too many octets", "dense crowd", "not introduced", "long text"}

func (k Kind) String() string {
	if int(k) >= len(kindWords) {
		k = 0
	}
	return kindWords[k]
}

// Event is one thing that happened below the sessions.
type Event struct {
	Kind    Kind
	Session string   // the connection's session id; "" where there is none
	Peer    net.Addr // nil for AcceptFailed
	Err     error    // may be nil
}
