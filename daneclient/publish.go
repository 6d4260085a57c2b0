package daneclient

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dancemta/daneclient/tlsa"
)

// ErrUseless says that a record would never prove anybody.
var ErrUseless = errors.New("such a record proves nobody")

// Material is what a record is made from: certificates, own one first, or a key
// alone.
type Material struct {
	Certificates []*x509.Certificate
	SPKI         []byte // DER SubjectPublicKeyInfo, when there are no certificates
}

// Fields are those of the record to be made; nil leaves the choice to
// Owner.Record.
type Fields struct{ Usage, Selector, Matching *uint8 }

// Record makes the record that publishes src at this owner. It refuses what no
// verifier would let count, with an error that wraps ErrUseless or ErrOwner,
// and returns sentences about what only some would. Without a choice the record
// is 2 0 1 where only a CA counts, 3 1 1 elsewhere: it names the key alone,
// which a new certificate may keep.
func (o Owner) Record(src Material, f Fields, now time.Time) (r tlsa.Record, doubts []string, err error) {
	usage := tlsa.UsageDANEEE
	if o.kind == anyDevice || o.kind == domainUsers {
		usage = tlsa.UsageDANETA
	}
	usage = orField(f.Usage, usage)
	if why := o.usageProblem(usage); why != "" {
		return r, nil, fmt.Errorf("%s with usage %d: %w: %s", o, usage, ErrUseless, why)
	}
	selector := tlsa.SelectorSPKI
	if usage == tlsa.UsageDANETA && len(src.Certificates) > 0 {
		selector = tlsa.SelectorCert // the whole CA: its name and constraints too
	}
	selector, matching := orField(f.Selector, selector), orField(f.Matching, tlsa.MatchingSHA256)
	r, doubts, err = o.make(src, tlsa.Record{Usage: usage, Selector: selector, Matching: matching}, now)
	if err != nil {
		return tlsa.Record{}, nil, err
	}
	if rootless(usage) {
		doubts = append(doubts, fmt.Sprintf("usage %d counts only at relays that were told to trust public CAs, and those no longer certify clients", usage))
	}
	if why := r.Problem(x509.NewCertPool()); why != "" {
		return tlsa.Record{}, nil, fmt.Errorf("%s with %s: %w: %s", o, r.Short(), ErrUseless, why)
	}
	return r, doubts, nil
}

func orField(choice *uint8, def uint8) uint8 {
	if choice != nil {
		return *choice
	}
	return def
}

// rootless is a usage that publishes no trust of its own (RFC 6698 2.1.1).
func rootless(usage uint8) bool { return usage == tlsa.UsagePKIXTA || usage == tlsa.UsagePKIXEE }

// usageProblem says why a usage never counts here; "" when it may.
func (o Owner) usageProblem(usage uint8) string {
	switch {
	case usage > tlsa.UsageDANEEE:
		return "usages go from 0 to 3"
	case usage == tlsa.UsageDANETA:
		return ""
	case o.kind == server && rootless(usage):
		return "mail servers skip it (RFC 7672 3.1.3); usage 2 and 3 count"
	case o.kind == domainUsers && usage == tlsa.UsagePKIXTA, o.kind == anyDevice && usage == tlsa.UsagePKIXTA:
		return "a public CA vouches for whoever asks; publish your own with usage 2"
	case o.kind == domainUsers:
		return "the holder of that one key could sign himself any user; publish the CA with usage 2"
	case o.kind == anyDevice:
		return "that one key would be every device; publish the CA with usage 2"
	}
	return ""
}

// make fills in the data, from the certificate that the usage is about.
func (o Owner) make(src Material, want tlsa.Record, now time.Time) (r tlsa.Record, doubts []string, err error) {
	if len(src.Certificates) == 0 {
		if want.Selector != tlsa.SelectorSPKI {
			return r, nil, fmt.Errorf("selector %d: %w: a key is selector 1; for others the certificate is needed", want.Selector, ErrUseless)
		}
		r, err = tlsa.MakeKey(want.Usage, want.Matching, src.SPKI)
		return r, nil, err
	}
	leaf := src.Certificates[0]
	cert := leaf
	anchor := want.Usage == tlsa.UsageDANETA || want.Usage == tlsa.UsagePKIXTA
	if anchor {
		cert = highest(src.Certificates)
		if why := o.anchorProblem(cert, now); why != "" {
			return r, nil, fmt.Errorf("%s with usage %d: %w: %s", o, want.Usage, ErrUseless, why)
		}
	}
	// A CA alone says nothing of the certificates that it will issue.
	if !anchor && o.kind != server || cert != leaf {
		doubts = o.doubts(leaf)
	}
	r, err = tlsa.Make(want.Usage, want.Selector, want.Matching, cert)
	return r, doubts, err
}

func (o Owner) doubts(leaf *x509.Certificate) []string {
	switch why := o.doubt(leaf); {
	case why == "":
		return nil
	case o.kind == machine:
		return []string{why + ": only a client that tells its name by dane_clientid is found there"}
	default:
		return []string{why}
	}
}

// highest returns the last CA of a chain, its first certificate when none is.
func highest(chain []*x509.Certificate) *x509.Certificate {
	for _, cert := range slices.Backward(chain) {
		if cert.IsCA {
			return cert
		}
	}
	return chain[0]
}

// anchorProblem says why a CA could vouch for nobody behind this owner; "" when
// it may. One that is not valid yet may be published ahead.
func (o Owner) anchorProblem(ca *x509.Certificate, now time.Time) string {
	if now.Before(ca.NotBefore) {
		now = ca.NotBefore
	}
	if why := tlsa.AnchorProblem(ca, now); why != "" {
		return why
	}
	purpose, word := x509.ExtKeyUsageClientAuth, "clients"
	if o.kind == server {
		purpose, word = x509.ExtKeyUsageServerAuth, "servers"
	}
	if limited := len(ca.ExtKeyUsage)+len(ca.UnknownExtKeyUsage) > 0; limited &&
		!slices.Contains(ca.ExtKeyUsage, purpose) && !slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageAny) { // RFC 5280 4.2.1.12
		return "the CA does not vouch for TLS " + word
	}
	names := o.inner(ca)
	if !slices.ContainsFunc(names, func(n string) bool { return permits(ca, n) }) {
		return fmt.Sprintf("its name constraints do not let the CA vouch for %s", names[0])
	}
	return ""
}

// inner lists the names by which a certificate may claim the owner; of the many
// below a wildcard one, and those that the CA is about.
func (o Owner) inner(ca *x509.Certificate) []string {
	switch o.kind {
	case domainUsers, server:
		return []string{o.of.String()}
	case machine:
		names := []string{o.name}
		if first, rest := o.of.Cut(); first == serviceLabel {
			names = append(names, rest.String())
		}
		return names
	}
	devices := strings.TrimPrefix(o.name, anyLabel)
	names := []string{"any." + devices}
	for _, c := range ca.PermittedDNSDomains {
		if strings.HasSuffix(c, "."+devices) {
			names = append(names, c)
		}
	}
	return names
}

// permits applies the CA's name constraints to a dNSName (RFC 5280 4.2.1.10).
func permits(ca *x509.Certificate, name string) bool {
	covers := func(c string) bool {
		c = strings.ToLower(strings.TrimPrefix(c, "."))
		return c == "" || name == c || strings.HasSuffix(name, "."+c)
	}
	if slices.ContainsFunc(ca.ExcludedDNSDomains, covers) {
		return false
	}
	return len(ca.PermittedDNSDomains) == 0 || slices.ContainsFunc(ca.PermittedDNSDomains, covers)
}
