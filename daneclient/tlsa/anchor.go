package tlsa

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// maxChain bounds the certificates that a peer may show for usage 2. Private
// CAs have one or two levels; path building among many look-alikes is work that
// a stranger would choose for us.
const maxChain = 10

// anchor is a CA that a usage 2 record publishes.
type anchor struct {
	cert   *x509.Certificate
	record Record
}

// matchAnchors tries usage 2 (RFC 7671 5.2): the records choose the CAs among
// the issuers shown, or bring one themselves; then there must be a path from
// the leaf to one of these, and the leaf must hold the name.
func matchAnchors(records []Record, shown []*fingerprint, o Options, miss *MismatchError) (Result, bool) {
	var published []Record
	for _, r := range records {
		if r.Usage == UsageDANETA {
			published = append(published, r)
		}
	}
	if len(published) == 0 {
		return Result{}, false
	}
	if why := chainProblem(shown, o); why != "" {
		for _, r := range published {
			miss.add(r, why)
		}
		return Result{}, false
	}
	var anchors []anchor
	for _, r := range published {
		found, why := findAnchors(r, shown, o.Now)
		anchors = append(anchors, found...)
		if len(found) == 0 {
			miss.add(r, why)
		}
	}
	result, err := verify(anchors, shown, o)
	if err != nil {
		for _, a := range anchors {
			miss.add(a.record, err.Error())
		}
		return Result{}, false
	}
	matched := !result.NotAfter.IsZero()
	if matched && !o.holdsName(shown[0].cert) { // RFC 7671 5.2.3
		miss.addName(result.Record, o)
		return Result{}, false
	}
	return result, matched
}

// chainProblem says what is wrong with the peer's chain whatever the records
// hold; "" when nothing is.
func chainProblem(shown []*fingerprint, o Options) string {
	switch {
	case len(shown) == 0:
		return "no certificate was shown"
	case len(shown) > maxChain:
		return fmt.Sprintf("chain of %d certificates, over %d", len(shown), maxChain)
	case o.Now.IsZero():
		return "no time to judge the chain by" // crypto/x509 would take the clock
	}
	for _, f := range shown[1:] {
		if why := slowKey(f.cert.PublicKey); why != "" {
			return "an issuer shown has an " + why
		}
	}
	return ""
}

// holdsName asks for the name of a client or server. The subject's CN is no name
// at all.
func (o Options) holdsName(leaf *x509.Certificate) bool {
	if o.CommonName && len(leaf.DNSNames) == 0 { // RFC 7672 3.2.3: beside a dNSName it says nothing
		leaf = &x509.Certificate{DNSNames: []string{leaf.Subject.CommonName}}
	}
	for _, host := range o.Hosts {
		if leaf.VerifyHostname(host) == nil {
			return true
		}
	}
	return len(o.Hosts) == 0 && holdsName(leaf, o.Name)
}

// holdsName compares byte by byte but for ASCII case. VerifyHostname would also
// accept wildcards and IP addresses.
func holdsName(leaf *x509.Certificate, name string) bool {
	for _, san := range leaf.DNSNames {
		if name != "" && equalFold(san, name) {
			return true
		}
	}
	return false
}

// equalFold folds ASCII only: strings.EqualFold takes the Kelvin sign for a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// findAnchors returns the CAs that r publishes: issuers in the chain shown, or
// the certificate of a 2 0 0 record (RFC 7671 5.2.2). A 2 1 0 record holds only
// a key, which counts when a CA shown has it.
func findAnchors(r Record, shown []*fingerprint, now time.Time) (found []anchor, why string) {
	why = "no issuer shown is the one published"
	leaf := shown[0].cert
	for _, f := range shown[1:] {
		if !f.is(r) {
			continue
		}
		if why = anchorProblem(f.cert, leaf, now); why == "" {
			found = append(found, anchor{f.cert, r})
		}
	}
	if len(found) > 0 || r.Selector != SelectorCert || r.Matching != MatchingFull {
		return found, why
	}
	cert, err := x509.ParseCertificate(r.Data)
	if err != nil {
		return nil, "not a certificate: " + err.Error()
	}
	if !issuedOne(cert, shown) {
		return nil, "it issued no certificate that was shown"
	}
	if why = anchorProblem(cert, leaf, now); why != "" {
		return nil, why
	}
	return []anchor{{cert, r}}, ""
}

