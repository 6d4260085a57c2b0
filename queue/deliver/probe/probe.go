// Package probe looks at a far mail server as one that has mail for it would, and
// writes down what it offers, shows and asks for. The idea: what is judged is judged
// by the code that judges it for mail (daneclient, mtasts), and what is only looked
// at, such as a certificate that nobody vouches for, ends nothing.
//
// Start with Look, which returns a Report; Report.Print writes it for people. All
// texts of the far side are cleaned and bounded. No message is sent, and nobody is
// named.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/mtasts"
)

const (
	// maxTried bounds the addresses of a host: one that is down at three is down.
	maxTried = 3
	// maxCertificates of a chain are shown, maxNames of each, and so many records.
	maxCertificates, maxNames, maxRecords = 10, 20, 20
)

// Options of Look. Host, Port, Hostname and Resolver are required.
type Options struct {
	Host     dnsname.Name
	Port     uint16
	Implicit bool         // TLS begins with the first octet
	Hostname dnsname.Name // ours, in EHLO
	Resolver daneclient.Lookuper
	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer

	Roots *x509.CertPool // for what PKIX says; nil: the system's

	// Domain is one for whose mail the host stands: its MTA-STS policy is looked at, and
	// it is a name that counts beside the host's where a CA is published.
	Domain dnsname.Name
	// Policy finds the policy of a domain; it is asked when Domain is given.
	Policy func(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error)

	// Certificate is ours, shown where it is asked for; nil: none is. ClientName is told
	// by dane_clientid with it, under this Extension type; the zero Name is not told.
	Certificate *tls.Certificate
	ClientName  dnsname.Name
	Extension   uint16

	Timeouts smtpclient.Timeouts
}

// The verdicts on a host as a whole.
const (
	Good      = "good"      // mail would go there, and what is published holds
	Broken    = "broken"    // what is published does not hold: mail would wait
	Temporary = "temporary" // not reached, or DNS is in trouble: nothing can be said
)

// Look makes one session, up to the EHLO after TLS.
func Look(ctx context.Context, o Options) *Report {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	l := &look{o: o, r: &Report{Host: o.Host.String(), Port: o.Port, Addresses: []Address{}}}
	l.findServer(ctx)
	l.policy(ctx)
	addrs := l.addresses(ctx)
	for _, a := range addrs[:min(len(addrs), maxTried)] {
		err := l.session(ctx, netip.AddrPortFrom(a, o.Port))
		l.r.Addresses = append(l.r.Addresses, Address{a.String(), textOf(err)})
		if l.met {
			break
		}
	}
	l.judge()
	return l.r
}

// look is one Look under way.
type look struct {
	o      Options
	r      *Report
	server *daneclient.Server // that has records; nil: none
	sts    mtasts.Policy
	dnsBad bool // trouble of DNS: nothing is known
	met    bool // the host spoke
	state  *tls.ConnectionState
}

// findServer asks for the TLSA records, as before a delivery.
func (l *look) findServer(ctx context.Context) {
	so := daneclient.ServerOptions{Resolver: l.o.Resolver, CommonName: true}
	if !l.o.Domain.IsZero() {
		so.Aliases = []dnsname.Name{l.o.Domain}
	}
	server, err := daneclient.FindServer(ctx, l.o.Host, l.o.Port, so)
	d := &l.r.DANE
	if err == nil {
		l.server, d.Verdict, d.Base = server, "unknown", server.Base.String()
		for _, record := range server.Records()[:min(len(server.Records()), maxRecords)] {
			d.Records = append(d.Records, record.String())
		}
		return
	}
	d.Verdict, d.Reason = "none", maillog.Clean(err.Error())
	if e, ok := errors.AsType[*daneclient.Error](err); ok {
		d.Verdict = e.Reason.String()
		l.dnsBad = e.Temporary()
	}
}

// policy asks for the MTA-STS policy of the domain.
func (l *look) policy(ctx context.Context) {
	if l.o.Domain.IsZero() || l.o.Policy == nil {
		return
	}
	p, err := l.o.Policy(ctx, l.o.Domain)
	l.sts = p
	l.r.STS = &STS{Domain: l.o.Domain.String(), Mode: p.Mode.String(), MX: []string{}, Reason: textOf(err)}
	if !p.Domain.IsZero() {
		l.r.STS.Found, l.r.STS.MX, l.r.STS.NamesHost = true, p.MX[:min(len(p.MX), maxNames)], p.Match(l.o.Host)
	}
}

// addresses are those of the host, IPv6 first.
func (l *look) addresses(ctx context.Context) (addrs []netip.Addr) {
	for _, t := range []dnssec.Type{dnssec.TypeAAAA, dnssec.TypeA} {
		a := l.o.Resolver.Lookup(ctx, l.o.Host, t)
		addrs = append(addrs, a.Addrs...)
		if a.State == dnssec.Bogus || a.State == dnssec.Failed {
			l.dnsBad = true
			l.r.Trouble = maillog.Clean(a.Reason)
		}
	}
	if len(addrs) == 0 && l.r.Trouble == "" {
		l.r.Trouble = "the host has no address"
	}
	return addrs
}

