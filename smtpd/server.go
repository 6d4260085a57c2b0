package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"dancemta/daneclient"
	"dancemta/internal/crowd"
	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/saslext/door"
	"dancemta/smtpd/callout"
	"dancemta/smtpd/milter"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/proxy"
	"dancemta/smtpd/wire"
)

// Kind is what a listener is for.
type Kind uint8

// The kinds. Only Relay takes mail for relay domains from anybody.
const (
	Relay       Kind = iota // port 25: STARTTLS is offered
	Submission              // port 587: STARTTLS is required, and a login
	Submissions             // port 465: TLS from the first octet, and a login
)

// ClientCertificates says whether TLS peers are asked for a certificate.
type ClientCertificates = door.Certificates

// The values.
const (
	Ask     = door.Ask
	Off     = door.Off
	Require = door.Require // and no MAIL without an identity
)

// Listener is one port. Rules name it by Name.
type Listener struct {
	Name               string
	Kind               Kind
	ClientCertificates ClientCertificates
	// ImplicitLogin logs a user in by his certificate alone, without AUTH.
	ImplicitLogin bool
	// Names says where the names of clients come from; the zero value means the
	// certificate.
	Names daneclient.Sources
	// Abort ends the handshake of a peer that told a name by dane_clientid which
	// it does not prove; without it the peer is nobody. With Require it ends that
	// of every peer without an identity.
	Abort bool
	// Proxies introduce all peers here; nobody else is let in. Where one of them may
	// assert identities there is no TLS of ours, and no certificate is asked for.
	Proxies []proxy.Source
	// Milters see all mail that comes in here before it is accepted.
	Milters milter.Chain
}

// Queue takes responsibility for messages. Accept reads body to its end and
// returns nil only when the message is durable; *queue.Queue is one.
type Queue interface {
	Accept(ctx context.Context, env queue.Envelope, body io.Reader) error
}

// Verifier proves certificates by DNS; *daneclient.Verifier is one.
type Verifier = door.Verifier

// Bounds when Options leave them zero.
const (
	defaultMessageBytes = 50 << 20 // what large providers take
	defaultRecipients   = 100      // the least that RFC 5321 4.5.3.1.8 permits
	defaultHops         = 100      // the least that RFC 5321 6.3 recommends; a loop reaches it within minutes
)

// Options of New. Hostname, Postmaster, Queue, Verifier, Rules and Listeners
// are required.
type Options struct {
	Hostname   dnsname.Name
	Postmaster mailaddr.Address // who gets mail to <postmaster> and to postmaster at Hostname
	// Addresses are this host's, for mail to <postmaster@[192.0.2.1]>. That which a peer
	// has reached is one in any case.
	Addresses []netip.Addr
	Queue     Queue
	Verifier  Verifier
	// Rules is asked anew at each decision, so that a reload takes effect within
	// open sessions. It returns the same value until then; nil refuses everything.
	Rules func() *policy.Rules
	// Signer signs the mail of users by DKIM. It is asked anew for each message;
	// nil: none is signed.
	Signer func() *msgauth.Signer
	// Inbound says how mail from anybody is judged.
	Inbound Inbound
	// Certificate is the server's own; nil: no TLS, and so no identities.
	Certificate     func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ExplainFlags    string // put behind the "dancemta explain" command of log lines
	Listeners       []Listener
	MaxMessageBytes int64 // 0: 50 MiB
	MaxRecipients   int   // RCPT commands taken per message; 0: 100
	MaxHops         int   // Received fields that a message may bring; 0: 100
	// Room says whether a message of some octets could be kept; it is asked at MAIL,
	// with 0 where nobody has told a size. nil: only Queue.Accept knows.
	Room func(size int64) error
	// Directory knows what rules ask of users: groups, addresses, classes of quotas. It
	// is asked anew for each transaction; nil: where rules need it, no user gets anywhere.
	Directory func() policy.Directory
	// Passwords says who may log in without a certificate.
	Passwords Passwords
	// Mailboxes asks whoever alone knows the mailboxes of relay domains, a backend or a
	// directory; nil: nobody answers.
	Mailboxes func(ctx context.Context, to mailaddr.Address) callout.Answer
	// NullMX reports whether a domain says that it takes no mail (RFC 7505), as far as
	// can be known now. It is asked about recipients of those who may relay, unless
	// Routed says that no MX record decides about their mail, and with Inbound.Reject
	// about senders. nil: no domain says so, and none is routed.
	NullMX func(ctx context.Context, domain dnsname.Name) bool
	Routed func(domain dnsname.Name) bool
	// Quotas keeps the accounts of the quotas of rules and of StrangerQuotas, which are
	// for peers without an identity; nil: there is nothing left in any.
	Quotas         *limit.Quotas
	StrangerQuotas []policy.Quota
	// OnOverQuota hears of each recipient refused because a quota of a rule is used up,
	// from many goroutines at once, and must be quick; of strangers' it never hears,
	// since they could make it hear what they like. nil: nobody does.
	OnOverQuota func(OverQuota)
	Crowd       *crowd.Crowd // bounds the connections of all listeners; nil: as its zero options say, for each listener
	Limits      wire.Limits
	Counters    Counters         // nil: nothing is counted
	Logger      *slog.Logger     // nil: silent
	Now         func() time.Time // nil: time.Now
}

// Server serves all listeners.
type Server struct {
	opts   Options
	fronts map[string]*front
	tries  tries
}

// front is one listener with its own wire.
type front struct {
	*Server
	Listener
	wire *wire.Server
}

