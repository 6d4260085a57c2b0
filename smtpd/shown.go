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

// shown describes for the log the certificate of a client or user refused with
// err: what came, what its owner would have to publish, and the command that
// shows the rest.
func (f *front) shown(cred daneclient.Credential, err error) (m maillog.Shown) {
	if len(cred.Chain) == 0 {
		return m
	}
	sum := sha256.Sum256(cred.Chain[0].Raw)
	m.Leaf, m.SPKI = hex.EncodeToString(sum[:]), cred.KeyDigest()
	owner, who := blamed(err)
	if e, err := owner.WouldMatch(cred.Chain, nil, f.opts.Now()); err == nil {
		m.WouldMatch = e.String()
	}
	if who != "" && harmless(who) && harmless(f.Name) {
		m.Explain = "dancemta explain " + who + " --listener " + f.Name + f.opts.ExplainFlags
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
