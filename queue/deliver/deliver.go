// Package deliver makes one attempt to deliver a message: it finds the hosts
// that take mail for a destination, visits them in order and reports what became
// of each recipient. It knows nothing of schedules, storage and bounces.
//
// Start with New and Deliverer.Deliver. The stages are files: route.go finds the
// hosts in order (configured next hops, an address literal, MX), address.go their
// addresses, visit.go talks to one of them. What nobody stated is temporary: only
// a refusal in words, or a proof that the domain takes no mail, is final.
//
// TLS is opportunistic (RFC 7435): used when it is offered, without a judgement
// on the certificate, and given up for one host at a time when it fails; but
// never on a route where we show a certificate of our own.
package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

const (
	smtpPort = 25
	// maxAttempt bounds one attempt with all its hosts: the sum of the timeouts
	// of ten slow hosts is hours, and a place among the deliveries is scarce.
	// 50 MiB at half a megabit per second still fit.
	maxAttempt = time.Hour
	// maxTransaction is how many recipients one transaction has: every server
	// must take so many (RFC 5321 4.5.3.1.8).
	maxTransaction = 100
)

// Options says what a Deliverer is made of. Hostname and Resolver are required.
type Options struct {
	Hostname dnsname.Name // our name in EHLO; a host of this name is ourselves
	Resolver interface {
		Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer
	}
	Route               func(destination string) Route // what is configured for a destination; nil: nothing for any
	MXPort              int                            // port of hosts found by DNS; default 25
	AllowPrivateTargets bool                           // deliver to loopback and private addresses that came from DNS
	OwnAddresses        []netip.Addr                   // an MX host with one of these is ourselves
	Dial                func(ctx context.Context, network, address string) (net.Conn, error)
	Logger              *slog.Logger // default: silent
	Timeouts            smtpclient.Timeouts
}

// Route is what the operator says of a destination.
type Route struct {
	// Hosts are its next hops as "host:port" or "[ip]:port", in order; none: its
	// MX hosts.
	Hosts []string
	// Certificate is our own as a client of Hosts, and of no others: whoever a
	// stranger's MX names need not know who we are. Under it mail is sent over TLS
	// or not at all. nil: none is shown.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Deliverer makes attempts. It may be used by many goroutines at once.
type Deliverer struct {
	o   Options
	own map[netip.Addr]bool
}

// New checks the options.
func New(o Options) (*Deliverer, error) {
	switch {
	case o.Hostname.IsZero():
		return nil, errors.New("deliver: Hostname is required")
	case o.Resolver == nil:
		return nil, errors.New("deliver: Resolver is required")
	case o.MXPort < 0 || o.MXPort > 65535:
		return nil, fmt.Errorf("deliver: MXPort %d: no such port", o.MXPort)
	}
	if o.MXPort == 0 {
		o.MXPort = smtpPort
	}
	if o.Route == nil {
		o.Route = func(string) Route { return Route{} }
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.Timeouts = o.Timeouts.OrDefaults()
	d := &Deliverer{o: o, own: map[netip.Addr]bool{}}
	for _, a := range o.OwnAddresses {
		d.own[a.Unmap().WithZone("")] = true
	}
	return d, nil
}

// Deliver implements queue.Deliverer.
func (d *Deliverer) Deliver(ctx context.Context, v queue.Visit) {
	for job, ok := v.Next(); ok; job, ok = v.Next() {
		v.Report(job, d.attempt(ctx, job))
	}
}

// attempt makes one attempt and returns an outcome for each recipient of job.
func (d *Deliverer) attempt(ctx context.Context, job queue.Job) []queue.Outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, maxAttempt, errors.New("the attempt took too long"))
	defer cancel()
	a := newAttempt(d, job)
	groups, v := d.route(ctx, job.Destination)
	if v != nil {
		a.settle(*v)
		return a.outcomes
	}
	d.visitAll(ctx, a, groups)
	return a.outcomes
}

// visitAll visits the hosts group by group until no recipient is left.
func (d *Deliverer) visitAll(ctx context.Context, a *attempt, groups []group) {
	left := maxAddresses
	defer func() { a.settle(a.last()) }()
	for _, g := range groups {
		targets, v := d.targets(ctx, g, &left)
		a.note(v)
		for _, t := range targets {
			d.visit(ctx, a, t)
			if len(a.open) == 0 || ctx.Err() != nil {
				return
			}
		}
		if v.isLoop() {
			return
		}
	}
}

// attempt gathers outcomes. Indices are those of job.Recipients.
type attempt struct {
	job      queue.Job
	outcomes []queue.Outcome
	open     []int    // recipients that no host has answered for
	worst    *verdict // what they will be told; nil: nothing was found yet
	tls      string   // what came of TLS with the last host
}

func newAttempt(d *Deliverer, job queue.Job) *attempt {
	a := &attempt{job: job, outcomes: make([]queue.Outcome, len(job.Recipients))}
	for i, r := range job.Recipients {
		a.outcomes[i].Recipient = r.Address
		a.open = append(a.open, i)
	}
	return a
}

// verdict is what is to be said of recipients, but for their names.
type verdict struct {
	result queue.Result // zero: Deferred
	status string
	text   string
	remote string // the host, when it spoke
}

// Enhanced status codes (RFC 3463 3) of what we find ourselves.
const (
	statusLoop     = "5.4.6"
	statusNoRoute  = "5.4.4"
	statusNoDomain = "5.1.2"
	statusNullMX   = "5.1.10" // RFC 7505 4.1
	statusDNS      = "4.4.3"
	statusNoAnswer = "4.4.1"
	statusNoTLS    = "4.7.10" // RFC 5248 2: encryption needed
)

func (v *verdict) isLoop() bool { return v != nil && v.status == statusLoop }

// note remembers why a host could not be used. A temporary reason outlives a
// final one, since that host may come back; and the newest tells most.
func (a *attempt) note(v *verdict) {
	if v == nil || a.worst != nil && a.worst.result == queue.Deferred && v.result != queue.Deferred {
		return
	}
	a.worst = v
}

// last is the verdict on those whom no host has answered for.
func (a *attempt) last() verdict {
	if a.worst == nil {
		return verdict{status: statusNoAnswer, text: "no host could be tried"}
	}
	return *a.worst
}

// settle gives v to all recipients that are still open.
func (a *attempt) settle(v verdict) {
	for _, i := range a.open {
		a.set(i, v)
	}
	a.open = nil
}

func (a *attempt) set(i int, v verdict) {
	o := &a.outcomes[i]
	o.Result, o.Status, o.Reply, o.RemoteMTA, o.TLS = v.result, v.status, v.text, v.remote, a.tls
}

// message is the job as one transaction for these recipients.
func (a *attempt) message(indices []int) smtpclient.Message {
	m := smtpclient.Message{
		Sender: a.job.Envelope.Sender, Size: a.job.Size,
		EightBit: a.job.Envelope.EightBit, Open: a.job.Open,
	}
	for _, i := range indices {
		m.Recipients = append(m.Recipients, smtpclient.Recipient{Address: a.job.Recipients[i].Address})
	}
	return m
}
