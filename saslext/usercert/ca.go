package usercert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/pemfile"
)

// Errors of NewCA, ParseCA and Issue.
var (
	ErrNoCA         = errors.New("not the certificate of a CA")
	ErrMismatch     = errors.New("the key does not belong to the certificate")
	ErrOtherDomain  = errors.New("the CA may not vouch for this domain")
	ErrNotValid     = errors.New("the CA is not valid now")
	ErrNoLife       = errors.New("a certificate must end after it begins")
	ErrCannotVouch  = errors.New("a certificate of this CA would prove nobody")
	ErrNoDomainName = errors.New("no domain to make a CA for")
)

const (
	// skew is how long before now certificates begin: the relay's clock may be
	// behind ours, and usage 2 wants dates to be right.
	skew = time.Hour

	// maxCommonName is ub-common-name (RFC 5280 appendix A.1).
	maxCommonName = 64

	serialOctets = 16 // RFC 5280 4.1.2.2 allows 20
)

// Pair is a certificate with its issuers, and the certificate's key.
type Pair struct {
	Chain []*x509.Certificate // own certificate first
	Key   crypto.Signer
}

// CertPEM returns the chain.
func (p *Pair) CertPEM() []byte { return pemfile.EncodeCertificates(p.Chain...) }

// KeyPEM returns the key in PKCS #8, not encrypted.
func (p *Pair) KeyPEM() ([]byte, error) { return pemfile.EncodeKey(p.Key) }

// CA issues the certificates of a domain's users. Who has its key can be any of
// them.
type CA struct{ Pair }

// NewCA makes a CA for the users of one domain, valid from about now until
// notAfter. It can do as little else as a certificate can say: it signs no
// further CAs, names no other domain (RFC 5280 4.2.1.10), and vouches for TLS
// clients only.
func NewCA(domain dnsname.Name, now, notAfter time.Time) (*CA, error) {
	if domain.IsZero() {
		return nil, ErrNoDomainName
	}
	name := "User CA of " + domain.String()
	if len(name) > maxCommonName {
		name = "User CA"
	}
	key, t, err := draft(name, now, notAfter)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.MaxPathLenZero = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.PermittedDNSDomains, t.PermittedDNSDomainsCritical = []string{domain.String()}, true
	cert, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{Pair{[]*x509.Certificate{cert}, key}}, nil
}

// ParseCA reads a CA, its issuers behind it if it has any, and its key. It may
// come from other software, without name constraints.
func ParseCA(certs, key []byte) (*CA, error) {
	chain, err := pemfile.Certificates(certs)
	if err != nil {
		return nil, err
	}
	signer, err := pemfile.Key(key)
	if err != nil {
		return nil, err
	}
	cert := chain[0]
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return nil, ErrNoCA
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(public, cert.RawSubjectPublicKeyInfo) {
		return nil, ErrMismatch
	}
	return &CA{Pair{chain, signer}}, nil
}

// Domain returns the one domain that the CA's name constraints permit, the zero
// Name when they permit none or several.
func (ca *CA) Domain() dnsname.Name {
	permitted := ca.Chain[0].PermittedDNSDomains
	if len(permitted) != 1 {
		return dnsname.Name{}
	}
	domain, err := dnsname.Parse(permitted[0])
	if err != nil {
		return dnsname.Name{}
	}
	return domain
}

// draft makes a key and what all certificates have in common.
func draft(commonName string, now, notAfter time.Time) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	if !notAfter.After(now) {
		return nil, nil, ErrNoLife
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	serial := make([]byte, serialOctets)
	rand.Read(serial)                 // never fails
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of one length
	return key, &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-skew),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, nil
}

func sign(t, issuer *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, public, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
