package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/admin"
	"dancemta/internal/dnsname"
	"dancemta/internal/metrics"
	"dancemta/internal/msgauth"
	"dancemta/internal/servercert"
	"dancemta/ldapbridge/directory"
	"dancemta/ldapbridge/mapping"
	"dancemta/queue"
	"dancemta/queue/boltstore"
	"dancemta/queue/deliver"
	"dancemta/queue/mtasts"
	"dancemta/queue/tlsrpt"
	"dancemta/smtpd"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/quotamail"
)

// parts is the machine: what serve puts together and reload changes.
type parts struct {
	path string // of the configuration
	cfg  *config.Config
	log  *slog.Logger
	// level is that of log, which may change while the server runs; nil: it stays.
	level *slog.LevelVar
	// looks: these parts serve nobody, and write nothing beside a server that runs.
	looks bool

	metrics  *metrics.Metrics // nil: nothing is counted
	scrapes  net.Listener     // where they are shown; nil: nowhere
	anchors  *anchorWatch     // nil without metrics
	own      *ownWatch
	live     atomic.Pointer[live]
	cert     *servercert.Store // nil without TLS
	dnsCert  *servercert.Store // shown to resolvers; nil: none
	resolver *dnssec.Resolver
	verifier *daneclient.Verifier
	store    *boltstore.Store
	queue    *queue.Queue
	delivers *deliver.Deliverer // nil until all is assembled
	sts      *mtasts.Client     // nil: policies of MTA-STS are not obeyed
	reports  *tlsrpt.Reporter   // nil: nobody is sent reports about TLS
	quotas   *quotaBook
	notices  *quotamail.Notifier // nil: nobody is told of quotas
	smtp     *smtpd.Server       // nil without listeners for mail
	bridge   *bridge             // nil without those for LDAP
	admin    *admin.Server
}

// live is what SIGHUP exchanges as a whole.
type live struct {
	rules  *policy.Rules
	mapper *mapping.Mapper // the rules of the LDAP bridge
	people people
	// listed are the relay domains whose mailboxes the directory knows.
	listed map[dnsname.Name]bool
	signer *msgauth.Signer
	routes routes
}

