// Package msgauth signs mail by DKIM (RFC 6376, RFC 8463). The idea: a message
// is signed in the name of the domain in its From field or not at all; whoever
// asks says which From addresses its author may use, and a key that fails is an
// error, never a message without its signature.
//
// Start with New and Signer.Sign, which reads a message as it comes and gives it
// back with the signatures on top: the header is kept in memory, the body is
// hashed on its way and kept in a file when it is large. Own does the same for
// short messages of our own. record.go has the DNS side of a key.
//
// Signatures are made by emersion/go-msgauth, but verified here: its verifier needs
// quadratic time for empty lines in the simple form, takes RSA keys of any length, and
// leaves goroutines behind when a message breaks off. Nor could a guard mend that its
// regular expression for b= also cuts the values of other tags, or that it overlooks
// the flags of a key.
package msgauth

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"dancemta/internal/dnsname"
)

// minRSA: verifiers may refuse shorter keys. RFC 8301 3.2
const minRSA = 2048

// maxKeys is how many signatures a message may get; verifiers look at few.
const maxKeys = 4

// Errors of New; each comes wrapped with the key's owner name.
var (
	ErrKeyKind  = errors.New("neither an Ed25519 nor an RSA key")
	ErrShortKey = errors.New("RSA key under 2048 bits")
	ErrTwice    = errors.New("two keys for one domain and selector")
	ErrMany     = fmt.Errorf("more than %d keys for one domain", maxKeys)
)

// Key signs for a domain.
type Key struct {
	Domain     dnsname.Name // the d= of the signature
	Selector   dnsname.Name // s=, under Domain's _domainkey
	Subdomains bool         // signs also for domains below Domain that have no keys of their own
	Key        crypto.Signer
}

// Owner is the name of the key's DNS record. RFC 6376 3.6.2.1
func (k Key) Owner() string { return k.Selector.String() + "._domainkey." + k.Domain.String() }

// Options of New.
type Options struct {
	Keys []Key
	Dir  string // for the bodies of large messages while they are signed; default the system's
}

// Signer signs. It never changes, so it may be used at once from many goroutines.
// A nil Signer has no keys.
type Signer struct {
	keys map[dnsname.Name][]Key // by Domain, in the order given
	dir  string
}

// New checks the keys and tries each.
func New(o Options) (*Signer, error) {
	s := &Signer{keys: map[dnsname.Name][]Key{}, dir: o.Dir}
	for _, k := range o.Keys {
		if err := s.add(k); err != nil {
			return nil, fmt.Errorf("dkim key %s: %w", k.Owner(), err)
		}
	}
	return s, nil
}

func (s *Signer) add(k Key) error {
	if k.Domain.IsZero() || k.Selector.IsZero() {
		return errors.New("no domain or no selector")
	}
	if err := CheckKey(k.Key); err != nil {
		return err
	}
	others := s.keys[k.Domain]
	for _, other := range others {
		if other.Selector == k.Selector {
			return ErrTwice
		}
	}
	if len(others) == maxKeys {
		return ErrMany
	}
	s.keys[k.Domain] = append(others, k)
	return nil
}

// CheckKey reports whether a key can sign, by signing something with it.
func CheckKey(key crypto.Signer) error {
	if key == nil {
		return ErrKeyKind
	}
	if _, err := algorithm(key.Public()); err != nil {
		return err
	}
	_, err := signDigest(key, make([]byte, crypto.SHA256.Size()))
	return err
}

// algorithm is the k= of a key's record.
func algorithm(public crypto.PublicKey) (string, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return "ed25519", nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return "", fmt.Errorf("%w: %d", ErrShortKey, k.N.BitLen())
		}
		return "rsa", nil
	}
	return "", ErrKeyKind
}

// signDigest signs a SHA-256 digest: RSA as RSASSA-PKCS1-v1_5 (RFC 6376 3.3.1),
// Ed25519 as if the digest were the message (RFC 8463 3).
func signDigest(key crypto.Signer, digest []byte) ([]byte, error) {
	hash := crypto.SHA256
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		hash = 0
	}
	return key.Sign(rand.Reader, digest, hash)
}

// Covers reports whether mail with From addresses of domain is signed, and as whom.
func (s *Signer) Covers(domain dnsname.Name) (signs dnsname.Name, ok bool) {
	keys := s.keysFor(domain)
	if len(keys) == 0 {
		return dnsname.Name{}, false
	}
	return keys[0].Domain, true
}

// keysFor returns the keys of domain, or those of the nearest domain above it
// that also signs for what is below.
func (s *Signer) keysFor(domain dnsname.Name) []Key {
	if s == nil || len(s.keys) == 0 || domain.IsZero() {
		return nil
	}
	if own := s.keys[domain]; len(own) > 0 {
		return own
	}
	for _, parent := domain.Cut(); !parent.IsZero(); _, parent = parent.Cut() {
		var keys []Key
		for _, k := range s.keys[parent] {
			if k.Subdomains {
				keys = append(keys, k)
			}
		}
		if len(keys) > 0 {
			return keys
		}
	}
	return nil
}

// Keys lists all keys by owner name.
func (s *Signer) Keys() []Key {
	if s == nil {
		return nil
	}
	var all []Key
	for _, keys := range s.keys {
		all = append(all, keys...)
	}
	slices.SortFunc(all, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Domain.String(), b.Domain.String()), cmp.Compare(a.Selector.String(), b.Selector.String()))
	})
	return all
}
