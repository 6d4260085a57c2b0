package smtpd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"

	"github.com/emersion/go-smtp"

	"dancemta/daneclient"
	"dancemta/internal/maillog"
	"dancemta/saslext/door"
	"dancemta/smtpd/milter"
	"dancemta/smtpd/policy"
)

// peer is what a session knows of its connection; *wire.Conn is one.
type peer interface {
	TLS() (tls.ConnectionState, bool)
	Session() string
	Context() context.Context
	Extended() bool
	Socket() net.Conn
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
}

// session is what go-smtp talks to from the first EHLO of a TLS phase to its
// end. The wire sees to it that its methods never overlap. RSET and a further
// EHLO end the transaction and keep the login (RFC 4954 4); STARTTLS makes a new
// session, to which nothing of this one is known (RFC 3207 4.2).
type session struct {
	*front
	conn   peer
	helo   func() string // what the peer called itself last
	log    maillog.Session
	remote netip.Addr
	local  netip.Addr

	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	checks sync.WaitGroup // goroutines of this session

	state     tls.ConnectionState
	secure    bool
	cred      daneclient.Credential
	certified bool // cred may give an identity

	told  told // by a proxy
	user  *userLogin
	check *clientCheck
	tx    *transaction
}

var _ smtp.Session = (*session)(nil)

func newSession(f *front, p peer, helo func() string) *session {
	s := &session{front: f, conn: p, helo: helo, remote: door.Addr(p.RemoteAddr()), local: door.Addr(p.LocalAddr())}
	s.log = maillog.Session{ID: p.Session(), Listener: f.Name, Peer: p.RemoteAddr().String()}
	s.ctx, s.cancel = context.WithCancel(p.Context())
	if s.state, s.secure = p.TLS(); s.secure {
		s.cred, s.certified = f.Names.Credential(s.state, s.remote)
	}
	f.opts.Counters.Session(f.Kind, TLSVersion(s.state.Version)) // the zero state is that of no TLS
	s.heed()
	if s.Kind == Relay {
		s.startCheck() // early, so that its end is seldom waited for
	}
	return s
}

// Reset ends the transaction (RFC 5321 4.1.1.5). The login stays.
func (s *session) Reset() {
	if s.tx != nil {
		s.tx.milters.Close()
	}
	s.tx = nil
}

// Logout ends the session: its look-ups are cancelled and waited for.
func (s *session) Logout() error {
	s.Reset()
	s.cancel()
	s.checks.Wait()
	return nil
}

// listener is this listener as the rules know it.
func (s *session) listener() policy.Listener {
	return policy.Listener{Name: s.Name, TakesClients: s.Kind == Relay}
}

// refusal is one refusal on its way to the log and to the peer.
type refusal struct {
	said                  milter.Verdict // of filterRefused and filterTrouble
	answer                answer
	command, sender, rcpt string
	identity              string // proved; the answers that name the caller show it
	rule, reason, detail  string // reason: the answer's own word if empty
	queueID               string
	about                 string // behind the reply
	err                   error  // for reason and detail
}

// refuse logs r and returns its reply.
func (s *session) refuse(r refusal) error {
	e := r.answer.reply(s.log.ID, r.toName())
	if r.answer == filterRefused || r.answer == filterTrouble {
		e = r.answer.worded(s.log.ID, r.said)
	}
	maillog.Rejected(s.opts.Logger, s.log, r.line(e))
	return e
}

// toName is what stands behind the reply: the caller's own identity where it is refused
// something that others may have.
func (r refusal) toName() string {
	if r.answer == senderNotOwned || r.answer == recipientRefused || r.answer == authorRefused {
		return r.identity
	}
	return r.about
}

// line is the form of r for the log.
func (r refusal) line(e *smtp.SMTPError) maillog.Refusal {
	if r.err != nil {
		r.detail = r.err.Error()
		r.reason = door.Word(r.err)
	}
	if r.reason == "" {
		r.reason = r.answer.word()
	}
	return maillog.Refusal{Command: r.command, Identity: r.identity, Rule: r.rule, Reason: r.reason,
		Detail: r.detail, Reply: codes(e), Sender: r.sender, Rcpt: r.rcpt, QueueID: r.queueID}
}

// rescue turns a panic into a temporary refusal: nothing was promised yet, and
// the other sessions go on. Methods of a session defer it.
func (s *session) rescue(command string, err *error) {
	if p := recover(); p != nil {
		maillog.Fault(s.opts.Logger, s.log, "panic in "+command, fmt.Errorf("%v\n%s", p, debug.Stack()))
		a := ownTrouble
		if command == "AUTH" {
			a = authTrouble
		}
		*err = a.reply(s.log.ID, "")
	}
}
