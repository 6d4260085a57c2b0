package dnssec

import (
	"context"
	"fmt"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

// resolve follows the CNAMEs and DNAMEs from a name to the records of a type. Each link is
// asked for and proved by itself, under its own zone: what else came in a reply
// is not used. One insecure link makes the answer insecure; a bogus or failed
// one is the end.
func (l *lookup) resolve(ctx context.Context, q question) (Answer, error) {
	a := Answer{State: Secure, Expires: l.now.Add(maxLife)}
	seen := map[string]bool{}
	for at := q; ; {
		if seen[at.name] {
			return a, l.blame("", at, failed("%s: CNAMEs go round in a loop at %s", q, at.name))
		}
		seen[at.name] = true
		found, err := l.resolveLink(ctx, at)
		if err != nil {
			return a, err
		}
		a.add(found)
		target, follow := targetOf(found.set, q.typ)
		if !follow {
			a.Final = nameOrZero(at.name)
			return a, a.fill(found.set)
		}
		a.CNAME = true
		if len(seen) > maxLinks {
			return a, l.blame("", at, failed("%s: more than %d CNAMEs", q, maxLinks))
		}
		at.name = target
	}
}

// add takes a link into account: the worst state, the earliest end.
func (a *Answer) add(found link) {
	if found.state != Secure && a.State == Secure {
		a.State, a.Reason = found.state, found.why
	}
	a.NXDomain = found.nxdomain
	if found.encloser != "" {
		a.Wildcard, a.Enclosers = true, append(a.Enclosers, nameOrZero(found.encloser))
	}
	a.Expires = earlier(a.Expires, found.expires)
}

// targetOf returns where a CNAME leads, unless CNAMEs are what was asked for.
func targetOf(set *rrset, asked uint16) (string, bool) {
	if set == nil || set.typ != dns.TypeCNAME || asked == dns.TypeCNAME {
		return "", false
	}
	cname, ok := set.rrs[0].(*dns.CNAME)
	if !ok {
		return "", false
	}
	return canonical(cname.Target), true
}

// nameOrZero is the normal form of a name; the zero Name for what cannot be a
// host or owner name.
func nameOrZero(name string) dnsname.Name {
	if name == root {
		return dnsname.Name{}
	}
	n, err := dnsname.ParseOwner(name[:len(name)-1])
	if err != nil {
		return dnsname.Name{}
	}
	return n
}

// failedAnswer is the answer of a lookup that ended in a fault.
func failedAnswer(name dnsname.Name, q question, f *fault, steps []Step) Answer {
	state := f.state
	if state != Bogus {
		state = Failed
	}
	return Answer{State: state, Reason: faultText(q, f), Final: name, Steps: steps, Expires: f.until}
}

func (q question) invalid() string {
	switch Type(q.typ) {
	case TypeA, TypeCNAME, TypePTR, TypeMX, TypeTXT, TypeAAAA, TypeTLSA:
		return ""
	}
	return fmt.Sprintf("type %s is not one to look up", typeText(q.typ))
}
