package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/internal/pattern"
	"dancemta/queue"
	"dancemta/smtpd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The peers of these tests, by the names in their certificates.
const (
	device  = "sensor7._device.partner.test"
	mtaName = "_smtp-client.mta.partner.test"
)

// fakeVerifier answers by function; a call that no function expects is an error
// of the test.
type fakeVerifier struct {
	t        *testing.T
	client   func(ctx context.Context, owner dnsname.Name) (daneclient.Client, error)
	anchored func(ctx context.Context, owner dnsname.Name) (daneclient.Anchor, error)

	mu    sync.Mutex
	asked []string
}

func (v *fakeVerifier) ask(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, what)
}

// Client takes the first dNSName as the owner name and asks the allow list, as
// the real one does.
func (v *fakeVerifier) Client(ctx context.Context, cred daneclient.Credential, allowed func(dnsname.Name) bool) (daneclient.Client, error) {
	owner, err := dnsname.ParseOwner(cred.Chain[0].DNSNames[0])
	if err != nil {
		return daneclient.Client{}, &daneclient.Error{Reason: daneclient.NoName}
	}
	if !allowed(owner) {
		return daneclient.Client{}, &daneclient.Error{Reason: daneclient.NotAllowed, Name: owner}
	}
	v.ask(owner.String())
	if v.client == nil {
		v.t.Errorf("nobody expected a question about %s", owner)
		return daneclient.Client{}, errors.New("unexpected")
	}
	return v.client(ctx, owner)
}

func (v *fakeVerifier) Anchored(ctx context.Context, owner dnsname.Name, cred daneclient.Credential) (daneclient.Anchor, error) {
	v.ask(owner.String())
	if v.anchored == nil {
		v.t.Errorf("nobody expected a question about %s", owner)
		return daneclient.Anchor{}, errors.New("unexpected")
	}
	return v.anchored(ctx, owner)
}

func (v *fakeVerifier) questions() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.asked...)
}

var record = tlsa.Record{Usage: 3, Selector: 1, Matching: 1, Data: []byte{0xab}}

// verified proves every client and every user until the given time.
func verified(v *fakeVerifier, until time.Time) {
	v.client = func(_ context.Context, owner dnsname.Name) (daneclient.Client, error) {
		return daneclient.Client{Name: owner, Record: record, Until: until, Source: daneclient.SourceCertificate}, nil
	}
	v.anchored = func(_ context.Context, owner dnsname.Name) (daneclient.Anchor, error) {
		return daneclient.Anchor{Owner: owner, Record: record, Until: until}, nil
	}
}

// refused gives every client and every user one reason.
func refused(v *fakeVerifier, reason daneclient.Reason) {
	v.client = func(_ context.Context, owner dnsname.Name) (daneclient.Client, error) {
		return daneclient.Client{}, &daneclient.Error{Reason: reason, Name: owner}
	}
	v.anchored = func(_ context.Context, owner dnsname.Name) (daneclient.Anchor, error) {
		return daneclient.Anchor{}, &daneclient.Error{Reason: reason, Name: owner}
	}
}

// fakeQueue keeps what it accepts, or fails as told.
type fakeQueue struct {
	err    error
	panics bool
	block  chan struct{} // not nil: Accept waits for it, once it has the body

	mu       sync.Mutex
	accepted []accepted
}

type accepted struct {
	queue.Envelope
	body string
}

func (q *fakeQueue) Accept(ctx context.Context, env queue.Envelope, body io.Reader) error {
	if q.panics {
		panic("queue on fire")
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if q.block != nil {
		<-q.block
	}
	if q.err != nil {
		return q.err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.accepted = append(q.accepted, accepted{env, string(b)})
	return nil
}

func (q *fakeQueue) messages() []accepted {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]accepted(nil), q.accepted...)
}

// syncBuffer takes log lines from many goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// world is a server with fakes around it.
type world struct {
	*Server
	t        *testing.T
	verifier *fakeVerifier
	queue    *fakeQueue
	rules    atomic.Pointer[policy.Rules]
	clock    atomic.Pointer[time.Time]
	log      *syncBuffer
}

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// standardRules: clients of partner.test relay with any sender of partner.test,
// its users send as themselves, and robin as rick; example.test is ours.
func standardRules() policy.Options {
	return policy.Options{
		Hostname:   dnsname.MustParse("mx.example.test"),
		Postmaster: mailaddr.MustParse("boss@example.test"),
		Rules: []policy.Rule{
			{Who: pattern.MustParse("*._device.partner.test"), Allow: true, From: addresses("@partner.test"), To: addresses("@remote.test"), Line: 1},
			{Who: pattern.MustParse("_smtp-client.*.partner.test"), Allow: true, From: addresses("any"), Line: 2},
			{Who: pattern.MustParse("*@partner.test"), Allow: true, Line: 3},
			{Who: pattern.MustParse("limited@partner.test"), Allow: true, To: addresses("@remote.test"), Line: 4},
		},
		Authzid:      []policy.Authzid{{From: pattern.MustParse("robin@partner.test"), To: pattern.MustParse("rick@partner.test"), Line: 5}},
		RelayDomains: []policy.RelayDomain{{Domain: dnsname.MustParse("example.test"), Recipients: map[string]bool{"info@example.test": true, "rick@example.test": true}}},
	}
}

