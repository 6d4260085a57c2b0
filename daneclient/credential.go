package daneclient

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/netip"
)

// Credential is what a peer showed in its TLS handshake. Its possession of the
// leaf's private key is proved already: only a finished handshake makes one.
type Credential struct {
	Chain   []*x509.Certificate // leaf first, as presented
	Version uint16              // tls.VersionTLS13
	Resumed bool
	Peer    netip.Addr
}

// FromState returns the credential of a finished handshake. It reports false
// when there can be no identity: the handshake is not complete (CertificateVerify
// may still fail), the version is below TLS 1.3, the session was resumed (the
// chain then came out of a ticket and the records may be gone since), or no
// certificate came.
func FromState(s tls.ConnectionState, peer netip.Addr) (Credential, bool) {
	cred := Credential{Chain: s.PeerCertificates, Version: s.Version, Resumed: s.DidResume, Peer: peer.Unmap()}
	if !s.HandshakeComplete {
		return Credential{}, false
	}
	if cred.check() != nil {
		return Credential{}, false
	}
	return cred, true
}

// check refuses a credential that can prove no identity.
func (c Credential) check() error {
	if c.Version != tls.VersionTLS13 {
		return &Error{Reason: WeakTLS, Detail: tls.VersionName(c.Version)}
	}
	if c.Resumed {
		return &Error{Reason: Resumed}
	}
	if len(c.Chain) == 0 || c.Chain[0] == nil {
		return &Error{Reason: NoCertificate}
	}
	return nil
}

// KeyDigest returns the SHA-256 of the leaf's public key in hex, for log lines:
// it is what a 3 1 1 record holds. "" when there is no leaf.
func (c Credential) KeyDigest() string {
	if len(c.Chain) == 0 || c.Chain[0] == nil {
		return ""
	}
	sum := sha256.Sum256(c.Chain[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
