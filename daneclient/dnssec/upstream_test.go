package dnssec

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// hasty makes lookups give up soon, for tests of silence; the machine may be
// busy, so not too soon.
func hasty(o *Options) { o.Timeout = time.Second }

// silent returns the address of a UDP and TCP port where nobody answers.
func silent(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc.LocalAddr().String()
}

// TestQuery looks at what we ask.
func TestQuery(t *testing.T) {
	id, packed, err := query(question{"x.test.", dns.TypeTLSA}, flavour{})
	if err != nil {
		t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	opt := m.IsEdns0()
	if m.Id != id || !m.RecursionDesired || !m.CheckingDisabled || m.AuthenticatedData || m.Response || opt == nil || !opt.Do() || opt.UDPSize() != 1232 {
		t.Errorf("query:\n%v", &m)
	}
	other, _, _ := query(question{"x.test.", dns.TypeTLSA}, flavour{})
	another, _, _ := query(question{"x.test.", dns.TypeTLSA}, flavour{})
	if id == other && id == another {
		t.Error("the same id three times")
	}
}

// TestFalseReplies sends replies that are not ours before, or in place of, the
// right one.
func TestFalseReplies(t *testing.T) {
	none := "x.z.test. TLSA: no answer from UPSTREAM: "
	for name, c := range map[string]struct {
		forge  func(m *dns.Msg) *dns.Msg
		reason string
	}{
		"wrong id":       {func(m *dns.Msg) *dns.Msg { m.Id++; return m }, none + "i/o timeout"},
		"other name":     {func(m *dns.Msg) *dns.Msg { m.Question[0].Name = "y.z.test."; return m }, none + "i/o timeout"},
		"other type":     {func(m *dns.Msg) *dns.Msg { m.Question[0].Qtype = dns.TypeA; return m }, none + "i/o timeout"},
		"other class":    {func(m *dns.Msg) *dns.Msg { m.Question[0].Qclass = dns.ClassCHAOS; return m }, none + "i/o timeout"},
		"no question":    {func(m *dns.Msg) *dns.Msg { m.Question = nil; return m }, none + "i/o timeout"},
		"a query":        {func(m *dns.Msg) *dns.Msg { m.Response = false; return m }, none + "i/o timeout"},
		"silence":        {func(m *dns.Msg) *dns.Msg { return nil }, none + "i/o timeout"},
		"always too big": {func(m *dns.Msg) *dns.Msg { m.Truncated = true; return m }, none + "truncated"},
		"SERVFAIL":       {func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m }, "x.z.test. TLSA: UPSTREAM says SERVFAIL"},
		"FORMERR":        {func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeFormatError; return m }, "x.z.test. TLSA: UPSTREAM says FORMERR"},
		"NOTIMP":         {func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeNotImplemented; return m }, "x.z.test. TLSA: UPSTREAM says NOTIMP"},
		"unknown":        {func(m *dns.Msg) *dns.Msg { m.Rcode = 3841; return m }, "x.z.test. TLSA: UPSTREAM says RCODE 3841"},
		"REFUSED":        {func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m }, "x.z.test. TLSA: UPSTREAM says REFUSED"},
		"SERVFAIL, extended": {func(m *dns.Msg) *dns.Msg {
			m.Rcode, m.Answer = dns.RcodeServerFailure, nil
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 22, ExtraText: "at\r\nlast"}}
			return m
		}, `x.z.test. TLSA: UPSTREAM says SERVFAIL (extended error 22 No Reachable Authority "at\r\nlast")`},
		"257 records": {func(m *dns.Msg) *dns.Msg {
			for range 257 {
				m.Ns = append(m.Ns, &dns.NS{Hdr: dns.RR_Header{Name: "z.test.", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "z.test."})
			}
			return m
		}, "x.z.test. TLSA: reply with more than 256 records"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			b := newBench(t, hasty)
			b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
			b.tamper("x.z.test.", dns.TypeTLSA, c.forge)
			a := b.lookup("x.z.test", TypeTLSA)
			for _, prefix := range []string{"read udp ", "read tcp "} { // and the two addresses of the socket
				if before, after, found := strings.Cut(a.Reason, prefix); found {
					a.Reason = before + after[strings.Index(after, ": ")+2:]
				}
			}
			check(t, a, Failed, strings.ReplaceAll(c.reason, "UPSTREAM", b.server.Addr()))
		})
	}
}

// TestTruncated gets by TCP what does not fit into a datagram.
func TestTruncated(t *testing.T) {
	b := newBench(t)
	z := b.zone("z.test.", lab.ZoneOptions{})
	for i := range 60 {
		z.Add("x TLSA 3 1 1 " + strings.Repeat(string("0123456789abcdef"[i%16])+string("0123456789abcdef"[i/16]), 32))
	}
	a := b.lookup("x.z.test", TypeTLSA)
	check(t, a, Secure, "")
	if len(a.TLSA) != 60 {
		t.Errorf("%d records, want 60", len(a.TLSA))
	}
	byTCP := 0
	for _, q := range b.server.Queries() {
		if !q.DO || !q.CD {
			t.Errorf("query without DO or CD: %+v", q)
		}
		if q.Transport == "tcp" {
			byTCP++
		}
	}
	if byTCP != 1 {
		t.Errorf("%d queries by TCP, want 1", byTCP)
	}
}

