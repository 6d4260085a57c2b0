package tlsa

import (
	"crypto/x509"
	"time"
)

// matchPKIX tries usages 0 and 1 (RFC 6698 2.1.1): there must be a path from the
// leaf to one of the roots, a record must pin an issuer on that very path (usage
// 0, PKIX-TA) or the leaf (usage 1, PKIX-EE), and the leaf must hold the name.
func matchPKIX(records []Record, shown []*fingerprint, o Options, miss *MismatchError) (Result, bool) {
	var published []Record
	for _, r := range records {
		switch {
		case !r.needsRoots():
		case o.Roots == nil:
			miss.add(r, r.Problem(nil))
		case o.AnchorsOnly && r.Usage == UsagePKIXEE:
			miss.add(r, onlyCA)
		default:
			published = append(published, r)
		}
	}
	if len(published) == 0 {
		return Result{}, false
	}
	paths, why := pathsToRoots(shown, o)
	var best Result
	for _, r := range published {
		end := lastsLongest(r, paths)
		switch {
		case why != "":
			miss.add(r, why)
		case end.IsZero() && r.Usage == UsagePKIXEE:
			miss.add(r, "not the leaf that was shown")
		case end.IsZero():
			miss.add(r, "no issuer on a path to a root is the one published")
		case end.After(best.NotAfter):
			best = Result{Record: r, NotAfter: end}
		}
	}
	matched := !best.NotAfter.IsZero()
	if matched && !o.holdsName(shown[0].cert) { // RFC 7671 5.2.3, for all usages but 3
		miss.addName(best.Record, o)
		return Result{}, false
	}
	return best, matched
}

// path is a valid one, from the leaf to a root.
type path struct {
	certs []*fingerprint
	end   time.Time // when the first of them expires
}

// pathsToRoots returns the valid paths from the leaf to the roots (RFC 5280 6.1),
// or why there are none. A leaf that is a root itself makes none.
func pathsToRoots(shown []*fingerprint, o Options) (paths []path, why string) {
	if why := chainProblem(shown, o); why != "" {
		return nil, why
	}
	issuers := x509.NewCertPool()
	for _, f := range shown[1:] {
		issuers.AddCert(f.cert)
	}
	found, err := shown[0].cert.Verify(x509.VerifyOptions{
		Roots: o.Roots, Intermediates: issuers, CurrentTime: o.Now, KeyUsages: o.purpose(),
	})
	if err != nil {
		return nil, err.Error()
	}
	known := map[*x509.Certificate]*fingerprint{} // each is hashed once for all paths
	for _, certs := range found {
		// Verify asks neither whether a root may sign, nor whether it is the leaf.
		if problem := anchorProblem(certs[len(certs)-1], certs[0], o.Now); problem != "" {
			why = "the root will not do: " + problem
			continue
		}
		p := path{end: firstEnd(certs)}
		for _, cert := range certs {
			if known[cert] == nil {
				known[cert] = &fingerprint{cert: cert}
			}
			p.certs = append(p.certs, known[cert])
		}
		paths = append(paths, p)
	}
	if len(paths) > 0 {
		why = ""
	}
	return paths, why
}

// lastsLongest returns when the path ends that a record pins, of several the
// last end; the zero time when it pins none.
func lastsLongest(r Record, paths []path) (end time.Time) {
	for _, p := range paths {
		if p.pinnedBy(r) && p.end.After(end) {
			end = p.end
		}
	}
	return end
}

// pinnedBy reports whether a record publishes a certificate of the path: an
// issuer, the root among them, or the leaf, but never one for the other.
func (p path) pinnedBy(r Record) bool {
	candidates := p.certs[1:]
	if r.Usage == UsagePKIXEE {
		candidates = p.certs[:1]
	}
	for _, f := range candidates {
		if f.is(r) {
			return true
		}
	}
	return false
}