// New checks the options. It opens nothing.
func New(o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("smtpd: %w", err)
	}
	if o.MaxMessageBytes <= 0 {
		o.MaxMessageBytes = defaultMessageBytes
	}
	if o.MaxRecipients <= 0 {
		o.MaxRecipients = defaultRecipients
	}
	if o.MaxHops <= 0 {
		o.MaxHops = defaultHops
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Counters == nil {
		o.Counters = noCounters{}
	}
	s := &Server{opts: o, fronts: map[string]*front{}, tries: newTries(o.Passwords, o.Now)}
	for _, l := range o.Listeners {
		f := &front{Server: s, Listener: l}
		if f.believes() {
			f.ClientCertificates = Off
		}
		if f.Names == (daneclient.Sources{}) {
			f.Names.Certificate = true
		}
		var err error
		if f.wire, err = f.newWire(); err != nil {
			return nil, fmt.Errorf("smtpd: listener %s: %w", l.Name, err)
		}
		s.fronts[l.Name] = f
	}
	return s, nil
}

func (o *Options) check() error {
	switch {
	case o.Hostname.IsZero():
		return errors.New("no hostname")
	case o.Postmaster.IsNull():
		return errors.New("no postmaster")
	case o.Queue == nil:
		return errors.New("no queue")
	case o.Verifier == nil:
		return errors.New("no verifier")
	case o.Rules == nil:
		return errors.New("no rules")
	case len(o.Listeners) == 0:
		return errors.New("no listener")
	}
	names := map[string]bool{}
	for _, l := range o.Listeners {
		switch {
		case l.Name == "" || names[l.Name]:
			return fmt.Errorf("listener %q: the name is missing or not unique", l.Name)
		case l.Kind > Submissions || l.ClientCertificates > Require:
			return fmt.Errorf("listener %s: unknown kind", l.Name)
		case l.believes() && l.ClientCertificates == Require:
			return fmt.Errorf("listener %s: certificates are the proxy's affair, which tells identities", l.Name)
		case o.Certificate == nil && !l.believes() && (l.Kind != Relay || l.ClientCertificates == Require):
			return fmt.Errorf("listener %s: needs TLS, and there is no certificate", l.Name)
		}
		names[l.Name] = true
	}
	return nil
}

func (f *front) newWire() (*wire.Server, error) {
	tlsConfig, err := f.tlsConfig()
	if err != nil {
		return nil, err
	}
	limits := f.opts.Limits
	if f.door().Judges() && limits.Handshake == 0 {
		limits.Handshake = door.JudgedHandshake
	}
	return wire.New(wire.Config{
		Hostname:      f.opts.Hostname.String(),
		TLS:           tlsConfig,
		Implicit:      f.Kind == Submissions && !f.believes(),
		RequireTLS:    f.Kind == Submission && !f.believes() || f.ClientCertificates == Require,
		TLSAhead:      f.believes(),
		SMTP:          f.smtpServer,
		MaxRecipients: f.opts.MaxRecipients,
		Crowd:         f.opts.Crowd,
		OnEvent:       f.event,
		OnReply:       f.opts.Counters.Reply,
		Limits:        limits,
	})
}

func (f *front) tlsConfig() (*tls.Config, error) {
	if f.opts.Certificate == nil || f.believes() {
		return nil, nil
	}
	return f.door().TLS(door.TLS{
		Certificate: f.opts.Certificate,
		Peer:        func(ctx context.Context) netip.Addr { return door.Addr(wire.PeerOf(ctx).Addr) },
		Judge:       f.judgeHandshake,
		Ended:       f.logEarly,
	})
}

// smtpServer makes the go-smtp server of one phase of one connection. The
// session counts recipients itself, so that the refusal is logged like others.
func (f *front) smtpServer(c *wire.Conn) *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(sc *smtp.Conn) (smtp.Session, error) {
		return newSession(f, c, sc.Hostname), nil
	}))
	s.MaxMessageBytes = f.opts.MaxMessageBytes
	return s
}

// event logs and counts what happened below the sessions.
func (f *front) event(e wire.Event) {
	f.opts.Counters.Wire(e.Kind)
	s := maillog.Session{ID: e.Session, Listener: f.Name}
	if e.Peer != nil {
		s.Peer = e.Peer.String()
	}
	if e.Kind == wire.InternalError {
		maillog.Fault(f.opts.Logger, s, e.Kind.String(), e.Err)
		return
	}
	detail := ""
	if e.Err != nil {
		detail = e.Err.Error()
	}
	maillog.Wire(f.opts.Logger, s, e.Kind.String(), detail)
}

// Serve takes connections for a listener from l until Drain (nil) or until l
// fails. It closes l.
func (s *Server) Serve(listener string, l net.Listener) error {
	f := s.fronts[listener]
	if f == nil {
		l.Close()
		return fmt.Errorf("smtpd: no listener %q", listener)
	}
	if len(f.Proxies) > 0 {
		l = &proxy.Listener{Listener: l, Sources: f.Proxies, Allowed: f.allowsTold}
	}
	return f.wire.Serve(l)
}

// Drain stops listening, lets messages under way end, tells all others 421, and
// waits. When ctx ends first, look-ups are cancelled, connections are cut and
// ctx's error comes back. Ports opened later are closed at once.
func (s *Server) Drain(ctx context.Context) error {
	errs := make([]error, len(s.opts.Listeners))
	var wg sync.WaitGroup
	for i, l := range s.opts.Listeners {
		wg.Go(func() { errs[i] = s.fronts[l.Name].wire.Drain(ctx) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
