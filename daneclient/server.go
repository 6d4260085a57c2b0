package daneclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// Errors of DialTLS and FindServer that are about the call, not about the server.
var (
	ErrNoResolver    = errors.New("daneclient: no resolver")
	ErrNetwork       = errors.New("servers are found for tcp, tcp4 and tcp6 only")
	ErrNoRoots       = errors.New("PKIXFallback wants Roots")
	ErrNoCertificate = errors.New("a ClientName wants a Certificate to go with")
)

// ServerOptions say how a server is proved, and what it is shown of us.
type ServerOptions struct {
	Resolver Lookuper         // required
	Now      func() time.Time // nil: time.Now

	// Roots are for records of usages 0 and 1, which are unusable without, and for
	// PKIXFallback.
	Roots *x509.CertPool
	// PKIXFallback takes a server that DNSSEC proves to have no usable records for
	// what Roots say of it. Without it such a server is an error. DNS trouble is
	// one in any case.
	PKIXFallback bool
	// Aliases are names that stand for the host where a CA is published: MX records
	// that are secure give it the name of their domain (RFC 7672 3.2.2).
	Aliases []dnsname.Name
	// CommonName lets the common name of a certificate without dNSNames count where a
	// CA is published, as among mail servers (RFC 7672 3.2.3).
	CommonName bool

	// Certificate is shown to a server that asks for one; nil: none is. With it
	// nothing below TLS 1.3 is spoken, where it would go over the line in clear.
	Certificate *tls.Certificate
	// ClientName is told to a server that asks by dane_clientid for it; the zero
	// Name: it is not told. A build without the extension refuses it.
	ClientName dnsname.Name
	// Extension is the type of dane_clientid. 0: clientid.DefaultType.
	Extension uint16

	NextProtos []string // for ALPN
}

func (o ServerOptions) check() error {
	switch {
	case o.Resolver == nil:
		return ErrNoResolver
	case o.PKIXFallback && o.Roots == nil: // crypto/x509 would take the system's
		return ErrNoRoots
	case o.Certificate == nil && !o.ClientName.IsZero():
		return ErrNoCertificate
	}
	return nil
}

// Server is what DNS says of a server, before the first octet goes there.
type Server struct {
	Host  dnsname.Name // as it was called
	Base  dnsname.Name // where its records stand (RFC 7671 7): Host, or where a secure CNAME led
	Addrs []netip.Addr // IPv6 first

	records []tlsa.Record // usable; none: PKIX decides
	opts    ServerOptions
}

// FindServer looks up the addresses of a host and the TLSA records of its port.
// An *Error says that the server cannot be proved.
//
// The plan: the addresses show where CNAMEs lead, and whether anything there is
// secure; then the records at that base, or at the name itself; then whether one
// of them is usable.
func FindServer(ctx context.Context, host dnsname.Name, port uint16, o ServerOptions) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Server{Host: host, Base: host, opts: o}
	bases, err := s.findAddrs(ctx)
	if err != nil {
		return nil, err
	}
	missing := &Error{Reason: Insecure, Name: host, Detail: "the host's addresses are not signed"}
	for _, base := range bases {
		why, err := s.findRecords(ctx, base, port)
		if err != nil {
			return nil, err
		}
		if missing = why; why == nil {
			return s, nil
		}
		if why.Reason == Unusable { // RFC 7671 7: there are records, no other base counts
			break
		}
	}
	if !o.PKIXFallback {
		return nil, missing
	}
	s.Base = host // no secure record says that it is another
	return s, nil
}

// findAddrs sets Addrs and returns the names at which records may stand, the
// preferred one first (RFC 7671 7, RFC 7672 2.2.2).
func (s *Server) findAddrs(ctx context.Context) (bases []dnsname.Name, err error) {
	var answers []dnssec.Answer
	var way dnssec.Answer // one family may have failed; what the other shows of the way is the same
	for _, t := range []dnssec.Type{dnssec.TypeAAAA, dnssec.TypeA} {
		a := s.opts.Resolver.Lookup(ctx, s.Host, t)
		answers = append(answers, a)
		if len(a.Addrs) > 0 && (a.State == dnssec.Secure || a.State == dnssec.Insecure) {
			s.Addrs, way = append(s.Addrs, a.Addrs...), a
		}
	}
	switch {
	case len(s.Addrs) == 0:
		return nil, s.noAddress(answers)
	case way.State == dnssec.Secure && way.CNAME && !way.Final.IsZero():
		return []dnsname.Name{way.Final, s.Host}, nil
	case way.State == dnssec.Secure:
		return []dnsname.Name{s.Host}, nil
	case !way.CNAME:
		return nil, nil // what is not signed has no secure records below it
	}
	// The chain is insecure somewhere; the first link may be secure all the same.
	switch link := s.opts.Resolver.Lookup(ctx, s.Host, dnssec.TypeCNAME); link.State {
	case dnssec.Secure:
		return []dnsname.Name{s.Host}, nil
	case dnssec.Insecure:
		return nil, nil
	default:
		reason, _ := refusalOf(link.State)
		return nil, &Error{Reason: reason, Name: s.Host, Detail: link.Reason}
	}
}

