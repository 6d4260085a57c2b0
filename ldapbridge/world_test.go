package ldapbridge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/pattern"
	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
	"dancemta/saslext"
	"dancemta/saslext/door"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeVerifier proves users as a function says.
type fakeVerifier struct {
	mu       sync.Mutex
	anchored func(owner string) (time.Time, error)
	asked    []string
}

func (v *fakeVerifier) Client(_ context.Context, cred daneclient.Credential, allowed func(dnsname.Name) bool) (daneclient.Client, error) {
	if len(cred.Chain) > 0 && len(cred.Chain[0].DNSNames) == 1 {
		return daneclient.Client{}, &daneclient.Error{Reason: daneclient.ForbiddenName}
	}
	return daneclient.Client{}, &daneclient.Error{Reason: daneclient.NoName}
}

func (v *fakeVerifier) Anchored(_ context.Context, owner dnsname.Name, _ daneclient.Credential) (daneclient.Anchor, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, owner.String())
	until, err := v.anchored(owner.String())
	return daneclient.Anchor{Owner: owner, Record: tlsa.Record{Usage: 2, Matching: 1, Data: []byte{0xab}}, Until: until}, err
}

func (v *fakeVerifier) answer(f func(owner string) (time.Time, error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.anchored = f
}

func (v *fakeVerifier) questions() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.asked)
}

// world is a bridge between clients and a directory server, all in memory.
type world struct {
	t        testing.TB
	srv      *Server
	verifier *fakeVerifier
	rules    atomic.Pointer[mapping.Mapper]
	server   *server
	pool     *upstream.Pool
	log      *lockedBuffer
	conns    map[string]chan net.Conn
	serving  sync.WaitGroup
	events   *events
}

// events counts what the bridge counts.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(s string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
}

func (e *events) Event(ev Event) {
	if ev != accepted {
		e.add(ev.String())
	}
}
func (e *events) Bind(how string, code message.Code) {}
func (e *events) Operation(op string, code message.Code) {
	e.add(fmt.Sprintf("%s %d", op, code))
}

func (e *events) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := strings.Join(e.all, ", ")
	e.all = nil
	return s
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	l.b.Reset()
	return s
}

const people = "ou=people,dc=example,dc=test"

// standardRules: users of partner.test read, those of other.test write too, and the
// boss may be anybody there.
func standardRules() mapping.Options {
	const dn = "uid={uid},ou={domain}," + people
	return mapping.Options{
		Rules: []mapping.Rule{
			{Who: pattern.MustParse("*@partner.test"), Allow: true, DN: dn, Line: 1},
			{Who: pattern.MustParse("*@other.test"), Allow: true, DN: dn, Line: 2, Controls: mapping.ManageDSAIT,
				Operations: mapping.Search | mapping.Compare | mapping.Whoami | mapping.Modify | mapping.Add | mapping.Delete | mapping.ModifyDN | mapping.PasswordModify},
			{Who: pattern.MustParse("mute@other.test"), Allow: true, DN: dn, Line: 3, Operations: mapping.Compare},
			{Who: pattern.MustParse("gone@other.test"), Line: 4},
		},
		MayActAs: func(from, to saslext.Identity) bool {
			return from.String() == "boss@other.test" && to.String() == "rick@partner.test" ||
				from.String() == "rick@partner.test" && to.String() == "mute@other.test"
		},
	}
}

func (w *world) setRules(o mapping.Options) {
	m, err := mapping.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.rules.Store(m)
}

var serverCertificate = sync.OnceValue(func() tls.Certificate {
	return lab.SelfSigned(lab.LeafOptions{Names: []string{"ldap.example.test"}}).TLSCertificate()
})

// user is the certificate of a user.
var userCA = sync.OnceValue(func() *lab.CA { return lab.NewCA("users", lab.CAOptions{}) })

func userCert(id string) *tls.Certificate {
	uid, domain, _ := strings.Cut(id, "@")
	c := userCA().Issue(lab.LeafOptions{Names: []string{domain}, UIDs: []string{uid}}).TLSCertificate()
	return &c
}

// newWorld has the listeners "ldap" and "ldaps", and "open" for anybody.
func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, verifier: &fakeVerifier{}, server: newServer(t), log: &lockedBuffer{}, events: &events{}, conns: map[string]chan net.Conn{}}
	w.verifier.anchored = func(string) (time.Time, error) { return time.Now().Add(time.Hour), nil }
	w.setRules(standardRules())
	var err error
	w.pool, err = upstream.New(upstream.Options{Servers: []upstream.Server{{Transport: upstream.Unix, Address: "/ldapi"}}, Dial: w.server.dial,
		Connections: 20, Wait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Listeners: []Listener{{Name: "ldap"}, {Name: "ldaps", Implicit: true}, {Name: "open", Anonymous: true},
			{Name: "strict", Implicit: true, Anonymous: true, Policy: door.Policy{Certificates: door.Require}}},
		Verifier: w.verifier, Rules: w.rules.Load, Pool: w.pool,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { c := serverCertificate(); return &c, nil },
		Logger:      slog.New(slog.NewTextHandler(w.log, nil)), Counters: w.events,
	}
	for _, c := range change {
		c(&o)
	}
	if w.srv, err = New(o); err != nil {
		t.Fatal(err)
	}
	for _, l := range o.Listeners {
		w.conns[l.Name] = make(chan net.Conn)
		ear := &pipes{conns: w.conns[l.Name], closed: make(chan struct{})}
		w.serving.Go(func() {
			if err := w.srv.Serve(l.Name, ear); err != nil {
				t.Error(err)
			}
		})
	}
	return w
}

