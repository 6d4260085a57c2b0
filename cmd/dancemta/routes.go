package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"dancemta/config"
	"dancemta/daneclient/clientid"
	"dancemta/internal/servercert"
	"dancemta/queue"
	"dancemta/queue/deliver"
)

// routes are the ways that mail leaves by, closest first.
type routes []wayOut

type wayOut struct {
	what  string // as people call it: "relay_domain example.org"
	conf  config.Route
	route deliver.Route
}

// waysOut lists what the configuration says, relay domains with a next_hop first: they
// have the last word for their domain.
func waysOut(cfg *config.Config) (all routes) {
	for _, r := range cfg.Routes {
		all = append(all, wayOut{what: "route " + string(r.Domain), conf: r})
	}
	slices.SortStableFunc(all, func(a, b wayOut) int { return cmp.Compare(b.conf.Domain.Closeness(), a.conf.Domain.Closeness()) })
	var own routes
	for _, d := range cfg.RelayDomains {
		if len(d.NextHop) == 0 {
			continue
		}
		r := config.Route{
			Domain: config.RouteDomain(d.Domain.String()), Protocol: config.SMTP,
			ClientCertificate: d.ClientCertificate, ClientKey: d.ClientKey, ClientName: d.ClientName,
		}
		for _, h := range d.NextHop {
			r.NextHop = append(r.NextHop, config.Hop(h))
		}
		own = append(own, wayOut{what: "relay_domain " + d.Domain.String(), conf: r})
	}
	return append(own, all...)
}

// newRoutes reads all that routes name.
func newRoutes(cfg *config.Config) (routes, error) {
	all := waysOut(cfg)
	version := uint64(time.Now().UnixNano()) // another one after each reload
	for i := range all {
		var err error
		if all[i].route, err = newRoute(all[i], cfg.DANE); err != nil {
			return nil, err
		}
		all[i].route.Version = version
	}
	return all, nil
}

// find returns the closest way out; nil: that of DNS.
func (rs routes) find(destination string) *wayOut {
	for i := range rs {
		if rs[i].conf.Domain.Matches(destination) {
			return &rs[i]
		}
	}
	return nil
}

func (rs routes) route(destination string) deliver.Route {
	if w := rs.find(destination); w != nil {
		return w.route
	}
	return deliver.Route{}
}

func (rs routes) rate(destination string) queue.Rate {
	if w := rs.find(destination); w != nil && w.conf.Rate.N > 0 {
		return queue.Rate{Key: w.what, Messages: w.conf.Rate.N, Per: w.conf.Rate.Per}
	}
	return queue.Rate{}
}

// share is that of all destinations of a way: it has the same hosts for them, or the
// operator wants no more of its connections at once.
func (rs routes) share(destination string) queue.Share {
	if w := rs.find(destination); w != nil {
		return queue.Share{Key: w.what, Visits: w.conf.Connections}
	}
	return queue.Share{}
}

var tlsPolicies = map[config.TLSDemand]deliver.TLSPolicy{
	"": deliver.TLSDefault, config.TLSMay: deliver.TLSMay, config.TLSEncrypt: deliver.TLSEncrypt,
	config.TLSVerify: deliver.TLSVerify, config.TLSDANE: deliver.TLSDANE, config.TLSDANEOnly: deliver.TLSDANEOnly,
}

// newRoute reads the files of one way out.
func newRoute(w wayOut, c config.DANE) (r deliver.Route, err error) {
	conf := w.conf
	for _, h := range conf.NextHop {
		r.Hosts = append(r.Hosts, string(h))
	}
	r.LMTP, r.TLS, r.ImplicitTLS, r.Hello = conf.Protocol == config.LMTP, tlsPolicies[conf.TLS], conf.ImplicitTLS, conf.Helo
	if r.Roots, err = readRouteRoots(w); err != nil {
		return r, err
	}
	if r.Auth, err = w.login(); err != nil {
		return r, err
	}
	s, err := newClientCertificate(w)
	if err != nil || s == nil {
		return r, err
	}
	pair, err := s.GetCertificate(nil)
	if err != nil {
		return r, err
	}
	r.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	if name := conf.ClientName.Name; !name.IsZero() {
		r.Certificate, err = clientid.Present(*pair, uint16(c.ExtensionType), name) // config has checked its range
	}
	return r, err
}

func readRouteRoots(w wayOut) (*x509.CertPool, error) {
	return readPool(w.conf.Roots, fmt.Sprintf("see roots of %s in the configuration", w.what))
}

// newClientCertificate returns nil where none is shown.
func newClientCertificate(w wayOut) (*servercert.Store, error) {
	if w.conf.ClientCertificate == "" {
		return nil, nil
	}
	s, err := servercert.New(string(w.conf.ClientCertificate), string(w.conf.ClientKey))
	if err != nil {
		return nil, unavailable(err, fmt.Sprintf("see client_certificate of %s in the configuration", w.what))
	}
	return s, nil
}

// login reads the password, if there is one.
func (w wayOut) login() (a deliver.Auth, err error) {
	switch w.conf.Auth {
	case config.LoginExternal:
		a.External = true
	case config.LoginPlain:
		a.User = w.conf.User
		if a.Password, err = readPassword(string(w.conf.PasswordFile)); err != nil {
			err = unavailable(err, fmt.Sprintf("see password_file of %s in the configuration", w.what))
		}
	}
	return a, err
}

var (
	errOpenPassword = errors.New("everybody may read or write this password; chmod 0600, or 0640")
	errNoPassword   = errors.New("its first line, which is the password, is empty")
)

// readPassword returns the first line of a file that not everybody may read.
func readPassword(file string) (string, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", err
	case info.Mode().Perm()&0o007 != 0:
		return "", &fs.PathError{Op: "read", Path: file, Err: errOpenPassword}
	}
	text, err := readKeyFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return "", &fs.PathError{Op: "read", Path: file, Err: errNoPassword}
	}
	return string(line), nil
}

// checkRoutes refuses names that this build could not tell.
func checkRoutes(path string, cfg *config.Config) error {
	if clientid.Supported {
		return nil
	}
	refuse := func(where, table, key string) error {
		return &exitError{exitConfig, fmt.Errorf("%s:%d: %s.%s: %w", path, cfg.Line(where+"."+key), table, key, clientid.ErrUnsupported),
			[]string{`build it by "make build", or drop ` + key}}
	}
	if !cfg.DNS.TLSClientName.IsZero() {
		return refuse("dns", "dns", "tls_client_name")
	}
	for i, d := range cfg.RelayDomains {
		if !d.ClientName.IsZero() {
			return refuse(fmt.Sprintf("relay_domain[%d]", i), "relay_domain", "client_name")
		}
	}
	for i, r := range cfg.Routes {
		if !r.ClientName.IsZero() {
			return refuse(fmt.Sprintf("route[%d]", i), "route", "client_name")
		}
	}
	return nil
}

// routes looks at the certificates that we show to next hops; that they can be
// read is part of the rules.
func (r *report) routes(cfg *config.Config) {
	for _, w := range waysOut(cfg) {
		if s, err := newClientCertificate(w); err == nil && s != nil {
			r.ok("%s and its key belong together, for the next hops of %s", w.conf.ClientCertificate, w.what)
			for _, text := range s.Warnings() {
				r.warning("%s", text)
			}
		}
	}
}
