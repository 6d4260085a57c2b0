package smtpd

import (
	"errors"
	"slices"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/maillog"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/proxy"
)

const (
	// byProxy is how a user came to be logged in whom a proxy told us, by AUTH or by
	// MAIL alone.
	byProxy = "proxy"
	// toldTime is how long an identity that a proxy told is good: as long as one that
	// DNS proved at the most. It cannot be asked for again, so that the peer must come
	// anew.
	toldTime = time.Hour
)

// sourceProxy is where the name of a client comes from that a proxy told.
const sourceProxy daneclient.Source = byProxy

// errToldOld is temporary, since the next connection is judged anew.
var errToldOld = errors.New("what the proxy told is too old")

// told is the identity that a proxy vouches for: it has proved it, and we have not.
type told struct {
	proxy.Told
	until time.Time
}

// believes reports whether identities are told here. TLS then ends at the proxy: what
// a peer could show in one of our own would be a second identity.
func (l Listener) believes() bool {
	return slices.ContainsFunc(l.Proxies, func(s proxy.Source) bool { return len(s.Identities) > 0 })
}

// allowsTold is the allow list for what a proxy tells.
func (f *front) allowsTold(t proxy.Told) bool {
	rules := f.opts.Rules()
	l := policy.Listener{Name: f.Name, TakesClients: f.Kind == Relay}
	if t.User.IsZero() {
		return rules.AllowsClient(l, t.Client)
	}
	return f.TakesUsers(rules) && rules.AllowsUser(l, t.User)
}

// heed takes over what the proxy told, and writes it down.
func (s *session) heed() {
	conn, ok := s.conn.Socket().(*proxy.Conn)
	if !ok || !s.believes() {
		return
	}
	s.told = told{conn.Told(), s.opts.Now().Add(toldTime)}
	if !s.told.Client.IsZero() { // a user is logged in when he wants to be
		s.opts.Counters.Client(sourceProxy, Proved)
		maillog.Client(s.opts.Logger, s.log, s.told.Client.String(), byProxy, "")
	}
}

// toldHow is how a user came to be logged in, for log and counters.
func (s *session) toldHow(how string) string {
	if s.told.User.IsZero() {
		return how
	}
	return byProxy
}

// toldClient is the client whom the proxy told.
func (s *session) toldClient() (daneclient.Client, error) {
	if !s.opts.Now().Before(s.told.until) {
		return daneclient.Client{}, errToldOld
	}
	return daneclient.Client{Name: s.told.Client, Source: sourceProxy, Until: s.told.until}, nil
}
