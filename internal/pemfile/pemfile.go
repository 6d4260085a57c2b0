// Package pemfile reads and writes certificates and keys as PEM text. A single
// certificate may also come as bare DER, as Windows writes it.
package pemfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Errors of the readers.
var (
	ErrNoCertificate = errors.New("no certificate in it")
	ErrNoKey         = errors.New("no key in it")
	ErrEncrypted     = errors.New("the key is encrypted: take its password off first, such as by openssl pkey -in FILE -out NEW")
)

// The types of PEM blocks (RFC 7468).
const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
	blockPublic      = "PUBLIC KEY"
)

// Certificates returns all certificates, in their order.
func Certificates(text []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	blocks := blocksOf(text)
	for _, b := range blocks {
		if b.Type != blockCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(found)+1, err)
		}
		found = append(found, cert)
	}
	if len(blocks) == 0 {
		if cert, err := x509.ParseCertificate(text); err == nil {
			found = append(found, cert)
		}
	}
	if len(found) == 0 {
		return nil, ErrNoCertificate
	}
	return found, nil
}

// Key returns the first private key.
func Key(text []byte) (crypto.Signer, error) {
	for _, b := range blocksOf(text) {
		var key any
		var err error
		switch b.Type {
		case blockKey:
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, ErrEncrypted
		default:
			continue
		}
		if b.Headers["DEK-Info"] != "" { // RFC 1421 4.6.1.3: PEM's own encryption
			return nil, ErrEncrypted
		}
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("key: one that cannot sign (%T)", key)
		}
		return signer, nil
	}
	return nil, ErrNoKey
}

// Public returns the SubjectPublicKeyInfo of the first key, private or public.
func Public(text []byte) ([]byte, error) {
	for _, b := range blocksOf(text) {
		if b.Type != blockPublic {
			continue
		}
		if _, err := x509.ParsePKIXPublicKey(b.Bytes); err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		return b.Bytes, nil
	}
	key, err := Key(text)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(key.Public())
}

// EncodeCertificates writes certificates one after the other.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: blockCertificate, Bytes: c.Raw}) // a buffer never fails
	}
	return b.Bytes()
}

// EncodeKey writes a private key in PKCS #8.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// KeyName describes a public key for people: "ECDSA P-256", "RSA 2048".
func KeyName(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "of a kind that is not known"
}

func blocksOf(text []byte) []*pem.Block {
	var found []*pem.Block
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			return found
		}
		found, text = append(found, b), rest
	}
}
