package daneclient

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/netip"

	"dancemta/daneclient/clientid"
	"dancemta/internal/dnsname"
)

// Credential is what a peer showed in its TLS handshake. Its possession of the
// leaf's private key is proved already: only a finished handshake makes one.
type Credential struct {
	Chain   []*x509.Certificate // leaf first, as presented
	Version uint16              // tls.VersionTLS13
	Resumed bool
	Peer    netip.Addr

	// Named says that the peer told its name by dane_clientid. Then Name is the
	// only one that it can have, and the certificate is not asked for another.
	Named   bool
	Name    dnsname.Name
	nameErr error // why Name is none

	extensionOnly bool // who did not tell a name has none
}

// Sources says where a listener takes the names of clients from. Who tells a
// name by the extension is judged by that one alone.
type Sources struct {
	Extension   uint16 // type of the dane_clientid extension; 0: nobody is asked
	Certificate bool   // the dNSName of the certificate, see CandidateNames
}

// FromState is Credential for servers that take names from certificates only.
func FromState(s tls.ConnectionState, peer netip.Addr) (Credential, bool) {
	return Sources{Certificate: true}.Credential(s, peer)
}

// Credential returns the credential of a finished handshake. It reports false
// when there can be no identity: the handshake is not complete (CertificateVerify
// may still fail), the version is below TLS 1.3, the session was resumed (the
// chain then came out of a ticket and the records may be gone since), or no
// certificate came.
func (from Sources) Credential(s tls.ConnectionState, peer netip.Addr) (Credential, bool) {
	cred := Credential{
		Chain: s.PeerCertificates, Version: s.Version, Resumed: s.DidResume, Peer: peer.Unmap(),
		extensionOnly: !from.Certificate,
	}
	if !s.HandshakeComplete || cred.check() != nil {
		return Credential{}, false
	}
	if from.Extension != 0 {
		var data []byte
		if data, cred.Named = clientid.FromState(s, from.Extension); cred.Named {
			cred.Name, cred.nameErr = clientid.Parse(data)
		}
	}
	return cred, true
}

// NameError is what can be said against a name told by dane_clientid before any
// rule or query; nil when nothing can, or when none was told. The domain of
// _user.D must be the certificate's one dNSName.
func (c Credential) NameError() *Error {
	switch {
	case !c.Named:
		return nil
	case c.nameErr != nil || c.Name.IsZero():
		return &Error{Reason: BadClientName, Err: c.nameErr}
	}
	if domain, ok := userDomain(c.Name); ok && !soleName(c.Chain[0], domain) {
		return &Error{Reason: NameMismatch, Name: c.Name, Detail: "the domain is not the certificate's one dNSName"}
	}
	return nil
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
