package dnssec

import (
	"slices"

	"github.com/miekg/dns"
)

// denial is what the authenticated denials of a zone prove about a name and a
// type.
type denial uint8

const (
	notDenied   denial = iota // they prove nothing
	noType                    // the name exists and has none of the type
	noName                    // the name does not exist
	insecureCut               // the name is a delegation without DS
	optedOut                  // there may be an unsigned delegation at the name or above it
)

// types is the bitmap of an NSEC or NSEC3.
type types []uint16

func (t types) has(typ uint16) bool { return slices.Contains(t, typ) }

// cut reports whether the record is that of the parent at a delegation, which
// speaks for nothing but the DS. RFC 6840 4.1
func (t types) cut() bool { return t.has(dns.TypeNS) && !t.has(dns.TypeSOA) }

// silentBelow reports whether the record proves nothing about names below its
// owner: what is there belongs to another zone, or to a DNAME. RFC 6840 4.1
func (t types) silentBelow() bool { return t.cut() || t.has(dns.TypeDNAME) }

// lack judges the bitmap of the very name that was asked for.
// RFC 4035 5.4, RFC 6840 4.3 (CNAME), 4.4 (delegations)
func (t types) lack(name string, typ uint16) denial {
	switch {
	case t.has(typ), t.has(dns.TypeCNAME):
		return notDenied
	case typ == dns.TypeDS && name != root && t.has(dns.TypeSOA):
		return notDenied // the child's record; the DS is the parent's to deny
	case typ == dns.TypeDS && t.has(dns.TypeNS):
		return insecureCut
	case typ != dns.TypeDS && t.cut():
		return notDenied // the parent's record; the child may well have the type
	}
	return noType
}

// nsec is an NSEC record whose signature holds.
type nsec struct {
	owner, next string
	types       types
}

// spans reports whether a name lies strictly between owner and next, in a zone
// whose last NSEC leads back to the apex. RFC 4034 4.1.1
func (n nsec) spans(apex, name string) bool {
	after, err := compareNames(name, n.owner)
	if err != nil || after <= 0 {
		return false
	}
	if n.next == apex {
		return true
	}
	before, err := compareNames(name, n.next)
	return err == nil && before < 0
}

// covers reports whether the record proves that a name has no records.
func (n nsec) covers(apex, name string) bool {
	if below(n.owner, name) && n.types.silentBelow() {
		return false
	}
	return n.spans(apex, name)
}

// encloser is the nearest existing ancestor of a name that the record covers:
// owner and next exist, and with them all that is above them.
func (n nsec) encloser(name string) string {
	a, b := common(name, n.owner), common(name, n.next)
	if below(a, b) {
		return b
	}
	return a
}

// denyNSEC judges a name by the NSEC records of its zone. RFC 4035 5.4
func denyNSEC(apex string, records []nsec, name string, typ uint16) denial {
	for _, n := range records {
		if n.owner == name {
			return n.types.lack(name, typ)
		}
	}
	for _, n := range records {
		if !n.covers(apex, name) {
			continue
		}
		if below(name, n.next) {
			return noType // an empty non-terminal
		}
		return denyWildcardNSEC(apex, records, wildcardOf(n.encloser(name)), typ)
	}
	return notDenied
}

// denyWildcardNSEC goes on when the name itself is known not to exist.
func denyWildcardNSEC(apex string, records []nsec, wildcard string, typ uint16) denial {
	for _, n := range records {
		if n.owner == wildcard && n.types.lack(wildcard, typ) == noType {
			return noType
		}
		if n.covers(apex, wildcard) {
			if below(wildcard, n.next) {
				return noType // the wildcard is an empty non-terminal. RFC 4592 2.2.2
			}
			return noName
		}
	}
	return notDenied
}

// expandedNSEC reports whether the NSECs prove that a wildcard below encloser
// speaks for a name: that neither the name nor a closer wildcard exists.
// RFC 4035 5.3.4
func expandedNSEC(apex string, records []nsec, name, encloser string) bool {
	for _, n := range records {
		if n.covers(apex, name) && n.encloser(name) == encloser {
			return true
		}
	}
	return false
}
