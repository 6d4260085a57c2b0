package msgauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"

	"dancemta/internal/dnsname"
)

// checkSPF asks who may send for the domain of the sender, or of the peer's name when
// there is no sender. RFC 7208 2.4
func checkSPF(ctx context.Context, r Resolver, e Envelope) SPF {
	out := SPF{Result: None, Domain: e.Sender.Domain()}
	helo := strings.TrimSuffix(e.Helo, ".")
	sender := e.Sender.ASCII()
	if e.Sender.IsNull() {
		out.Helo = true
		out.Domain, _ = dnsname.Parse(helo)
		sender = "postmaster@" + helo
	}
	if !e.Peer.IsValid() || len(out.Domain.Labels()) < 2 { // RFC 7208 4.3: an address literal, or no name of a host
		out.Domain = dnsname.Name{}
		return out
	}
	if _, err := dnsname.ParseOwner(helo); err != nil {
		helo = "unknown" // may stand in names that records have us make
	}
	peer := e.Peer.Unmap().WithZone("")
	result, err := spf.CheckHostWithSender(net.IP(peer.AsSlice()), helo, sender,
		spf.WithContext(ctx), spf.WithResolver(spfResolver{r, peer}))
	out.Result = spfResults[result]
	if err != nil && out.Result != Pass {
		out.Why = err.Error()
	}
	if ctx.Err() != nil || out.Result == unjudged { // what was not said in time is not known. RFC 7208 4.6.4
		out.Result, out.Why = TempError, "no answer in time"
	}
	return out
}

var spfResults = map[spf.Result]Result{
	spf.None: None, spf.Neutral: Neutral, spf.Pass: Pass, spf.Fail: Fail, spf.SoftFail: SoftFail,
	spf.TempError: TempError, spf.PermError: PermError,
}

// spfResolver asks for package spf. What it cannot find out is a temporary error,
// never an empty answer.
type spfResolver struct {
	Resolver
	peer netip.Addr
}

// query asks for one name as records of others make them, which may be no name at all.
func (r spfResolver) query(ctx context.Context, text string, t Type) (Answer, error) {
	name, err := spfName(text)
	if err != nil {
		return Answer{}, dnsError(text, err)
	}
	a := r.Lookup(ctx, name, t)
	switch {
	case !a.Known:
		return a, &net.DNSError{Err: "no answer that can be believed", Name: text, IsTemporary: true}
	case a.NXDomain:
		return a, &net.DNSError{Err: "no such name", Name: text, IsNotFound: true}
	}
	return a, nil
}

// dnsError says of a name that cannot be asked for what asking would have shown:
// nothing lies there if no name can be so (RFC 7208 4.3, 5). Names with octets that
// we do not ask for may exist, so of these nothing is known.
func dnsError(text string, err error) error {
	missing := errors.Is(err, dnsname.ErrEmpty) || errors.Is(err, dnsname.ErrTooLong)
	return &net.DNSError{Err: fmt.Sprintf("not asked: %v", err), Name: text, IsNotFound: missing, IsTemporary: !missing}
}

// spfName reads a name; one that is too long loses labels on its left. RFC 7208 7.3
func spfName(text string) (dnsname.Name, error) {
	const maxName = 253 // RFC 1035 2.3.4
	text = strings.TrimSuffix(text, ".")
	for len(text) > maxName {
		_, rest, ok := strings.Cut(text, ".")
		if !ok {
			break
		}
		text = rest
	}
	return dnsname.ParseOwner(text)
}

// LookupTXT finds the records of a domain.
func (r spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := r.query(ctx, name, TypeTXT)
	return a.TXT, err
}

// LookupMX finds the mail servers of a domain.
func (r spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := r.query(ctx, name, TypeMX)
	if err != nil {
		return nil, err
	}
	var hosts []*net.MX
	for _, host := range a.Names {
		hosts = append(hosts, &net.MX{Host: host.String()})
	}
	return hosts, nil
}

// LookupIPAddr finds addresses of the peer's kind (RFC 7208 5), and those of IPv4,
// which is what "exists" asks for (5.7).
func (r spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	types := []Type{TypeA}
	if !r.peer.Is4() {
		types = append(types, TypeAAAA)
	}
	var all []net.IPAddr
	for _, t := range types {
		a, err := r.query(ctx, host, t)
		if err != nil {
			return nil, err
		}
		for _, addr := range a.Addrs {
			all = append(all, net.IPAddr{IP: net.IP(addr.AsSlice())})
		}
	}
	return all, nil
}

// LookupAddr finds the names of the peer.
func (r spfResolver) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	a, err := r.query(ctx, reverseName(r.peer), TypePTR)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range a.Names {
		names = append(names, n.String())
	}
	return names, nil
}

// reverseName is where an address has its PTR records. RFC 1035 3.5, RFC 3596 2.5
func reverseName(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	var s strings.Builder
	b := a.As16()
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&s, "%x.%x.", b[i]&15, b[i]>>4)
	}
	return s.String() + "ip6.arpa"
}
