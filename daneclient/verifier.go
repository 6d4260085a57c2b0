// Package daneclient turns the certificate that a TLS peer showed into the
// identity that DNS vouches for (client-auth, RFC 7671).
//
// A client (an MTA, a device) is named by the whole owner name of its TLSA
// records, such as sensor7._device.example.org or
// _smtp-client.mx.example.org; which names a certificate may claim is the
// business of CandidateNames. A claim costs no query before a rule allows the
// name. Then the TLSA records are looked up, only a secure answer counts, and
// package tlsa compares them with the chain.
//
// Start with FromState, which takes the finished handshake, then
// Verifier.Client. Verifier.Anchored serves users, whose identities package
// saslext makes: it proves that a certificate chains to the CA of a domain.
// Verifier.Match is for names that come above TLS. DialTLS is the other
// direction: a server is proved by its records, and shown our own identity.
//
// Nothing here is about mail but the label _smtp-client, which only dNSNames
// without underscores get: the examples are servers of HTTP and of telephones.
package daneclient

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// Source says where a client's name came from.
type Source string

// The sources, in the words of logs and of the configuration.
const (
	SourceExtension   Source = "extension"   // dane_clientid
	SourceCertificate Source = "certificate" // the dNSName
	SourceApplication Source = "application" // told above TLS, see Verifier.Match
)

// Client is a peer whose TLSA records match its certificate.
type Client struct {
	Name   dnsname.Name // the owner name, underscore labels and all
	Record tlsa.Record  // the record that matched
	Until  time.Time    // judge it again after this
	Source Source
}

// Anchor is a proof that a chain ends at the CA published at Owner.
type Anchor struct {
	Owner  dnsname.Name
	Record tlsa.Record
	Until  time.Time // judge it again after this
}

// Lookuper is the validating resolver. When it also has the method Cached, for
// what Lookup would say without asking anybody, such answers cost nothing and wait
// for nobody; without it every lookup counts.
type Lookuper interface {
	Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer
}

type cacher interface {
	Cached(name dnsname.Name, t dnssec.Type) (dnssec.Answer, bool)
}

// The limits when Options leave them zero, and why.
const (
	DefaultTimeout    = 10 * time.Second // a cold chain takes 2 s over a poor line; SMTP clients wait minutes
	DefaultMaxLookups = 256              // waiting goroutines and sockets in all
	DefaultPerPeer    = 8                // one address: a relay farm behind NAT, not a flood
	DefaultPerZone    = 32               // one dead zone takes an eighth of MaxLookups
	DefaultCacheSize  = 10000            // verdicts of each kind, about 0.5 KiB each
)

// maxLife bounds an identity, however long the records live: removing the
// TLSA record is the only revocation there is.
const maxLife = time.Hour

// Options of New. Zero numbers mean the documented defaults.
type Options struct {
	Resolver   Lookuper         // required
	Now        func() time.Time // nil: time.Now
	Logger     *slog.Logger     // nil: silent; one debug line for each verdict that needed a lookup
	Timeout    time.Duration    // of one verdict, waiting included
	MaxLookups int              // at once in all
	PerPeer    int              // at once for one peer: an IPv4 address, an IPv6 /64
	PerZone    int              // at once for one zone, taken as what is registered below a public suffix
	CacheSize  int              // verdicts kept of each kind: proved, refused
	Roots      *x509.CertPool   // for usages 0 and 1 (PKIX-TA, PKIX-EE), which are unusable without
	// ServerLeaves lets mail servers (owners _smtp-client.NAME), and nobody else, show
	// certificates that are for servers alone (RFC 5280 4.2.1.12).
	ServerLeaves bool

	// How often the resolver may be asked. A quarter of each rate is kept for those
	// whose certificate was proved before: strangers cannot use up what they need.
	Rate        Rate // in all
	RatePerPeer Rate
	RatePerZone Rate
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	o.MaxLookups = orDefault(o.MaxLookups, DefaultMaxLookups)
	o.PerPeer = orDefault(o.PerPeer, DefaultPerPeer)
	o.PerZone = orDefault(o.PerZone, DefaultPerZone)
	o.CacheSize = orDefault(o.CacheSize, DefaultCacheSize)
	o.Rate = rateOr(o.Rate, DefaultRate)
	o.RatePerPeer = rateOr(o.RatePerPeer, DefaultRatePerPeer)
	o.RatePerZone = rateOr(o.RatePerZone, DefaultRatePerZone)
	return o
}