// session connects to an address and goes as far as it can. The error says why
// nobody was met.
func (l *look) session(ctx context.Context, to netip.AddrPort) error {
	dialing, cancel := context.WithTimeout(ctx, l.o.Timeouts.OrDefaults().Connect)
	defer cancel()
	conn, err := l.o.Dial(dialing, "tcp", to.String())
	if err != nil {
		return err
	}
	config, err := l.config()
	if err != nil {
		conn.Close()
		return err
	}
	so := smtpclient.Options{Hostname: l.o.Hostname, Timeouts: l.o.Timeouts}
	if l.o.Implicit {
		so.TLS = config
	}
	c, err := smtpclient.New(ctx, conn, so)
	if l.o.Implicit {
		l.r.TLS.Offered = true
		l.note(err)
	}
	if err != nil {
		l.met = l.state != nil || errors.Is(err, smtpclient.ErrHandshake)
		return err
	}
	defer c.Quit(ctx)
	l.met = true
	l.r.Banner, l.r.Clear = c.Greeting().String(), c.Extensions()
	if l.o.Implicit {
		l.r.Secure, l.r.Clear = l.r.Clear, nil
		return nil
	}
	if _, l.r.TLS.Offered = c.Extension("STARTTLS"); !l.r.TLS.Offered {
		return nil
	}
	err = c.StartTLS(ctx, config)
	if l.note(err); err == nil {
		l.r.Secure = c.Extensions()
	}
	return nil
}

// config takes whatever comes, and keeps it: to look is not to trust. Nothing is
// said to the host behind the handshake but EHLO.
func (l *look) config() (*tls.Config, error) {
	sni := l.o.Host
	if l.server != nil {
		sni = l.server.Base // RFC 7672 8.1
	}
	c := &tls.Config{
		ServerName: sni.String(),
		MinVersion: tls.VersionTLS10, // to be shown, not to be used
		// Who is there is what is to be found out.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { l.state = &s; return nil },
	}
	show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	if own := l.o.Certificate; own != nil {
		show = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
		if !l.o.ClientName.IsZero() {
			var err error
			if show, err = clientid.Present(*own, l.o.Extension, l.o.ClientName); err != nil {
				return nil, err
			}
		}
	}
	c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		l.r.TLS.AsksCertificate, l.r.TLS.CAs = true, len(r.AcceptableCAs)
		l.r.TLS.AsksName = clientid.Asked(r, l.o.Extension)
		if r.Version < tls.VersionTLS13 {
			return new(tls.Certificate), nil // ours would go over the line in clear
		}
		cert, err := show(r)
		l.r.TLS.Shown = err == nil && len(cert.Certificate) > 0
		return cert, err
	}
	return c, nil
}

// note takes what the handshake showed, and why it failed.
func (l *look) note(err error) {
	t := &l.r.TLS
	if err != nil {
		t.Error, t.Alert = textOf(err), alertOf(err)
	}
	if l.state == nil {
		return
	}
	t.Version, t.Cipher = tls.VersionName(l.state.Version), tls.CipherSuiteName(l.state.CipherSuite)
	if l.state.CurveID != 0 {
		t.Group = l.state.CurveID.String()
	}
	l.r.Chain = certificates(l.state.PeerCertificates)
}

// alertOf returns the alert that came from the far side; "" for none.
func alertOf(err error) string {
	for e := err; e != nil; {
		op, ok := errors.AsType[*net.OpError](e)
		if !ok {
			return ""
		}
		if op.Op == "remote error" { // of crypto/tls
			return op.Err.Error()
		}
		e = op.Err
	}
	return ""
}

// judge says what the certificate is worth, by each of those who may vouch for it.
func (l *look) judge() {
	r := l.r
	var chain []*x509.Certificate
	if l.state != nil {
		chain = l.state.PeerCertificates
	}
	secured := len(chain) > 0 && r.TLS.Error == "" && l.state.Version >= tls.VersionTLS12 // RFC 8461 4.2
	if len(chain) > 0 {
		r.PKIX.Verdict, r.PKIX.Reason = "match", ""
		if err := l.pkix(chain); err != nil {
			r.PKIX.Verdict, r.PKIX.Reason = "mismatch", maillog.Clean(err.Error())
		}
	}
	if l.server != nil && l.met {
		l.dane(chain, secured)
	}
	switch {
	case l.dnsBad || !l.met:
		r.Verdict = Temporary
	case l.server != nil && (r.DANE.Verdict != "match" || !secured):
		r.Verdict = Broken
	case l.server == nil && l.sts.Mode == mtasts.Enforce && (!r.STS.NamesHost || r.PKIX.Verdict != "match" || !secured):
		r.Verdict = Broken
	default:
		r.Verdict = Good
	}
}

// dane compares the chain with the records.
func (l *look) dane(chain []*x509.Certificate, secured bool) {
	record, err := l.server.Verify(chain)
	switch {
	case err == nil && secured:
		l.r.DANE.Verdict, l.r.DANE.Record = "match", record.String()
	case err == nil:
		l.r.DANE.Verdict, l.r.DANE.Reason = "mismatch", "no session of TLS 1.2 or newer came about"
	default:
		l.r.DANE.Verdict, l.r.DANE.Reason = "mismatch", maillog.Clean(err.Error())
	}
}

func (l *look) pkix(chain []*x509.Certificate) error {
	issuers := x509.NewCertPool()
	for _, c := range chain[1:] {
		issuers.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: l.o.Host.String(), Roots: l.o.Roots, Intermediates: issuers, CurrentTime: time.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// textOf cleans an error; "" for none.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return maillog.Clean(err.Error())
}
