package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/rollover"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// keyDNS says whom to ask: the resolvers of the configuration or, on a machine
// that has none, those of flags.
type keyDNS struct {
	config    string
	resolvers []string
	anchors   string
	port      int
}

func (d *keyDNS) register(c *cobra.Command) {
	addConfigFlag(c, &d.config)
	c.Flags().StringArrayVar(&d.resolvers, "resolver", nil, "a recursive resolver, as `IP:port`, in place of those of the configuration; may be repeated")
	c.Flags().StringVar(&d.anchors, "trust-anchors", "", "a `file` with the keys of the root; goes with --resolver")
	c.Flags().IntVar(&d.port, "dns-port", 53, "where the zone's name servers listen; for laboratories")
}

// resolver makes the resolver; the caller closes it.
func (d *keyDNS) resolver(env keyEnv) (*dnssec.Resolver, error) {
	all := config.Config{DNS: config.DNS{TrustAnchors: config.Path(d.anchors)}}
	for _, r := range d.resolvers {
		var u config.Upstream
		if err := u.UnmarshalText([]byte(r)); err != nil {
			return nil, usage(fmt.Errorf("--resolver: %w", err), "such as --resolver 127.0.0.1:53")
		}
		all.DNS.Upstreams = append(all.DNS.Upstreams, u)
	}
	if len(d.resolvers) == 0 {
		if d.anchors != "" {
			return nil, usage(errors.New("--trust-anchors goes with --resolver"))
		}
		cfg, err := loadConfig(d.config)
		if err != nil {
			if e, ok := errors.AsType[*exitError](err); ok {
				e.hints = append(e.hints, "or name a resolver by --resolver IP:port")
			}
			return nil, err
		}
		all = *cfg
	}
	r, _, err := newResolver(&all, dnssec.Options{Now: env.now})
	return r, err
}

// look returns the function that asks every server of a zone, and what ends it.
func (d *keyDNS) look(env keyEnv) (look func(context.Context, dnsname.Name) (rollover.Look, error), done func(), err error) {
	r, err := d.resolver(env)
	if err != nil {
		return nil, nil, err
	}
	look = func(ctx context.Context, owner dnsname.Name) (rollover.Look, error) {
		s, err := r.Survey(ctx, owner, dnssec.SurveyOptions{Port: d.port, Dial: env.dial})
		if err != nil {
			return rollover.Look{}, unavailable(err, `"dancemta check" tests the resolver; the zone must be signed`)
		}
		l := rollover.Look{Zone: s.Zone, Walkable: s.Walkable}
		for _, a := range s.Servers {
			l.Servers = append(l.Servers, sightOf(a))
		}
		return l, nil
	}
	return look, func() { r.Close() }, nil
}

func sightOf(a dnssec.ServerAnswer) rollover.ServerSight {
	s := rollover.ServerSight{Server: a.String(), TTL: a.TTL}
	if a.State != dnssec.Secure {
		s.Fault = fmt.Sprintf("%s: %s", a.State, a.Reason)
		return s
	}
	for _, r := range a.TLSA {
		s.Records = append(s.Records, tlsa.Record(r))
	}
	return s
}

// keyUpdate says how to change records; without a server they are printed.
type keyUpdate struct{ server, key string }

func (u *keyUpdate) register(c *cobra.Command) {
	c.Flags().StringVar(&u.server, "update-server", "", "the zone's primary, as `HOST:PORT`: change the records there; needs --tsig-key")
	c.Flags().StringVar(&u.key, "tsig-key", "", "the `file` with the key of updates, as tsig-keygen writes it")
}

// publisher reads the key; nil without a server.
func (u *keyUpdate) publisher(env keyEnv) (func(string, dnsname.Name) (rollover.Publisher, error), error) {
	if (u.server == "") != (u.key == "") {
		return nil, usage(errors.New("--update-server and --tsig-key go together"))
	}
	if u.server == "" {
		return nil, nil
	}
	text, err := os.ReadFile(u.key)
	if err != nil {
		return nil, unavailable(err, "see --tsig-key")
	}
	key, err := dnssec.ParseTSIGKey(string(text))
	if err != nil {
		return nil, unavailable(fmt.Errorf("%s: %w", u.key, err), "tsig-keygen -a hmac-sha256 NAME makes one")
	}
	if _, err := u.updater(env, ".", key); err != nil {
		return nil, usage(err)
	}
	return func(zone string, owner dnsname.Name) (rollover.Publisher, error) {
		up, err := u.updater(env, zone, key)
		return publisher{up, owner}, err
	}, nil
}

func (u *keyUpdate) updater(env keyEnv, zone string, key dnssec.TSIGKey) (*dnssec.Updater, error) {
	return dnssec.NewUpdater(dnssec.UpdateOptions{Server: u.server, Zone: zone, Key: key, Dial: env.dial})
}

// publisher changes the records of one owner.
type publisher struct {
	up    *dnssec.Updater
	owner dnsname.Name
}

func (p publisher) Add(ctx context.Context, r tlsa.Record, ttl time.Duration) error {
	return p.up.Add(ctx, p.owner, dnssec.TLSA(r), ttl)
}

func (p publisher) Remove(ctx context.Context, r tlsa.Record) error {
	return p.up.Remove(ctx, p.owner, dnssec.TLSA(r))
}
