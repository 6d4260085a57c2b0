package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/queue/webclient"
)

const (
	httpsPort    = 443
	failureRest  = 5 * time.Minute // RFC 8461 3.3: a fetch that failed is not tried again for so long
	refreshAfter = 24 * time.Hour  // RFC 8461 3.3 suggests it
	refreshPause = time.Hour       // between looks at what is to be refreshed
	// leastAge is how long a policy of a shorter life, which may be none at all, is good
	// under the id that it was fetched for. RFC 8461 3.2 lets max_age be 0; a host that
	// says so would be asked once for each message, and each would wait for it. It can
	// change its mind by another id at any time, or by taking the record away.
	leastAge = time.Minute
	// maxFetches bounds the fetches at a time: each may wait a minute for a host
	// that a stranger has chosen.
	maxFetches = 32
)

// Options say what a Client is made of. Resolver and Permitted are required.
type Options struct {
	Resolver webclient.Resolver
	// Permitted says which addresses of policy hosts may be called: they come from
	// DNS, and mail must not lead us to our own services.
	Permitted func(netip.Addr) bool

	Dir    string                                                               // where policies are kept; "": in memory only
	Look   bool                                                                 // what is kept there is read, and nothing is written
	Roots  *x509.CertPool                                                       // for policy hosts; nil: the system's
	Port   int                                                                  // of policy hosts; 0: 443
	Dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer's
	Now    func() time.Time                                                     // nil: time.Now
	Logger *slog.Logger                                                         // nil: silent
	// OnFetch hears what came of each fetch: "fetched", or a word of Kind; nil: nobody does.
	OnFetch func(result string)
}

// Client finds policies. It may be used by many goroutines at once.
type Client struct {
	o     Options
	web   *webclient.Client
	slots chan struct{} // one for each fetch

	mu      sync.Mutex
	kept    map[dnsname.Name]*entry
	octets  int                            // of all that is kept
	failed  map[dnsname.Name]failure       // what is not fetched again before a time
	flights map[dnsname.Name]chan struct{} // closed when the fetch of a domain is over
}

// failure is a fetch that came to nothing.
type failure struct {
	until time.Time
	err   error
}

// New reads what was kept. What cannot be read is left out, with a line in the log:
// it is fetched again.
func New(o Options) (*Client, error) {
	if o.Port < 0 || o.Port > 65535 {
		return nil, fmt.Errorf("mtasts: Port %d: no such port", o.Port)
	}
	if o.Port == 0 {
		o.Port = httpsPort
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	web, err := webclient.New(webclient.Options{Resolver: o.Resolver, Permitted: o.Permitted, Roots: o.Roots, Dial: o.Dial, Now: o.Now})
	if err != nil {
		return nil, fmt.Errorf("mtasts: %w", err)
	}
	c := &Client{
		o: o, web: web, slots: make(chan struct{}, maxFetches), kept: map[dnsname.Name]*entry{},
		failed: map[dnsname.Name]failure{}, flights: map[dnsname.Name]chan struct{}{},
	}
	return c, c.load()
}

// Policy returns what holds for a domain now: what is kept, unless the domain's TXT
// record tells of something newer that can be fetched (RFC 8461 3.3, 5.1). The zero
// Policy: there is none. An error says why none, or none newer, could be had; the
// policy returned beside it holds all the same.
func (c *Client) Policy(ctx context.Context, domain dnsname.Name) (Policy, error) {
	kept, stale := c.current(domain)
	id, err := c.announced(ctx, domain)
	if young, ok := c.young(domain, id); ok && err == nil {
		return young, nil
	}
	switch {
	case err != nil && errors.Is(err, errNoRecord):
		return kept, nil // RFC 8461 5.1: hiding the record changes nothing
	case err != nil:
		return kept, &Error{FetchError, domain, err}
	case !kept.Domain.IsZero() && kept.ID == id && !stale:
		return kept, nil
	}
	return c.renew(ctx, domain, id)
}

// announced returns the id of the domain's TXT record (RFC 8461 3.1).
func (c *Client) announced(ctx context.Context, domain dnsname.Name) (string, error) {
	name, err := domain.Prepend("_mta-sts")
	if err != nil {
		return "", errNoRecord // too long for one
	}
	answer := c.o.Resolver.Lookup(ctx, name, dnssec.TypeTXT)
	if answer.State != dnssec.Secure && answer.State != dnssec.Insecure {
		return "", fmt.Errorf("lookup %s TXT: %s: %s", name, answer.State, answer.Reason)
	}
	return parseRecords(answer.TXT)
}

// renew fetches a policy, and keeps it. Those who ask for one domain at the same
// time share one fetch.
func (c *Client) renew(ctx context.Context, domain dnsname.Name, id string) (Policy, error) {
	for {
		c.mu.Lock()
		flight := c.flights[domain]
		if flight == nil {
			break // with the lock
		}
		c.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			kept, _ := c.current(domain)
			return kept, &Error{FetchError, domain, context.Cause(ctx)}
		}
		if kept, stale := c.current(domain); kept.ID == id && !stale {
			return kept, nil
		}
		if young, ok := c.young(domain, id); ok { // the one that was waited for
			return young, nil
		}
	}
	if f, rests := c.failed[domain]; rests && c.o.Now().Before(f.until) {
		c.mu.Unlock()
		kept, _ := c.current(domain)
		return kept, f.err
	}
	done := make(chan struct{})
	c.flights[domain] = done
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.flights, domain)
		c.mu.Unlock()
		close(done)
	}()
	return c.fetchAndKeep(ctx, domain, id)
}

func (c *Client) fetchAndKeep(ctx context.Context, domain dnsname.Name, id string) (Policy, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		kept, _ := c.current(domain)
		return kept, &Error{FetchError, domain, context.Cause(ctx)}
	}
	p, err := c.fetch(ctx, domain)
	if c.o.OnFetch != nil && ctx.Err() == nil {
		c.o.OnFetch(resultOf(err))
	}
	if err != nil {
		if ctx.Err() == nil { // else it was we who broke it off
			c.fail(domain, err)
			maillog.STSFailed(c.o.Logger, domain.String(), err)
		}
		kept, _ := c.current(domain)
		return kept, err
	}
	p.ID = id
	maillog.STSPolicy(c.o.Logger, domain.String(), p.Mode.String(), p.ID, p.Expires())
	c.keep(p)
	return p, nil
}

// Recheck says that mail could not be sent under a domain's policy: before it fails
// for good, the policy is fetched again, even under the id that is known
// (RFC 8461 5.1).
func (c *Client) Recheck(domain dnsname.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.kept[domain]; e != nil && c.o.Now().Sub(e.policy.Fetched) >= failureRest {
		e.stale = true
	}
}

// Run refreshes policies a day after they were fetched, until ctx ends: those that
// no mail goes to hold on, too (RFC 8461 3.3).
func (c *Client) Run(ctx context.Context) {
	c.refresh(ctx)
	tick := time.NewTicker(refreshPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.refresh(ctx)
		}
	}
}

// refresh fetches one after the other: there is a day's time.
func (c *Client) refresh(ctx context.Context) {
	for _, domain := range c.due() {
		if ctx.Err() != nil {
			return
		}
		if id, err := c.announced(ctx, domain); err == nil {
			c.renew(ctx, domain, id) // logs
		}
	}
}
