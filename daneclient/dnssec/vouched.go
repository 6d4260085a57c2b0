package dnssec

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// With Options.Trust = AD the upstream proves and its AD bit says so
// (RFC 4035 4.9.3, RFC 6840 5.7). Between it and us nobody may sit, so it must
// be on this host.

const (
	trustedAD = "ad"
	markAD    = " (trust=ad)"
)

// forwarders of systemd-resolved, which pass on what others say (127.0.0.54), or
// prove only as it is set up elsewhere (127.0.0.53).
var forwarders = map[netip.Addr]bool{
	netip.AddrFrom4([4]byte{127, 0, 0, 53}): true,
	netip.AddrFrom4([4]byte{127, 0, 0, 54}): true,
}

// checkTrust refuses upstreams whose AD bit anybody on the way could set.
func checkTrust(o Options, u *upstreams) error {
	switch o.Trust {
	case Validate:
		return nil
	case AD:
	default:
		return fmt.Errorf("dnssec: unknown trust %d", o.Trust)
	}
	for _, s := range u.servers {
		ip := s.addr.Addr().Unmap()
		if !ip.IsLoopback() {
			return fmt.Errorf("dnssec: upstream %s: its AD bit proves nothing, since it is not on this host", s.text)
		}
		if forwarders[ip] {
			return fmt.Errorf("dnssec: upstream %s: its AD bit proves nothing, since it is the stub of systemd-resolved", s.text)
		}
	}
	return nil
}

// vouchedLink finds the records of one name and takes the upstream's word for
// them. Without AD they are insecure: unsigned, or not judged.
func (l *lookup) vouchedLink(ctx context.Context, q question) (link, error) {
	r, err := l.ask(ctx, q)
	if err != nil {
		return link{}, l.blame("", q, err)
	}
	set := r.answer[q]
	if set == nil {
		set = r.answer[question{q.name, dns.TypeCNAME}]
	}
	dname := r.dnameAbove(q.name)
	if dname != nil {
		set = dname
	}
	found, err := l.vouchedSet(q, r, set)
	if err == nil && dname != nil {
		found.set, err = rebuild(q, dname)
	}
	return found, l.blame("", q, err)
}

// vouchedSet says what an RRset, or its absence when it is nil, is worth.
func (l *lookup) vouchedSet(q question, r *reply, set *rrset) (link, error) {
	step := Step{Name: q.name, Type: typeText(q.typ), State: Secure, Detail: r.from + " says so" + markAD}
	if !r.ad {
		step.State, step.Detail = Insecure, r.from+" does not say that it is secure"+markAD
		l.note(step)
		why := fmt.Sprintf("%s: %s does not say that it is secure", q, r.from)
		return l.insecureLink(r, set, why, l.now.Add(maxLife)), nil
	}
	l.note(step)
	if set == nil {
		return link{state: Secure, nxdomain: r.rcode == dns.RcodeNameError, expires: l.now.Add(r.negativeTTL())}, nil
	}
	if len(set.sigs) == 0 {
		// Only the signatures show a wildcard, by which nobody may pass as its owner.
		return link{}, failed("%s: %s says that it is secure, and leaves out the signatures", set, r.from)
	}
	found := link{state: Secure, set: set, expires: l.in(lowestTTL(set.rrs))}
	least := signedLabels(set.owner)
	for _, sig := range set.sigs {
		// Which of them the upstream has checked, it does not say: the widest counts.
		if n := int(sig.Labels); n < least {
			least, found.encloser = n, lastLabels(set.owner, n)
		}
	}
	return found, nil
}

// vouchesForRoot demands AD on what is signed for certain.
func (r *Resolver) vouchesForRoot(ctx context.Context) error {
	q := question{root, dns.TypeDNSKEY}
	for _, s := range r.up.servers {
		got, err := r.up.try(ctx, s, q, flavour{ad: true})
		switch {
		case err != nil:
			return err
		case refusal(got) != "":
			return failed("%s: %s says %s", q, s.text, refusal(got))
		case !got.ad || got.answer[q] == nil || len(got.answer[q].sigs) == 0:
			err := asFault(bogus("%s: %s does not vouch for it by AD, and with signatures", q, s.text))
			err.hint = `does it validate? If not, set trust = "validate"`
			return err
		}
	}
	return nil
}
