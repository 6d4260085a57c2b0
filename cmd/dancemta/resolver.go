package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"dancemta/config"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/pemfile"
	"dancemta/internal/servercert"
)

// newResolver makes the resolver of the configuration; o has what is not in
// there. It returns the certificate that resolvers over TLS are shown, too, nil
// for none.
func newResolver(cfg *config.Config, o dnssec.Options) (*dnssec.Resolver, *servercert.Store, error) {
	c := cfg.DNS
	var err error
	if o.Anchors, err = readAnchors(c); err != nil {
		return nil, nil, err
	}
	if o.TLSRoots, err = readTLSRoots(c); err != nil {
		return nil, nil, err
	}
	cert, err := newDNSCertificate(c)
	if err != nil {
		return nil, nil, err
	}
	if cert != nil {
		o.ClientCertificate = showTo(cert, c.TLSClientName.Name, uint16(cfg.DANE.ExtensionType)) // config has checked its range
	}
	for _, u := range c.Upstreams {
		o.Upstreams = append(o.Upstreams, string(u))
	}
	if c.Trust == config.AD {
		o.Trust = dnssec.AD
	}
	o.Timeout, o.ClockSkew = c.Timeout.Duration, c.ClockSkew.Duration
	r, err := dnssec.New(o)
	return r, cert, err
}

// showTo shows a certificate as it is at the time, and tells the name with it to who
// asks for one.
func showTo(cert *servercert.Store, name dnsname.Name, extension uint16) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := cert.GetCertificate(nil)
		if err != nil || name.IsZero() {
			return pair, err
		}
		show, err := clientid.Present(*pair, extension, name)
		if err != nil {
			return nil, err
		}
		return show(r)
	}
}

func newDNSCertificate(c config.DNS) (*servercert.Store, error) {
	if c.TLSCertificate == "" {
		return nil, nil
	}
	s, err := servercert.New(string(c.TLSCertificate), string(c.TLSKey))
	if err != nil {
		return nil, unavailable(err, "see dns.tls_certificate in the configuration")
	}
	return s, nil
}

// readTLSRoots returns the CAs of resolvers over TLS; nil for those of the system.
func readTLSRoots(c config.DNS) (*x509.CertPool, error) {
	if c.TLSRoots == "" {
		return nil, nil
	}
	hint := "see dns.tls_roots in the configuration"
	text, err := readKeyFile(string(c.TLSRoots))
	if err != nil {
		return nil, unavailable(err, hint)
	}
	return poolOf(string(c.TLSRoots), text, hint)
}

// poolOf makes a pool of the certificates in a file.
func poolOf(path string, text []byte, hint string) (*x509.CertPool, error) {
	roots, err := pemfile.Certificates(text)
	if err != nil {
		return nil, unavailable(fmt.Errorf("%s: %w", path, err), hint)
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	return pool, nil
}

// readAnchors returns the root's keys from the file, or the built-in ones.
func readAnchors(c config.DNS) ([]dnssec.Anchor, error) {
	if c.TrustAnchors == "" {
		return dnssec.BuiltinAnchors(), nil
	}
	text, err := os.ReadFile(string(c.TrustAnchors))
	if err != nil {
		return nil, unavailable(err, "see dns.trust_anchors in the configuration")
	}
	anchors, err := dnssec.ParseAnchors(string(text))
	if err != nil {
		return nil, unavailable(fmt.Errorf("%s: %w", c.TrustAnchors, err), "each line holds a DS or DNSKEY record of the root, or the file is IANA's root-anchors.xml")
	}
	return anchors, nil
}

func (r *report) dns(ctx context.Context, path string, cfg *config.Config) {
	resolver, cert, err := newResolver(cfg, dnssec.Options{})
	if err != nil {
		r.problem(err)
		return
	}
	defer resolver.Close()
	if cert != nil {
		for _, w := range cert.Warnings() {
			r.warning("%s", w)
		}
	}
	unbounded := ctx
	ctx, cancel := selfTestContext(ctx)
	defer cancel()
	broken := resolver.SelfTest(ctx)
	r.anchors(ctx, resolver)
	if broken != nil {
		r.problem(unavailable(fmt.Errorf("DNSSEC: %w", broken), "until this works, all logins are answered 454"))
		return
	}
	r.ok("the root's keys are proved through %v", cfg.DNS.Upstreams)
	if cfg.DNS.Trust == config.AD {
		r.note(`dns.trust is "ad": who controls %v decides who can log in`, cfg.DNS.Upstreams)
	}
	r.hostname(ctx, cfg, resolver)
	r.dkim(ctx, cfg, resolver)
	r.own(ctx, cfg, resolver)
	r.tryRoutes(unbounded, cfg, resolver) // each has its own time
	r.postmaster(unbounded, path, cfg, resolver)
}

// anchors says of each trust anchor whether the live root has its key: a root
// that rolls its key has only one of two, on one side of the day.
func (r *report) anchors(ctx context.Context, resolver *dnssec.Resolver) {
	all, err := resolver.Anchors(ctx)
	if err != nil {
		return // the self-test has said why
	}
	for _, a := range all {
		switch {
		case a.Signs:
			r.ok("trust anchor %d matches the live root, and signs its keys", a.Anchor.KeyTag)
		case a.Matches:
			r.ok("trust anchor %d matches the live root, and does not sign its keys today", a.Anchor.KeyTag)
		default:
			r.warning("trust anchor %d does not match the live root: %s", a.Anchor.KeyTag, a.Reason)
		}
	}
}
