// Package deliver makes one attempt to deliver a message: it finds the hosts
// that take mail for a destination, visits them in order and reports what became
// of each recipient. It knows nothing of schedules, storage and bounces.
//
// Start with New and Deliverer.Deliver. The stages are files: route.go finds the
// hosts in order (configured next hops of nexthop.go, an address literal, MX),
// address.go their addresses, connect.go reaches one of them, visit.go hands it
// messages, as many over one connection as there are (keep.go for those that come a
// moment later), and attempt.go gathers what
// became of each recipient. What nobody stated is temporary: only a refusal in
// words, or a proof that the domain takes no mail, is final.
//
// What a host's TLS must show is decided in tls.go, before it is called: by the
// operator's policy, by DANE (tls_dane.go), by MTA-STS (tls_sts.go). Where nothing
// is demanded TLS is opportunistic (RFC 7435): used when it is offered, without a
// judgement on the certificate, and given up for one host at a time when it fails;
// but never on a route where we show a certificate of our own.
package deliver

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/tlsrpt"
)

const (
	smtpPort = 25
	// maxAttempt bounds one attempt with all its hosts: the sum of the timeouts
	// of ten slow hosts is hours, and a place among the deliveries is scarce. That one
	// host does not take so long with a small message, smtpclient sees to (pace.go).
	// 50 MiB at a tenth of a megabit per second still fit.
	maxAttempt = time.Hour
	// maxVisit and maxMessages bound what one connection is used for: no server
	// is held for itself by one client, and what has changed meanwhile, in DNS or
	// among its hosts, counts soon.
	maxVisit    = 5 * time.Minute
	maxMessages = 100
)

// Options says what a Deliverer is made of. Hostname and Resolver are required.
type Options struct {
	Hostname dnsname.Name // a host of this name is ourselves
	Hello    dnsname.Name // our name in EHLO; zero: Hostname
	// Hello4 and Hello6 are the names over IPv4 and IPv6, where the addresses that we
	// come from have names of their own; zero: Hello.
	Hello4, Hello6 dnsname.Name
	Resolver       interface {
		Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer
	}
	Route               func(destination string) Route                                       // what is configured for a destination; nil: nothing for any
	MXPort              int                                                                  // port of hosts found by DNS; default 25
	AllowPrivateTargets bool                                                                 // deliver to loopback and private addresses that came from DNS
	OwnAddresses        []netip.Addr                                                         // an MX host with one of these is ourselves
	OwnPorts            []netip.AddrPort                                                     // where we listen: a next hop there is ourselves
	Source4, Source6    netip.Addr                                                           // the addresses that connections come from; invalid: as the system chooses
	Dial                func(ctx context.Context, network, address string) (net.Conn, error) // default: from Source4 or Source6
	STS                 STS                                                                  // MTA-STS; nil: it is not asked for
	Roots               *x509.CertPool                                                       // for hosts under MTA-STS; nil: the system's
	OnTLS               func(tlsrpt.Session)                                                 // what became of TLS at each host; nil: nobody is told
	Logger              *slog.Logger                                                         // default: silent
	Timeouts            smtpclient.Timeouts
	// Keep is how long a connection waits for the next message to its destination, when
	// that has much mail; 0: not at all, as with nil. Nobody counts those that wait, so
	// none may where connections are bounded. Close is to be called at the end.
	Keep func(destination string) time.Duration
}

// Deliverer makes attempts. It may be used by many goroutines at once.
type Deliverer struct {
	o        Options
	keeper   *keeper
	own      map[netip.Addr]bool
	ownPorts map[netip.AddrPort]bool
}

// New checks the options.
func New(o Options) (*Deliverer, error) {
	switch {
	case o.Hostname.IsZero():
		return nil, errors.New("deliver: Hostname is required")
	case o.Resolver == nil:
		return nil, errors.New("deliver: Resolver is required")
	case o.Source4.IsValid() && !o.Source4.Is4(), o.Source6.IsValid() && !o.Source6.Is6():
		return nil, fmt.Errorf("deliver: Source4 %v, Source6 %v: of another family", o.Source4, o.Source6)
	case o.MXPort < 0 || o.MXPort > 65535:
		return nil, fmt.Errorf("deliver: MXPort %d: no such port", o.MXPort)
	}
	if o.MXPort == 0 {
		o.MXPort = smtpPort
	}
	if o.Route == nil {
		o.Route = func(string) Route { return Route{} }
	}
	if o.Keep == nil {
		o.Keep = func(string) time.Duration { return 0 }
	}
	if o.Dial == nil {
		o.Dial = sources{o.Source4, o.Source6}.dial
	}
	if o.Hello.IsZero() {
		o.Hello = o.Hostname
	}
	o.Hello4, o.Hello6 = cmp.Or(o.Hello4, o.Hello), cmp.Or(o.Hello6, o.Hello)
	o.Timeouts = o.Timeouts.OrDefaults()
	d := &Deliverer{o: o, keeper: newKeeper(o.Keep), own: map[netip.Addr]bool{}, ownPorts: map[netip.AddrPort]bool{}}
	for _, a := range o.OwnAddresses {
		d.own[a.Unmap().WithZone("")] = true
	}
	for _, a := range o.OwnPorts {
		d.ownPorts[netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())] = true
	}
	return d, nil
}
