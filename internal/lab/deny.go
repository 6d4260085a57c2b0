package lab

import "github.com/miekg/dns"

// The proofs below return records without signatures; duplicates are dropped
// by their caller. In an unsigned zone there are none.

// proveNoType shows that a name exists and what it has. RFC 4035 3.1.3.1, RFC 5155 7.2.3, 7.2.4
func (z *Zone) proveNoType(name string) []dns.RR {
	switch {
	case z.opts.Unsigned:
		return nil
	case z.opts.NSEC3 == nil:
		return []dns.RR{z.nsecFor(name)} // for an empty non-terminal: the one before it
	}
	if rr, match := z.nsec3For(name); match {
		return []dns.RR{rr}
	}
	return z.proveEncloser(name) // left out of the chain by opt-out
}

// proveNoName shows that neither the name nor a wildcard for it exists.
// RFC 4035 3.1.3.2, RFC 5155 7.2.2
func (z *Zone) proveNoName(name, encloser string) []dns.RR {
	switch {
	case z.opts.Unsigned:
		return nil
	case z.opts.NSEC3 == nil:
		return []dns.RR{z.nsecFor(name), z.nsecFor(below("*", encloser))}
	}
	wildcard, _ := z.nsec3For(below("*", z.provableEncloser(name)))
	return append(z.proveEncloser(name), wildcard)
}

// proveExpansion shows that the name itself does not exist, so that a wildcard
// speaks for it. RFC 4035 3.1.3.3, RFC 5155 7.2.6
func (z *Zone) proveExpansion(name, encloser string) []dns.RR {
	switch {
	case z.opts.Unsigned:
		return nil
	case z.opts.NSEC3 == nil:
		return []dns.RR{z.nsecFor(name)}
	}
	rr, _ := z.nsec3For(nextCloser(name, encloser))
	return []dns.RR{rr}
}

// proveNoWildcardType shows that the name does not exist and the wildcard
// lacks the type. RFC 4035 3.1.3.4, RFC 5155 7.2.5
func (z *Zone) proveNoWildcardType(name, encloser string) []dns.RR {
	switch {
	case z.opts.Unsigned:
		return nil
	case z.opts.NSEC3 == nil:
		return []dns.RR{z.nsecFor(name), z.nsecFor(below("*", encloser))}
	}
	wildcard, _ := z.nsec3For(below("*", encloser))
	return append(z.proveEncloser(name), wildcard)
}

// proveEncloser matches the closest encloser and covers the next closer name.
// RFC 5155 7.2.1
func (z *Zone) proveEncloser(name string) []dns.RR {
	encloser := z.provableEncloser(name)
	match, _ := z.nsec3For(encloser)
	cover, _ := z.nsec3For(nextCloser(name, encloser))
	return []dns.RR{match, cover}
}

// provableEncloser is the nearest name above that has an NSEC3.
func (z *Zone) provableEncloser(name string) string {
	for n := parentOf(name); ; n = parentOf(n) {
		if _, match := z.nsec3For(n); match || n == z.name {
			return n
		}
	}
}

// closestEncloser is the nearest name above that exists.
func (z *Zone) closestEncloser(name string) string {
	n := parentOf(name)
	for !z.view().names[n] {
		n = parentOf(n)
	}
	return n
}

// nextCloser is the ancestor of name, or itself, one label below the encloser.
func nextCloser(name, encloser string) string {
	for parentOf(name) != encloser {
		name = parentOf(name)
	}
	return name
}
