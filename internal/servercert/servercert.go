// Package servercert keeps the server's own certificate and key: read from two
// PEM files, given to crypto/tls for each handshake, read again on demand.
//
// New refuses what cannot work (a file that cannot be read, a certificate
// without its key) with an error that names the file. Reload does the same and
// keeps the pair in use when the new one is bad, so that a renewal gone wrong
// never takes a running server down. What works but deserves a look (expired,
// not yet valid, a key that others may read) is in Warnings.
package servercert

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// Errors of New and Reload; each comes wrapped with the file's name.
var (
	ErrNoCertificate = errors.New("holds no PEM block CERTIFICATE")
	ErrNoKey         = errors.New("holds no PEM block PRIVATE KEY")
	ErrMismatch      = errors.New("the key does not belong to the certificate")
)

// Store holds the pair in use. Its methods may be called at once.
type Store struct {
	certFile, keyFile string
	now               func() time.Time
	pair              atomic.Pointer[tls.Certificate]
}

// New reads both files. The leaf comes first in certFile, then its issuers.
func New(certFile, keyFile string) (*Store, error) {
	s := &Store{certFile: certFile, keyFile: keyFile, now: time.Now}
	return s, s.Reload()
}

// Reload reads both files again. On an error the pair in use stays.
func (s *Store) Reload() error {
	pair, err := load(s.certFile, s.keyFile)
	if err != nil {
		return err
	}
	s.pair.Store(pair)
	return nil
}

// GetCertificate is for tls.Config. It fails only if no pair was ever loaded.
func (s *Store) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair := s.pair.Load()
	if pair == nil {
		return nil, fmt.Errorf("%s: no certificate loaded", s.certFile)
	}
	return pair, nil
}

// Warnings lists what works but deserves a look, one sentence each.
func (s *Store) Warnings() []string {
	var w []string
	if pair := s.pair.Load(); pair != nil {
		switch now := s.now(); {
		case now.After(pair.Leaf.NotAfter):
			w = append(w, fmt.Sprintf("%s: expired on %s", s.certFile, pair.Leaf.NotAfter.Format(time.DateOnly)))
		case now.Before(pair.Leaf.NotBefore):
			w = append(w, fmt.Sprintf("%s: not valid before %s", s.certFile, pair.Leaf.NotBefore.Format(time.DateOnly)))
		}
	}
	if info, err := os.Stat(s.keyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
		w = append(w, fmt.Sprintf("%s: everybody may read or write this key (mode %04o); 0600 or 0640 is safe", s.keyFile, info.Mode().Perm()))
	}
	return w
}

func load(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := read(certFile, ErrNoCertificate, "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("certificate %w", err)
	}
	keyPEM, err := read(keyFile, ErrNoKey, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("key %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, explain(certFile, keyFile, certPEM, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", certFile, err)
		}
	}
	return &pair, nil
}

// read returns the file's text when it holds a block of one of the types.
func read(file string, missing error, types ...string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err // "permission denied", without the path a second time
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s: %w", file, missing)
		}
		for _, t := range types {
			if block.Type == t {
				return text, nil
			}
		}
	}
}

// explain turns crypto/tls's error into one that names the file at fault.
func explain(certFile, keyFile string, certPEM []byte, err error) error {
	for rest := certPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, certErr := x509.ParseCertificate(block.Bytes); certErr != nil {
			return fmt.Errorf("certificate %s: %w", certFile, certErr)
		}
	}
	if isMismatch(err) {
		return fmt.Errorf("certificate %s and key %s: %w", certFile, keyFile, ErrMismatch)
	}
	return fmt.Errorf("key %s: %w", keyFile, err)
}

// isMismatch knows the two texts by which crypto/tls says that key and
// certificate are strangers; it has no typed error for it.
func isMismatch(err error) bool {
	switch err.Error() {
	case "tls: private key does not match public key", "tls: private key type does not match public key type":
		return true
	}
	return false
}
