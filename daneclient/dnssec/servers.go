package dnssec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

const (
	// maxServers of a zone, by address: thirteen fit into a small reply, each
	// may have an address of both kinds, and some have two.
	maxServers = 32
	// portDNS is where authoritative servers listen. RFC 1035 4.2
	portDNS = 53
)

// SurveyOptions say how to reach authoritative servers.
type SurveyOptions struct {
	Port int // default 53
	// Dial connects; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o SurveyOptions) withDefaults() SurveyOptions {
	if o.Port == 0 {
		o.Port = portDNS
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	return o
}

// Survey is what every authoritative server of a zone says about the TLSA
// records of one name.
type Survey struct {
	Zone     string // with its final dot
	Walkable bool   // it denies by NSEC, so that its names can be listed
	Servers  []ServerAnswer
}

// ServerAnswer is the answer of one server at one address. Records have content
// only when State is Secure.
type ServerAnswer struct {
	Host   dnsname.Name
	Addr   netip.Addr // the zero Addr when the host has none that could be found
	State  State
	Reason string // why it is not secure
	TLSA   []TLSA
	TTL    time.Duration // that of the records, or of their absence, before any cache

	noRoute bool // this host has no way to addresses of the kind
}

// String names the server.
func (s ServerAnswer) String() string {
	if !s.Addr.IsValid() {
		return s.Host.String()
	}
	return s.Host.String() + " (" + s.Addr.String() + ")"
}

// Survey asks each authoritative server of the zone that holds owner for its
// TLSA records, past all caches, and proves every answer by the zone's keys.
// The zone and its servers are found by validated lookups; a server that does
// not answer, or not with a proof, has a State that is not Secure. It is an
// error when the zone is not signed or its servers cannot be found.
//
// The addresses of servers count also when they are insecure: whoever forges
// one can hide the zone's newest answer, not make one up.
func (r *Resolver) Survey(ctx context.Context, owner dnsname.Name, o SurveyOptions) (Survey, error) {
	now := r.opts.Now()
	if now.Before(r.earliest) {
		return Survey{}, errors.New(r.clockFault(now))
	}
	if owner.IsZero() {
		return Survey{}, errors.New("no name to survey")
	}
	s := &surveyor{r: r, mem: r.memory(), now: now, o: o.withDefaults(), q: question{owner.String() + ".", dns.TypeTLSA}}
	found, hosts, err := s.zone(ctx)
	if err != nil {
		return Survey{}, fmt.Errorf("the zone of %s: %w", owner, err)
	}
	servers, err := s.addresses(ctx, hosts)
	if err != nil {
		return Survey{}, fmt.Errorf("the servers of %s: %w", found.Zone, err)
	}
	var asked sync.WaitGroup
	for i := range servers {
		if servers[i].Addr.IsValid() {
			asked.Go(func() { s.ask(ctx, &servers[i]) })
		}
	}
	asked.Wait()
	found.Servers = reachable(servers)
	return found, nil
}

// surveyor is one Survey.
type surveyor struct {
	r   *Resolver
	mem *memory
	now time.Time
	o   SurveyOptions
	q   question
}

// lookup has a budget of its own, since a zone may have many servers.
func (s *surveyor) lookup() *lookup {
	return s.r.lookup(s.mem, s.now)
}

// zone finds the zone of the name, whether it can be walked, and the names of
// its servers.
func (s *surveyor) zone(ctx context.Context) (Survey, []dnsname.Name, error) {
	ctx, cancel := context.WithTimeout(ctx, s.r.opts.Timeout)
	defer cancel()
	l := s.lookup()
	at, err := l.walk(ctx, s.q.name)
	if err != nil {
		return Survey{}, nil, err
	}
	if at.zone == nil {
		return Survey{}, nil, errors.New("not signed, so nobody can log in by its records: " + at.why)
	}
	found := Survey{Zone: at.zone.name}
	q := question{at.zone.name, dns.TypeNS}
	ns, err := l.resolveLink(ctx, q)
	if err == nil && (ns.state != Secure || ns.set == nil || ns.set.typ != dns.TypeNS) {
		err = bogus("%s: not proved", q)
	}
	if err != nil {
		return Survey{}, nil, err
	}
	var hosts []dnsname.Name
	for _, rr := range ns.set.rrs {
		host := nameOrZero(canonical(rr.(*dns.NS).Ns))
		if host.IsZero() {
			return Survey{}, nil, failed("%s: one of the servers has no name of a host", q)
		}
		hosts = append(hosts, host)
	}
	found.Walkable = l.walkable(ctx, at.zone.name)
	return found, hosts, nil
}

// addresses lists the servers by address. One without an address is listed as
// a server that did not answer.
func (s *surveyor) addresses(ctx context.Context, hosts []dnsname.Name) ([]ServerAnswer, error) {
	var servers []ServerAnswer
	for _, host := range hosts {
		before := len(servers)
		why := "has no address"
		for _, t := range []Type{TypeA, TypeAAAA} {
			a := s.r.Lookup(ctx, host, t)
			for _, addr := range a.Addrs {
				servers = append(servers, ServerAnswer{Host: host, Addr: addr})
			}
			if a.State == Bogus || a.State == Failed {
				why = a.Reason
			}
		}
		if len(servers) == before {
			servers = append(servers, ServerAnswer{Host: host, Reason: why})
		}
		if len(servers) > maxServers {
			return nil, tooMany("more than %d addresses", maxServers)
		}
	}
	return servers, nil
}

// ask fills in what one server says. The chain of trust comes from the
// upstreams, as always.
func (s *surveyor) ask(ctx context.Context, server *ServerAnswer) {
	ctx, cancel := context.WithTimeout(ctx, s.r.opts.Timeout)
	defer cancel()
	l := s.lookup()
	l.fetch = func(ctx context.Context, q question) (*reply, error) {
		if q != s.q {
			return s.r.up.exchange(ctx, q)
		}
		r, err := s.direct(ctx, server.Addr)
		if err != nil {
			server.noRoute = noRoute(err)
			return nil, failed("%v", err)
		}
		if refusal(r) != "" {
			return nil, failed("it says %s", refusal(r))
		}
		return r, nil
	}
	found, err := l.resolveLink(ctx, s.q)
	if err == nil {
		err = s.read(found, server)
	}
	if err != nil {
		f := asFault(err)
		server.State, server.Reason, server.TLSA = f.state, f.reason, nil
	}
}

// read takes what was proved.
func (s *surveyor) read(found link, server *ServerAnswer) error {
	switch {
	case found.state != Secure:
		return failed("%s: %s", found.state, found.why)
	case found.encloser != "":
		return failed("made from a wildcard, where no client has a key of its own")
	case found.set == nil:
		server.State, server.TTL = Secure, found.expires.Sub(s.now)
		return nil
	case found.set.typ != dns.TypeTLSA:
		return failed("%s is an alias; the records stand where it leads", s.q.name)
	}
	var a Answer
	if err := a.fill(found.set); err != nil {
		return err
	}
	server.State, server.TLSA, server.TTL = Secure, a.TLSA, signedTTL(found.set)
	return nil
}

// direct asks one server by UDP, twice, since datagrams get lost, and by TCP
// when the reply does not fit.
func (s *surveyor) direct(ctx context.Context, addr netip.Addr) (*reply, error) {
	address := net.JoinHostPort(addr.String(), strconv.Itoa(s.o.Port))
	var last error
	for range tries {
		r, err := s.over(ctx, "udp", address)
		if errors.Is(err, errTruncated) {
			r, err = s.over(ctx, "tcp", address)
		}
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		last = err
	}
	return nil, last
}

// over asks once, without recursion, and takes an authoritative answer only:
// anything else is the word of somebody's cache.
func (s *surveyor) over(ctx context.Context, network, address string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(float64(s.r.opts.Timeout)*partOfTimeout))
	defer cancel()
	conn, err := s.o.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.Question = []dns.Question{{Name: s.q.name, Qtype: s.q.typ, Qclass: dns.ClassINET}}
	m.SetEdns0(bufferUDP, true)
	c := &dns.Conn{Conn: conn, UDPSize: maxUDP}
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	for range maxForeign {
		packed, err := c.ReadMsgHeader(nil)
		if err != nil {
			return nil, err
		}
		r, err := parseReply(m.Id, s.q, packed)
		switch {
		case errors.Is(err, errNotOurs):
			continue
		case err == nil && packed[2]&0x04 == 0 && refusal(r) == "": // RFC 1035 4.1.1: AA
			return nil, errors.New("it is no authority for the zone")
		}
		return r, err
	}
	return nil, errTruncated
}

// reachable leaves out addresses of a kind that this host has no way to, where
// the same server was asked at another one.
func reachable(servers []ServerAnswer) []ServerAnswer {
	asked := map[dnsname.Name]bool{}
	for _, s := range servers {
		asked[s.Host] = asked[s.Host] || s.Addr.IsValid() && !s.noRoute
	}
	var kept []ServerAnswer
	for _, s := range servers {
		if !s.noRoute || !asked[s.Host] {
			kept = append(kept, s)
		}
	}
	return kept
}
