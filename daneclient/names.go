package daneclient

import (
	"crypto/x509"
	"fmt"
	"strings"

	"dancemta/internal/certname"
	"dancemta/internal/dnsname"
)

const (
	// serviceLabel goes before a name without underscore labels (client-auth 2).
	serviceLabel = "_smtp-client"

	userLabel   = "_user"   // users only, and only as the first label
	deviceLabel = "_device" // client-auth 3.2

	// maxNames bounds the dNSNames that are looked at; public CAs issue at most
	// a hundred in one certificate.
	maxNames = 100

	// maxShown bounds the names in an error text.
	maxShown = 3
)

// candidate is an owner name that a certificate claims, and the dNSName that
// claims it: usage 2 wants that one among the leaf's names.
type candidate struct {
	owner dnsname.Name
	san   string
}

// CandidateNames returns the owner names that a leaf claims, each once: a
// dNSName with an underscore label is the owner name itself, any other D claims
// _smtp-client.D. Nothing else in the certificate is a name. Left out are
// wildcards, IP addresses, names of one label, and names that belong to users
// or to servers. A certificate with a uid is a user's and claims nothing. It
// returns an *Error when no name remains.
func CandidateNames(leaf *x509.Certificate) ([]dnsname.Name, error) {
	found, err := candidates(leaf)
	var owners []dnsname.Name
	for _, c := range found {
		owners = append(owners, c.owner)
	}
	return owners, err
}

func candidates(leaf *x509.Certificate) ([]candidate, error) {
	if certname.HasUID(leaf) {
		return nil, &Error{Reason: ForbiddenName, Detail: "the certificate of a user: it holds a uid"}
	}
	if len(leaf.DNSNames) > maxNames {
		return nil, &Error{Reason: AmbiguousName, Detail: fmt.Sprintf("%d dNSNames, over %d", len(leaf.DNSNames), maxNames)}
	}
	found := make([]candidate, 0, len(leaf.DNSNames))
	forbidden := ""
	for _, san := range leaf.DNSNames {
		owner, ok := ownerOf(san)
		switch {
		case !ok || claimed(found, owner):
		case isForbidden(owner):
			forbidden = san
		default:
			found = append(found, candidate{owner, san})
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case forbidden != "":
		return nil, &Error{Reason: ForbiddenName, Detail: fmt.Sprintf("%.100q never names a client", forbidden)}
	case len(leaf.DNSNames) == 0:
		return nil, &Error{Reason: NoName, Detail: "no dNSName"}
	}
	return nil, &Error{Reason: NoName, Detail: fmt.Sprintf("%.100q is no name of a host", leaf.DNSNames[0])}
}

// ownerOf maps a dNSName to its owner name; it reports false for what is no
// name of a single host.
func ownerOf(san string) (dnsname.Name, bool) {
	name, err := dnsname.ParseOwner(san) // no wildcard, no final dot
	if err != nil || !isHost(name.String()) {
		return dnsname.Name{}, false
	}
	if name.HasUnderscore() {
		return name, true
	}
	owner, err := name.Prepend(serviceLabel)
	return owner, err == nil
}

// isHost wants two labels, and no number as the last one: that is an IPv4
// address in the wrong place (RFC 1123 2.1).
func isHost(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	return dot > 0 && !isDigits(name[dot+1:])
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isForbidden reports whether an owner name is never a client: users are
// another kind of identity, and the TLSA records of servers (RFC 6698 3) vouch
// for servers.
func isForbidden(owner dnsname.Name) bool {
	for label := range strings.SplitSeq(owner.String(), ".") {
		switch label {
		case userLabel, "_tcp", "_udp", "_sctp", "_dane":
			return true
		}
		if label[0] == '_' && isDigits(label[1:]) {
			return true
		}
	}
	return false
}

func claimed(found []candidate, owner dnsname.Name) bool {
	for _, c := range found {
		if c.owner == owner {
			return true
		}
	}
	return false
}

// choose returns the one candidate that the rules allow. MTAs often carry
// several names; the rules, not their order, say which one speaks.
func choose(leaf *x509.Certificate, allowed func(dnsname.Name) bool) (candidate, error) {
	found, err := candidates(leaf)
	if err != nil {
		return candidate{}, err
	}
	var chosen candidate
	var several []candidate
	for _, c := range found {
		if allowed == nil || !allowed(c.owner) {
			continue
		}
		if !chosen.owner.IsZero() {
			several = append(several, c)
			continue
		}
		chosen = c
	}
	switch {
	case chosen.owner.IsZero() && len(found) == 1:
		return candidate{}, &Error{Reason: NotAllowed, Name: found[0].owner}
	case chosen.owner.IsZero():
		return candidate{}, &Error{Reason: NotAllowed, Detail: listed(found)}
	case len(several) > 0:
		return candidate{}, &Error{Reason: AmbiguousName, Detail: listed(append([]candidate{chosen}, several...))}
	}
	return chosen, nil
}

// listed names the first few candidates.
func listed(found []candidate) string {
	var b strings.Builder
	for i, c := range found[:min(len(found), maxShown)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.owner.String())
	}
	if len(found) > maxShown {
		fmt.Fprintf(&b, " and %d more", len(found)-maxShown)
	}
	return b.String()
}

// userDomain returns D of an owner _user.D: host labels only, two at least.
func userDomain(owner dnsname.Name) (dnsname.Name, bool) {
	first, rest := owner.Cut()
	if first != userLabel {
		return dnsname.Name{}, false
	}
	domain, err := dnsname.Parse(rest.String()) // no further underscore
	if err != nil || !isHost(domain.String()) {
		return dnsname.Name{}, false
	}
	return domain, true
}

// soleName reports whether D is the leaf's only dNSName: with two, a CA of one
// domain would name users of another.
func soleName(leaf *x509.Certificate, domain dnsname.Name) bool {
	if len(leaf.DNSNames) != 1 {
		return false
	}
	name, err := dnsname.Parse(leaf.DNSNames[0])
	return err == nil && name == domain
}
