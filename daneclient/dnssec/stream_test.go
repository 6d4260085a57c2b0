package dnssec

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// farSide is the other end of a stream: the messages that come, and
// what is sent back.
type farSide struct {
	net.Conn
	t  *testing.T
	in chan []byte // what came; a pipe has no room of its own
}

func (f farSide) receive() {
	defer close(f.in)
	for {
		b, err := readMessage(f.Conn)
		if err != nil {
			return
		}
		f.in <- b
	}
}

// read returns the next message.
func (f farSide) read() []byte {
	f.t.Helper()
	b, ok := <-f.in
	if !ok {
		f.t.Error("nothing more comes")
	}
	return b
}

// reply sends a message that answers another one.
func (f farSide) reply(to []byte, change ...func(*dns.Msg)) {
	f.t.Helper()
	var m dns.Msg
	if err := m.Unpack(to); err != nil {
		f.t.Error(err)
		return
	}
	m.Response = true
	for _, c := range change {
		c(&m)
	}
	b, err := m.Pack()
	if err != nil {
		f.t.Error(err)
	}
	f.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)) // the other end may be closed
}

// piped returns a stream whose connections come out of a channel, one each dial.
func piped(t *testing.T) (*stream, chan farSide) {
	far := make(chan farSide, 10)
	s := newStream(func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		f := farSide{theirs, t, make(chan []byte, maxInFlight*maxPipes+1)}
		go f.receive() // ends with the connection
		far <- f
		return ours, nil
	})
	return s, far
}

// put asks a stream for the records of a name, with two seconds for it.
func put(s *stream, name string) (*reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	q := question{name, dns.TypeTLSA}
	_, packed, err := query(q, flavour{})
	if err != nil {
		return nil, err
	}
	return s.ask(ctx, q, packed)
}

// TestPipelining sends all questions before the first reply, and takes replies
// in any order: each goes to whom it belongs.
func TestPipelining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		var askers sync.WaitGroup
		for i := range maxInFlight {
			askers.Go(func() {
				// parseReply compares the question, so a reply of another fails.
				if _, err := put(s, fmt.Sprintf("x%d.test.", i)); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		conn := <-far
		var asked [][]byte
		ids := map[uint16]bool{}
		for range maxInFlight {
			b := conn.read()
			asked = append(asked, b)
			ids[binary.BigEndian.Uint16(b)] = true
		}
		if len(ids) != maxInFlight {
			t.Errorf("%d ids for %d questions", len(ids), maxInFlight)
		}
		slices.Reverse(asked)
		for _, b := range asked {
			conn.reply(b)
		}
		askers.Wait()
		if len(far) != 0 {
			t.Error("another connection was made")
		}
	})
}

// TestInFlight puts no more questions onto a connection than it may hold, and
// makes no more connections than there may be.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		var askers sync.WaitGroup
		for i := range maxInFlight*maxPipes + 1 {
			askers.Go(func() {
				if _, err := put(s, fmt.Sprintf("x%d.test.", i)); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
			synctest.Wait() // one after the other
		}
		if len(far) != maxPipes {
			s.close() // so that nobody waits any more
			askers.Wait()
			t.Fatalf("%d connections", len(far))
		}
		var conns []farSide
		var asked [][]byte
		for range maxPipes {
			conn := <-far
			conns = append(conns, conn)
			for range maxInFlight {
				asked = append(asked, conn.read())
			}
			if len(conn.in) != 0 {
				t.Error("one question more was sent")
			}
		}
		conns[0].reply(asked[0])
		conns[0].reply(conns[0].read()) // the last one has its place
		for i, b := range asked[1:] {
			conns[(i+1)/maxInFlight].reply(b)
		}
		askers.Wait()
	})
}

// TestNoFurtherConnection shares the one that there is when the server takes no
// other.
func TestNoFurtherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		dial := s.dial
		s.dial = func(ctx context.Context) (net.Conn, error) {
			s.dial = func(context.Context) (net.Conn, error) { return nil, io.EOF }
			return dial(ctx)
		}
		var askers sync.WaitGroup
		for i := range 2 * maxInFlight {
			askers.Go(func() {
				if _, err := put(s, fmt.Sprintf("x%d.test.", i)); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		conn := <-far
		for range 2 * maxInFlight { // those that wait for a place come later
			conn.reply(conn.read())
		}
		askers.Wait()
	})
}

