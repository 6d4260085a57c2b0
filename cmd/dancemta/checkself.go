package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/queue"
	"dancemta/queue/deliver"
)

// What other servers look at before they take our mail, and what they need to write
// to us. It is about numbers and names that the operator's provider gives out, and
// never more than a warning: behind a NAT things are right that look wrong from here.
const (
	maxPostmasterTry  = 20 * time.Second // a person is waiting
	maxReverseNames   = 5                // of one address; honest ones have one
	maxReverseAddress = 8                // of a host with many
)

// hostname asks for our own names: other servers refuse one that does not exist.
func (r *report) hostname(ctx context.Context, cfg *config.Config, resolver resolverFor) {
	own := hostAddresses(cfg)
	addrs := r.leadsHere(ctx, "hostname", cfg.Hostname, own, resolver)
	seen := []dnsname.Name{cfg.Hostname}
	for _, helo := range []struct {
		key  string
		name dnsname.Name
	}{{"delivery.helo", cfg.Delivery.Helo}, {"delivery.helo_ipv4", cfg.Delivery.HeloIPv4}, {"delivery.helo_ipv6", cfg.Delivery.HeloIPv6}} {
		if !helo.name.IsZero() && !slices.Contains(seen, helo.name) {
			seen = append(seen, helo.name)
			addrs = append(addrs, r.leadsHere(ctx, helo.key, helo.name, own, resolver)...)
		}
	}
	for _, a := range sendsFrom(cfg, interfaceAddresses(), addrs) {
		r.reverse(ctx, a, cfg.Hostname, resolver)
	}
}

// leadsHere asks whether a name of ours leads to this host, and returns where it
// leads to.
func (r *report) leadsHere(ctx context.Context, what string, name dnsname.Name, own []netip.Addr, resolver resolverFor) (addrs []netip.Addr) {
	var states []string
	for _, t := range []dnssec.Type{dnssec.TypeA, dnssec.TypeAAAA} {
		a := resolver.Lookup(ctx, name, t)
		addrs = append(addrs, a.Addrs...)
		states = append(states, a.State.String())
	}
	isOwn := func(a netip.Addr) bool { return slices.Contains(own, a) }
	switch i := slices.IndexFunc(addrs, isOwn); {
	case len(addrs) == 0:
		r.warning("%s %s has no address (answers: %s): other servers may refuse its mail", what, name, strings.Join(states, ", "))
	case i < 0:
		r.warning("%s %s leads to %v, and this host has no such address: this is right behind a NAT or a load balancer only", what, name, addrs)
	default:
		r.ok("%s %s has the address %v of this host (%s)", what, name, addrs[i], strings.Join(states, ", "))
	}
	return addrs
}

// sendsFrom lists the addresses that other servers see us come from, as far as this
// host can know: of each family that which is configured, else its own public ones,
// and behind a NAT those that our names lead to.
func sendsFrom(cfg *config.Config, interfaces, named []netip.Addr) (all []netip.Addr) {
	public := deliver.Permitted(false)
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		for _, list := range [][]netip.Addr{{cfg.Delivery.SourceIPv4.Addr, cfg.Delivery.SourceIPv6.Addr}, interfaces, named} {
			kept := slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return !a.IsValid() || !family(a) || !public(a) })
			if len(kept) > 0 {
				all = append(all, kept...)
				break
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	return all[:min(len(all), maxReverseAddress)]
}

// reverse asks whether an address has a name that leads back to it: many servers
// take no mail from one without.
func (r *report) reverse(ctx context.Context, addr netip.Addr, hostname dnsname.Name, resolver resolverFor) {
	name, err := dnsname.Parse(reverseName(addr))
	if err != nil {
		r.problem(err)
		return
	}
	a := resolver.Lookup(ctx, name, dnssec.TypePTR)
	t := dnssec.TypeA
	if addr.Is6() {
		t = dnssec.TypeAAAA
	}
	names := a.Names[:min(len(a.Names), maxReverseNames)]
	for _, n := range names {
		back := resolver.Lookup(ctx, n, t)
		if slices.Contains(back.Addrs, addr) {
			r.ok("%v has the name %s, which leads back to it", addr, n)
			return
		}
		if !known(back) {
			a = back // it may, or not
		}
	}
	advice := fmt.Sprintf("many servers take no mail from such an address; let your provider name it %s", hostname)
	switch {
	case !known(a):
		r.warning("%v: its name cannot be asked for now (%s: %s)", addr, a.State, a.Reason)
	case len(names) == 0:
		r.warning("%v has no name in DNS (PTR): %s", addr, advice)
	default:
		r.warning("%v has the name %s, which does not lead back to it: %s", addr, names[0], advice)
	}
}

func known(a dnssec.Answer) bool { return a.State == dnssec.Secure || a.State == dnssec.Insecure }

// reverseName is where the name of an address stands (RFC 1035 3.5, RFC 3596 2.5).
func reverseName(addr netip.Addr) string {
	octets := addr.AsSlice()
	var labels []string
	if addr.Is4() {
		for _, o := range octets {
			labels = append(labels, fmt.Sprint(o))
		}
		slices.Reverse(labels)
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	labels = strings.Split(hex.EncodeToString(octets), "")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + ".ip6.arpa"
}

// postmaster asks whether mail to the postmaster would get through, as the queue
// would bring it there, up to where a message would follow. RFC 5321 4.5.1
func (r *report) postmaster(ctx context.Context, path string, cfg *config.Config, resolver *dnssec.Resolver) {
	ctx, cancel := context.WithTimeout(ctx, maxPostmasterTry)
	defer cancel()
	l, err := newLive(cfg)
	if err != nil {
		return // the rules have said so
	}
	p := &parts{path: path, cfg: cfg, log: slog.New(slog.DiscardHandler), looks: true, resolver: resolver}
	p.live.Store(l)
	d, err := p.newDeliverer(nil)
	if err != nil {
		r.problem(err)
		return
	}
	const lost = `what people write to the postmaster, and bounces that nobody else can get, waits or is lost; see "dancemta explain rcpt"`
	switch o := d.Ask(ctx, cfg.Postmaster); o.Result {
	case queue.Delivered:
		r.ok("postmaster %s: %s takes mail for him", cfg.Postmaster, o.RemoteMTA)
	case queue.Failed:
		r.warning("postmaster %s cannot be reached: %s: %s", cfg.Postmaster, o.Reply, lost)
	default:
		r.warning("postmaster %s cannot be reached now: %s: %s", cfg.Postmaster, o.Reply, lost)
	}
}
