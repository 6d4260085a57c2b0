package lab

import (
	"bytes"
	"crypto/sha1" // RFC 5155 knows no other hash
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// canon is the one form in which the lab keeps names: lower case, final dot.
func canon(name string) string { return dns.CanonicalName(name) }

// parentOf drops the first label; the parent of the root is the root.
func parentOf(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[i:]
}

// below puts a label in front of a name.
func below(label, name string) string {
	if name == "." {
		return label + "."
	}
	return label + "." + name
}

// within tells whether name is zone or lies below it, by whole labels.
func within(zone, name string) bool { return dns.IsSubDomain(zone, name) }

// wire returns the uncompressed octets of a name in lower case. It panics on a
// name that cannot be one.
func wire(name string) []byte {
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(canon(name), buf, 0, nil, false)
	if err != nil {
		panic(fmt.Sprintf("lab: name %q: %v", name, err))
	}
	return buf[:n]
}

// wireLabels splits a name into the octets of its labels, the root's first.
func wireLabels(name string) [][]byte {
	var labels [][]byte
	for w := wire(name); w[0] != 0; w = w[1+int(w[0]):] {
		labels = append([][]byte{w[1 : 1+int(w[0])]}, labels...)
	}
	return labels
}

// compareNames is the canonical order of names, label by label from the right.
// RFC 4034 6.1
func compareNames(a, b string) int {
	x, y := wireLabels(a), wireLabels(b)
	for i := 0; i < len(x) && i < len(y); i++ {
		if c := bytes.Compare(x[i], y[i]); c != 0 {
			return c
		}
	}
	return len(x) - len(y)
}

// hashName is the owner hash of NSEC3, in base32hex. RFC 5155 5
func hashName(name, salt string, iterations uint16) string {
	s, err := hex.DecodeString(salt)
	if err != nil {
		panic(fmt.Sprintf("lab: salt %q: %v", salt, err))
	}
	h := sha1.Sum(append(wire(name), s...))
	for range iterations {
		h = sha1.Sum(append(h[:], s...))
	}
	return strings.ToUpper(base32.HexEncoding.EncodeToString(h[:]))
}
