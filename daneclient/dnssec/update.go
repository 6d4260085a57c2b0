package dnssec

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

const (
	// defaultUpdateTimeout: a server that signs anew may take seconds.
	defaultUpdateTimeout = 10 * time.Second
	// fudge is how far the clocks may be apart. RFC 8945 10
	fudge = 300
)

// UpdateFault says what kind of trouble an update met.
type UpdateFault uint8

// The kinds.
const (
	UpdateUnreachable UpdateFault = iota + 1 // no reply: what happened is not known
	UpdateUnproved                           // a reply that TSIG does not prove: what happened is not known
	UpdateRefused                            // the server said no
	UpdateImpossible                         // it cannot be asked for
)

// UpdateError is why an update failed.
type UpdateError struct {
	Kind   UpdateFault
	Server string
	Detail string
}

// Error names the server and what is wrong.
func (e *UpdateError) Error() string { return "update at " + e.Server + ": " + e.Detail }

// UpdateOptions of NewUpdater.
type UpdateOptions struct {
	Server  string        // "host:port" of the zone's primary
	Zone    string        // with its final dot, as Survey gives it
	Key     TSIGKey       // required: without it anybody could answer
	Timeout time.Duration // of one update; default 10 s
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

// Updater changes TLSA records by DNS UPDATE (RFC 2136), signed by TSIG (RFC
// 8945), over TCP. Every update is one transaction and may be repeated.
type Updater struct{ o UpdateOptions }

// NewUpdater returns an updater; it sends nothing yet.
func NewUpdater(o UpdateOptions) (*Updater, error) {
	if _, _, err := net.SplitHostPort(o.Server); err != nil {
		return nil, fmt.Errorf("update server %q: want host:port, such as ns1.example.org:53", o.Server)
	}
	if tsigAlgorithms[o.Key.Algorithm] == "" || o.Key.Name.IsZero() || len(o.Key.Secret) < minSecret {
		return nil, errors.New("updates need a TSIG key")
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultUpdateTimeout
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	o.Zone = canonical(o.Zone)
	return &Updater{o}, nil
}

// Add puts a record beside those of the owner. It succeeds when the record is
// there already. RFC 2136 2.5.1
func (u *Updater) Add(ctx context.Context, owner dnsname.Name, r TLSA, ttl time.Duration) error {
	return u.change(ctx, owner, r, ttl, (*dns.Msg).Insert)
}

// Remove takes one record of the owner away and leaves the others. It succeeds
// when the record is not there. RFC 2136 2.5.4
func (u *Updater) Remove(ctx context.Context, owner dnsname.Name, r TLSA) error {
	return u.change(ctx, owner, r, 0, (*dns.Msg).Remove)
}

func (u *Updater) change(ctx context.Context, owner dnsname.Name, r TLSA, ttl time.Duration, put func(*dns.Msg, []dns.RR)) error {
	name := owner.String() + "."
	if owner.IsZero() || !within(u.o.Zone, name) {
		return u.fault(UpdateImpossible, "%s is not in the zone %s", name, u.o.Zone)
	}
	m := new(dns.Msg)
	m.SetUpdate(u.o.Zone)
	put(m, []dns.RR{&dns.TLSA{
		Hdr:   dns.RR_Header{Name: name, Rrtype: dns.TypeTLSA, Class: dns.ClassINET, Ttl: uint32(ttl / time.Second)},
		Usage: r.Usage, Selector: r.Selector, MatchingType: r.Matching, Certificate: hex.EncodeToString(r.Data),
	}})
	m.SetTsig(u.o.Key.Name.String()+".", tsigAlgorithms[u.o.Key.Algorithm], fudge, time.Now().Unix())
	packed, mac, err := dns.TsigGenerate(m, u.o.Key.secret(), "", false)
	if err != nil {
		return u.fault(UpdateImpossible, "%v", err)
	}
	answer, err := u.exchange(ctx, packed)
	if err != nil {
		return u.fault(UpdateUnreachable, "%v", err)
	}
	return u.judge(m.Id, mac, answer)
}

// exchange sends one message by TCP and reads one.
func (u *Updater) exchange(ctx context.Context, packed []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, u.o.Timeout)
	defer cancel()
	conn, err := u.o.Dial(ctx, "tcp", u.o.Server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...) // RFC 7766 8
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:])) // at most 64 KiB
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

// judge believes a reply only when the key signed it: without that anybody on
// the way could say that the record stands. RFC 8945 5.3
func (u *Updater) judge(id uint16, mac string, answer []byte) error {
	var m dns.Msg
	if err := m.Unpack(answer); err != nil {
		return u.fault(UpdateUnproved, "a reply that cannot be read: %v", err)
	}
	said := refusal(&reply{rcode: m.Rcode})
	t := m.IsTsig()
	if t == nil {
		return u.fault(UpdateUnproved, "a reply without signature (%s)", or(said, "it says that all is well"))
	}
	// The library looks neither at the name nor at the algorithm.
	if canonical(t.Hdr.Name) != u.o.Key.Name.String()+"." || canonical(t.Algorithm) != tsigAlgorithms[u.o.Key.Algorithm] {
		return u.fault(UpdateUnproved, "a reply signed by another key")
	}
	if err := dns.TsigVerify(answer, u.o.Key.secret(), mac, false); err != nil {
		if m.Rcode == dns.RcodeNotAuth && t.Error == dns.RcodeSuccess { // the library does not look further
			return u.fault(UpdateUnproved, "it says that it is not the primary of %s (NOTAUTH)", u.o.Zone)
		}
		return u.fault(UpdateUnproved, "%s", or(tsigAdvice(t.Error, u.o.Key.Name), "a reply with a wrong signature: "+err.Error()))
	}
	if advice := tsigAdvice(t.Error, u.o.Key.Name); advice != "" {
		return u.fault(UpdateRefused, "%s", advice)
	}
	if m.Id != id || !m.Response || m.Opcode != dns.OpcodeUpdate {
		return u.fault(UpdateUnproved, "a reply to something else")
	}
	if m.Rcode != dns.RcodeSuccess {
		return u.fault(UpdateRefused, "it says %s", or(said, dns.RcodeToString[m.Rcode]))
	}
	return nil
}

// tsigAdvice explains the error field. A server that does not know the key
// cannot sign it, so it is a hint. RFC 8945 5.2
func tsigAdvice(code uint16, key dnsname.Name) string {
	switch int(code) {
	case dns.RcodeBadSig:
		return fmt.Sprintf("it has another secret for the key %s (BADSIG)", key)
	case dns.RcodeBadKey:
		return fmt.Sprintf("it does not know the key %s, or not with this algorithm (BADKEY)", key)
	case dns.RcodeBadTime:
		return "its clock and ours are more than five minutes apart (BADTIME)"
	case dns.RcodeSuccess:
		return ""
	}
	return fmt.Sprintf("TSIG error %d", code)
}

func (u *Updater) fault(kind UpdateFault, format string, args ...any) error {
	return &UpdateError{Kind: kind, Server: u.o.Server, Detail: fmt.Sprintf(format, args...)}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