// rateOr takes the zero Rate for the default; any other that is none stays none.
func rateOr(r Rate, perMinute int) Rate {
	if r == (Rate{}) {
		return Rate{N: perMinute, Per: time.Minute}
	}
	return r
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// Verifier judges credentials. It is safe for concurrent use.
type Verifier struct {
	opts  Options
	gates gates
	rates *rates
	paths *tlsa.Paths // of certificates alone: no change of trust in DNS concerns them
	known cacher      // nil: the resolver does not say what it knows
	mem   atomic.Pointer[memory]
}

// memory is what hangs from one set of trust anchors and roots. It is dropped
// whole, so that nothing is left, not even by a lookup still under way.
type memory struct {
	roots   *x509.CertPool
	flights flights
	cache   cache
}

// New returns a verifier; it fails without a resolver.
func New(o Options) (*Verifier, error) {
	if o.Resolver == nil {
		return nil, ErrNoResolver
	}
	o = o.withDefaults()
	v := &Verifier{opts: o, gates: newGates(o), rates: newRates(o), paths: tlsa.NewPaths(o.CacheSize)}
	v.known, _ = o.Resolver.(cacher)
	v.SetRoots(o.Roots)
	return v, nil
}

// Forget drops all verdicts: what was proved under trust anchors that are
// replaced proves nobody any more.
func (v *Verifier) Forget() { v.SetRoots(v.mem.Load().roots) }

// SetRoots replaces Options.Roots, and drops all verdicts. It must not be called
// at once with itself or with Forget.
func (v *Verifier) SetRoots(roots *x509.CertPool) {
	v.mem.Store(&memory{roots: roots, flights: flights{running: map[key]*flight{}}, cache: newCache(v.opts.CacheSize)})
}

// Client names the peer behind cred, or returns an *Error. The steps: the name
// told by dane_clientid, else the owner names that the certificate may claim;
// those that allowed lets through (nil lets none), exactly one of which must
// remain; only then the lookup, and the match. It never asks DNS about a name
// that allowed refuses, and a name told and refused is final.
func (v *Verifier) Client(ctx context.Context, cred Credential, allowed func(dnsname.Name) bool) (Client, error) {
	if err := cred.check(); err != nil {
		return Client{}, err
	}
	c, err := claimOf(cred, allowed)
	if err != nil {
		return Client{}, err
	}
	verdict, err := v.judge(ctx, c, cred)
	if err != nil {
		return Client{}, err
	}
	client := Client{Name: c.owner, Record: verdict.record, Until: verdict.until, Source: SourceCertificate}
	if c.named {
		client.Source = SourceExtension
	}
	return client, nil
}

// claimOf returns the one claim of a client that is worth a lookup.
func claimOf(cred Credential, allowed func(dnsname.Name) bool) (claim, error) {
	if !cred.Named {
		if cred.extensionOnly {
			return claim{}, &Error{Reason: NoName, Detail: "no dane_clientid, and names of certificates do not count here"}
		}
		c, err := choose(cred.Chain[0], allowed)
		return claim{owner: c.owner, san: c.san}, err
	}
	if err := cred.NameError(); err != nil {
		return claim{}, err
	}
	switch {
	case isForbidden(cred.Name):
		return claim{}, &Error{Reason: ForbiddenName, Name: cred.Name, Detail: "never names a client"}
	case allowed == nil || !allowed(cred.Name):
		return claim{}, &Error{Reason: NotAllowed, Name: cred.Name}
	}
	return claim{owner: cred.Name, san: cred.Name.String(), named: true}, nil // client-auth 8.2: verbatim
}

// Anchored proves that cred chains to a CA published at owner, which must be
// _user.D with D the certificate's dNSName, or returns an *Error. Only usages 2
// and 0 count: with 3 or 1 the key's holder could sign himself any uid. The caller
// has applied its allow list already, since this asks DNS.
func (v *Verifier) Anchored(ctx context.Context, owner dnsname.Name, cred Credential) (Anchor, error) {
	if err := cred.check(); err != nil {
		return Anchor{}, err
	}
	domain, ok := userDomain(owner)
	if !ok {
		return Anchor{}, &Error{Reason: ForbiddenName, Name: owner, Detail: "not _user and a domain"}
	}
	switch {
	case cred.Named && (cred.nameErr != nil || cred.Name != owner):
		return Anchor{}, &Error{Reason: NameMismatch, Name: owner, Detail: "another name was told by dane_clientid"}
	case !cred.Named && cred.extensionOnly:
		return Anchor{}, &Error{Reason: NoName, Detail: "no dane_clientid, and names of certificates do not count here"}
	case !soleName(cred.Chain[0], domain):
		return Anchor{}, &Error{Reason: ForbiddenName, Name: owner, Detail: "the domain is not the certificate's one dNSName"}
	}
	verdict, err := v.judge(ctx, claim{owner: owner, san: domain.String(), user: true, named: cred.Named}, cred)
	if err != nil {
		return Anchor{}, err
	}
	return Anchor{Owner: owner, Record: verdict.record, Until: verdict.until}, nil
}
