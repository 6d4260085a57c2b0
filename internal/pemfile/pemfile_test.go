package pemfile_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

	"dancemta/internal/lab"
	"dancemta/internal/pemfile"
)

func block(kind string, der []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestCertificates(t *testing.T) {
	c := lab.NewCA("ca", lab.CAOptions{}).Issue(lab.LeafOptions{Names: []string{"a.test"}})
	text := pemfile.EncodeCertificates(c.Chain...)
	mixed := append(append([]byte("subject=x\n"), c.KeyPEM()...), text...)
	for name, in := range map[string][]byte{"PEM": text, "behind text and a key": mixed} {
		got, err := pemfile.Certificates(in)
		if err != nil || len(got) != 2 || !got[0].Equal(c.Chain[0]) || !got[1].Equal(c.Chain[1]) {
			t.Errorf("%s: %d certificates, %v", name, len(got), err)
		}
	}
	if got, err := pemfile.Certificates(c.Leaf().Raw); err != nil || len(got) != 1 || !got[0].Equal(c.Leaf()) {
		t.Errorf("DER: %v, %v", got, err)
	}
	for name, in := range map[string][]byte{"nothing": nil, "text": []byte("hello\n"), "key alone": c.KeyPEM()} {
		if _, err := pemfile.Certificates(in); !errors.Is(err, pemfile.ErrNoCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := append(bytes.Clone(text), block("CERTIFICATE", []byte{0x30, 0}, nil)...)
	if _, err := pemfile.Certificates(broken); err == nil || err.Error()[:14] != "certificate 3:" {
		t.Errorf("broken one: %v", err)
	}
}

func TestKeys(t *testing.T) {
	ec := lab.NewKey().(*ecdsa.PrivateKey)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key crypto.Signer) []byte {
		text, err := pemfile.EncodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, c := range []struct {
		name string
		text []byte
		key  crypto.Signer
		kind string
	}{
		{"EC", pkcs8(ec), ec, "ECDSA P-256"},
		{"EC of SEC 1", block("EC PRIVATE KEY", sec1, nil), ec, "ECDSA P-256"},
		{"RSA", pkcs8(rsaKey), rsaKey, "RSA 2048"},
		{"RSA of PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), rsaKey, "RSA 2048"},
		{"Ed25519", pkcs8(ed), ed, "Ed25519"},
	} {
		key, err := pemfile.Key(c.text)
		if err != nil || !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.key.Public()) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := pemfile.KeyName(key.Public()); got != c.kind {
			t.Errorf("%s: %q", c.name, got)
		}
		want, err := x509.MarshalPKIXPublicKey(c.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{c.text, block("PUBLIC KEY", want, nil)} {
			if spki, err := pemfile.Public(text); err != nil || !bytes.Equal(spki, want) {
				t.Errorf("%s: public part %x, %v", c.name, spki, err)
			}
		}
	}
}

func TestKeysRefused(t *testing.T) {
	old := &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}}
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"nothing":       {nil, pemfile.ErrNoKey},
		"certificate":   {block("CERTIFICATE", []byte{1}, nil), pemfile.ErrNoKey},
		"encrypted":     {block("ENCRYPTED PRIVATE KEY", []byte{1}, nil), pemfile.ErrEncrypted},
		"encrypted PEM": {pem.EncodeToMemory(old), pemfile.ErrEncrypted},
	} {
		if _, err := pemfile.Key(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: key: %v", name, err)
		}
		if _, err := pemfile.Public(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: public: %v", name, err)
		}
	}
	for _, kind := range []string{"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY"} {
		if _, err := pemfile.Public(block(kind, []byte{0x30, 0}, nil)); err == nil {
			t.Errorf("broken %s was read", kind)
		}
	}
}
