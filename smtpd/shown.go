package smtpd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"dancemta/daneclient"
	"dancemta/internal/maillog"
	"dancemta/saslext"
)

// shownByClient describes the certificate of a client refused with err.
func (s *session) shownByClient(err error) maillog.Shown {
	var e *daneclient.Error
	if !errors.As(err, &e) || e.Name.IsZero() {
		return s.shown(daneclient.Owner{}, "")
	}
	owner, _ := daneclient.FreeOwner(e.Name) // no owner, no record
	return s.shown(owner, "client "+e.Name.String())
}

// shownByUser does so for a login refused with err.
func (s *session) shownByUser(err error) maillog.Shown {
	var e *saslext.Error
	if !errors.As(err, &e) || e.Authenticated.IsZero() {
		return s.shown(daneclient.Owner{}, "")
	}
	var owner daneclient.Owner
	if e.Reason == saslext.Unproved { // for a stranger's chain no path is built, and no record would help him
		owner, _ = daneclient.UserOwner(e.Authenticated.Domain)
	}
	return s.shown(owner, "user "+e.Authenticated.ASCIIDomain())
}

// shown describes the certificate for the log: what came, what its owner would
// have to publish, and the words behind "dancemta explain" that show the rest.
func (s *session) shown(owner daneclient.Owner, who string) (m maillog.Shown) {
	if len(s.cred.Chain) == 0 {
		return m
	}
	sum := sha256.Sum256(s.cred.Chain[0].Raw)
	m.Leaf, m.SPKI = hex.EncodeToString(sum[:]), s.cred.KeyDigest()
	if e, err := owner.WouldMatch(s.cred.Chain, nil, s.opts.Now()); err == nil {
		m.WouldMatch = e.String()
	}
	if who != "" && harmless(who) && harmless(s.Name) {
		m.Explain = "dancemta explain " + who + " --listener " + s.Name
	}
	return m
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
