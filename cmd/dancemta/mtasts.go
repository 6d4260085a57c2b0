package main

import (
	"context"
	"path/filepath"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/queue/deliver"
	"dancemta/queue/mtasts"
)

// policiesDir is where policies of MTA-STS are kept, in state_dir.
const policiesDir = "mta-sts"

// resolverFor answers who delivers.
type resolverFor interface {
	Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer
}

// newDeliverer makes who delivers, and first who knows the policies of MTA-STS.
// Both ask the resolver r; nil: that of the parts.
func (p *parts) newDeliverer(r resolverFor) (*deliver.Deliverer, error) {
	o, c := p.deliverOptions(), p.cfg.MTASTS
	if r != nil {
		o.Resolver = r
	}
	if !c.Enabled {
		return deliver.New(o)
	}
	var err error
	if c.Roots != config.SystemRoots { // a host that trusts none may run all the same, under no policy
		if o.Roots, err = readPool(c.Roots, "see mta_sts.roots in the configuration"); err != nil {
			return nil, err
		}
	}
	p.sts, err = mtasts.New(mtasts.Options{
		Dir:      filepath.Join(string(p.cfg.StateDir), policiesDir),
		Resolver: o.Resolver, Look: p.looks,
		Permitted: deliver.Permitted(p.cfg.Delivery.AllowPrivateTargets),
		Roots:     o.Roots, Port: c.Port, Logger: p.log,
		OnFetch: p.countFetches(),
	})
	if err != nil {
		return nil, unavailable(err)
	}
	o.STS = p.sts
	return deliver.New(o)
}
