// Package submit hands one message to the relay that a machine was told to use.
// It is the client for those who have no mail server: it keeps nothing, and tries
// once.
//
// DANE works in both directions. The relay is proved, before it learns anything,
// by TLSA records that DNSSEC secures (RFC 7672); it is named by the caller, or by
// the MX records of a domain, which then must be secure as well. We are proved by
// a certificate, whose name the relay is told if it asks for it, and users log in
// by AUTH EXTERNAL. Start with Send.
package submit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/queue/deliver/smtpclient"
)

// Login says when AUTH EXTERNAL is said.
type Login uint8

// The choices. The zero value never logs in: a machine is known without it.
const (
	LoginNever   Login = iota
	LoginOffered       // when the relay offers it
	LoginAlways        // a relay that does not offer it is no use
)

// Options of Send. Resolver, Hostname and one of Relay and Domain are required.
type Options struct {
	Resolver daneclient.Lookuper
	Hostname dnsname.Name // our name in EHLO
	Relay    dnsname.Name // the host to use
	Domain   dnsname.Name // in its place: the MX hosts of this domain
	Port     uint16       // of the relay
	Implicit bool         // TLS begins with the first octet; else by STARTTLS

	Roots       *x509.CertPool   // decide on a relay without TLSA records; nil: such a relay is refused
	Certificate *tls.Certificate // ours; nil: none is shown
	ClientName  dnsname.Name     // our TLSA owner name, told to a relay that asks; zero: it is not told
	Extension   uint16           // type of dane_clientid; 0: its default
	Login       Login

	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer
	Timeouts smtpclient.Timeouts
	Note     func(string)     // told what happens, in sentences for people; nil: nobody
	Now      func() time.Time // nil: time.Now
}

func (o *Options) check() error {
	switch {
	case o.Resolver == nil:
		return errors.New("submit: Resolver is required")
	case o.Hostname.IsZero():
		return errors.New("submit: Hostname is required")
	case o.Relay.IsZero() == o.Domain.IsZero():
		return errors.New("submit: one of Relay and Domain is required")
	case o.Port == 0:
		return errors.New("submit: Port is required")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	o.Timeouts = o.Timeouts.OrDefaults()
	return nil
}

// Result is what became of the message for one recipient.
type Result struct {
	Recipient mailaddr.Address
	Reply     smtpclient.Reply // of the relay that took it
	Err       error            // why none did; see Permanent
}

// Permanent reports whether an error is a refusal in words, so that to try again
// would be in vain. All else may pass: DNS, a relay that could not be proved, and
// what nobody knows.
func Permanent(err error) bool {
	e, ok := errors.AsType[*smtpclient.Error](err)
	return ok && e.Permanent
}

// Send hands a message to the relay and returns a result for each recipient. An
// error is a mistake of the caller's.
func Send(ctx context.Context, o Options, m smtpclient.Message) ([]Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &submission{o: o, m: m, results: make([]Result, len(m.Recipients))}
	for i, to := range m.Recipients {
		s.results[i] = Result{Recipient: to.Address, Err: errNotTried} // only a relay's word makes it nil
		s.open = append(s.open, i)
	}
	hosts, err := o.hosts(ctx)
	if err != nil {
		s.fail(err)
		return s.results, nil
	}
	for _, host := range hosts {
		if s.visit(ctx, host); len(s.open) == 0 || ctx.Err() != nil {
			break
		}
	}
	return s.results, nil
}

var errFull = errors.New("it takes no further message in this session")

var errNotTried = errors.New("no relay was tried")

// submission gathers results. Indices are those of m.Recipients.
type submission struct {
	o       Options
	m       smtpclient.Message
	results []Result
	open    []int // recipients that no relay has answered for
}

// fail gives err to all whom no relay has answered for; the next host may do
// better.
func (s *submission) fail(err error) {
	for _, i := range s.open {
		s.results[i].Err = err
	}
}

// visit proves one host, and tries its addresses until one takes the message or
// refuses it.
func (s *submission) visit(ctx context.Context, host dnsname.Name) {
	server, err := daneclient.FindServer(ctx, host, s.o.Port, s.o.serverOptions())
	if err != nil {
		s.fail(err)
		return
	}
	s.o.noteProof(server)
	for _, addr := range server.Addrs[:min(len(server.Addrs), maxAddresses)] {
		c, err := s.session(ctx, server, addr)
		if err != nil {
			s.fail(fmt.Errorf("%s[%s]: %w", host, addr, err))
			if Permanent(err) { // of the login: it was judged
				s.open = nil
				return
			}
			continue
		}
		s.send(ctx, c, host)
		c.Quit(ctx)
		if len(s.open) == 0 || ctx.Err() != nil {
			return
		}
	}
}

// send makes the transactions. Recipients stay open whom another host could help.
func (s *submission) send(ctx context.Context, c *smtpclient.Client, host dnsname.Name) {
	var open []int
	for chunk := range slices.Chunk(s.open, c.MaxRecipients()) {
		if c.Full() { // whatever it would say is no word on these
			for _, i := range chunk {
				s.results[i].Err = fmt.Errorf("%s: %w", host, errFull)
			}
			open = append(open, chunk...)
			continue
		}
		m := s.m
		m.Recipients = nil
		for _, i := range chunk {
			m.Recipients = append(m.Recipients, s.m.Recipients[i])
		}
		for n, r := range c.Send(ctx, m) {
			i := chunk[n]
			s.results[i].Err = nil
			if r.Err != nil {
				s.results[i].Err = fmt.Errorf("%s: %w", host, r.Err)
				if r.Err.OtherHost {
					open = append(open, i)
				}
				continue
			}
			s.results[i].Reply = r.Reply
			s.o.Note(fmt.Sprintf("%s: %s", s.results[i].Recipient, r.Reply))
		}
	}
	s.open = open
}