// shut ends the world.
func (w *world) shut() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.srv.Drain(ctx); err != nil {
		w.t.Error("drain: ", err)
	}
	w.serving.Wait()
	w.pool.Close()
	w.server.close()
}

// pipes is a listener.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return nil }

// from is a connection from an address of the Internet.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// client is a client of the bridge. What comes is read at once.
type client struct {
	t    testing.TB
	raw  net.Conn
	conn net.Conn // raw, or TLS
	last int32

	mu    sync.Mutex
	got   []message.Message
	ended error
	done  chan struct{}
	deaf  chan struct{} // not nil: reads nothing more until it is closed
}

// dial connects in clear.
func (w *world) dial(listener string) *client { return w.dialFrom(listener, "192.0.2.7:1000") }

func (w *world) dialFrom(listener, address string) *client {
	ours, theirs := net.Pipe()
	w.conns[listener] <- from{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}
	return &client{t: w.t, raw: ours, conn: ours}
}

// listen begins to read what comes.
func (c *client) listen() *client {
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		r := bufio.NewReader(c.conn)
		for {
			c.mu.Lock()
			deaf := c.deaf
			c.mu.Unlock()
			if deaf != nil {
				<-deaf
			}
			m, err := message.Read(r, message.Limits{Bytes: 1 << 24})
			c.mu.Lock()
			if err != nil {
				c.ended = err
				c.mu.Unlock()
				return
			}
			c.got = append(c.got, m)
			c.mu.Unlock()
		}
	}()
	return c
}

func clientConfig(cert *tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: "ldap.example.test"}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

// secure does a handshake with a certificate, or without.
func (c *client) secure(cert *tls.Certificate) *client {
	c.t.Helper()
	s := tls.Client(c.raw, clientConfig(cert))
	if err := s.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn = s
	return c.listen()
}

// ldaps is a client under TLS.
func (w *world) ldaps(cert *tls.Certificate) *client { return w.dial("ldaps").secure(cert) }

// bound is one who has bound by his certificate.
func (w *world) bound(id string) *client {
	w.t.Helper()
	c := w.ldaps(userCert(id))
	if got := c.bind(nil); got != message.Success {
		w.t.Fatalf("%s: %v\n%s", id, got, w.log.take())
	}
	return c
}

// write sends octets.
func (c *client) write(octets []byte) {
	_, _ = c.conn.Write(octets)
	synctest.Wait()
}

// send sends a request and returns its ID.
func (c *client) send(op []byte, controls ...message.Control) int32 {
	c.last++
	c.write(message.AppendMessage(nil, c.last, op, message.AppendControls(nil, controls...)))
	return c.last
}

// take returns what has come, and forgets it.
func (c *client) take() []message.Message {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

// result sends a request and returns its result, the last of what came.
func (c *client) result(op []byte, controls ...message.Control) message.Result {
	c.t.Helper()
	id := c.send(op, controls...)
	got := c.take()
	if len(got) == 0 || got[len(got)-1].ID != id {
		c.t.Errorf("%d messages, and no result of %d", len(got), id)
		return message.Result{Code: -1}
	}
	m := got[len(got)-1]
	r, err := message.ParseResult(m.Op)
	if err != nil {
		c.t.Error(err)
	}
	if want := message.Op(op[0]).Reply(); m.Tag() != want {
		c.t.Errorf("a reply %#x, want %#x", byte(m.Tag()), byte(want))
	}
	return r
}

func (c *client) code(op []byte, controls ...message.Control) message.Code {
	c.t.Helper()
	return c.result(op, controls...).Code
}

// bind binds by EXTERNAL; nil credentials are absent.
func (c *client) bind(credentials *string) message.Code {
	c.t.Helper()
	return c.code(bindOp("EXTERNAL", credentials))
}

func (c *client) whoAmI() string {
	c.t.Helper()
	r := c.result(message.ExtendedOp(message.OIDWhoAmI, nil))
	if r.Code != message.Success {
		return r.Code.String()
	}
	return string(r.Value)
}

// isClosed reports whether the bridge has ended the connection, and the code of its
// notice; -1: there was none.
func (c *client) isClosed() (bool, message.Code) {
	got := c.take()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		return false, -1
	}
	if n := len(got); n > 0 && got[n-1].ID == 0 {
		r, err := message.ParseResult(got[n-1].Op)
		if err != nil || r.OID != message.OIDDisconnection {
			c.t.Errorf("a notice %+v, %v", r, err)
		}
		return true, r.Code
	}
	return true, -1
}

