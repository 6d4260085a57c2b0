package submit

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/queue/deliver/smtpclient"
)

const (
	// maxHosts and maxAddresses bound one run: somebody may be waiting for it, and
	// whoever is down at so many places is down.
	maxHosts     = 5
	maxAddresses = 5
)

// Errors that say why a relay is not used; they come wrapped with the name.
var (
	ErrInsecure = errors.New("its MX records are not signed by DNSSEC, so that anybody could be its relay")
	ErrNoMX     = errors.New("it has no MX records")
	ErrNoTLS    = errors.New("the relay offers no TLS")
	ErrNoLogin  = errors.New("the relay offers no AUTH EXTERNAL")
)

// hosts returns the relay, or the domain's MX hosts, best first. Unlike delivery,
// it takes nothing in place of MX records, and none that DNSSEC does not prove:
// whoever forges them would get the mail, with a certificate in good order.
func (o *Options) hosts(ctx context.Context) ([]dnsname.Name, error) {
	if o.Domain.IsZero() {
		return []dnsname.Name{o.Relay}, nil
	}
	answer := o.Resolver.Lookup(ctx, o.Domain, dnssec.TypeMX)
	switch {
	case answer.State == dnssec.Insecure:
		return nil, fmt.Errorf("%s: %w", o.Domain, ErrInsecure)
	case answer.State != dnssec.Secure:
		return nil, fmt.Errorf("lookup %s MX: %s: %s", o.Domain, answer.State, answer.Reason)
	}
	records := slices.DeleteFunc(slices.Clone(answer.MX), func(mx dnssec.MX) bool { return mx.Host.IsZero() }) // RFC 7505 3
	if len(records) == 0 {
		return nil, fmt.Errorf("%s: %w", o.Domain, ErrNoMX)
	}
	// RFC 5321 5.1: by preference, equals in any order.
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b dnssec.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	var hosts []dnsname.Name
	for _, mx := range records[:min(len(records), maxHosts)] {
		hosts = append(hosts, mx.Host)
	}
	return hosts, nil
}

func (o *Options) serverOptions() daneclient.ServerOptions {
	so := daneclient.ServerOptions{
		Resolver: o.Resolver, Now: o.Now,
		Roots: o.Roots, PKIXFallback: o.Roots != nil,
		Certificate: o.Certificate, ClientName: o.ClientName, Extension: o.Extension,
	}
	if !o.Domain.IsZero() {
		so.Aliases = []dnsname.Name{o.Domain} // its MX records are secure
	}
	return so
}

func (o *Options) noteProof(s *daneclient.Server) {
	if s.HasRecords() {
		o.Note(fmt.Sprintf("%s: TLSA records decide on its certificate", s.Base))
		return
	}
	o.Note(fmt.Sprintf("%s: no TLSA records, the given CAs decide on its certificate", s.Host))
}

// session connects, begins TLS, in which the relay is proved, and logs in.
func (s *submission) session(ctx context.Context, server *daneclient.Server, addr netip.Addr) (*smtpclient.Client, error) {
	config, err := server.TLS()
	if err != nil {
		return nil, err
	}
	s.o.noteQuestions(config)
	dialing, cancel := context.WithTimeout(ctx, s.o.Timeouts.Connect)
	defer cancel()
	conn, err := s.o.Dial(dialing, "tcp", netip.AddrPortFrom(addr, s.o.Port).String())
	if err != nil {
		return nil, err
	}
	options := smtpclient.Options{Hostname: s.o.Hostname, Timeouts: s.o.Timeouts}
	if s.o.Implicit {
		options.TLS = config
	}
	c, err := smtpclient.New(ctx, conn, options)
	if err != nil {
		return nil, err
	}
	if err := s.secure(ctx, c, config); err != nil {
		c.Quit(ctx)
		return nil, err
	}
	return c, nil
}

// secure makes sure of TLS and of the login.
func (s *submission) secure(ctx context.Context, c *smtpclient.Client, config *tls.Config) error {
	if !s.o.Implicit {
		if _, offered := c.Extension("STARTTLS"); !offered {
			return ErrNoTLS
		}
		if err := c.StartTLS(ctx, config); err != nil {
			return err
		}
	}
	c.MarkVerified() // config judged the relay within the handshake
	switch offered := c.OffersExternal(); {
	case s.o.Login == LoginNever, s.o.Login == LoginOffered && !offered:
		return nil
	case !offered:
		return ErrNoLogin
	}
	if err := c.AuthExternal(ctx); err != nil {
		return err
	}
	s.o.Note("logged in by AUTH EXTERNAL")
	return nil
}

// noteQuestions tells what the relay asks us for.
func (o *Options) noteQuestions(config *tls.Config) {
	show := config.GetClientCertificate
	if show == nil {
		return
	}
	typ := cmp.Or(o.Extension, clientid.DefaultType)
	config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if o.ClientName.IsZero() || !clientid.Asked(r, typ) {
			o.Note("the relay asks for a certificate")
		} else {
			o.Note(fmt.Sprintf("the relay asks for a certificate and is told the name %s", o.ClientName))
		}
		return show(r)
	}
}
