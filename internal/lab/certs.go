package lab

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Validity of certificates whose options name no dates.
const (
	certBefore = time.Hour
	certAfter  = 30 * 24 * time.Hour
)

// CAOptions say what kind of CA to make. The zero value is a root in good
// order: a CA by basicConstraints, keyCertSign, no path length.
type CAOptions struct {
	NotBefore, NotAfter time.Time     // default an hour before time.Now and 30 days after
	PathLen             *int          // pathLenConstraint; nil: none
	NotCA               bool          // basicConstraints say that it is none
	NoConstraints       bool          // no basicConstraints at all
	KeyUsage            x509.KeyUsage // default keyCertSign and cRLSign
	NoKeyUsage          bool          // no keyUsage extension
	Key                 crypto.Signer // nil: a new ECDSA P-256 key
	Parent              *CA           // who signs it; nil: itself
}

// CA is a certificate authority.
type CA struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	parent      *CA
}

// NewCA makes a CA with this common name.
func NewCA(name string, o CAOptions) *CA {
	t := template(name, o.NotBefore, o.NotAfter)
	t.BasicConstraintsValid, t.IsCA = !o.NoConstraints, !o.NotCA && !o.NoConstraints
	if o.PathLen != nil && t.IsCA {
		t.MaxPathLen, t.MaxPathLenZero = *o.PathLen, *o.PathLen == 0
	}
	t.KeyUsage = o.KeyUsage
	if t.KeyUsage == 0 && !o.NoKeyUsage {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	key := orNewKey(o.Key)
	return &CA{Certificate: sign(t, key.Public(), o.Parent, key), Key: key, parent: o.Parent}
}

// Chain returns the CA's certificate and those of its issuers, the root last.
func (ca *CA) Chain() []*x509.Certificate {
	var chain []*x509.Certificate
	for c := ca; c != nil; c = c.parent {
		chain = append(chain, c.Certificate)
	}
	return chain
}

// PEM returns the CA's certificate alone.
func (ca *CA) PEM() []byte { return certPEM(ca.Certificate) }

// LeafOptions say what stands in an end certificate.
type LeafOptions struct {
	Names               []string           // dNSNames, in this order
	UIDs                []string           // otherNames of type uid, as UTF8String, after the dNSNames
	OtherNames          []OtherName        // after those
	SAN                 []byte             // the whole value of subjectAltName, in place of all the above
	CriticalSAN         bool               // marks subjectAltName critical
	CommonName          string             // "" for an empty subject
	EKU                 []x509.ExtKeyUsage // nil: no extendedKeyUsage
	KeyUsage            x509.KeyUsage      // default digitalSignature
	NotBefore, NotAfter time.Time          // default an hour before time.Now and 30 days after
	Key                 crypto.Signer      // nil: a new ECDSA P-256 key
}

// Issue makes an end certificate. Its credential holds the chain up to and
// including the root, as usage 2 wants. RFC 7671 5.2.2
func (ca *CA) Issue(o LeafOptions) Credential {
	key := orNewKey(o.Key)
	leaf := sign(o.template(), key.Public(), ca, nil)
	return Credential{Chain: append([]*x509.Certificate{leaf}, ca.Chain()...), Key: key}
}

// SelfSigned makes an end certificate that its own key signs.
func SelfSigned(o LeafOptions) Credential {
	key := orNewKey(o.Key)
	return Credential{Chain: []*x509.Certificate{sign(o.template(), key.Public(), nil, key)}, Key: key}
}

func (o LeafOptions) template() *x509.Certificate {
	t := template(o.CommonName, o.NotBefore, o.NotAfter)
	t.BasicConstraintsValid = true
	t.ExtKeyUsage = o.EKU
	t.KeyUsage = o.KeyUsage
	if t.KeyUsage == 0 {
		t.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if san := o.san(); san != nil {
		t.ExtraExtensions = []pkix.Extension{{Id: oidSAN, Critical: o.CriticalSAN, Value: san}}
	}
	return t
}

// Credential is a certificate chain, leaf first, and the leaf's key.
type Credential struct {
	Chain []*x509.Certificate
	Key   crypto.Signer
}

// Leaf returns the end certificate.
func (c Credential) Leaf() *x509.Certificate { return c.Chain[0] }

// TLSCertificate returns the credential as package tls takes it.
func (c Credential) TLSCertificate() tls.Certificate {
	t := tls.Certificate{PrivateKey: c.Key, Leaf: c.Leaf()}
	for _, cert := range c.Chain {
		t.Certificate = append(t.Certificate, cert.Raw)
	}
	return t
}

// CertPEM returns the chain.
func (c Credential) CertPEM() []byte { return certPEM(c.Chain...) }

// KeyPEM returns the key in PKCS #8.
func (c Credential) KeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		panic(fmt.Sprintf("lab: key: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TLSA returns the type and the data of a record that publishes a certificate,
// such as "TLSA 3 1 1 ab12…", for Zone.Add behind an owner. RFC 6698 2.1
func TLSA(usage, selector, matching uint8, cert *x509.Certificate) string {
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		h := sha256.Sum256(data)
		data = h[:]
	case 2:
		h := sha512.Sum512(data)
		data = h[:]
	}
	return fmt.Sprintf("TLSA %d %d %d %s", usage, selector, matching, hex.EncodeToString(data))
}

// NewKey makes an ECDSA P-256 key.
func NewKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("lab: key: %v", err))
	}
	return key
}

func orNewKey(key crypto.Signer) crypto.Signer {
	if key != nil {
		return key
	}
	return NewKey()
}

func template(name string, from, to time.Time) *x509.Certificate {
	if from.IsZero() {
		from = time.Now().Add(-certBefore)
	}
	if to.IsZero() {
		to = time.Now().Add(certAfter)
	}
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(append([]byte{1}, noise(15)...)), // positive, 16 octets
		NotBefore:    from, NotAfter: to,
	}
	if name != "" {
		t.Subject = pkix.Name{CommonName: name}
	}
	return t
}

// sign makes the certificate; without an issuer its own key signs.
func sign(t *x509.Certificate, public crypto.PublicKey, issuer *CA, own crypto.Signer) *x509.Certificate {
	parent, key := t, own
	if issuer != nil {
		parent, key = issuer.Certificate, issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		panic(fmt.Sprintf("lab: certificate %s: %v", t.Subject, err))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("lab: certificate %s: %v", t.Subject, err))
	}
	return cert
}

func certPEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer never fails
	}
	return b.Bytes()
}
