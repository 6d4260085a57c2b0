package ldapbridge

import (
	"errors"
	"net"
	"time"

	"dancemta/internal/crowd"
	"dancemta/internal/maillog"
	"dancemta/ldapbridge/message"
)

// Event is something that an operator may want to see of connections; its String is a
// stable word for logs and metrics.
type Event uint8

// The events.
const (
	accepted          Event = iota + 1 // a connection began
	acceptFailed                       // the listener gave an error; it is tried again
	tooMany                            // refused at the door
	tooManyOfAddress                   // refused at the door: one address has enough already
	tooManyOfNetwork                   // the same for one network
	overloaded                         // refused at the door: no memory for one more
	dense                              // three quarters of all connections are taken
	tooManyHandshakes                  // TLS refused: enough handshakes are under way
	handshakeFailed                    // TLS did not come about; closed
	injection                          // octets behind StartTLS; closed
	malformed                          // no LDAP; closed
	tooBig                             // a message over a limit; closed
	slowRequest                        // a message did not come to its end in time; closed
	slowReader                         // the client did not take its replies in time; closed
	idleTimeout                        // no request in time; closed
	connectionTimeout                  // it lasted too long; closed
	tooManyRefusals                    // refused too often in a row; closed
	fault                              // a panic of ours; closed
)

var eventWords = [...]string{
	accepted: "accepted", acceptFailed: "accept failed", tooMany: "too many connections", tooManyOfAddress: "too many from one peer",
	tooManyOfNetwork: "too many from one network", overloaded: "overloaded", dense: "dense crowd", tooManyHandshakes: "too many handshakes",
	handshakeFailed: "handshake failed", injection: "injection behind starttls", malformed: "malformed message", tooBig: "message over a limit",
	slowRequest: "slow request", slowReader: "slow reader", idleTimeout: "idle timeout", connectionTimeout: "connection timeout",
	tooManyRefusals: "too many refusals", fault: "internal error",
}

// String returns the stable word.
func (e Event) String() string {
	if int(e) < len(eventWords) && eventWords[e] != "" {
		return eventWords[e]
	}
	return "unknown"
}

// Events returns the words of all events, for metrics.
func Events() []string { return eventWords[1:] }

// fulls are the events of those for whom there is no place.
var fulls = map[crowd.Full]Event{
	crowd.All: tooMany, crowd.OfAddress: tooManyOfAddress, crowd.OfNetwork: tooManyOfNetwork, crowd.Overloaded: overloaded,
}

// Counters hear of what an operator wants to see as numbers. The methods are called
// from many goroutines at once, and sessions wait for them. No word that they get is
// a peer's.
type Counters interface {
	Event(e Event)
	// Bind hears of the result of a bind; how is one of Binds.
	Bind(how string, code message.Code)
	// Operation hears of the result of an operation, whoever made it; op is a word of
	// message.Op.
	Operation(op string, code message.Code)
}

// Ways to bind, as counters hear of them.
const (
	bindExternal  = "external"
	bindAnonymous = "anonymous"
	bindSimple    = "simple"
	bindOther     = "unknown"
)

// Binds are the ways to bind.
func Binds() []string { return []string{bindExternal, bindAnonymous, bindSimple, bindOther} }

// BindCodes are the results of binds.
func BindCodes() (codes []message.Code) {
	for _, o := range []outcome{done, badVersion, noIdentity, badAuthzid, cannotJudge, noMechanism, passwordClear, passwordAtAll, unauthenticate, badControl, syntax} {
		codes = append(codes, o.code())
	}
	return codes
}

type noCounters struct{}

func (noCounters) Event(Event)                    {}
func (noCounters) Bind(string, message.Code)      {}
func (noCounters) Operation(string, message.Code) {}

// report logs and counts what happened below the operations.
func (f *front) report(e Event, s maillog.Session, err error) {
	f.opts.Counters.Event(e)
	switch {
	case e == accepted: // by far too many to write down
	case e == fault:
		maillog.Fault(f.opts.Logger, s, e.String(), err)
	case err == nil:
		maillog.Wire(f.opts.Logger, s, e.String(), "")
	default:
		maillog.Wire(f.opts.Logger, s, e.String(), err.Error())
	}
}

// refuseWrite bounds the writing of a refusal: the socket's buffer is empty, so
// it never waits for an honest peer.
const refuseWrite = time.Second

// refuse closes a connection beyond a limit. Under implicit TLS there is nothing to
// say before a handshake, and a handshake is what we cannot afford.
func (f *front) refuse(raw net.Conn, e Event, why string) {
	var err error
	if why != "" {
		err = errors.New(why)
	}
	f.report(e, maillog.Session{Listener: f.Name, Peer: raw.RemoteAddr().String()}, err)
	if !f.Implicit {
		_ = raw.SetWriteDeadline(time.Now().Add(refuseWrite))
		_, _ = raw.Write(notice(fullNow, ""))
	}
	raw.Close()
}