func (c *client) close() {
	_ = c.raw.Close()
	if c.done != nil {
		<-c.done
	}
	synctest.Wait()
}

// element is BER by hand, so that it can be wrong.
func element(tag byte, parts ...string) string {
	body := strings.Join(parts, "")
	switch n := len(body); {
	case n < 0x80:
		return string([]byte{tag, byte(n)}) + body
	default:
		return string([]byte{tag, 0x82, byte(n >> 8), byte(n)}) + body
	}
}

func bindOp(mechanism string, credentials *string) []byte {
	sasl := element(4, mechanism)
	if credentials != nil {
		sasl += element(4, *credentials)
	}
	return []byte(element(0x60, "\x02\x01\x03", element(4), element(0xa3, sasl)))
}

func simpleOp(name, password string) []byte {
	return []byte(element(0x60, "\x02\x01\x03", element(4, name), element(0x80, password)))
}

func searchOp(base string, scope int32, attributes ...string) []byte {
	return message.Search{Base: []byte(base), Scope: scope, Filter: message.FilterPresent("objectClass"), Attributes: message.AttributeSelection(attributes...)}.AppendOp(nil)
}

func compareOp(dn string) []byte {
	return []byte(element(0x6e, element(4, dn), element(0x30, element(4, "uid"), element(4, "rick"))))
}

func modifyOp(dn string) []byte {
	return []byte(element(0x66, element(4, dn), element(0x30, element(0x30, "\x0a\x01\x02", element(0x30, element(4, "title"), element(0x31, element(4, "x")))))))
}

// server is the directory server: it binds the bridge, and answers the rest as told.
type server struct {
	t      testing.TB
	mu     sync.Mutex
	down   bool
	silent bool // answers nothing but binds
	conns  map[net.Conn]bool
	seen   []message.Message
	handle func(m message.Message, write func([]byte) error) bool // false: the answer below
	run    sync.WaitGroup
}

func newServer(t testing.TB) *server { return &server{t: t, conns: map[net.Conn]bool{}} }

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	s.conns[theirs] = true
	s.run.Go(func() { s.serve(theirs) })
	return ours, nil
}

func (s *server) close() {
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.run.Wait()
}

func (s *server) serve(c net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		c.Close()
	}()
	r := bufio.NewReader(c)
	for {
		m, err := message.Read(r, message.Limits{})
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				s.t.Error("what the bridge sends: ", err)
			}
			return
		}
		s.mu.Lock()
		if m.Tag() != message.BindRequest {
			s.seen = append(s.seen, m)
		}
		handle, silent := s.handle, s.silent
		s.mu.Unlock()
		write := func(b []byte) error { _, err := c.Write(b); return err }
		if m.Tag() != message.BindRequest && (silent || handle != nil && handle(m, write)) {
			continue
		}
		if err := s.reply(m, write); err != nil {
			return
		}
	}
}

func (s *server) reply(m message.Message, write func([]byte) error) error {
	var b []byte
	if m.Tag() == message.SearchRequest {
		b = message.AppendEntry(b, m.ID, "cn=found", []message.Attribute{{Name: "cn", Values: []string{"found"}}}, false)
	}
	if reply := m.Tag().Reply(); reply != 0 {
		b = message.AppendResult(b, m.ID, reply, message.Result{})
	}
	return write(b)
}

// say changes how the server behaves.
func (s *server) say(f func(s *server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// take returns what came to the server, as "search dn:uid=…" with the OIDs of further
// controls behind it. Each must have had the control of RFC 4370, critical.
func (s *server) take() string {
	synctest.Wait()
	s.mu.Lock()
	seen := s.seen
	s.seen = nil
	s.mu.Unlock()
	var list []string
	for _, m := range seen {
		controls, err := message.ParseControls(m.Controls)
		if err != nil {
			s.t.Error(err)
		}
		line := m.Tag().String()
		proxied := slices.IndexFunc(controls, func(c message.Control) bool { return c.OID == message.OIDProxiedAuth })
		isCancel := bytes.Contains(m.Op, []byte(message.OIDCancel))
		switch {
		case m.Tag() == message.AbandonRequest || m.Tag() == message.UnbindRequest || isCancel:
		case proxied < 0 || !controls[proxied].Critical || !controls[proxied].HasValue:
			s.t.Errorf("%s came without proxied authorization: %+v", line, controls)
		default:
			line += " " + string(controls[proxied].Value)
			controls = slices.Delete(controls, proxied, proxied+1)
		}
		for _, c := range controls {
			line += " " + c.OID
		}
		list = append(list, strings.TrimSpace(line))
	}
	return strings.Join(list, ", ")
}

// read reads one message.
func read(b []byte) (message.Message, error) {
	return message.Read(bufio.NewReader(bytes.NewReader(b)), message.Limits{})
}
