package dnssec

import (
	"bytes"
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// Names inside this package are strings of miekg/dns: escaped, lower case,
// with a final dot. They may hold what no host name may: slashes in
// in-addr.arpa (RFC 2317), any octet at all.

const root = "."

// maxWire is the longest name on the wire. RFC 1035 2.3.4
const maxWire = 255

func canonical(name string) string { return dns.CanonicalName(name) }

// within reports whether name is zone or lies below it, by whole labels from
// the right: evilexample.com is not within example.com.
func within(zone, name string) bool { return dns.IsSubDomain(zone, name) }

// below reports whether name lies below zone and is not zone itself.
func below(zone, name string) bool { return zone != name && within(zone, name) }

func parentOf(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return root
	}
	return name[i:]
}

// lineage lists the ancestors of a name from its top-level domain down, and
// the name; nothing for the root.
func lineage(name string) []string {
	starts := dns.Split(name)
	out := make([]string, 0, len(starts))
	for i := len(starts) - 1; i >= 0; i-- {
		out = append(out, name[starts[i]:])
	}
	return out
}

// lastLabels returns the ancestor of name (or name) with n labels.
func lastLabels(name string, n int) string {
	starts := dns.Split(name)
	if n <= 0 || len(starts) == 0 {
		return root
	}
	return name[starts[max(0, len(starts)-n)]:]
}

// common returns the nearest ancestor that two names share.
func common(a, b string) string { return lastLabels(a, dns.CompareDomainName(a, b)) }

// wildcardOf returns the wildcard below an encloser. RFC 4592 2.1.1
func wildcardOf(encloser string) string {
	if encloser == root {
		return "*."
	}
	return "*." + encloser
}

// signedLabels counts the labels as the Labels field of an RRSIG does: without
// the root and without a leading asterisk. RFC 4034 3.1.3
func signedLabels(name string) int {
	n := dns.CountLabel(name)
	if strings.HasPrefix(name, "*.") {
		n--
	}
	return n
}

// nextCloser returns the name one label below the encloser on the way down to
// name. RFC 5155 1.3
func nextCloser(name, encloser string) string {
	return lastLabels(name, dns.CountLabel(encloser)+1)
}

var errName = errors.New("name does not fit on the wire")

// wire returns the octets of a name, uncompressed, lower case, in buf.
func wire(name string, buf *[maxWire + 1]byte) ([]byte, error) {
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil || n == 0 || n > maxWire {
		return nil, errName
	}
	for i, c := range buf[:n] { // a length octet is at most 63, below any letter
		if c >= 'A' && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	return buf[:n], nil
}

// compareNames is the canonical order: by labels from the right, as lower case
// octets, a missing label first. RFC 4034 6.1
func compareNames(a, b string) (int, error) {
	var bufA, bufB [maxWire + 1]byte
	wireA, err := wire(a, &bufA)
	if err != nil {
		return 0, err
	}
	wireB, err := wire(b, &bufB)
	if err != nil {
		return 0, err
	}
	var startsA, startsB [maxWire / 2]uint8
	i, j := labelStarts(wireA, &startsA), labelStarts(wireB, &startsB)
	for i > 0 && j > 0 {
		i, j = i-1, j-1
		if c := bytes.Compare(labelAt(wireA, startsA[i]), labelAt(wireB, startsB[j])); c != 0 {
			return c, nil
		}
	}
	return i - j, nil
}

// labelStarts notes where each label of a wire name begins and counts them.
func labelStarts(wire []byte, starts *[maxWire / 2]uint8) int {
	n := 0
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		starts[n] = uint8(at)
		n++
	}
	return n
}

func labelAt(wire []byte, start uint8) []byte {
	return wire[int(start)+1:][:wire[start]]
}