func addresses(texts ...string) (ps []policy.AddressPattern) {
	for _, s := range texts {
		p, err := policy.ParseAddressPattern(s)
		if err != nil {
			panic(err)
		}
		ps = append(ps, p)
	}
	return ps
}

var listeners = []Listener{
	{Name: "mx", Kind: Relay},
	{Name: "sub", Kind: Submission},
	{Name: "subs", Kind: Submissions, ImplicitLogin: true},
	{Name: "strict", Kind: Relay, ClientCertificates: Require},
	{Name: "plain", Kind: Relay, ClientCertificates: Off},
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	w := &world{t: t, verifier: &fakeVerifier{t: t}, queue: &fakeQueue{}, log: &syncBuffer{}}
	w.setRules(standardRules())
	w.setClock(start)
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}}).TLSCertificate()
	o := Options{
		Hostname:    dnsname.MustParse("mx.example.test"),
		Postmaster:  mailaddr.MustParse("boss@example.test"),
		Queue:       w.queue,
		Verifier:    w.verifier,
		Rules:       w.rules.Load,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		Listeners:   listeners,
		Logger:      slog.New(slog.NewTextHandler(w.log, nil)),
		Now:         func() time.Time { return *w.clock.Load() },
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if w.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) setClock(now time.Time) { w.clock.Store(&now) }

func (w *world) setRules(o policy.Options) {
	r, err := policy.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.rules.Store(r)
}

// anyAuthor lets users write whom they like in From.
func (w *world) anyAuthor() {
	o := standardRules()
	o.Rules[2].Authors = addresses("any")
	w.setRules(o)
}

// fakePeer is a connection as a session sees it.
type fakePeer struct {
	state  tls.ConnectionState
	secure bool
}

func (p fakePeer) TLS() (tls.ConnectionState, bool) { return p.state, p.secure }
func (p fakePeer) Session() string                  { return "SESSION001" }
func (p fakePeer) Context() context.Context         { return context.Background() }
func (p fakePeer) Socket() net.Conn                 { return nil }
func (p fakePeer) Extended() bool                   { return true }
func (p fakePeer) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:4444"))
}
func (p fakePeer) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:25"))
}

func plainPeer() fakePeer { return fakePeer{} }

// certPeer has finished a TLS 1.3 handshake with this leaf.
func certPeer(leaf ...*x509.Certificate) fakePeer {
	return fakePeer{secure: true, state: tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13,
		CipherSuite: tls.TLS_AES_128_GCM_SHA256, PeerCertificates: leaf}}
}

func clientPeer(name string) fakePeer {
	return certPeer(lab.SelfSigned(lab.LeafOptions{Names: []string{name}}).Leaf())
}

func userPeer(uid string) fakePeer {
	return certPeer(lab.SelfSigned(lab.LeafOptions{Names: []string{"partner.test"}, UIDs: []string{uid}}).Leaf())
}

// talk is a session of a listener, driven as go-smtp drives it.
type talk struct {
	*session
	t *testing.T
}

func (w *world) talk(listener string, p peer) *talk {
	w.t.Helper()
	s := newSession(w.fronts[listener], p, func() string { return "peer.test" })
	w.t.Cleanup(func() { s.Logout() })
	return &talk{s, w.t}
}

func (k *talk) mail(from string) string {
	return text(k.Mail(from, &smtp.MailOptions{Body: smtp.Body8BitMIME}))
}

func (k *talk) rcpt(to string) string { return text(k.Rcpt(to, &smtp.RcptOptions{})) }

func (k *talk) data(body string) string {
	defer k.Reset() // as go-smtp does
	return text(k.Data(strings.NewReader(body)))
}

// auth is AUTH EXTERNAL with an initial response.
func (k *talk) auth(authzid string) string {
	server, err := k.Auth("EXTERNAL")
	if err != nil {
		return text(err)
	}
	_, done, err := server.Next([]byte(authzid))
	if err == nil && done {
		return "235"
	}
	return text(err)
}

// cut removes the session id, which no two refusals share.
func cut(reply string) string {
	if i := strings.LastIndex(reply, " ["); i >= 0 && strings.HasSuffix(reply, "]") {
		return reply[:i]
	}
	return reply
}

func (k *talk) expect(what, got, want string) {
	k.t.Helper()
	if !strings.HasPrefix(got, want) {
		k.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("timeout: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
