package rollover

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/servercert"
)

const (
	// serviceLabel stands before the name of a mail server (client-auth 2): its
	// certificate holds the name alone, so that it can be a server's too.
	serviceLabel = "_smtp-client"

	// backdated is for peers whose clock is slow and who look at dates, although
	// nobody has to: with a 3 1 1 record the record alone says how long a key is
	// good (RFC 7671 5.1).
	backdated = time.Hour
	// validYears is longer than any key should live, and ends before the dates
	// of small machines do (2106).
	validYears = 20

	// serialBits of a random serial number: positive and at most 20 octets.
	// RFC 5280 4.1.2.2
	serialBits = 127
)

// Pair is a key with its self-signed certificate, in PEM.
type Pair struct {
	Key, Certificate []byte
	SPKI             Digest
}

// NewPair makes a key (ECDSA P-256) and a certificate for an owner name. It
// fails with ErrName for a name that no certificate can claim: one without
// underscore label, or one of users or servers.
func NewPair(owner dnsname.Name, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: commonName(certified(owner))},
		DNSNames:     []string{certified(owner).String()},
		NotBefore:    now.Add(-backdated), NotAfter: now.AddDate(validYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, err
	}
	if names, err := daneclient.CandidateNames(cert); err != nil || len(names) != 1 || names[0] != owner {
		return Pair{}, fmt.Errorf("%s: %w", owner, ErrName)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		SPKI:        sha256.Sum256(cert.RawSubjectPublicKeyInfo),
	}, nil
}

// certified is the dNSName that claims an owner: D of _smtp-client.D, else the
// owner itself.
func certified(owner dnsname.Name) dnsname.Name {
	first, rest := owner.Cut()
	if first == serviceLabel && !rest.HasUnderscore() && strings.Contains(rest.String(), ".") {
		return rest
	}
	return owner
}

// commonName is for people who read a list of certificates; it has a limit of
// its own. RFC 5280 A.1: ub-common-name
func commonName(n dnsname.Name) string {
	const limit = 64
	if len(n.String()) > limit {
		return ""
	}
	return n.String()
}

// readPair reads a pair from disk and demands that both belong together.
func readPair(certFile, keyFile string) (Digest, error) {
	s, err := servercert.New(certFile, keyFile)
	if err != nil {
		return Digest{}, err
	}
	pair, err := s.GetCertificate(nil)
	if err != nil {
		return Digest{}, err
	}
	return sha256.Sum256(pair.Leaf.RawSubjectPublicKeyInfo), nil
}
