package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"dancemta/config"
	"dancemta/daneclient/clientid"
	"dancemta/internal/crowd"
	"dancemta/internal/limit"
	"dancemta/internal/metrics"
	"dancemta/internal/servercert"
	"dancemta/ldapbridge"
	"dancemta/ldapbridge/mapping"
	ldapmessage "dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
	tlsdoor "dancemta/saslext/door"
)

// Bounds of the bridge's clients when the configuration has none. Programs keep pools
// of connections, so there are more of them than for mail, and each costs less.
const (
	ldapClients           = 4000
	ldapClientsPerAddress = 500
	ldapClientsPerNetwork = 1000
	ldapClientMemory      = 48 << 10 // of one that is idle, with what it holds upstream
)

// bridge is the LDAP part of the machine.
type bridge struct {
	door *ldapbridge.Server
	pool *upstream.Pool
	cert *servercert.Store // by which directory servers know us; nil: none needs one
}

// newBridge makes the bridge of the configuration; nil: it has none. No server is asked.
func (p *parts) newBridge() (*bridge, error) {
	if len(p.cfg.LDAPListeners) == 0 {
		return nil, nil
	}
	b := &bridge{}
	o, cert, err := upstreamOptions(p.cfg.LDAP)
	if err != nil {
		return nil, err
	}
	o.Logger, o.Count, b.cert = p.log, p.countUpstream(), cert
	if b.pool, err = upstream.New(o); err != nil {
		return nil, &exitError{exitConfig, err, []string{"see [ldap] in the configuration"}}
	}
	if b.door, err = ldapbridge.New(p.bridgeOptions(b.pool)); err != nil {
		return nil, err
	}
	return b, nil
}

// upstreamOptions reads what proves the servers, and us to them.
func upstreamOptions(c config.LDAP) (upstream.Options, *servercert.Store, error) {
	o := upstream.Options{
		Connections: c.Connections, Idle: c.IdleConnections, Wait: c.ConnectionWait.Duration, Connect: c.ConnectTimeout.Duration,
		Silence: c.ReplyTimeout.Duration, Reply: int(c.ReplySize.Bytes), Outstanding: c.Outstanding,
	}
	for _, s := range c.Upstream {
		server := upstream.Server{Transport: upstream.StartTLS, Address: s.Address(), Name: s.Host()}
		switch {
		case s.IsUnix():
			server.Transport = upstream.Unix
		case s.IsTLS():
			server.Transport = upstream.TLS
		}
		o.Servers = append(o.Servers, server)
	}
	if c.Certificate == "" {
		return o, nil, nil
	}
	var err error
	if o.Roots, err = readPool(config.PKIXRoots(c.Roots), "see ldap.roots in the configuration"); err != nil {
		return o, nil, err
	}
	cert, err := servercert.New(string(c.Certificate), string(c.Key))
	if err != nil {
		return o, nil, unavailable(err, "see ldap.certificate in the configuration")
	}
	o.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.GetCertificate(nil) }
	return o, cert, nil
}

func (p *parts) bridgeOptions(pool *upstream.Pool) ldapbridge.Options {
	c := p.cfg.LDAP
	o := ldapbridge.Options{
		Verifier: p.verifier, Pool: pool,
		Rules:          func() *mapping.Mapper { return p.live.Load().mapper },
		NamingContexts: c.NamingContexts,
		Crowd:          newLDAPCrowd(c, p.cfg.Limits.Memory),
		Limits: ldapbridge.Limits{
			Message: ldapmessage.Limits{Bytes: int(c.RequestSize.Bytes)},
			Idle:    c.IdleTimeout.Duration, Anonymous: c.AnonymousTimeout.Duration, Connection: c.ConnectionTime.Duration, Write: c.WriteTimeout.Duration,
			PerDomain: orElse(c.PerDomain, max(c.Connections*3/4, 1)),
			Entries:   c.SearchEntries, Seconds: int((c.SearchTime.Duration + time.Second - 1) / time.Second),
		},
		ExplainFlags: explainFlagsFor(p.path), Counters: p.ldapCounters(), Logger: p.log,
	}
	if p.cert != nil {
		o.Certificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return p.cert.GetCertificate(h) }
	}
	for _, l := range p.cfg.LDAPListeners {
		o.Listeners = append(o.Listeners, ldapListener(l, p.cfg.DANE))
	}
	return o
}

func ldapListener(l config.LDAPListener, c config.DANE) ldapbridge.Listener {
	return ldapbridge.Listener{
		Name: l.Name, Implicit: l.TLS == config.LDAPImplicit, Anonymous: l.Anonymous == config.LDAPRead,
		Policy: tlsdoor.Policy{
			Certificates: certificates[l.ClientCertificates], Names: clientNames(config.Listener{ClientNames: l.ClientNames}, c), Abort: l.DANEFailure == config.Abort,
		},
	}
}

