package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/queue/deliver"
	"dancemta/queue/deliver/smtpclient"
)

// maxRouteTry bounds the look at one route: a person is waiting.
const maxRouteTry = 20 * time.Second

// tryRoutes calls each next hop, up to where it would be given a message.
func (r *report) tryRoutes(ctx context.Context, cfg *config.Config, resolver *dnssec.Resolver) {
	ways, err := newRoutes(cfg)
	if err != nil {
		return // the rules have said so
	}
	step := maxRouteTry / 4
	d, err := deliver.New(deliver.Options{
		Hostname: cfg.Hostname, Hello: cfg.Delivery.Helo, Hello4: cfg.Delivery.HeloIPv4, Hello6: cfg.Delivery.HeloIPv6, Resolver: resolver, OwnPorts: ownPorts(cfg),
		Source4: cfg.Delivery.SourceIPv4.Addr, Source6: cfg.Delivery.SourceIPv6.Addr,
		Timeouts: smtpclient.Timeouts{Connect: step, Greeting: step, Hello: step, Handshake: step, Quit: time.Second},
	})
	if err != nil {
		r.problem(err)
		return
	}
	for _, w := range ways {
		r.tryRoute(ctx, d, w)
	}
}

// tryRoute says of each next hop whether mail could go there. One that is down is a
// warning: mail waits, and it may come back. What it demands and does not get is a
// problem, as long as no other takes its place.
func (r *report) tryRoute(ctx context.Context, d *deliver.Deliverer, w wayOut) {
	ctx, cancel := context.WithTimeout(ctx, maxRouteTry)
	defer cancel()
	trials := d.Try(ctx, w.route)
	good := 0
	for _, t := range trials {
		if t.Err == nil {
			good++
			r.ok("%s: %s takes mail (%s)", w.what, t.Target, t.TLS)
		}
	}
	for _, t := range trials {
		switch {
		case t.Err == nil:
		case good > 0, isDown(t.Err):
			r.warning("%s: %s: %v", w.what, t.Target, t.Err)
		default:
			r.problem(&exitError{exitBroken, fmt.Errorf("%s: %s: %w", w.what, t.Target, t.Err), []string{"mail that goes this way waits until this works"}})
		}
	}
}

func isDown(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok || errors.Is(err, context.DeadlineExceeded)
}