// issuedOne compares names only; it keeps records of other CAs out of the path
// building.
func issuedOne(ca *x509.Certificate, shown []*fingerprint) bool {
	for _, f := range shown {
		if bytes.Equal(f.cert.RawIssuer, ca.RawSubject) {
			return true
		}
	}
	return false
}

var oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 15}

// anchorProblem says why a certificate must not be a trust anchor, though its
// record is published. Certificate.Verify asks its roots for none of the first
// three: a leaf in the pool would be a chain of one, and a certificate of
// version 1 may sign there.
func anchorProblem(ca, leaf *x509.Certificate, now time.Time) string {
	switch {
	case bytes.Equal(ca.Raw, leaf.Raw):
		return "the CA published is the leaf itself"
	case !ca.BasicConstraintsValid || !ca.IsCA: // RFC 5280 4.2.1.9
		return "the certificate published is no CA"
	case limitsKeyUsage(ca) && ca.KeyUsage&x509.KeyUsageCertSign == 0: // RFC 5280 4.2.1.3
		return "the CA published must not sign certificates"
	case now.Before(ca.NotBefore):
		return "the CA published is not valid before " + ca.NotBefore.UTC().Format(time.RFC3339)
	case now.After(ca.NotAfter): // RFC 7671 5.2
		return "the CA published expired " + ca.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

// limitsKeyUsage reports whether the extension is there, which an empty
// KeyUsage does not tell.
func limitsKeyUsage(cert *x509.Certificate) bool {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidKeyUsage) {
			return true
		}
	}
	return false
}

// verify looks for paths from the leaf to the anchors (RFC 5280 6.1). Of several
// it takes the one that lasts longest.
func verify(anchors []anchor, shown []*fingerprint, o Options) (Result, error) {
	if len(anchors) == 0 {
		return Result{}, nil
	}
	k := keyOfPath(anchors, shown, o)
	if f, ok := o.Paths.get(k, o.Now); ok {
		return Result{Record: anchors[f.anchor].record, NotAfter: f.before}, nil
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a.cert)
	}
	for _, f := range shown[1:] {
		if indexOf(anchors, f.cert) < 0 { // the path ends at an anchor
			others.AddCert(f.cert)
		}
	}
	paths, err := shown[0].cert.Verify(x509.VerifyOptions{
		Roots:         roots, // never nil, which would mean the system's CAs
		Intermediates: others,
		CurrentTime:   o.Now,
		KeyUsages:     o.purpose(),
	})
	if err != nil {
		return Result{}, err
	}
	var best foundPath
	for _, path := range paths {
		if end := firstEnd(path); end.After(best.before) {
			best = foundPath{indexOf(anchors, path[len(path)-1]), lastBegin(path), end}
		}
	}
	if best.before.IsZero() {
		return Result{}, nil
	}
	o.Paths.put(k, best)
	return Result{Record: anchors[best.anchor].record, NotAfter: best.before}, nil
}

// purpose is what the leaf must be good for, one of these: one without EKU is good
// for all, and so is one with any. Left empty it would mean servers.
func (o Options) purpose() []x509.ExtKeyUsage {
	if len(o.Hosts) > 0 {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if o.ServerLeaf {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

// firstEnd returns when the first certificate of a path expires.
func firstEnd(path []*x509.Certificate) time.Time {
	end := path[0].NotAfter
	for _, cert := range path[1:] {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}

// indexOf returns the first anchor that is this certificate; -1 for none.
func indexOf(anchors []anchor, ca *x509.Certificate) int {
	return slices.IndexFunc(anchors, func(a anchor) bool { return a.cert.Equal(ca) })
}
