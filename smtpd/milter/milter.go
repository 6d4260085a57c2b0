// Package milter lets programs of others, called milters, look at mail before it is
// accepted: rspamd, opendkim and what speaks their protocol, which is
// Sendmail's.
//
// A Chain is what one listener asks, in order. Each transaction begins with Begin,
// at MAIL, goes on with Rcpt for each recipient, and ends with Message, which sends
// header and body, and applies what the milter wants changed. Each milter gets a
// connection of its own per transaction, so that no answer can belong to another
// message.
//
// A milter is believed about the message, since the operator has chosen it, and is
// bounded in everything else: in time, in octets, in the number of its changes. What
// it may change is what was negotiated. One that breaks the protocol, hangs or is
// away has failed, and its setting says what becomes of the mail: a temporary
// refusal, or as if it had agreed. Bodies go through a file as soon as they are
// large, in both directions.
//
// Start at Chain (chain.go), then conversation.go; guard.go bounds what a milter
// says, edit.go applies it.
package milter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emersion/go-milter"
)

const (
	// defaultTimeout for one answer: rspamd asks DNS about what it sees, and clients
	// wait 5 minutes for a reply to RCPT (RFC 5321 4.5.3.2.4).
	defaultTimeout = 30 * time.Second
	// defaultMessageTime for all answers about one message: below the 10 minutes that a
	// client waits for the reply to its dot (RFC 5321 4.5.3.2.6), with room for the queue.
	defaultMessageTime = 3 * time.Minute
	// defaultMaxBytes of a message, before and after.
	defaultMaxBytes = 50 << 20
	// dialTime: milters are near.
	dialTime = 5 * time.Second
)

// Options of New. Network and Address are required.
type Options struct {
	Network, Address string        // "tcp" or "unix"
	Timeout          time.Duration // for one answer; 0: 30 s
	MessageTime      time.Duration // for all answers about one message; 0: 3 min
	MaxBytes         int64         // of a message as the milter leaves it; 0: 50 MiB
	AcceptOnFailure  bool          // mail passes when the milter fails; else it is refused for now
	Dir              string        // for large bodies; "": the system's
}

// Filter is one milter.
type Filter struct{ o Options }

// New checks the options. It calls nobody.
func New(o Options) (*Filter, error) {
	if o.Network != "tcp" && o.Network != "unix" || o.Address == "" {
		return nil, fmt.Errorf("milter: no address: %q %q", o.Network, o.Address)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MessageTime <= 0 {
		o.MessageTime = defaultMessageTime
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	return &Filter{o}, nil
}

// Name is how the log calls the milter.
func (f *Filter) Name() string {
	if f.o.Network == "unix" {
		return "unix:" + f.o.Address
	}
	return f.o.Address
}

// Probe connects and agrees upon a protocol, as a transaction would.
func (f *Filter) Probe(ctx context.Context, hostname string) error {
	c, _, err := f.begin(ctx, Peer{Hostname: hostname, Helo: hostname})
	if err == nil {
		c.close()
	}
	return err
}

// Peer is what milters are told about the connection. Texts of the peer's must be
// cleaned already.
type Peer struct {
	Hostname string // ours
	Listener string
	Address  netip.AddrPort
	Helo     string
	TLS      string // "TLSv1.3"; "": none
	Cipher   string
	Bits     int
	Login    string // who is proved; "": nobody
	How      string // how, for {auth_type}
}

// Action is what becomes of a message, or of a recipient.
type Action uint8

// The actions. The zero Action refuses for now.
const (
	TempFail Action = iota
	Continue
	Reject
	Discard // it is accepted, and nobody gets it
)

// String returns the word for the log.
func (a Action) String() string {
	switch a {
	case Continue:
		return "continue"
	case Reject:
		return "reject"
	case Discard:
		return "discard"
	}
	return "tempfail"
}

// Verdict is what the milters say. Code, Enhanced and Text are the reply that one of
// them wants, bounded and clean; Code 0: it left that to us.
type Verdict struct {
	Action   Action
	Milter   string // whose verdict it is; "" when all agree
	Code     int
	Enhanced [3]int
	Text     string
	Err      error // why the milter failed; nil: it has not
}

// Errors of a milter; all of them mean that it failed.
var (
	errProtocol = errors.New("breaks the protocol")
	errTooMuch  = errors.New("says too much")
	errEdit     = errors.New("wants a change that cannot be made")
)

// ErrHeader says that a message's header is too long for milters.
var ErrHeader = errors.New("header too long")

// What we offer: all changes that the queue can take, and that a milter may leave out
// what it does not want to see; no more than version 2 of the protocol had, which
// milters of older libraries speak. Not offered is a changed sender, whom our rules
// have let through.
const (
	actions = milter.OptAddHeader | milter.OptChangeBody | milter.OptAddRcpt | milter.OptRemoveRcpt |
		milter.OptChangeHeader | milter.OptQuarantine
	protocol = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo | milter.OptNoBody |
		milter.OptNoHeaders | milter.OptNoEOH
)

// silent are the stages at which a milter may say that it will not answer. That is of
// version 6, so not offered; rspamd says it to everybody, and whoever waited for its
// answers would wait for ever.
const silent = milter.OptNoConnReply | milter.OptNoHeloReply | milter.OptNoMailReply | milter.OptNoRcptReply | milter.OptNoDataReply |
	milter.OptNoUnknownReply | milter.OptNoHeaderReply | milter.OptNoEOHReply | milter.OptNoBodyReply

// plain makes a text fit for the protocol, whose strings end with NUL.
func plain(s string) string { return strings.ReplaceAll(s, "\x00", "") }