// TestGuessedIDs floods us with replies of wrong ids: we take to TCP.
func TestGuessedIDs(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		buf[2] |= 0x80
		for range maxForeign {
			buf[1]++
			pc.WriteTo(buf[:n], from)
		}
	}()
	defer func() { pc.Close(); <-done }()
	conn, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	q := question{"x.test.", dns.TypeTLSA}
	id, packed, err := query(q, flavour{})
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(packed)
	if _, err := readUDP(conn, id, q); err != errTruncated {
		t.Errorf("got %v, want %v", err, errTruncated)
	}
}

// TestNextUpstream asks the second when the first is silent, and from then on
// the second first.
func TestNextUpstream(t *testing.T) {
	dead := silent(t)
	b := newBench(t, func(o *Options) {
		o.Upstreams = []string{dead, o.Upstreams[0]}
		hasty(o)
	})
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
	if got := b.r.up.order(); got[0].text == dead {
		t.Errorf("order %v: the silent one is still first", got)
	}
	b.forward(benchTime)
	if got := b.r.up.order(); got[0].text != dead {
		t.Errorf("order %v: the first does not come back", got)
	}
}

// TestRefusingUpstream asks the second when the first refuses.
func TestRefusingUpstream(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	refusing, err := b.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.Close()
	refusing.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m })
	both := []string{refusing.Addr(), b.server.Addr()}
	for len(both) > 0 {
		r, err := New(Options{Upstreams: both, Anchors: b.r.opts.Anchors, Now: b.now})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		a := r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA)
		if len(both) == 2 {
			check(t, a, Secure, "")
		} else {
			check(t, a, Failed, "x.z.test. TLSA: "+refusing.Addr()+" says REFUSED")
		}
		both = both[:len(both)-1]
	}
}

func TestUpstreamAddresses(t *testing.T) {
	pin := "sha256/" + strings.Repeat("A", 43) + "="
	for _, bad := range [][]string{nil, {"localhost:53"}, {"127.0.0.1"}, {"127.0.0.1:0"}, {"127.0.0.1:53", ""},
		{"127.0.0.1:53#dns.test"}, {"tls://127.0.0.1:853"}, {"tls://127.0.0.1:853#"}, {"tls://127.0.0.1#dns.test"}, {"tls://dns.test:853#dns.test"},
		{"tls://127.0.0.1:0#dns.test"}, {"tls://127.0.0.1:853#127.0.0.1"}, {"tls://127.0.0.1:853#a..b"}, {"tls://127.0.0.1:853#dns.test#x"},
		{"tls://127.0.0.1:853#sha256/"}, {"tls://127.0.0.1:853#sha256/AAAA"}, {"tls://127.0.0.1:853#" + pin + "AAAA"}, {"tls://127.0.0.1:853#sha1/AAAA"},
		{"udp://127.0.0.1:53"}, {"https://127.0.0.1:443#dns.test"}, slices.Repeat([]string{"127.0.0.1:53"}, maxUpstreams+1)} {
		if _, err := New(Options{Upstreams: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, good := range []string{"127.0.0.1:53", "[::1]:53", "tls://127.0.0.1:853#dns.test", "tls://[2001:db8::1]:853#dns.test", "tls://127.0.0.1:853#" + pin} {
		r, err := New(Options{Upstreams: []string{good}})
		if err != nil {
			t.Errorf("%q: %v", good, err)
			continue
		}
		r.Close()
	}
}

// TestDeadline ends with the caller's context; the lookup goes on without him.
func TestDeadline(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	held := make(chan struct{})
	b.tamper("x.z.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg { <-held; return m })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	a := b.r.Lookup(ctx, mustName("x.z.test"), TypeTLSA)
	if a.State != Failed || a.Reason != "x.z.test. TLSA: given up waiting: context deadline exceeded" {
		t.Errorf("%s %q", a.State, a.Reason)
	}
	close(held)
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
}

// TestOutOfTime is the fault of the lookup and not of the zone that it met.
func TestOutOfTime(t *testing.T) {
	b := newBench(t)
	mem := b.r.memory()
	l := &lookup{fetch: b.r.up.exchange, mem: mem, now: today}
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err := l.resolve(ctx, question{"x.test.", dns.TypeTLSA})
	if f := asFault(err); f.state != Failed || f.kind != deadline || f.reason != "no answer in time" {
		t.Errorf("%+v", f)
	}
	_, err = l.cutAt(ctx, root, nil)
	if f := asFault(err); f.kind != deadline {
		t.Errorf("%+v", f)
	}
	if f := mem.failures.get(question{root, dns.TypeDS}, today); f != nil {
		t.Errorf("remembered: %+v", f)
	}
	other, _ := mem.steps.join(question{root, dns.TypeDS}) // somebody is at it, for longer than we have
	if _, err = l.cutAt(ctx, root, nil); asFault(err).kind != deadline {
		t.Errorf("%+v", asFault(err))
	}
	mem.steps.finish(question{root, dns.TypeDS}, other)
}
