package door

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/saslext"
)

// DecisionTime bounds every judgement of a certificate. Verifier and resolver
// have shorter bounds of their own; this one holds when those fail, and stays
// below the 5 minutes that a client waits (RFC 5321 4.5.3.2.3).
const DecisionTime = 30 * time.Second

// Bounded gives each proof DecisionTime. It cannot be the time of the whole
// exchange, in which the client may think for minutes.
type Bounded struct{ Anchorer saslext.Anchorer }

// Anchored asks the inner one.
func (b Bounded) Anchored(ctx context.Context, owner dnsname.Name, cred daneclient.Credential) (daneclient.Anchor, error) {
	ctx, cancel := context.WithTimeout(ctx, DecisionTime)
	defer cancel()
	return b.Anchorer.Anchored(ctx, owner, cred)
}

// Permanent reports whether err states that this certificate gives no identity.
// Unknown errors do not.
func Permanent(err error) bool {
	var user *saslext.Error
	if errors.As(err, &user) {
		return !user.Temporary()
	}
	var client *daneclient.Error
	return errors.As(err, &client) && !client.Temporary()
}

// Word is the stable word of err for the log.
func Word(err error) string {
	var client *daneclient.Error
	if errors.As(err, &client) {
		return client.Reason.String()
	}
	var user *saslext.Error
	if errors.As(err, &user) {
		return user.Reason.String()
	}
	return "unknown"
}

// NoCredential says why nothing that a peer showed can be judged; secure: there is
// TLS at all.
func NoCredential(state tls.ConnectionState, secure bool) error {
	switch {
	case secure && state.DidResume:
		return &daneclient.Error{Reason: daneclient.Resumed}
	case secure && state.Version != tls.VersionTLS13 && len(state.PeerCertificates) > 0:
		return &daneclient.Error{Reason: daneclient.WeakTLS}
	}
	return &daneclient.Error{Reason: daneclient.NoCertificate}
}

// Show describes for the log certificates that were refused.
type Show struct {
	Listener string
	Flags    string // behind the "dancemta explain" command
	Now      func() time.Time
}

// Shown is the certificate behind a refusal, so that a log line tells whether the
// wrong key came, and what to do if it was the right one.
type Shown struct {
	Leaf       string // SHA-256 of the certificate, in hex
	SPKI       string // SHA-256 of its public key, in hex
	WouldMatch string // the TLSA record that would, as a line of a zone file; "" where none would
	Explain    string // the command that shows each step
}

// Shown describes the certificate of a client or user refused with err: what came,
// what its owner would have to publish, and the command that shows the rest.
func (s Show) Shown(cred daneclient.Credential, err error) (m Shown) {
	if len(cred.Chain) == 0 {
		return m
	}
	sum := sha256.Sum256(cred.Chain[0].Raw)
	m.Leaf, m.SPKI = hex.EncodeToString(sum[:]), cred.KeyDigest()
	owner, who := blamed(err)
	if e, err := owner.WouldMatch(cred.Chain, nil, s.Now()); err == nil {
		m.WouldMatch = e.String()
	}
	if who != "" && harmless(who) && harmless(s.Listener) {
		m.Explain = "dancemta explain " + who + " --listener " + s.Listener + s.Flags
	}
	return m
}

// blamed returns whom an error is about, in the words of "dancemta explain", and
// where a record would help; nothing where it does not say.
func blamed(err error) (owner daneclient.Owner, who string) {
	var user *saslext.Error
	var client *daneclient.Error
	switch {
	case errors.As(err, &user):
		if user.Authenticated.IsZero() {
			return owner, ""
		}
		if user.Reason == saslext.Unproved { // for a stranger's chain no path is built, and no record would help him
			owner, _ = daneclient.UserOwner(user.Authenticated.Domain)
		}
		return owner, "user " + user.Authenticated.ASCIIDomain()
	case errors.As(err, &client) && !client.Name.IsZero():
		owner, _ = daneclient.FreeOwner(client.Name) // names of other kinds have no record that would help
		return owner, "client " + client.Name.String()
	}
	return owner, ""
}

// harmless reports whether a text may be pasted into a shell as it is: uids of
// strangers may hold any sign, and a word that begins with - would be a flag.
func harmless(s string) bool {
	for word := range strings.SplitSeq(s, " ") {
		if word == "" || word[0] == '-' || strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@") != "" {
			return false
		}
	}
	return true
}
