package smtpd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/lab"
	"dancemta/saslext"
)

// What is foretold is what sessions say; the id alone is another one.
func TestForetoldIsSaid(t *testing.T) {
	said := func(s string) string { return strings.Replace(s, "[SESSION001]", "["+place+"]", 1) }
	for _, reason := range []daneclient.Reason{daneclient.NoMatch, daneclient.NoRecord, daneclient.Insecure, daneclient.BogusDNS, daneclient.FailedDNS, daneclient.Overloaded} {
		cause := &daneclient.Error{Reason: reason}

		w := newWorld(t)
		refused(w.verifier, reason)
		k := w.talk("mx", clientPeer(device))
		k.mail("a@partner.test")
		if got, want := said(k.rcpt("a@remote.test")), (Listener{Kind: Relay}).ClientReply(daneclient.Credential{}, cause); got != want {
			t.Errorf("%v at RCPT: %q, foretold %q", reason, got, want)
		}

		w = newWorld(t)
		refused(w.verifier, reason)
		k = w.talk("sub", userPeer("rick"))
		if got, want := said(k.auth("")), LoginReply(&saslext.Error{Reason: saslext.Unproved, Err: cause}); got != want {
			t.Errorf("%v at AUTH: %q, foretold %q", reason, got, want)
		}
	}
}

func TestForetold(t *testing.T) {
	both := daneclient.Sources{Extension: 65500, Certificate: true}
	relay, abort := Listener{Names: both}, Listener{Names: both, Abort: true}
	named := daneclient.Credential{Named: true}
	noMatch, mismatch := &daneclient.Error{Reason: daneclient.NoMatch}, &daneclient.Error{Reason: daneclient.NameMismatch}
	const (
		denied = "550 5.7.1 Relaying denied [session id]"
		later  = "451 4.7.5 Cannot verify your certificate now, try again later [session id]"
		login  = "530 5.7.0 Authentication required [session id]"
		alert  = "TLS alert 40 (handshake failure)"
	)
	for _, c := range []struct {
		name     string
		listener Listener
		cred     daneclient.Credential
		err      error
		want     string
	}{
		{"by certificate", relay, daneclient.Credential{}, noMatch, denied},
		{"named", relay, named, noMatch, denied},
		{"named, and the certificate is for another", relay, named, mismatch, alert},
		{"named, failures abort", abort, named, noMatch, alert},
		{"by certificate, failures abort for those who told a name", abort, daneclient.Credential{}, noMatch, denied},
		{"a name told where nobody asks for one", Listener{Abort: true}, named, mismatch, denied},
		{"required", Listener{ClientCertificates: Require, Names: both}, daneclient.Credential{}, noMatch, login},
		{"required, failures abort", Listener{ClientCertificates: Require, Names: both, Abort: true}, daneclient.Credential{}, noMatch, alert},
		{"required by the extension alone", Listener{ClientCertificates: Require, Names: daneclient.Sources{Extension: 65500}}, daneclient.Credential{}, noMatch, alert},
		{"submission", Listener{Kind: Submission}, daneclient.Credential{}, noMatch, login},
		{"unknown trouble", relay, daneclient.Credential{}, errors.New("odd"), later},
		{"unknown trouble, failures abort", abort, named, errors.New("odd"), alert},
	} {
		if got := c.listener.ClientReply(c.cred, c.err); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// The log line of a refused login shows what came and what to do, but advises no
// record to whom no rule lets in: for him no path is built either.
func TestRefusedLoginIsInTheLog(t *testing.T) {
	w := newWorld(t)
	refused(w.verifier, daneclient.NoMatch)
	from, to := start.Add(-time.Hour), start.Add(time.Hour)
	ca := lab.NewCA("users", lab.CAOptions{NotBefore: from, NotAfter: to})
	login := func(uid, domain string) string {
		cred := ca.Issue(lab.LeafOptions{Names: []string{domain}, UIDs: []string{uid}, NotBefore: from, NotAfter: to})
		before := len(w.log.String())
		w.talk("sub", certPeer(cred.Chain...)).auth("")
		return w.log.String()[before:]
	}
	log := login("rick", "partner.test")
	for _, want := range []string{
		`msg="login refused" session=SESSION001 listener=sub peer=192.0.2.7:4444 reason=no-match`, " leaf_sha256=", " spki_sha256=",
		`would_match="_user.partner.test. 3600 IN ` + lab.TLSA(2, 0, 1, ca.Certificate) + `"`,
		`explain="dancemta explain user rick@partner.test --listener sub"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	}
	if log := login("rick", "stranger.test"); !strings.Contains(log, "reason=not-allowed") || strings.Contains(log, "would_match") {
		t.Errorf("a stranger:\n%s", log)
	}
	if log := login("rick|reboot", "partner.test"); !strings.Contains(log, "reason=no-match") || strings.Contains(log, "explain") {
		t.Errorf("a uid that a shell would obey:\n%s", log)
	}
}
