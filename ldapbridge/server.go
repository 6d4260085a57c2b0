package ldapbridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/crowd"
	"dancemta/internal/maillog"
	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/upstream"
	"dancemta/saslext/door"
)

// Listener is one port.
type Listener struct {
	Name string
	// Implicit: TLS from the first octet (ldaps); else StartTLS is offered.
	Implicit bool
	// Policy says whether TLS peers are asked for a certificate, and how their names
	// are judged.
	door.Policy
	// Anonymous lets clients without an identity search and compare at the server, as
	// nobody; without it they see the root DSE only.
	Anonymous bool
}

// Options of New. Verifier, Rules, Pool, Certificate and Listeners are required.
type Options struct {
	Listeners []Listener
	Verifier  door.Verifier
	// Rules says who comes in, and as whom. It is asked anew at each decision, so that
	// a reload takes effect within open sessions. It returns the same value until then;
	// nil refuses everybody.
	Rules func() *mapping.Mapper
	Pool  *upstream.Pool
	// Certificate is the server's own.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// NamingContexts stand in the root DSE; none: those of the directory server.
	NamingContexts []string
	Crowd          *crowd.Crowd // bounds the connections of all listeners; nil: as its zero options say
	Limits         Limits
	ExplainFlags   string           // put behind the "dancemta explain" command of log lines
	Counters       Counters         // nil: nothing is counted
	Logger         *slog.Logger     // nil: silent
	Now            func() time.Time // of the ends of identities; nil: time.Now
}

// Server serves all listeners.
type Server struct {
	opts   Options
	fronts map[string]*front
	dse    *dse
	shares *shares
}

// front is one listener.
type front struct {
	*Server
	Listener
	tls   *tls.Config
	conns *crowd.Set[*conn]
}

// New checks the options. It opens nothing.
func New(o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("ldapbridge: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Counters == nil {
		o.Counters = noCounters{}
	}
	if o.Crowd == nil {
		o.Crowd = crowd.New(crowd.Options{})
	}
	s := &Server{opts: o, fronts: map[string]*front{}, dse: newDSE(o.Pool), shares: newShares(o.Limits)}
	for _, l := range o.Listeners {
		f := &front{Server: s, Listener: l, conns: crowd.NewSet[*conn]()}
		if f.Names == (daneclient.Sources{}) {
			f.Names.Certificate = true
		}
		var err error
		if f.tls, err = f.tlsConfig(); err != nil {
			return nil, fmt.Errorf("ldapbridge: listener %s: %w", l.Name, err)
		}
		o.Crowd.Join(func() { f.conns.Each((*conn).hurry) })
		s.fronts[l.Name] = f
	}
	return s, nil
}

func (o *Options) check() error {
	switch {
	case o.Verifier == nil:
		return errors.New("no verifier")
	case o.Rules == nil:
		return errors.New("no rules")
	case o.Pool == nil:
		return errors.New("no directory server")
	case o.Certificate == nil:
		return errors.New("no certificate: there is no bind without TLS")
	case len(o.Listeners) == 0:
		return errors.New("no listener")
	}
	names := map[string]bool{}
	for _, l := range o.Listeners {
		switch {
		case l.Name == "" || names[l.Name]:
			return fmt.Errorf("listener %q: the name is missing or not unique", l.Name)
		case l.Certificates > door.Require:
			return fmt.Errorf("listener %s: unknown client_certificates", l.Name)
		}
		names[l.Name] = true
	}
	o.Limits = o.Limits.withDefaults()
	return nil
}

func (f *front) tlsConfig() (*tls.Config, error) {
	c, err := f.Policy.TLS(door.TLS{
		Certificate: f.opts.Certificate,
		Peer:        func(ctx context.Context) netip.Addr { return connOf(ctx).remote },
		Judge: func(ctx context.Context, cred daneclient.Credential) error {
			return door.Judge(ctx, f.opts.Verifier, cred, nil, f.opts.Rules())
		},
		Ended: f.logEarly,
	})
	if err != nil {
		return nil, err
	}
	// Replies are written many at once; small records would only cost system calls.
	c.DynamicRecordSizingDisabled = true
	return c, nil
}

// logEarly writes down who is refused before there is a session.
func (f *front) logEarly(ctx context.Context, cred daneclient.Credential, alert tls.AlertError, err error) {
	maillog.ClientRefused(f.opts.Logger, connOf(ctx).log,
		maillog.Refusal{Reason: door.Word(err), Detail: err.Error(), Reply: door.AlertText(alert)}, f.shown(cred, err))
}

// shown describes for the log the certificate of a user refused with err.
func (f *front) shown(cred daneclient.Credential, err error) maillog.Shown {
	return maillog.Shown(door.Show{Listener: f.Name, Flags: f.opts.ExplainFlags, Now: f.opts.Now}.Shown(cred, err))
}

// Serve takes connections for a listener from l until Drain (nil) or until l
// fails. It closes l.
func (s *Server) Serve(listener string, l net.Listener) error {
	f := s.fronts[listener]
	if f == nil {
		l.Close()
		return fmt.Errorf("ldapbridge: no listener %q", listener)
	}
	return f.conns.Serve(l, f.accept, func(err error) { f.report(acceptFailed, maillog.Session{Listener: f.Name}, err) })
}

// accept begins a connection, or closes it at once.
func (f *front) accept(raw net.Conn) {
	p, full, why := f.opts.Crowd.Enter(raw.RemoteAddr())
	if p == nil {
		f.refuse(raw, fulls[full], why)
		return
	}
	c := newConn(f, raw, p)
	if !f.conns.Add(c) {
		p.Leave()
		raw.Close()
		return
	}
	if f.opts.Crowd.Thicken() {
		f.report(dense, c.log, fmt.Errorf("%d connections: silence is now borne for %v", f.opts.Crowd.Len(), crowd.DenseWait))
	}
	go c.start()
}

// Drain stops listening, lets operations under way end, tells all clients by a Notice
// of Disconnection, and waits. When ctx ends first, connections are cut and ctx's
// error comes back.
func (s *Server) Drain(ctx context.Context) error {
	errs := make(chan error, len(s.fronts))
	for _, f := range s.fronts {
		go func() { errs <- f.conns.Drain(ctx, (*conn).interrupt, (*conn).cut) }()
	}
	var first error
	for range s.fronts {
		if err := <-errs; err != nil {
			first = err
		}
	}
	return first
}
