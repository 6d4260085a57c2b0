// Package upstream keeps connections to the real directory server. The idea: the
// bridge is bound there as itself, and a client has one of its connections to
// himself for a while, so what belongs to a connection (message IDs, cookies of
// paged searches) never mixes. Lease.Send is the only function that writes a
// client's operation, and it adds the proxied authorization (RFC 4370): no path can
// forget under whose rights an operation runs.
//
// Start at New, then Pool.Lease, then Lease.Send. Replies are passed on as octets;
// only their message ID is rewritten. They are read as fast as the client takes
// them: a slow one slows only himself.
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// What Lease answers, and Send; the caller makes results of them. None is ever the
// client's fault in the sense of invalidCredentials.
var (
	// ErrBusy: all connections are leased, and none came back in time: busy (51).
	ErrBusy = errors.New("all connections to the directory server are leased")
	// ErrUnavailable is what every error wraps that means: no server, or none that
	// takes us: unavailable (52).
	ErrUnavailable = errors.New("no directory server can be used")
	// ErrGone: the connection of the lease has ended; nothing was written. Another
	// lease may be taken.
	ErrGone = fmt.Errorf("%w: the connection has ended", ErrUnavailable)
	// ErrTooLarge: a reply beyond Options.Reply: other (80).
	ErrTooLarge = errors.New("the directory server's reply is too large")
	// ErrDuplicate: an operation with this message ID is outstanding (RFC 4511 4.1.1.1).
	ErrDuplicate = errors.New("an operation with this message ID is outstanding")
	// ErrCrowded: as many operations are outstanding as may be: busy (51).
	ErrCrowded = errors.New("too many operations are outstanding")
	// ErrOperation: no operation that a client may have sent upstream.
	ErrOperation = errors.New("not an operation that is forwarded")
	// ErrForm: not as RFC 4511 writes the operation: protocolError (2).
	ErrForm = errors.New("not the form of the operation")
	// ErrControl: the controls are broken, or ask for other rights themselves.
	ErrControl = errors.New("controls that are not forwarded")
	// ErrAuthzid: neither empty nor of the forms dn: and u: (RFC 4513 5.2.1.8).
	ErrAuthzid = errors.New("not an authorization identity")
	// ErrUnknown: Cancel of what is not outstanding: noSuchOperation (119).
	ErrUnknown = errors.New("no such operation is outstanding")
)

// Authzid is under whose rights an operation runs: "dn:…", "u:…", or empty for
// anonymous (RFC 4513 5.2.1.8).
type Authzid string

// Transport is how a server is reached.
type Transport uint8

// The transports; the words of the configuration in the comments.
const (
	StartTLS Transport = iota // "ldap://": TCP, then TLS before anything else
	TLS                       // "ldaps://": TLS from the first octet
	Unix                      // "unix:": a socket of this host, which knows us by our user
)

// Server is one directory server.
type Server struct {
	Transport Transport
	Address   string // host:port, or the path of the socket
	Name      string // whom the certificate must name: a host name or an IP address; not for Unix
}

// String is the server as logs have it.
func (s Server) String() string {
	switch s.Transport {
	case TLS:
		return "ldaps://" + s.Address
	case Unix:
		return "unix:" + s.Address
	}
	return "ldap://" + s.Address
}

// Defaults of Options.
const (
	defaultConnections = 200              // clients at work at once: each is a socket here and a thread's work there
	defaultIdle        = 8                // kept without a client: enough for those who come and go
	defaultIdleTime    = time.Minute      // slapd's idletimeout is often some minutes
	defaultWait        = 5 * time.Second  // that a client waits for a place
	defaultConnect     = 10 * time.Second // TCP, TLS and bind together
	defaultSilence     = 5 * time.Minute  // a search without an index may take as long
	defaultWrite       = 30 * time.Second // of one request; a server that takes none is dead
	defaultOutstanding = 64               // of one client at once; browsers of directories have about ten
	defaultReply       = 16 << 20         // a group with 200,000 members, or a photograph
)

const (
	// lifetime of a connection: the server's name may mean another host by then,
	// and our certificate may be another one.
	lifetime = time.Hour
	// firstRetry and lastRetry bound how long a server that failed is left alone.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Options of New. Zero numbers mean the defaults.
type Options struct {
	// Servers, the one to be preferred first.
	Servers []Server
	// Roots that prove the servers with TLS; nil is refused, since the system's CAs
	// know nothing of a directory.
	Roots *x509.CertPool
	// Certificate of our own, by which a server with TLS knows us.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

	Connections, Waiters, Idle int // leased at once; that wait for one (as many as Connections); kept without a client
	IdleTime, Wait, Connect    time.Duration
	Silence, Write             time.Duration // how long an operation may bring nothing; how long writing one may take
	Outstanding, Reply         int           // operations of one lease; octets of one reply
	Logger                     *slog.Logger
	Count                      func(event string)                                                   // one of the words Event…; nil: none counts
	Dial                       func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
}

// The events that are counted.
const (
	EventConnected   = "connected"   // bound as ourselves
	EventFailed      = "failed"      // a server could not be reached, not be proved, or did not take us
	EventLost        = "lost"        // a connection ended under a client's hands
	EventBusy        = "busy"        // a client found no place
	EventUnavailable = "unavailable" // a client found no server
)

// Pool is all connections to the servers. Its methods may be called at once.
type Pool struct {
	o      Options
	tls    []*tls.Config // by server
	places chan struct{} // one for each lease
	wait   sync.WaitGroup

	mu         sync.Mutex
	idle       []*conn // the one that came last, last
	health     []health
	waiting    int
	generation int // of our certificate
	closed     bool
	all        map[*conn]struct{} // with a reader
}

// New makes a pool; it connects when the first client needs it.
func New(o Options) (*Pool, error) {
	if len(o.Servers) == 0 {
		return nil, errors.New("no directory server is named")
	}
	for _, s := range o.Servers {
		switch {
		case s.Address == "":
			return nil, errors.New("a directory server without an address")
		case s.Transport != Unix && o.Roots == nil:
			return nil, fmt.Errorf("%v: no roots that prove it", s)
		case s.Transport != Unix && s.Name == "":
			return nil, fmt.Errorf("%v: no name that its certificate must have", s)
		case s.Transport != Unix && o.Certificate == nil:
			return nil, fmt.Errorf("%v: no certificate of our own to bind with", s)
		}
	}
	o.Connections = orInt(o.Connections, defaultConnections)
	o.Waiters, o.Idle = orInt(o.Waiters, o.Connections), orInt(o.Idle, defaultIdle)
	o.IdleTime, o.Wait, o.Connect = orTime(o.IdleTime, defaultIdleTime), orTime(o.Wait, defaultWait), orTime(o.Connect, defaultConnect)
	o.Silence, o.Write = orTime(o.Silence, defaultSilence), orTime(o.Write, defaultWrite)
	o.Outstanding, o.Reply = orInt(o.Outstanding, defaultOutstanding), orInt(o.Reply, defaultReply)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Count == nil {
		o.Count = func(string) {}
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	var configs []*tls.Config
	for _, s := range o.Servers {
		configs = append(configs, o.tlsConfig(s))
	}
	return &Pool{
		o: o, tls: configs, places: make(chan struct{}, o.Connections),
		health: make([]health, len(o.Servers)), all: map[*conn]struct{}{},
	}, nil
}

func orInt(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

func orTime(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}