// newLDAPCrowd makes the bounds of all clients of the bridge together. The memory is
// that of the process, which mail sessions share.
func newLDAPCrowd(c config.LDAP, memory config.Size) *crowd.Crowd {
	o := crowd.Options{
		Connections: min(orElse(c.Clients, ldapClients), descriptorPlaces()), Handshakes: c.Handshakes,
		PerAddress: orElse(c.ClientsPerAddress, ldapClientsPerAddress), PerNetwork: orElse(c.ClientsPerNetwork, ldapClientsPerNetwork),
	}
	if bound := memoryBound(memory); bound > 0 {
		o.Overload = limit.NewMemory(bound).Over
	}
	return crowd.New(o)
}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// close ends the connections to the directory servers.
func (b *bridge) close() {
	if b != nil {
		b.pool.Close()
	}
}

// reload reads our own certificate again; on an error the old one stays.
func (b *bridge) reload() error {
	if b == nil || b.cert == nil {
		return nil
	}
	return b.cert.Reload()
}

// renew lets no client use a connection that was proved by the old certificate.
func (b *bridge) renew() {
	if b != nil {
		b.pool.Renew()
	}
}

// drain is Drain of a bridge that may not be.
func (b *bridge) drain(ctx context.Context) error {
	if b == nil {
		return nil
	}
	return b.door.Drain(ctx)
}

// checkLDAPBuild refuses listeners that want what this build cannot do.
func checkLDAPBuild(path string, cfg *config.Config) error {
	for i, l := range cfg.LDAPListeners {
		if clientid.Supported || !slices.Contains(l.ClientNames, config.FromExtension) {
			continue
		}
		return &exitError{exitConfig, fmt.Errorf("%s:%d: ldap_listener.client_names: %w", path, cfg.Line(fmt.Sprintf("ldap_listener[%d].client_names", i)), clientid.ErrUnsupported),
			[]string{`build it by "make build", or write client_names = ["certificate"]`}}
	}
	return nil
}

// ldap asks each directory server whether it takes us, and looks at the bounds.
func (r *report) ldap(ctx context.Context, cfg *config.Config) {
	c := cfg.LDAP
	if len(cfg.LDAPListeners) == 0 {
		return
	}
	o, _, err := upstreamOptions(c)
	if err != nil {
		r.problem(err)
		return
	}
	pool, err := upstream.New(o)
	if err != nil {
		r.problem(err)
		return
	}
	defer pool.Close()
	for i, err := range pool.Check(ctx) {
		if err != nil {
			r.problem(fmt.Errorf("ldap.upstream %v: %w", o.Servers[i], err))
			continue
		}
		r.ok("%v takes us by SASL EXTERNAL", o.Servers[i])
	}
	for _, l := range cfg.LDAPListeners {
		if l.Anonymous == config.LDAPRead {
			r.warning(`ldap_listener %s: anonymous = "read": what the directory shows to nobody in particular can be read by everybody`, l.Name)
		}
	}
	r.ldapCrowd(cfg)
}

// ldapCrowd says whether the system carries as many clients as are configured.
func (r *report) ldapCrowd(cfg *config.Config) {
	clients := orElse(cfg.LDAP.Clients, ldapClients)
	if n, want := descriptorPlaces(), clients+cfg.Limits.Connections; n < want {
		r.warning("ldap.clients and limits.connections are %d together, and the limit of open files permits %d: raise LimitNOFILE or ulimit -n", want, n)
	}
	if bound, need := memoryBound(cfg.Limits.Memory), uint64(clients)*ldapClientMemory; bound > 0 && need > bound {
		r.warning("ldap.clients is %d, which may take %d MiB of %d MiB (limits.memory)", clients, need>>20, bound>>20)
	}
}

// countUpstream counts what happens to connections to the directory servers.
func (p *parts) countUpstream() func(string) {
	if p.metrics == nil {
		return nil
	}
	return p.metrics.LDAPUpstream
}

// upstreamStats are the connections to the directory servers.
func (p *parts) upstreamStats() metrics.Upstream {
	if p.bridge == nil {
		return metrics.Upstream{}
	}
	return metrics.Upstream(p.bridge.pool.Stats())
}

func (p *parts) ldapCounters() ldapbridge.Counters {
	if p.metrics == nil {
		return nil
	}
	return ldapCounters{p}
}

// ldapCounters gives the words of the bridge to the metrics.
type ldapCounters struct{ p *parts }

func (c ldapCounters) Event(e ldapbridge.Event) { c.p.metrics.LDAPEvent(e.String()) }
func (c ldapCounters) Bind(how string, code ldapmessage.Code) {
	c.p.metrics.LDAPBind(how, code.String())
}
func (c ldapCounters) Operation(op string, code ldapmessage.Code) {
	c.p.metrics.LDAPOperation(op, code.String())
}
