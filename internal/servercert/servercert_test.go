package servercert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair makes a self-signed certificate named cn and writes it and its key.
func writePair(t *testing.T, dir, cn string, notAfter time.Time) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn},
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter, DNSNames: []string{cn}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, cn+".pem"), filepath.Join(dir, cn+".key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return cert, key
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, text)
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a.test", time.Now().Add(time.Hour))
	_, otherKey := writePair(t, dir, "b.test", time.Now().Add(time.Hour))
	broken := filepath.Join(dir, "broken.pem")
	write(t, broken, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no DER")}))
	badKey := filepath.Join(dir, "bad.key")
	write(t, badKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no DER")}))
	missing := filepath.Join(dir, "missing.pem")

	for _, c := range []struct {
		name, cert, key string
		is              error
		words           []string
	}{
		{"certificate missing", missing, key, fs.ErrNotExist, []string{"certificate ", missing}},
		{"key missing", cert, missing, fs.ErrNotExist, []string{"key ", missing}},
		{"a folder", dir, key, nil, []string{dir, "is a directory"}},
		{"no certificate inside", key, key, ErrNoCertificate, []string{key}},
		{"no key inside", cert, cert, ErrNoKey, []string{cert}},
		{"key of another", cert, otherKey, ErrMismatch, []string{cert, otherKey}},
		{"broken certificate", broken, key, nil, []string{"certificate " + broken}},
		{"broken key", cert, badKey, nil, []string{"key " + badKey}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.cert, c.key)
			if err == nil {
				t.Fatal("no error")
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
}

func TestReloadKeepsTheOldPairOnError(t *testing.T) {
	dir := t.TempDir()
	certA, keyA := writePair(t, dir, "a.test", time.Now().Add(time.Hour))
	certB, keyB := writePair(t, dir, "b.test", time.Now().Add(time.Hour))
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	copyFile(t, cert, certA)
	copyFile(t, key, keyA)
	s, err := New(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		pair, err := s.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.DNSNames[0]
	}

	copyFile(t, cert, certB) // half of a renewal
	if err := s.Reload(); !errors.Is(err, ErrMismatch) {
		t.Fatalf("reload of half a renewal: %v", err)
	}
	if got := names(); got != "a.test" {
		t.Fatalf("after a failed reload %s is served", got)
	}
	copyFile(t, key, keyB)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := names(); got != "b.test" {
		t.Fatalf("after a reload %s is served", got)
	}
}

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "old.test", time.Now().Add(-time.Hour))
	s, err := New(cert, key)
	if err != nil {
		t.Fatal("an expired certificate must load:", err)
	}
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "expired on") {
		t.Errorf("warnings %q", w)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if w := s.Warnings(); len(w) != 2 || !strings.Contains(w[1], "mode 0644") {
		t.Errorf("warnings %q", w)
	}
}

func TestEmptyStoreServesNothing(t *testing.T) {
	if _, err := new(Store).GetCertificate(nil); err == nil {
		t.Error("an empty store gave a certificate")
	}
}