// TestIdle closes a connection that nobody uses, and dials anew for the next.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		served := func(conn farSide) {
			conn.reply(conn.read())
		}
		go func() { served(<-far) }()
		first := time.Now()
		if _, err := put(s, "x.test."); err != nil {
			t.Fatal(err)
		}
		if p := s.pipes[0]; !p.usable() {
			t.Error("closed at once")
		}
		<-s.pipes[0].gone
		if d := time.Since(first); d != idleTime {
			t.Errorf("closed after %v, want %v", d, idleTime)
		}
		go func() { served(<-far) }()
		if _, err := put(s, "x.test."); err != nil {
			t.Error(err)
		}
	})
}

// TestRedial asks again when the server had closed the connection meanwhile, and
// only then: one that closes each connection at the question is not pressed.
func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		go func() {
			conn := <-far
			conn.reply(conn.read())
			conn.read() // the second question
			conn.Close()
			conn = <-far
			conn.reply(conn.read())
		}()
		for range 2 {
			if _, err := put(s, "x.test."); err != nil {
				t.Error(err)
			}
		}
		dials := 0
		s.pipes[0].fail(io.EOF)
		dial := s.dial
		s.dial = func(ctx context.Context) (net.Conn, error) {
			dials++
			conn, err := dial(ctx)
			go func() { c := <-far; c.read(); c.Close() }()
			return conn, err
		}
		if _, err := put(s, "x.test."); !errors.Is(err, errGone) || dials != 1 {
			t.Errorf("%v after %d dials", err, dials)
		}
	})
}

// TestSilentStream gives up a connection on which nothing comes, with all that
// wait on it, but not one that is slow for one name.
func TestSilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		go func() { c := <-far; c.read() }()
		if _, err := put(s, "dead.test."); !errors.Is(err, errNothing) {
			t.Errorf("got %v", err)
		}
		if s.pipes[0].usable() {
			t.Error("the dead connection is kept")
		}

		var slow []byte
		go func() {
			c := <-far
			slow = c.read()
			for range 3 {
				c.reply(c.read())
			}
			c.reply(slow) // late, to nobody
			c.reply(c.read())
		}()
		var askers sync.WaitGroup
		askers.Go(func() {
			if _, err := put(s, "slow.test."); !errors.Is(err, errNothing) {
				t.Errorf("slow: %v", err)
			}
		})
		synctest.Wait()
		for range 2 {
			if _, err := put(s, "quick.test."); err != nil {
				t.Error(err)
			}
		}
		askers.Wait()
		p := s.pipes[0]
		if !p.usable() || p.givenUp != 1 {
			t.Errorf("%d given up", p.givenUp)
		}
		for range 2 {
			if _, err := put(s, "quick.test."); err != nil {
				t.Error(err)
			}
		}
		if p != s.pipes[0] || p.givenUp != 0 || len(p.waiting) != 0 {
			t.Errorf("%d given up, %d waiting", p.givenUp, len(p.waiting))
		}
	})
}

// TestForeignReplies: what nobody asked for ends the connection, a reply to
// another question is none.
func TestForeignReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := piped(t)
		defer s.close()
		go func() {
			c := <-far
			b := c.read()
			for range maxForeign {
				c.reply(b, func(m *dns.Msg) { m.Id++ })
			}
			c.Write([]byte{0, 0}) // and one without a header
		}()
		if _, err := put(s, "x.test."); !errors.Is(err, errForeign) {
			t.Errorf("got %v", err)
		}
		go func() {
			c := <-far
			c.reply(c.read(), func(m *dns.Msg) { m.Question[0].Name = "y.test." })
		}()
		if _, err := put(s, "x.test."); !errors.Is(err, errNotOurs) {
			t.Errorf("got %v", err)
		}
	})
}

// TestGivenUp ends a connection whose server loses questions, though it answers
// others.
func TestGivenUp(t *testing.T) {
	p := newPipe(nopConn{})
	for range maxGivenUp + 1 {
		id, _ := p.enter(make(chan []byte, 1))
		if !p.usable() {
			t.Fatal("ended too soon")
		}
		p.got++
		p.leave(id, 0)
	}
	if p.usable() {
		t.Errorf("%d given up and it is kept", p.givenUp)
	}
}

type nopConn struct{ net.Conn }

