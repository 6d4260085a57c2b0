package main

import (
	"path/filepath"

	"dancemta/config"
	"dancemta/queue/deliver"
	"dancemta/queue/mtasts"
)

// policiesDir is where policies of MTA-STS are kept, in state_dir.
const policiesDir = "mta-sts"

// newDeliverer makes who delivers, and first who knows the policies of MTA-STS.
func (p *parts) newDeliverer() (*deliver.Deliverer, error) {
	o, c := p.deliverOptions(), p.cfg.MTASTS
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
		Dir:       filepath.Join(string(p.cfg.StateDir), policiesDir),
		Resolver:  p.resolver,
		Permitted: deliver.Permitted(p.cfg.Delivery.AllowPrivateTargets),
		Roots:     o.Roots, Port: c.Port, Logger: p.log,
	})
	if err != nil {
		return nil, unavailable(err)
	}
	o.STS = p.sts
	return deliver.New(o)
}
