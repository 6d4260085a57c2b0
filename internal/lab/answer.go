package lab

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	maxLinks  = 16   // of CNAMEs and DNAMEs; a loop is served as far as that, for the client to notice
	maxText   = 254  // octets of a name with its final dot; the lab's own need no escapes
	ourBuffer = 1232 // the UDP size that our OPT names; the usual one
)

// part is what one zone contributes to a reply.
type part struct {
	answer, authority []dns.RR
	target            string // of a CNAME to follow
	rcode             int
}

// Answer is the reply of a recursive resolver that does not validate: the
// whole CNAME chain through all zones, signatures and denials when DO is set,
// DS from the parent's side, RA, never AD. Asked without recursion, it is the
// authority for all its zones (AA). It is not cut to any size.
func (w *World) Answer(q *dns.Msg) *dns.Msg {
	w.mu.Lock()
	defer w.mu.Unlock()
	reply := new(dns.Msg)
	reply.SetReply(q)
	reply.RecursionAvailable = true
	reply.Authoritative = !q.RecursionDesired
	do := false
	if opt := q.IsEdns0(); opt != nil {
		do = opt.Do()
		reply.SetEdns0(ourBuffer, do)
	}
	if len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET || q.Opcode != dns.OpcodeQuery {
		reply.Rcode = dns.RcodeNotImplemented
		return reply
	}
	w.follow(reply, canon(q.Question[0].Name), q.Question[0].Qtype)
	if !do {
		reply.Answer = withoutDNSSEC(reply.Answer, q.Question[0].Qtype)
		reply.Ns = withoutDNSSEC(reply.Ns, q.Question[0].Qtype)
	}
	reply.Answer, reply.Ns = copies(reply.Answer), copies(reply.Ns)
	return reply
}

func (w *World) follow(reply *dns.Msg, name string, typ uint16) {
	for range maxLinks {
		p := w.authority(name, typ).lookup(name, typ)
		reply.Answer = append(reply.Answer, p.answer...)
		for _, rr := range p.authority {
			if !slices.ContainsFunc(reply.Ns, func(old dns.RR) bool { return old.String() == rr.String() }) {
				reply.Ns = append(reply.Ns, rr)
			}
		}
		reply.Rcode = p.rcode
		if p.target == "" {
			return
		}
		name = p.target
	}
}

// authority is the zone that answers: for DS the one above the cut. RFC 4035 3.1.4.1
func (w *World) authority(name string, typ uint16) *Zone {
	z := w.zoneOf(name)
	if typ == dns.TypeDS && name == z.name && z.parent != nil {
		return z.parent
	}
	return z
}

func (z *Zone) lookup(name string, typ uint16) part {
	if cut := z.cutAbove(name); cut != "" && (cut != name || typ != dns.TypeDS) {
		return part{rcode: dns.RcodeServerFailure} // delegated to nobody in this world
	}
	if owner := z.dnameAbove(name); owner != "" {
		return z.redirect(owner, name, typ)
	}
	if z.view().names[name] {
		return z.existing(name, typ)
	}
	encloser := z.closestEncloser(name)
	if wildcard := below("*", encloser); z.view().names[wildcard] {
		return z.expand(name, encloser, wildcard, typ)
	}
	return z.denied(dns.RcodeNameError, z.proveNoName(name, encloser))
}

// redirect answers for a name below a DNAME: with the record, and with the CNAME
// made of it, which has no signature. RFC 6672 3.2, 5.3.1
func (z *Zone) redirect(owner, name string, typ uint16) part {
	set := z.data[owner][dns.TypeDNAME]
	answer := z.withSignatures(set)
	target := strings.TrimSuffix(name, strings.TrimPrefix(owner, "."))
	if to := canon(set[0].(*dns.DNAME).Target); to != "." {
		target += to
	}
	if len(target) > maxText {
		return part{answer: answer, rcode: dns.RcodeYXDomain}
	}
	answer = append(answer, &dns.CNAME{
		Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: set[0].Header().Ttl},
		Target: target,
	})
	if typ == dns.TypeCNAME {
		target = ""
	}
	return part{answer: answer, target: target}
}

// existing answers for a name that is there.
func (z *Zone) existing(name string, typ uint16) part {
	if set := z.answering(name, typ); set != nil {
		return part{answer: z.withSignatures(set), target: targetOf(set, typ)}
	}
	return z.denied(dns.RcodeSuccess, z.proveNoType(name))
}

// expand answers for a name that a wildcard stands for. RFC 4592 3.3.1
func (z *Zone) expand(name, encloser, wildcard string, typ uint16) part {
	set := z.answering(wildcard, typ)
	if set == nil {
		return z.denied(dns.RcodeSuccess, z.proveNoWildcardType(name, encloser))
	}
	answer := copies(z.withSignatures(set))
	for _, rr := range answer {
		rr.Header().Name = name
	}
	return part{
		answer: answer, target: targetOf(set, typ),
		authority: z.signedEach(z.proveExpansion(name, encloser)),
	}
}

// answering returns the RRset at a name that answers a question: that of the
// type, else a CNAME, else nil.
func (z *Zone) answering(name string, typ uint16) []dns.RR {
	types := z.data[name]
	if set := types[typ]; len(set) > 0 {
		return set
	}
	if typ == dns.TypeNSEC && !z.opts.Unsigned && z.opts.NSEC3 == nil && len(types) > 0 {
		return []dns.RR{z.nsec(name)}
	}
	if set := types[dns.TypeCNAME]; len(set) > 0 {
		return set
	}
	return nil
}

func targetOf(set []dns.RR, typ uint16) string {
	if cname, ok := set[0].(*dns.CNAME); ok && typ != dns.TypeCNAME {
		return canon(cname.Target)
	}
	return ""
}

// denied puts the SOA in front of a proof, with the TTL of denials. RFC 2308 3
func (z *Zone) denied(rcode int, proof []dns.RR) part {
	soa := copies(z.withSignatures(z.data[z.name][dns.TypeSOA]))
	for _, rr := range soa {
		rr.Header().Ttl = min(rr.Header().Ttl, z.opts.NegativeTTL)
	}
	return part{rcode: rcode, authority: append(soa, z.signedEach(proof)...)}
}

func (z *Zone) signedEach(rrs []dns.RR) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		out = append(out, z.withSignatures([]dns.RR{rr})...)
	}
	return out
}

// withoutDNSSEC drops what a client without DO does not want, but what it
// asked for by name. RFC 4035 3.2.1
func withoutDNSSEC(rrs []dns.RR, asked uint16) []dns.RR {
	return slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool {
		switch t := rr.Header().Rrtype; t {
		case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3:
			return t != asked
		}
		return false
	})
}