func (nopConn) Close() error                    { return nil }
func (nopConn) SetReadDeadline(time.Time) error { return nil }

// TestClosedStream dials no more.
func TestClosedStream(t *testing.T) {
	s, far := piped(t)
	s.close()
	if _, err := put(s, "x.test."); !errors.Is(err, net.ErrClosed) || len(far) != 0 {
		t.Errorf("got %v, %d dials", err, len(far))
	}
}

// TestPadding: all questions over TLS have a length that is a multiple of 128.
func TestPadding(t *testing.T) {
	for n := range 140 {
		name := strings.Repeat("a.", n/2) + strings.Repeat("b", 1+n%2) + ".test."
		_, packed, err := query(question{name, dns.TypeTLSA}, flavour{block: paddingBlock})
		if err != nil || len(packed)%paddingBlock != 0 || len(packed) > 4*paddingBlock {
			t.Errorf("%d octets, %v", len(packed), err)
		}
		var m dns.Msg
		if err := m.Unpack(packed); err != nil || m.Question[0].Name != name {
			t.Errorf("%v %v", m.Question, err)
		}
	}
}

// overTLS serves the world of a bench over TLS and returns the server, the CA of
// its certificate, for dns.test, and the pin of its key.
func (b *bench) overTLS(t *testing.T, c *tls.Config) (server *lab.DNSServer, roots *x509.CertPool, pin string) {
	t.Helper()
	ca := lab.NewCA("dot CA", lab.CAOptions{NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour)})
	cred := ca.Issue(lab.LeafOptions{Names: []string{"dns.test"}, NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour)})
	c.Certificates = []tls.Certificate{cred.TLSCertificate()}
	c.Time = b.now
	server, err := b.StartTLS("127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	roots = x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	return server, roots, "sha256/" + pinOf(cred.Leaf())
}

