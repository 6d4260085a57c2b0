package deliver

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/queue"
)

// maxHosts bounds the MX hosts that are looked at: each costs two DNS lookups,
// and no honest domain has so many.
const maxHosts = 20

// host is one that takes mail for a destination: a name, or an address.
type host struct {
	name       dnsname.Name
	addr       netip.Addr // valid: no name
	port       int
	unix       string // not "": a socket in the file system, neither name nor address
	configured bool   // by the operator: its addresses are not questioned
	lmtp       bool
	implicit   bool         // TLS begins with the first octet
	hello      dnsname.Name // our name for it
	// certificate is our own, for this host; nil: none is shown.
	certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	from        origin
}

// String names the host for people: a name, an address in brackets, or a socket.
func (h host) String() string {
	switch {
	case h.unix != "":
		return unixHop + h.unix
	case h.addr.IsValid():
		return "[" + h.addr.String() + "]"
	}
	return h.name.String()
}

// group is hosts of one preference, in the order to try.
type group []host

// route finds the hosts for a destination (RFC 5321 5.1), best first. A verdict
// says why there are none.
func (d *Deliverer) route(ctx context.Context, r Route, destination string) (groups []group, v *verdict) {
	if len(r.Hosts) > 0 {
		groups, v = configured(r)
	} else {
		groups, v = d.published(ctx, destination)
	}
	for _, g := range groups {
		for i := range g {
			g[i].hello = r.Hello
		}
	}
	return groups, v
}

// published finds the hosts that the destination names itself.
func (d *Deliverer) published(ctx context.Context, destination string) ([]group, *verdict) {
	if strings.HasPrefix(destination, "[") {
		return d.literal(destination)
	}
	name, err := dnsname.Parse(destination)
	if err != nil {
		return nil, &verdict{status: statusConfig, text: fmt.Sprintf("destination %v", err)}
	}
	return d.lookupMX(ctx, name)
}

// literal reads a domain part such as [192.0.2.1] (RFC 5321 4.1.3). It came from
// a stranger, as an MX does, and is bounded as one.
func (d *Deliverer) literal(destination string) ([]group, *verdict) {
	text := strings.TrimSuffix(destination[1:], "]")
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return nil, &verdict{queue.Failed, statusNoDomain, "not an address literal", ""}
	}
	return []group{{{addr: addr, port: d.o.MXPort}}}, nil
}

// lookupMX asks for the MX hosts of a domain. Without any the domain itself is
// the host (RFC 5321 5.1), but only when the answer is clean: no trouble of DNS
// may turn mail to a host that never wanted it.
func (d *Deliverer) lookupMX(ctx context.Context, name dnsname.Name) ([]group, *verdict) {
	answer := d.o.Resolver.Lookup(ctx, name, dnssec.TypeMX)
	switch {
	case !usable(answer):
		return nil, &verdict{status: statusDNS, text: troubleText(name, "MX", answer)}
	case answer.NXDomain:
		return nil, &verdict{queue.Failed, statusNoDomain, "domain " + name.String() + " does not exist", ""}
	case len(answer.MX) == 1 && answer.MX[0].Host.IsZero(): // RFC 7505 3
		return nil, &verdict{queue.Failed, statusNullMX, "domain " + name.String() + " accepts no mail (null MX)", ""}
	}
	from := origin{domain: name, secure: answer.State == dnssec.Secure}
	if answer.CNAME {
		from.target = answer.Final
	}
	if len(answer.MX) > 0 {
		return d.dropOwn(inOrder(answer.MX), from)
	}
	if from.implicit = true; !answer.Final.IsZero() {
		name = answer.Final // RFC 5321 5.1: a CNAME's target takes its place
	}
	return d.dropOwn([]dnssec.MX{{Host: name}}, from)
}

// usable reports whether an answer may be believed to be what DNS says.
func usable(a dnssec.Answer) bool { return a.State == dnssec.Secure || a.State == dnssec.Insecure }

func troubleText(name dnsname.Name, kind string, a dnssec.Answer) string {
	return fmt.Sprintf("lookup %s %s: %s: %s", name, kind, a.State, a.Reason)
}

// inOrder sorts by preference and shuffles equals (RFC 5321 5.1), in a copy.
// Hosts that are no names are skipped: null among others, and addresses.
func inOrder(records []dnssec.MX) []dnssec.MX {
	var kept []dnssec.MX
	for _, mx := range records {
		if _, err := netip.ParseAddr(mx.Host.String()); err != nil && !mx.Host.IsZero() {
			kept = append(kept, mx)
		}
	}
	rand.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	slices.SortStableFunc(kept, func(a, b dnssec.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return kept
}

// dropOwn leaves the hosts that are better than ourselves: mail that reached us
// goes only to those (RFC 5321 5.1), else it would go round in circles.
func (d *Deliverer) dropOwn(records []dnssec.MX, from origin) (groups []group, v *verdict) {
	for n, mx := range records {
		if mx.Host != d.o.Hostname {
			continue
		}
		n = slices.IndexFunc(records[:n+1], func(m dnssec.MX) bool { return m.Preference == mx.Preference })
		if n == 0 {
			return nil, loop(mx.Host.String())
		}
		records = records[:n]
		break
	}
	if len(records) == 0 {
		return nil, &verdict{queue.Failed, statusNoRoute, "no MX record names a host", ""}
	}
	for i, mx := range records[:min(len(records), maxHosts)] {
		if i == 0 || mx.Preference != records[i-1].Preference {
			groups = append(groups, nil)
		}
		last := &groups[len(groups)-1]
		*last = append(*last, host{name: mx.Host, port: d.o.MXPort, from: from})
	}
	return groups, nil
}

func loop(host string) *verdict {
	return &verdict{queue.Failed, statusLoop, "mail for this domain loops back to us: its best host is " + host, ""}
}
