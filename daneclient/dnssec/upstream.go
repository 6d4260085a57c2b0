package dnssec

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// bufferUDP is the size of replies that pass everywhere unfragmented
	// (DNS flag day 2020).
	bufferUDP = 1232
	// maxUDP is what we read of a datagram: servers may ignore our buffer.
	maxUDP = 4096
	// tries of one question: one retry, at the next upstream. RFC 9520 3.1
	tries = 2
	// partOfTimeout that one try may take: both end before the lookup does,
	// whose fault is then known.
	partOfTimeout = 0.4
	// maxForeign datagrams that are not our reply: somebody guesses ids at our
	// port, so go on by TCP, where that does not work.
	maxForeign = 8
	// benchTime of an upstream that did not answer: it comes last so long.
	benchTime = 30 * time.Second
)

// upstreams asks recursive resolvers, in order, those that were silent last.
type upstreams struct {
	now     func() time.Time
	timeout time.Duration // of one try

	mu      sync.Mutex
	servers []server
}

type server struct {
	addr    string
	benched time.Time // comes last until then
}

func newUpstreams(addrs []string, timeout time.Duration, now func() time.Time) (*upstreams, error) {
	if len(addrs) == 0 {
		return nil, errors.New("dnssec: no upstream resolver")
	}
	u := &upstreams{now: now, timeout: time.Duration(float64(timeout) * partOfTimeout)}
	for _, a := range addrs {
		if ap, err := netip.ParseAddrPort(a); err != nil || ap.Port() == 0 {
			return nil, fmt.Errorf("dnssec: upstream %q: want IP:port, such as 127.0.0.1:53", a)
		}
		u.servers = append(u.servers, server{addr: a})
	}
	return u, nil
}

// exchange asks until somebody gives an answer of use. The faults: silence when
// none came, else what the last upstream said.
func (u *upstreams) exchange(ctx context.Context, q question) (*reply, error) {
	var last error
	order := u.order()
	for i := range tries {
		if i > 0 && len(order) == 1 && asFault(last).kind != silence {
			break // the same server would say the same again
		}
		addr := order[i%len(order)]
		r, err := u.try(ctx, addr, q)
		switch {
		case err == nil && refusal(r) == "":
			return r, nil
		case err == nil:
			last = failed("%s: %s says %s", q, addr, refusal(r))
		case ctx.Err() != nil:
			return nil, err
		case asFault(err).kind == silence:
			u.bench(addr)
			last = err
		default:
			last = err
		}
	}
	return nil, last
}

// refusal says why a reply is no answer, "" when it is one.
func refusal(r *reply) string {
	if r.rcode == dns.RcodeSuccess || r.rcode == dns.RcodeNameError {
		return ""
	}
	text, known := dns.RcodeToString[r.rcode]
	if !known {
		text = fmt.Sprintf("RCODE %d", r.rcode)
	}
	if r.extended != "" {
		text += " (" + r.extended + ")"
	}
	return text
}

// order lists the upstreams, those that were silent lately last.
func (u *upstreams) order() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var good, silent []string
	now := u.now()
	for _, s := range u.servers {
		if now.Before(s.benched) {
			silent = append(silent, s.addr)
		} else {
			good = append(good, s.addr)
		}
	}
	return append(good, silent...)
}

func (u *upstreams) bench(addr string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.servers {
		if u.servers[i].addr == addr {
			u.servers[i].benched = u.now().Add(benchTime)
		}
	}
}

func (u *upstreams) addrs() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []string
	for _, s := range u.servers {
		all = append(all, s.addr)
	}
	return strings.Join(all, ", ")
}

// try asks one upstream by UDP, and by TCP when the reply does not fit or is
// not to be had in peace.
func (u *upstreams) try(ctx context.Context, addr string, q question) (*reply, error) {
	r, err := u.over(ctx, "udp", addr, q, readUDP)
	if errors.Is(err, errTruncated) {
		r, err = u.over(ctx, "tcp", addr, q, readTCP)
	}
	if f := (*fault)(nil); err == nil || errors.As(err, &f) {
		return r, err
	}
	return nil, &fault{state: Failed, kind: silence, reason: fmt.Sprintf("%s: no answer from %s: %v", q, addr, err)}
}

// over asks by one transport. Every query has its own socket, and with it a
// random port. RFC 5452 9.2
func (u *upstreams) over(ctx context.Context, network, addr string, q question, read func(net.Conn, uint16, question) (*reply, error)) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// A context that ends wakes the reader; its deadline is among the ways.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	id, packed, err := query(q)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		packed = append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...) // RFC 7766 8
	}
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	return read(conn, id, q)
}

// query packs a question: recursion, DNSSEC records (RFC 3225 3), and no
// judgement of the upstream's, which would hide what we judge (RFC 6840 5.9).
func query(q question) (id uint16, packed []byte, err error) {
	var random [2]byte
	rand.Read(random[:]) // never fails; it ends the program instead
	id = binary.BigEndian.Uint16(random[:])
	m := new(dns.Msg)
	m.Id = id
	m.RecursionDesired = true
	m.CheckingDisabled = true
	m.Question = []dns.Question{{Name: q.name, Qtype: q.typ, Qclass: dns.ClassINET}}
	m.SetEdns0(bufferUDP, true)
	packed, err = m.Pack()
	return id, packed, err
}

// readUDP waits for our reply among whatever comes to our port.
func readUDP(conn net.Conn, id uint16, q question) (*reply, error) {
	buf := make([]byte, maxUDP)
	for range maxForeign {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		r, err := parseReply(id, q, buf[:n])
		if !errors.Is(err, errNotOurs) {
			return r, err
		}
	}
	return nil, errTruncated
}

// readTCP reads the one message that answers. RFC 1035 4.2.2
func readTCP(conn net.Conn, id uint16, q question) (*reply, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:])) // at most 64 KiB
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return parseReply(id, q, buf)
}