// noAddress is why nobody can be dialled: trouble, if any answer was that.
func (s *Server) noAddress(answers []dnssec.Answer) *Error {
	for _, a := range answers {
		if reason, bad := refusalOf(a.State); bad && reason != Insecure {
			return &Error{Reason: reason, Name: s.Host, Detail: "its addresses: " + a.Reason}
		}
	}
	return &Error{Reason: NoRecord, Name: s.Host, Detail: "the host has no address"}
}

// findRecords sets Base and records from what stands at one base, or says why
// nothing usable does. An error is DNS trouble, after which no other name may be
// tried, and no fallback either: it may be an attack (RFC 7672 2.1.2).
func (s *Server) findRecords(ctx context.Context, base dnsname.Name, port uint16) (missing *Error, err error) {
	at, err := ServerOwner(base, port)
	if err != nil {
		return nil, err
	}
	owner, err := dnsname.ParseOwner(at.String())
	if err != nil {
		return nil, err
	}
	answer := s.opts.Resolver.Lookup(ctx, owner, dnssec.TypeTLSA)
	if reason, ok := refusalOf(answer.State); ok {
		e := &Error{Reason: reason, Name: owner, Detail: answer.Reason}
		if reason != Insecure {
			return nil, e
		}
		return e, nil
	}
	if len(answer.TLSA) == 0 {
		return &Error{Reason: NoRecord, Name: owner, Detail: denial(answer)}, nil
	}
	records := recordsOf(answer.TLSA)
	usable := tlsa.Usable(records, s.opts.Roots)
	if len(usable) == 0 {
		return &Error{Reason: Unusable, Name: owner, Detail: problems(records, s.opts.Roots)}, nil
	}
	s.Base, s.records = base, usable
	return nil, nil
}

// HasRecords reports whether TLSA records decide; if not, PKIX does.
func (s *Server) HasRecords() bool { return len(s.records) > 0 }

// TLS returns a configuration for one connection to the server, which proves it
// within the handshake, and shows it our certificate and name where it asks.
func (s *Server) TLS() (*tls.Config, error) {
	c := &tls.Config{
		ServerName: s.Base.String(), // RFC 7671 7
		NextProtos: s.opts.NextProtos,
		MinVersion: tls.VersionTLS12,
		// crypto/tls knows no TLSA; VerifyConnection does all the checks.
		InsecureSkipVerify: true,
		VerifyConnection:   s.verify,
	}
	if s.opts.Certificate == nil {
		return c, nil
	}
	c.MinVersion = tls.VersionTLS13 // client-auth 12
	cert := *s.opts.Certificate
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	if s.opts.ClientName.IsZero() {
		return c, nil
	}
	var err error
	c.GetClientCertificate, err = clientid.Present(cert, s.extension(), s.opts.ClientName)
	return c, err
}

func (s *Server) extension() uint16 {
	if s.opts.Extension == 0 {
		return clientid.DefaultType
	}
	return s.opts.Extension
}

func (s *Server) now() time.Time {
	if s.opts.Now == nil {
		return time.Now()
	}
	return s.opts.Now()
}

func (s *Server) verify(state tls.ConnectionState) error {
	_, err := s.Verify(state.PeerCertificates)
	return err
}

// Records returns the usable TLSA records, in their order; none: PKIX decides.
func (s *Server) Records() []tlsa.Record { return slices.Clone(s.records) }

// Verify proves a server by the chain of its handshake, for those who do not take
// the configuration of TLS. record is the one that did; the zero Record: it was
// PKIX. The error is an *Error.
func (s *Server) Verify(chain []*x509.Certificate) (record tlsa.Record, err error) {
	if len(s.records) == 0 {
		return tlsa.Record{}, s.verifyPKIX(chain)
	}
	hosts := []string{s.Base.String()}
	for _, a := range s.opts.Aliases {
		hosts = append(hosts, a.String())
	}
	result, err := tlsa.Match(s.records, chain, tlsa.Options{Hosts: hosts, CommonName: s.opts.CommonName, Now: s.now(), Roots: s.opts.Roots})
	if err == nil {
		return result.Record, nil
	}
	reason := NoMatch
	if miss, ok := errors.AsType[*tlsa.MismatchError](err); ok && miss.OnlyName {
		reason = NameMismatch
	}
	return tlsa.Record{}, &Error{Reason: reason, Name: s.Base, Err: err}
}

func (s *Server) verifyPKIX(chain []*x509.Certificate) error {
	if !s.opts.PKIXFallback || s.opts.Roots == nil || len(chain) == 0 {
		return &Error{Reason: NoRecord, Name: s.Host}
	}
	issuers := x509.NewCertPool()
	for _, cert := range chain[1:] {
		issuers.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: s.Host.String(), Roots: s.opts.Roots, Intermediates: issuers, CurrentTime: s.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return &Error{Reason: NoMatch, Name: s.Host, Detail: "no TLSA records, and PKIX says", Err: fmt.Errorf("%.200s", err)}
	}
	return nil
}