func newParts(path string, cfg *config.Config, log *slog.Logger, so boltstore.Options) (*parts, error) {
	p := &parts{path: path, cfg: cfg, log: log, admin: admin.New(log)}
	if err := checkBuild(path, cfg); err != nil {
		return nil, err
	}
	l, err := newLive(cfg, p.directoryHooks())
	if err != nil {
		return nil, err
	}
	p.live.Store(l)
	if p.cert, err = newCertificate(cfg.TLS); err != nil {
		return nil, err
	}
	p.own = p.newOwnWatch()
	p.metrics = p.newMetrics()
	if p.resolver, p.dnsCert, err = newResolver(cfg, dnssec.Options{Logger: log, OnLookup: p.countLookups()}); err != nil {
		return nil, err
	}
	so.Logger, so.History = log, cfg.Queue.History.Duration
	so.MinFree, so.MinInodes = uint64(cfg.Limits.FreeSpace.Bytes), uint64(cfg.Limits.FreeInodes)
	if p.store, err = boltstore.Open(string(cfg.StateDir), so); err != nil {
		p.resolver.Close()
		return nil, storeError(err)
	}
	if err := p.assemble(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// assemble makes what stands on resolver and store.
func (p *parts) assemble() error {
	var err error
	if p.reports, err = p.newReporter(); err != nil {
		return err
	}
	if p.delivers, err = p.newDeliverer(nil); err != nil {
		return err
	}
	if p.queue, err = queue.New(p.queueOptions(p.delivers)); err != nil {
		return err
	}
	roots, err := readRoots(p.cfg.DANE)
	if err != nil {
		return err
	}
	if p.verifier, err = daneclient.New(p.verifierOptions(roots)); err != nil {
		return err
	}
	p.quotas = newQuotas(string(p.cfg.StateDir), p.log)
	if p.notices, err = p.newNotices(); err != nil {
		return err
	}
	if len(p.cfg.Listeners) > 0 {
		if p.smtp, err = smtpd.New(p.smtpOptions(p.verifier)); err != nil {
			return err
		}
	}
	if p.bridge, err = p.newBridge(); err != nil {
		return err
	}
	serveQueue(p.admin, &desk{p.store, p.queue})
	return nil
}

func (p *parts) verifierOptions(roots *x509.CertPool) daneclient.Options {
	l := p.cfg.Limits
	return daneclient.Options{
		Resolver: p.resolver, Logger: p.log, Roots: roots, ServerLeaves: p.cfg.DANE.ServerCertificates,
		MaxLookups: l.Lookups, PerPeer: l.LookupsPerPeer, PerZone: l.LookupsPerZone,
		Rate: daneclient.Rate(l.LookupRate), RatePerPeer: daneclient.Rate(l.LookupRatePerPeer), RatePerZone: daneclient.Rate(l.LookupRatePerZone),
	}
}

// close ends what newParts made, last one first.
func (p *parts) close() {
	p.admin.Close()
	p.bridge.close()
	if p.delivers != nil {
		p.delivers.Close()
	}
	p.live.Load().people.close()
	if err := errors.Join(p.store.Close(), p.resolver.Close()); err != nil {
		p.log.Error("stop", slog.Any("error", err))
	}
}

func newCertificate(c config.TLS) (*servercert.Store, error) {
	if c.Certificate == "" {
		return nil, nil
	}
	s, err := servercert.New(string(c.Certificate), string(c.Key))
	if err != nil {
		return nil, unavailable(err, "see [tls] in the configuration")
	}
	return s, nil
}

// newLive reads the rules and the files that they name. hooks are for the directory.
func newLive(cfg *config.Config, hooks ...func(*directory.Options)) (*live, error) {
	l := &live{listed: directoryDomains(cfg)}
	var err error
	if l.routes, err = newRoutes(cfg); err != nil {
		return nil, err
	}
	if l.signer, err = newSigner(cfg); err != nil {
		return nil, err
	}
	if l.people, err = newPeople(cfg, hooks...); err != nil {
		return nil, err
	}
	if l.rules, err = newRules(cfg); err != nil {
		return nil, err
	}
	if l.mapper, err = newMapper(cfg, l.rules, l.people.ldap); err != nil {
		return nil, err
	}
	return l, nil
}

func addressPatterns(texts []config.AddressPattern) ([]policy.AddressPattern, error) {
	var ps []policy.AddressPattern
	for _, t := range texts {
		p, err := policy.ParseAddressPattern(string(t))
		if err != nil {
			return nil, &exitError{code: exitConfig, err: err}
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func relayDomain(d config.RelayDomain) (policy.RelayDomain, error) {
	asks := d.Recipients == config.RecipientsProbe || d.Recipients == config.RecipientsDirectory
	r := policy.RelayDomain{Domain: d.Domain, Any: d.Recipients == config.RecipientsAny, Backend: asks, Lenient: d.ProbeFailure == config.ProbeAccept}
	if r.Any || r.Backend {
		return r, nil
	}
	text, err := os.ReadFile(string(d.RecipientsFile))
	if err != nil {
		return r, unavailable(err, "see relay_domain.recipients_file in the configuration")
	}
	if r.Recipients, err = policy.ParseRecipients(bytes.NewReader(text), d.Domain); err != nil {
		return r, &exitError{code: exitConfig, err: fmt.Errorf("%s: %w", d.RecipientsFile, err)}
	}
	return r, nil
}

func (p *parts) deliverOptions() deliver.Options {
	return deliver.Options{
		Hostname:            p.cfg.Hostname,
		Resolver:            p.resolver,
		Route:               func(destination string) deliver.Route { return p.live.Load().routes.route(destination) },
		MXPort:              p.cfg.Delivery.MXPort,
		AllowPrivateTargets: p.cfg.Delivery.AllowPrivateTargets,
		OwnAddresses:        ownAddresses(p.cfg),
		OnTLS:               p.countTLS(),
		OwnPorts:            ownPorts(p.cfg),
		Hello:               p.cfg.Delivery.Helo,
		Hello4:              p.cfg.Delivery.HeloIPv4,
		Hello6:              p.cfg.Delivery.HeloIPv6,
		Source4:             p.cfg.Delivery.SourceIPv4.Addr,
		Source6:             p.cfg.Delivery.SourceIPv6.Addr,
		Keep:                p.keep,
		Logger:              p.log,
	}
}

// keepConnections is what bridges the gaps of steady mail, and holds no host's place
// longer than a slow client would.
const keepConnections = time.Second

// keep is how long a connection to a destination waits for its next message: not at
// all where the operator bounds how many there are.
func (p *parts) keep(destination string) time.Duration {
	if p.live.Load().routes.share(destination).Visits > 0 {
		return 0
	}
	return keepConnections
}

func (p *parts) queueOptions(d queue.Deliverer) queue.Options {
	retry := make([]time.Duration, len(p.cfg.Queue.Retry))
	for i, d := range p.cfg.Queue.Retry {
		retry[i] = d.Duration
	}
	return queue.Options{
		Store: p.store, Deliverer: d, Logger: p.log,
		Hostname: p.cfg.Hostname.String(), Postmaster: p.cfg.Postmaster,
		Retry: retry, Expire: p.cfg.Queue.Expire.Duration, BounceExpire: p.cfg.Queue.BounceExpire.Duration,
		DelayNotice: p.cfg.Queue.DelayNotice.Duration,
		Concurrency: p.cfg.Queue.Concurrency, PerDestination: p.cfg.Queue.PerDestination,
		MaxMessageBytes: p.cfg.Limits.MessageSize.Bytes + maxTrace,
		Sign:            p.signBounce,
		Rate:            p.rate,
		Share:           func(destination string) queue.Share { return p.live.Load().routes.share(destination) },
		OnOutcome:       p.countOutcomes(),
		OnReport:        p.countReports(),
	}
}

// rate is what a destination's route says, else what all of them get.
func (p *parts) rate(destination string) queue.Rate {
	if r := p.live.Load().routes.rate(destination); r.Messages > 0 {
		return r
	}
	r := p.cfg.Queue.RatePerDestination
	return queue.Rate{Messages: r.N, Per: r.Per}
}

// maxTrace is room for our own Received line and signatures, which are not the
// client's to pay.
const maxTrace = 16 << 10

func (p *parts) smtpOptions(v *daneclient.Verifier) smtpd.Options {
	o := smtpd.Options{
		Hostname: p.cfg.Hostname, Postmaster: p.cfg.Postmaster, Addresses: hostAddresses(p.cfg),
		Queue: p.queue, Verifier: v,
		Rules:           func() *policy.Rules { return p.live.Load().rules },
		Signer:          func() *msgauth.Signer { return p.live.Load().signer },
		Inbound:         p.inbound(),
		MaxMessageBytes: p.cfg.Limits.MessageSize.Bytes, MaxRecipients: p.cfg.Limits.Recipients, MaxHops: p.cfg.Limits.Hops,
		Room:      p.room,
		NullMX:    p.nullMX,
		Routed:    func(domain dnsname.Name) bool { return p.live.Load().routes.find(domain.String()) != nil },
		Mailboxes: p.mailboxes(),
		Directory: func() policy.Directory { return p.live.Load().people },
		Passwords: p.passwords(),
		Quotas:    p.quotas.Quotas, StrangerQuotas: strangerQuotas(p.cfg.Limits), OnOverQuota: p.tellOfQuotas(),
		Crowd:    newCrowd(p.cfg.Limits, p.log),
		Limits:   wireLimits(p.cfg.Limits),
		Counters: p.smtpCounters(), ExplainFlags: explainFlagsFor(p.path),
		Logger: p.log,
	}
	if p.cert != nil {
		o.Certificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return p.cert.GetCertificate(h) }
	}
	for _, l := range p.cfg.Listeners {
		listener := smtpListener(l, p.cfg.DANE)
		listener.Proxies = proxies(p.cfg.Proxies, l.Name)
		listener.Milters = milters(p.cfg, l.Name)
		o.Listeners = append(o.Listeners, listener)
	}
	return o
}

// nullMX reports whether a domain says that it takes no mail (RFC 7505 3).
func (p *parts) nullMX(ctx context.Context, domain dnsname.Name) bool {
	a := p.resolver.Lookup(ctx, domain, dnssec.TypeMX)
	return known(a) && len(a.MX) == 1 && a.MX[0].Host.IsZero()
}

// room says whether the store's disk could take a message of some octets.
func (p *parts) room(size int64) error {
	l := p.cfg.Limits
	return boltstore.Room(string(p.cfg.StateDir), uint64(l.FreeSpace.Bytes+size), uint64(l.FreeInodes))
}

func smtpListener(l config.Listener, c config.DANE) smtpd.Listener {
	return smtpd.Listener{
		Name: l.Name, Kind: kinds[l.Kind], ClientCertificates: certificates[l.ClientCertificates], ImplicitLogin: l.ImplicitLogin,
		Names: clientNames(l, c), Abort: l.DANEFailure == config.Abort,
	}
}

// clientNames are the sources of a listener; by default all that this build knows.
func clientNames(l config.Listener, c config.DANE) (s daneclient.Sources) {
	names := l.ClientNames
	if len(names) == 0 {
		names = []config.ClientName{config.FromCertificate}
		if clientid.Supported {
			names = append(names, config.FromExtension)
		}
	}
	for _, n := range names {
		switch n {
		case config.FromExtension:
			s.Extension = uint16(c.ExtensionType) // config has checked its range
		case config.FromCertificate:
			s.Certificate = true
		}
	}
	return s
}

// checkBuild refuses what this build cannot do: a listener that names the
// extension would silently never see one.
func checkBuild(path string, cfg *config.Config) error {
	if why := clientid.Mixed(); why != "" { // it may lack what the newer of the two has mended
		return &exitError{exitBroken, errors.New(why), []string{`"make build" patches crypto/tls anew`}}
	}
	if err := errors.Join(checkRoutes(path, cfg), checkLDAPBuild(path, cfg)); err != nil {
		return err
	}
	for i, l := range cfg.Listeners {
		if clientid.Supported || !slices.Contains(l.ClientNames, config.FromExtension) {
			continue
		}
		return &exitError{exitConfig, fmt.Errorf("%s:%d: listener.client_names: %w", path, cfg.Line(fmt.Sprintf("listener[%d].client_names", i)), clientid.ErrUnsupported),
			[]string{`build it by "make build", or write client_names = ["certificate"]`}}
	}
	return nil
}

var kinds = map[config.Kind]smtpd.Kind{
	config.Relay: smtpd.Relay, config.Submission: smtpd.Submission, config.Submissions: smtpd.Submissions,
}

var certificates = map[config.ClientCertificates]smtpd.ClientCertificates{
	config.CertificatesOff: smtpd.Off, config.CertificatesAsk: smtpd.Ask, config.CertificatesRequire: smtpd.Require,
}

// selfTestContext bounds a self-test.
func selfTestContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, selfTestTimeout)
}
