package main

import (
	"context"
	"crypto/x509"
	"net"
	"strconv"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/servercert"
)

// The kinds of our own identities, in the words of metrics.
const (
	ownServer = "server"
	ownClient = "client"
)

// ownIdentity is a certificate of ours that others judge by its TLSA records.
type ownIdentity struct {
	kind  string
	what  string              // where it is used, for people
	chain []*x509.Certificate // that is shown now
	port  uint16              // of a server
	name  dnsname.Name        // told by a client; the zero Name: its certificate names it
}

// ownIdentities lists all of a configuration, each once, with the certificates as
// they are in the files now. What cannot be read is left out: others say so.
func ownIdentities(cfg *config.Config) (all []ownIdentity) {
	if cert, err := newCertificate(cfg.TLS); err == nil && cert != nil {
		for _, l := range cfg.Listeners {
			all = addOwn(all, ownIdentity{kind: ownServer, what: "listener " + l.Name, port: portOf(l.Address)}, cert)
		}
	}
	for _, w := range waysOut(cfg) {
		if cert, err := newClientCertificate(w); err == nil && cert != nil {
			all = addOwn(all, ownIdentity{kind: ownClient, what: w.what, name: w.conf.ClientName.Name}, cert)
		}
	}
	if cert, err := newDNSCertificate(cfg.DNS); err == nil && cert != nil {
		all = addOwn(all, ownIdentity{kind: ownClient, what: "dns", name: cfg.DNS.TLSClientName.Name}, cert)
	}
	return all
}

// portOf returns 0 for a port that the system chooses: no record can stand there.
func portOf(a config.ListenAddress) uint16 {
	_, text, err := net.SplitHostPort(string(a))
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// addOwn adds an identity that is not there yet.
func addOwn(all []ownIdentity, own ownIdentity, cert *servercert.Store) []ownIdentity {
	pair, err := cert.GetCertificate(nil)
	if err != nil || own.kind == ownServer && own.port == 0 {
		return all
	}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return all
		}
		own.chain = append(own.chain, c)
	}
	for _, o := range all {
		if o.kind == own.kind && o.port == own.port && o.name == own.name && o.chain[0].Equal(own.chain[0]) {
			return all
		}
	}
	return append(all, own)
}

// judge compares the certificate with the live records.
func (o ownIdentity) judge(ctx context.Context, host dnsname.Name, v *daneclient.Verifier, r *dnssec.Resolver) daneclient.Own {
	if o.kind == ownServer {
		return daneclient.OwnServer(ctx, host, o.port, o.chain, daneclient.ServerOptions{Resolver: r})
	}
	return v.OwnClient(ctx, o.name, o.chain)
}

// own compares our certificates with the records that others judge them by.
func (r *report) own(ctx context.Context, cfg *config.Config, resolver *dnssec.Resolver) {
	v, err := daneclient.New(daneclient.Options{Resolver: resolver})
	if err != nil {
		r.problem(err)
		return
	}
	walkable := map[string]bool{} // zones that have their warning
	for _, o := range ownIdentities(cfg) {
		own := o.judge(ctx, cfg.Hostname, v, resolver)
		r.ownVerdict(o, own)
		if own.Owner.IsZero() || own.Verdict == daneclient.OwnUnknown {
			continue
		}
		p := resolver.Published(ctx, own.Owner)
		if why := daneclient.TTLProblem(p.TTL); why != "" && p.TTL != 0 {
			r.warning("%s TLSA: %s", own.Owner, why)
		}
		// The names of servers are public anyway.
		if o.kind == ownClient && p.Walkable && !walkable[p.Zone] {
			walkable[p.Zone] = true
			r.warning("%s", daneclient.WalkableProblem(p.Zone))
		}
	}
}

func (r *report) ownVerdict(o ownIdentity, own daneclient.Own) {
	switch own.Verdict {
	case daneclient.OwnMatch:
		r.ok("%s: the live records at %s match our certificate", o.what, own.Owner)
	case daneclient.OwnMismatch:
		hint := "who sends to us by DANE keeps his mail until it matches"
		if o.kind == ownClient {
			hint = "who asks for our name refuses it until it matches"
		}
		r.problem(&exitError{exitBroken, &ownError{o, own}, []string{hint + `; "dancemta tlsa" prints the record to publish`}})
	case daneclient.OwnNone:
		if o.kind == ownServer {
			r.note("%s: no DANE records: %s", o.what, own.Reason)
			return
		}
		r.warning("%s: nobody knows us by our certificate: %s", o.what, own.Reason)
	default:
		r.warning("%s: the records of our certificate cannot be compared now: %s", o.what, own.Reason)
	}
}

// ownError is a certificate of ours that its live records refuse.
type ownError struct {
	o   ownIdentity
	own daneclient.Own
}

func (e *ownError) Error() string {
	return e.o.what + ": the live TLSA records refuse our certificate: " + e.own.Reason
}
