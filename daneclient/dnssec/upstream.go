package dnssec

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"
)

const (
	// bufferUDP is the size of replies that pass everywhere unfragmented
	// (DNS flag day 2020).
	bufferUDP = 1232
	// maxUDP is what we read of a datagram: servers may ignore our buffer.
	maxUDP = 4096
	// tries of one question: one retry at a lone upstream. RFC 9520 3.1
	tries = 2
	// partOfTimeout that one try may take: both end before the lookup does,
	// whose fault is then known.
	partOfTimeout = 0.4
	// maxForeign datagrams that are not our reply: somebody guesses ids at our
	// port, so go on by TCP, where that does not work.
	maxForeign = 8
	// maxUpstreams: each may take a part of a lookup's time.
	maxUpstreams = 8
	// benchTime of an upstream that did not answer: it comes last so long.
	benchTime = 30 * time.Second
)

// upstreams asks recursive resolvers, in order, those that were silent last.
type upstreams struct {
	now     func() time.Time
	timeout time.Duration // of one try

	mu      sync.Mutex
	servers []*server
}

func newUpstreams(o Options) (*upstreams, error) {
	if len(o.Upstreams) == 0 {
		return nil, errors.New("dnssec: no upstream resolver")
	}
	if len(o.Upstreams) > maxUpstreams {
		return nil, fmt.Errorf("dnssec: more than %d upstream resolvers", maxUpstreams)
	}
	u := &upstreams{now: o.Now, timeout: time.Duration(float64(o.Timeout) * partOfTimeout)}
	for _, text := range o.Upstreams {
		s, err := newServer(text, o)
		if err != nil {
			return nil, fmt.Errorf("dnssec: %w", err)
		}
		u.servers = append(u.servers, s)
	}
	return u, nil
}

// close ends the connections and waits for their readers.
func (u *upstreams) close() {
	for _, s := range u.servers {
		s.stream.close()
	}
}

// exchange asks until somebody gives an answer of use: each upstream once, one
// alone twice when it was silent. The faults: silence when no answer came, else
// what the last upstream said.
func (u *upstreams) exchange(ctx context.Context, q question) (*reply, error) {
	return u.put(ctx, q, flavour{})
}

// vouched asks as exchange does, for answers that the upstream has proved.
func (u *upstreams) vouched(ctx context.Context, q question) (*reply, error) {
	return u.put(ctx, q, flavour{ad: true})
}

func (u *upstreams) put(ctx context.Context, q question, f flavour) (*reply, error) {
	var last error
	order := u.order()
	for i := range max(tries, len(order)) {
		if i > 0 && len(order) == 1 && asFault(last).kind != silence {
			break // the same server would say the same again
		}
		s := order[i%len(order)]
		r, err := u.try(ctx, s, q, f)
		switch {
		case err == nil && refusal(r) == "":
			return r, nil
		case err == nil:
			last = failed("%s: %s says %s", q, s.text, refusal(r))
		case ctx.Err() != nil:
			return nil, err
		case asFault(err).kind == silence:
			u.bench(s)
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
func (u *upstreams) order() []*server {
	u.mu.Lock()
	defer u.mu.Unlock()
	var good, silent []*server
	now := u.now()
	for _, s := range u.servers {
		if now.Before(s.benched) {
			silent = append(silent, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, silent...)
}

func (u *upstreams) bench(s *server) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.benched = u.now().Add(benchTime)
}

func (u *upstreams) addrs() string {
	var all []string
	for _, s := range u.servers {
		all = append(all, s.text)
	}
	return strings.Join(all, ", ")
}

// try asks one upstream. What is no fault of its own is silence.
func (u *upstreams) try(ctx context.Context, s *server, q question, how flavour) (*reply, error) {
	r, err := s.ask(ctx, q, how, u.timeout)
	if err == nil {
		r.from = s.text
		return r, nil
	}
	if f := (*fault)(nil); errors.As(err, &f) {
		return nil, err
	}
	return nil, &fault{state: Failed, kind: silence, reason: fmt.Sprintf("%s: no answer from %s: %s", q, s.text, cleaned(err))}
}

// maxError is how much of an error's text is kept.
const maxError = 200

// cleaned is the text of an error, which may hold names from a certificate.
func cleaned(err error) string {
	text := err.Error()
	if len(text) > maxError {
		text = text[:maxError] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// flavour is how a question is put.
type flavour struct {
	ad    bool // the upstream is to prove the answer, and to say so
	block int  // pad to a multiple of so many octets; 0: do not
}

// paddingBlock hides which name is asked for from who sees the length alone.
// RFC 8467 4.1
const paddingBlock = 128

// query packs a question: recursion, DNSSEC records (RFC 3225 3), and no
// judgement of the upstream's, which would hide what we judge (RFC 6840 5.9);
// or just that judgement (RFC 6840 5.7).
func query(q question, f flavour) (id uint16, packed []byte, err error) {
	var random [2]byte
	rand.Read(random[:]) // never fails; it ends the program instead
	id = binary.BigEndian.Uint16(random[:])
	m := new(dns.Msg)
	m.Id = id
	m.RecursionDesired = true
	m.CheckingDisabled, m.AuthenticatedData = !f.ad, f.ad
	m.Question = []dns.Question{{Name: q.name, Qtype: q.typ, Qclass: dns.ClassINET}}
	m.SetEdns0(bufferUDP, true)
	if f.block > 0 { // RFC 7830 3
		padding := &dns.EDNS0_PADDING{}
		opt := m.IsEdns0()
		opt.Option = append(opt.Option, padding)
		over := m.Len() % f.block
		padding.Padding = make([]byte, (f.block-over)%f.block)
	}
	packed, err = m.Pack()
	return id, packed, err
}

// datagrams are buffers that replies are read into.
var datagrams = sync.Pool{New: func() any { return new([maxUDP]byte) }}

// readUDP waits for our reply among whatever comes to our port.
func readUDP(conn net.Conn, id uint16, q question) (*reply, error) {
	pooled := datagrams.Get().(*[maxUDP]byte)
	defer datagrams.Put(pooled) // what parseReply returns holds copies
	buf := pooled[:]
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
