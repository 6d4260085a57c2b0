package smtpd

import (
	"crypto/tls"
	"errors"

	"dancemta/daneclient"
	"dancemta/saslext"
	"dancemta/saslext/door"
	"dancemta/smtpd/wire"
)

// Proved is the reason of a verdict that names somebody.
const Proved = "proved"

// Counters hear of what an operator wants to see as numbers. The methods are
// called from many goroutines at once, and sessions wait for them. No word that
// they get is a peer's.
type Counters interface {
	// Session hears of the first EHLO or HELO of a phase, in clear or under TLS.
	Session(k Kind, tls TLSVersion)
	// Client hears of verdicts about clients: Proved, or the word of the log.
	Client(source daneclient.Source, reason string)
	// Login hears the same of users; how is "external", "implicit", "proxy" or "plain".
	Login(how, reason string)
	Reply(code int)
	Wire(kind wire.Kind)
	// Accepted hears of a message that is in the queue, with its size there.
	Accepted(k Kind, size int64)
	// Signed hears of a message of a logged-in user: "signed", "unsigned"
	// without a key or the right to it, or "failed".
	Signed(result string)
	// Checked hears what came of judging a message; method is "spf", "dkim" or
	// "dmarc", result a word of RFC 8601 2.7.
	Checked(method, result string)
	// Filtered hears what the milters of a listener said; stage is "mail", "recipient"
	// or "message", verdict a word of verdictOf, or "skipped" for each milter that
	// failed and whose setting lets mail pass.
	Filtered(stage, verdict string)
	// OverQuota hears of a recipient that was refused for now because a quota is used
	// up: what it counts, and for whom each.
	OverQuota(of, each string)
}

// TLSVersion is a version as in tls.ConnectionState; 0 in clear.
type TLSVersion uint16

// String returns "none" or the number of the version.
func (v TLSVersion) String() string {
	switch v {
	case 0:
		return "none"
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return "other"
}

// noCounters count nothing.
type noCounters struct{}

func (noCounters) Session(Kind, TLSVersion)         {}
func (noCounters) Client(daneclient.Source, string) {}
func (noCounters) Login(string, string)             {}
func (noCounters) Reply(int)                        {}
func (noCounters) Wire(wire.Kind)                   {}
func (noCounters) Signed(string)                    {}
func (noCounters) Accepted(Kind, int64)             {}
func (noCounters) Checked(string, string)           {}
func (noCounters) Filtered(string, string)          {}
func (noCounters) OverQuota(string, string)         {}

// verdictWord is the reason of a verdict, which err is.
func verdictWord(err error) string {
	if err == nil {
		return Proved
	}
	return door.Word(err)
}

// countClient counts a verdict about the certificate as a client's.
func (s *session) countClient(err error) { s.front.countClient(s.cred, err) }

func (f *front) countClient(cred daneclient.Credential, err error) {
	source := daneclient.SourceCertificate
	if cred.Named {
		source = daneclient.SourceExtension
	}
	f.opts.Counters.Client(source, verdictWord(err))
}

// countLogin counts a login, but for a certificate that is no user's where nobody
// asked for one by AUTH.
func (s *session) countLogin(how string, err error) {
	if how == byImplicit && isNoUser(err) {
		return
	}
	s.opts.Counters.Login(s.toldHow(how), verdictWord(err))
}

func isNoUser(err error) bool {
	e, ok := errors.AsType[*saslext.Error](err)
	return ok && e.Reason == saslext.NoUser
}
