package main

import (
	"crypto/tls"
	"fmt"

	"dancemta/config"
	"dancemta/daneclient/clientid"
	"dancemta/internal/servercert"
	"dancemta/queue/deliver"
)

// newRoute reads where a relay domain's mail goes, and the certificate that we
// show there.
func newRoute(d config.RelayDomain, c config.DANE) (deliver.Route, error) {
	var r deliver.Route
	for _, h := range d.NextHop {
		r.Hosts = append(r.Hosts, string(h))
	}
	s, err := newClientCertificate(d)
	if err != nil || s == nil {
		return r, err
	}
	pair, err := s.GetCertificate(nil)
	if err != nil {
		return r, err
	}
	r.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	if name := d.ClientName.Name; !name.IsZero() {
		r.Certificate, err = clientid.Present(*pair, uint16(c.ExtensionType), name) // config has checked its range
	}
	return r, err
}

// newClientCertificate returns nil where none is shown.
func newClientCertificate(d config.RelayDomain) (*servercert.Store, error) {
	if d.ClientCertificate == "" {
		return nil, nil
	}
	s, err := servercert.New(string(d.ClientCertificate), string(d.ClientKey))
	if err != nil {
		return nil, unavailable(err, "see client_certificate of relay_domain "+d.Domain.String()+" in the configuration")
	}
	return s, nil
}

// checkRoutes refuses names that this build could not tell.
func checkRoutes(path string, cfg *config.Config) error {
	if !clientid.Supported && !cfg.DNS.TLSClientName.IsZero() {
		return &exitError{exitConfig, fmt.Errorf("%s:%d: dns.tls_client_name: %w", path, cfg.Line("dns.tls_client_name"), clientid.ErrUnsupported),
			[]string{`build it by "make build", or drop tls_client_name`}}
	}
	for i, d := range cfg.RelayDomains {
		if !clientid.Supported && !d.ClientName.IsZero() {
			return &exitError{exitConfig, fmt.Errorf("%s:%d: relay_domain.client_name: %w", path, cfg.Line(fmt.Sprintf("relay_domain[%d].client_name", i)), clientid.ErrUnsupported),
				[]string{`build it by "make build", or drop client_name`}}
		}
	}
	return nil
}

// routes looks at the certificates that we show to next hops; that they can be
// read is part of the rules.
func (r *report) routes(cfg *config.Config) {
	for _, d := range cfg.RelayDomains {
		if s, err := newClientCertificate(d); err == nil && s != nil {
			r.ok("%s and its key belong together, for the next hops of %s", d.ClientCertificate, d.Domain)
			for _, w := range s.Warnings() {
				r.warning("%s", w)
			}
		}
	}
}