// TestTLS asks over TLS who proves to be the server, by name or by key, and
// nobody else; there is no falling back.
func TestTLS(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	server, roots, pin := b.overTLS(t, &tls.Config{NextProtos: []string{"dot"}})
	other := lab.NewCA("other", lab.CAOptions{})
	strangers := x509.NewCertPool()
	strangers.AddCert(other.Certificate)
	at := "tls://" + server.Addr()
	none := "x.z.test. TLSA: no answer from "
	for name, c := range map[string]struct {
		upstream string
		roots    *x509.CertPool
		late     time.Duration
		state    State
		reason   string
	}{
		"by name":              {at + "#dns.test", roots, 0, Secure, ""},
		"by name, in capitals": {at + "#DNS.test", roots, 0, Secure, ""},
		"by key":               {at + "#" + pin, strangers, 0, Secure, ""},
		"by key, expired":      {at + "#" + pin, strangers, 2 * time.Hour, Secure, ""}, // the key alone counts
		"another name": {at + "#other.test", roots, 0, Failed, none + at +
			"#other.test: tls: failed to verify certificate: x509: certificate is valid for dns.test, not other.test"},
		"another CA": {at + "#dns.test", strangers, 0, Failed, none + at +
			"#dns.test: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"expired": {at + "#dns.test", roots, 2 * time.Hour, Failed, none + at +
			"#dns.test: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-24T14:00:00Z is after 2026-11-24T13:00:00Z"},
		"another key": {at + "#sha256/" + strings.Repeat("A", 43) + "=", roots, 0, Failed, none + at +
			"#sha256/" + strings.Repeat("A", 43) + "=: its key is " + pin + ", not the one that is pinned"},
	} {
		t.Run(name, func(t *testing.T) {
			now := func() time.Time { return today.Add(c.late) }
			r, err := New(Options{Upstreams: []string{c.upstream}, Anchors: b.r.opts.Anchors, TLSRoots: c.roots, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			server.Reset()
			check(t, r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA), c.state, c.reason)
			if asked := len(server.Queries()); (asked > 0) != (c.state == Secure) {
				t.Errorf("%d queries", asked)
			}
		})
	}
	if n := len(b.server.Queries()); n != 0 {
		t.Errorf("%d queries in clear", n)
	}
}

// TestTLSReuse does a whole lookup over one connection.
func TestTLSReuse(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	var handshakes atomic.Int32
	server, roots, _ := b.overTLS(t, &tls.Config{VerifyConnection: func(s tls.ConnectionState) error {
		handshakes.Add(1)
		return nil
	}})
	r, err := New(Options{Upstreams: []string{"tls://" + server.Addr() + "#dns.test"}, Anchors: b.r.opts.Anchors, TLSRoots: roots, Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check(t, r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA), Secure, "")
	if n := len(server.Queries()); n != 6 || handshakes.Load() != 1 {
		t.Errorf("%d queries over %d connections", n, handshakes.Load())
	}
}

// TestTLSClientCertificate shows ours to a server that wants one.
func TestTLSClientCertificate(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	mine := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.test"}, NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour)})
	var seen atomic.Value
	server, roots, _ := b.overTLS(t, &tls.Config{ClientAuth: tls.RequireAnyClientCert, VerifyConnection: func(s tls.ConnectionState) error {
		seen.Store(s.PeerCertificates[0].DNSNames[0])
		return nil
	}})
	o := Options{Upstreams: []string{"tls://" + server.Addr() + "#dns.test"}, Anchors: b.r.opts.Anchors, TLSRoots: roots, Now: b.now, Timeout: 2 * time.Second}
	for _, shown := range []bool{false, true} {
		if shown {
			cert := mine.TLSCertificate()
			o.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		r, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		a := r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA)
		if (a.State == Secure) != shown || !shown && !strings.Contains(a.Reason, "certificate required") {
			t.Errorf("shown %v: %s %q", shown, a.State, a.Reason)
		}
	}
	if seen.Load() != "mx.test" {
		t.Errorf("the server saw %v", seen.Load())
	}
}

// TestTLSClientCertificateHidden: below TLS 1.3 ours would be read on the way, so that
// a resolver that speaks nothing newer is not asked; without one it is.
func TestTLSClientCertificateHidden(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	server, roots, _ := b.overTLS(t, &tls.Config{ClientAuth: tls.RequestClientCert, MaxVersion: tls.VersionTLS12})
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.test"}}).TLSCertificate()
	o := Options{Upstreams: []string{"tls://" + server.Addr() + "#dns.test"}, Anchors: b.r.opts.Anchors, TLSRoots: roots, Now: b.now, Timeout: 2 * time.Second}
	for _, own := range []bool{false, true} {
		if own {
			o.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		r, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if a := r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA); (a.State == Secure) == own {
			t.Errorf("with a certificate: %v: %s %q", own, a.State, a.Reason)
		}
	}
}

// TestFailover goes on to whoever answers, over any way, past all that do not.
func TestFailover(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	server, roots, _ := b.overTLS(t, &tls.Config{})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	dead := "tls://" + closed.Addr().String() + "#dns.test"
	wrong := "tls://" + server.Addr() + "#other.test"
	right := "tls://" + server.Addr() + "#dns.test"
	r, err := New(Options{Upstreams: []string{dead, wrong, closed.Addr().String(), right}, Anchors: b.r.opts.Anchors, TLSRoots: roots, Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check(t, r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA), Secure, "")
	if got := r.up.order()[0].text; got != right {
		t.Errorf("first is %s", got)
	}
	b.forward(benchTime)
	if got := r.up.order()[0].text; got != dead {
		t.Errorf("first is %s", got)
	}
}

func pinOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestHostileNames: what a certificate says comes into no log as it is.
func TestHostileNames(t *testing.T) {
	b := newBench(t)
	names := make([]string, 90)
	for i := range names {
		names[i] = fmt.Sprintf("n%d\r\n\x1b[2Jdane verdict", i)
	}
	ca := lab.NewCA("CA", lab.CAOptions{NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour)})
	cred := ca.Issue(lab.LeafOptions{Names: names, NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour)})
	server, err := b.StartTLS("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cred.TLSCertificate()}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	r, err := New(Options{Upstreams: []string{"tls://" + server.Addr() + "#dns.test"}, Anchors: b.r.opts.Anchors, TLSRoots: roots, Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := r.Lookup(t.Context(), mustName("x.z.test"), TypeTLSA)
	if a.State != Failed || len(a.Reason) > 400 || strings.ContainsAny(a.Reason, "\r\n\x1b") {
		t.Errorf("%s %q", a.State, a.Reason)
	}
	if err := r.SelfTest(t.Context()); err == nil || !strings.HasSuffix(err.Error(), ", or over TLS with the name or the key that is configured?") {
		t.Error(err)
	}
}
