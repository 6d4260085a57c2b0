package usercert

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"dancemta/internal/dnsname"
)

// User says whom a certificate is for.
type User struct {
	UID      string // in normal form: see saslext.ParseIdentity
	Domain   dnsname.Name
	Shown    string    // what programs show where a user picks his certificate; no relay reads it
	NotAfter time.Time // cut to the end of the CA
}

// Issue makes a certificate with a new key. The pair's chain ends with the CA
// (and its issuers), which usage 2 wants to be sent (RFC 7671 5.2.2). A CA made
// by other software may forbid what a user needs; then Issue says so, instead
// of making a certificate that no relay takes.
func (ca *CA) Issue(u User, now time.Time) (*Pair, error) {
	issuer := ca.Chain[0]
	if d := ca.Domain(); !d.IsZero() && d != u.Domain {
		return nil, fmt.Errorf("%s: %w: it is that of %s", u.Domain, ErrOtherDomain, d)
	}
	if now.Before(issuer.NotBefore) || !now.Before(issuer.NotAfter) {
		return nil, fmt.Errorf("%w: it is from %s to %s", ErrNotValid, day(issuer.NotBefore), day(issuer.NotAfter))
	}
	if u.NotAfter.After(issuer.NotAfter) {
		u.NotAfter = issuer.NotAfter
	}
	names, err := Marshal(u.UID, u.Domain.String())
	if err != nil {
		return nil, err
	}
	key, t, err := draft(commonName(u), now, u.NotAfter)
	if err != nil {
		return nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtraExtensions = []pkix.Extension{names}
	leaf, err := sign(t, issuer, key.Public(), ca.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(issuer)
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannotVouch, err)
	}
	return &Pair{append([]*x509.Certificate{leaf}, ca.Chain...), key}, nil
}

// commonName is what programs show, unless it is too long for that.
func commonName(u User) string {
	if u.Shown != "" && len(u.Shown) <= maxCommonName {
		return u.Shown
	}
	return u.UID
}

// pkcs12Iterations slow down who guesses the password of a file that got lost.
// The 2048 that are customary do not; at this number a mail program still opens
// the file in the blink of an eye.
const pkcs12Iterations = 100_000

// PKCS12 returns the pair as mail programs import it: key, certificate and
// issuers, encrypted with a password by what OpenSSL 1.1.1, Java 12, Windows
// Server 2019 and their successors read.
func (p *Pair) PKCS12(password string) ([]byte, error) {
	data, err := pkcs12.Modern2023.WithIterations(pkcs12Iterations).Encode(p.Key, p.Chain[0], p.Chain[1:], password)
	if err != nil {
		return nil, fmt.Errorf("PKCS #12: %w", err)
	}
	return data, nil
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
