package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var d = dnsname.MustParse("d.test")

const enforce = "version: STSv1\nmode: enforce\nmx: mx.d.test\nmax_age: 604800\n"

// scene is a domain with its TXT record and its policy host.
type scene struct {
	txt     dnssec.Answer
	addrs   []netip.Addr
	now     time.Time
	ca      *lab.CA
	handler atomic.Pointer[http.HandlerFunc]
	config  atomic.Pointer[tls.Config]
	fetches atomic.Int32
	port    int
}

func (s *scene) Lookup(_ context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	switch {
	case name.String() == "_mta-sts.d.test" && t == dnssec.TypeTXT:
		return s.txt
	case name.String() == "mta-sts.d.test" && t == dnssec.TypeA:
		return dnssec.Answer{State: dnssec.Insecure, Addrs: s.addrs}
	case name.String() == "mta-sts.d.test" && t == dnssec.TypeAAAA:
		return dnssec.Answer{State: dnssec.Insecure}
	}
	return dnssec.Answer{Reason: "nobody expected this query"}
}

func (s *scene) record(texts ...string) { s.txt = dnssec.Answer{State: dnssec.Insecure, TXT: texts} }

func (s *scene) serves(text string) {
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, text)
	})
}

func (s *scene) answers(h http.HandlerFunc) { s.handler.Store(&h) }

func (s *scene) shows(c lab.Credential) {
	s.config.Store(&tls.Config{Certificates: []tls.Certificate{c.TLSCertificate()}})
}

func (s *scene) good() lab.Credential {
	return s.ca.Issue(lab.LeafOptions{Names: []string{"mta-sts.d.test"}})
}

// newScene serves a good policy under id 1.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, now: time.Now(), ca: lab.NewCA("policies", lab.CAOptions{})}
	s.record("v=STSv1; id=1;")
	s.serves(enforce)
	s.shows(s.good())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		if r.URL.Path != "/.well-known/mta-sts.txt" || !strings.HasPrefix(r.Host, "mta-sts.d.test") || r.TLS.ServerName != "mta-sts.d.test" {
			t.Errorf("asked for %s at %s, SNI %s", r.URL, r.Host, r.TLS.ServerName)
		}
		(*s.handler.Load())(w, r)
	})}
	server.ErrorLog = log.New(io.Discard, "", 0)
	var serving sync.WaitGroup
	serving.Go(func() {
		server.Serve(tls.NewListener(l, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.config.Load(), nil }}))
	})
	t.Cleanup(func() { server.Close(); serving.Wait() })
	return s
}

func (s *scene) client(t *testing.T, o Options) *Client {
	t.Helper()
	o.Resolver, o.Port, o.Now = s, s.port, func() time.Time { return s.now }
	if o.Roots == nil {
		o.Roots = x509.NewCertPool()
		o.Roots.AddCert(s.ca.Certificate)
	}
	if o.Permitted == nil {
		o.Permitted = func(netip.Addr) bool { return true }
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFetch(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(s *scene, o *Options)
		kind Kind // 0: a policy
		why  string
	}{
		{"good", func(*scene, *Options) {}, 0, ""},
		{"redirect", func(s *scene, _ *Options) {
			s.answers(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery == "" {
					http.Redirect(w, r, "/.well-known/mta-sts.txt?again", http.StatusFound)
				}
				io.WriteString(w, enforce)
			})
		}, FetchError, "answers 302"},
		{"not found", func(s *scene, _ *Options) { s.answers(http.NotFound) }, FetchError, "answers 404"},
		{"203", func(s *scene, _ *Options) {
			s.answers(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(203)
				io.WriteString(w, enforce)
			})
		}, FetchError, "answers 203"},
		{"a web page", func(s *scene, _ *Options) {
			s.answers(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				io.WriteString(w, enforce)
			})
		}, FetchError, "not text/plain"},
		{"64 KiB", func(s *scene, _ *Options) { s.serves(enforce + strings.Repeat("x:y\n", (64<<10-len(enforce))/4)) }, 0, ""},
		{"more", func(s *scene, _ *Options) { s.serves(enforce + strings.Repeat("x:yz\n", 64<<10/5)) }, FetchError, "more than 65536 octets"},
		{"no policy", func(s *scene, _ *Options) { s.serves("hello") }, InvalidError, "is no field"},
		{"another name", func(s *scene, _ *Options) {
			s.shows(s.ca.Issue(lab.LeafOptions{Names: []string{"d.test"}}))
		}, WebPKIError, "not mta-sts.d.test"},
		{"wildcard", func(s *scene, _ *Options) {
			s.shows(s.ca.Issue(lab.LeafOptions{Names: []string{"*.d.test"}}))
		}, 0, ""},
		{"nobody's certificate", func(s *scene, _ *Options) {
			s.shows(lab.SelfSigned(lab.LeafOptions{Names: []string{"mta-sts.d.test"}}))
		}, WebPKIError, "unknown authority"},
		{"expired", func(s *scene, _ *Options) {
			s.shows(s.ca.Issue(lab.LeafOptions{Names: []string{"mta-sts.d.test"}, NotAfter: time.Now().Add(-time.Minute)}))
		}, WebPKIError, "expired"},
		{"TLS 1.1", func(s *scene, _ *Options) {
			config := s.config.Load().Clone()
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			s.config.Store(config)
		}, FetchError, "protocol version"},
		{"private address", func(s *scene, o *Options) { o.Permitted = func(a netip.Addr) bool { return !a.IsLoopback() } }, FetchError, "no address that may be called"},
		{"no address", func(s *scene, _ *Options) { s.addrs = nil }, FetchError, "no address that may be called"},
		{"nobody there", func(_ *scene, o *Options) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
		}, FetchError, "connection refused"},
		{"two records", func(s *scene, _ *Options) { s.record("v=STSv1; id=1;", "v=STSv1; id=2;") }, FetchError, "more than one TXT"},
		{"DNS trouble", func(s *scene, _ *Options) { s.txt = dnssec.Answer{State: dnssec.Bogus, Reason: "no signature"} }, FetchError, "bogus: no signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			var o Options
			c.set(s, &o)
			p, err := s.client(t, o).Policy(t.Context(), d)
			var e *Error
			errors.As(err, &e)
			switch {
			case c.kind == 0:
				if err != nil || p.Mode != Enforce || p.ID != "1" || p.Domain != d {
					t.Errorf("%+v, %v", p, err)
				}
			case e == nil || e.Kind != c.kind || !strings.Contains(err.Error(), c.why) || !p.Domain.IsZero():
				t.Errorf("%+v, %v; want %s", p, err, c.why)
			}
		})
	}
}

// A policy holds though everything else is gone, after a new start too, until its
// time is over (RFC 8461 5.1).
func TestPolicyHolds(t *testing.T) {
	s := newScene(t)
	dir := filepath.Join(t.TempDir(), "mta-sts")
	c := s.client(t, Options{Dir: dir})
	if p, err := c.Policy(t.Context(), d); p.Mode != Enforce || err != nil {
		t.Fatal(p, err)
	}
	hidden := []struct {
		name string
		hide func()
	}{
		{"nothing", func() {}},
		{"the record", func() { s.record() }},
		{"DNS", func() { s.txt = dnssec.Answer{Reason: "timeout"} }},
		{"the policy, under a new id", func() { s.record("v=STSv1; id=2;"); s.answers(http.NotFound) }},
		{"a mode that is none", func() { s.serves("version: STSv1\nmode: never\nmax_age: 1\n") }},
		{"TLS", func() { s.shows(lab.SelfSigned(lab.LeafOptions{Names: []string{"mta-sts.d.test"}})) }},
	}
	for _, h := range hidden {
		h.hide()
		s.now = s.now.Add(time.Hour)
		for _, client := range []*Client{c, s.client(t, Options{Dir: dir})} {
			if p, _ := client.Policy(t.Context(), d); p.Mode != Enforce || p.ID != "1" {
				t.Errorf("without %s: %+v", h.name, p)
			}
		}
	}
	s.now = s.now.Add(7 * 24 * time.Hour)
	if p, err := c.Policy(t.Context(), d); !p.Domain.IsZero() || err == nil {
		t.Errorf("when its time is over: %+v, %v", p, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("its file is left: %v", left)
	}
}

func TestNewID(t *testing.T) {
	s := newScene(t)
	c := s.client(t, Options{})
	c.Policy(t.Context(), d)
	c.Policy(t.Context(), d)
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d fetches under one id", n)
	}
	s.serves(strings.Replace(enforce, "enforce", "testing", 1))
	s.record("v=STSv1; id=2;")
	if p, err := c.Policy(t.Context(), d); p.Mode != Testing || p.ID != "2" || err != nil {
		t.Errorf("%+v, %v", p, err)
	}
	s.serves("version: STSv1\nmode: none\nmax_age: 604800\n")
	s.record("v=STSv1; id=3;")
	if p, err := c.Policy(t.Context(), d); p.Mode != None || err != nil {
		t.Errorf("a domain that leaves: %+v, %v", p, err)
	}
}

// TestFailureRests: RFC 8461 3.3.
func TestFailureRests(t *testing.T) {
	s := newScene(t)
	s.answers(http.NotFound)
	c := s.client(t, Options{})
	for _, step := range []struct {
		wait    time.Duration
		fetches int32
	}{{0, 1}, {4 * time.Minute, 1}, {time.Minute, 2}} {
		s.now = s.now.Add(step.wait)
		if _, err := c.Policy(t.Context(), d); err == nil {
			t.Error("the failure is forgotten")
		}
		if n := s.fetches.Load(); n != step.fetches {
			t.Errorf("after %v: %d fetches, want %d", step.wait, n, step.fetches)
		}
	}
}

// TestShortLives: a policy whose max_age is 0 is fetched once in a minute under one
// id, not once for each message; and it is none when its record goes.
func TestShortLives(t *testing.T) {
	for _, age := range []string{"0", "1"} {
		s := newScene(t)
		s.serves(strings.Replace(enforce, "604800", age, 1))
		c := s.client(t, Options{Dir: filepath.Join(t.TempDir(), "mta-sts")})
		for _, step := range []struct {
			wait    time.Duration
			set     func()
			fetches int32
			mode    Mode
		}{
			{0, func() {}, 1, Enforce},
			{0, func() {}, 1, Enforce},
			{59 * time.Second, func() {}, 1, Enforce},
			{time.Second, func() {}, 2, Enforce}, // its minute is over
			{time.Second, func() { s.record("v=STSv1; id=2;") }, 3, Enforce},
			{30 * time.Second, func() { s.record() }, 3, None}, // RFC 8461 5.1 speaks of policies that live
			{time.Second, func() { s.record("v=STSv1; id=2;") }, 3, Enforce},
			{time.Hour, func() {}, 4, Enforce},
		} {
			s.now = s.now.Add(step.wait)
			step.set()
			p, err := c.Policy(t.Context(), d)
			if n := s.fetches.Load(); n != step.fetches || p.Mode != step.mode || err != nil {
				t.Errorf("max_age %s, step %+v: %d fetches, %v, %v", age, step, n, p.Mode, err)
			}
		}
	}
}

// TestShortLivesAtOnce: messages that come while a policy without a life is fetched
// share the fetch.
func TestShortLivesAtOnce(t *testing.T) {
	s := newScene(t)
	arrived, goOn := make(chan struct{}, 100), make(chan struct{})
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-goOn
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Replace(enforce, "604800", "0", 1))
	})
	c := s.client(t, Options{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if p, err := c.Policy(t.Context(), d); p.Mode != Enforce || err != nil {
				t.Error(p, err)
			}
		})
	}
	<-arrived
	close(goOn)
	all.Wait()
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestRecheck: before mail fails for good the policy is fetched again, under the
// same id too.
func TestRecheck(t *testing.T) {
	s := newScene(t)
	c := s.client(t, Options{})
	c.Policy(t.Context(), d)
	s.serves(strings.Replace(enforce, "mx.d.test", "new.d.test", 1))
	for _, step := range []struct {
		wait time.Duration
		mx   string
	}{{0, "mx.d.test"}, {5 * time.Minute, "new.d.test"}} {
		s.now = s.now.Add(step.wait)
		c.Recheck(d)
		if p, err := c.Policy(t.Context(), d); len(p.MX) != 1 || p.MX[0] != step.mx || err != nil {
			t.Errorf("after %v: %+v, %v", step.wait, p, err)
		}
	}
}

func TestRefresh(t *testing.T) {
	s := newScene(t)
	c := s.client(t, Options{})
	before, _ := c.Policy(t.Context(), d)
	for _, step := range []struct {
		wait    time.Duration
		fetches int32
	}{{23 * time.Hour, 1}, {time.Hour, 2}, {time.Hour, 2}} {
		s.now = s.now.Add(step.wait)
		c.refresh(t.Context())
		if n := s.fetches.Load(); n != step.fetches {
			t.Errorf("after %v: %d fetches, want %d", step.wait, n, step.fetches)
		}
	}
	if after, _ := c.Policy(t.Context(), d); !after.Expires().Equal(before.Expires().Add(24 * time.Hour)) {
		t.Errorf("it holds until %v", after.Expires())
	}
	s.now = s.now.Add(8 * 24 * time.Hour)
	s.record()
	c.refresh(t.Context())
	if len(c.kept) != 0 || c.octets != 0 {
		t.Errorf("expired: %d entries, %d octets", len(c.kept), c.octets)
	}
}

// TestOneFlight: a hundred messages to a domain cost one fetch.
func TestOneFlight(t *testing.T) {
	s := newScene(t)
	c := s.client(t, Options{})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if p, err := c.Policy(t.Context(), d); p.Mode != Enforce || err != nil {
				t.Error(p, err)
			}
		})
	}
	all.Wait()
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// A fetch that we broke off ourselves says nothing of the domain.
func TestContextEnds(t *testing.T) {
	s := newScene(t)
	c := s.client(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	s.answers(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Policy(ctx, d); err == nil {
		t.Error("no error")
	}
	s.serves(enforce)
	if p, err := c.Policy(t.Context(), d); p.Mode != Enforce || err != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestBounds(t *testing.T) {
	s := newScene(t)
	c := s.client(t, Options{})
	for i := range maxKept + 10 {
		s.now = s.now.Add(time.Millisecond)
		c.put(Policy{Domain: dnsname.MustParse(fmt.Sprintf("n%d.test", i)), MaxAge: time.Hour, Fetched: s.now})
	}
	if p, _ := c.current(dnsname.MustParse("n0.test")); len(c.kept) != maxKept || !p.Domain.IsZero() {
		t.Errorf("%d policies kept, the oldest among them: %v", len(c.kept), p.Domain)
	}
	for i := range maxFailed + 10 {
		c.fail(dnsname.MustParse(fmt.Sprintf("n%d.test", i)), errNoMX)
	}
	if len(c.failed) != maxFailed {
		t.Errorf("%d failures kept", len(c.failed))
	}
}

// Files that are not what we wrote are left out, and nothing else is.
func TestDamagedFiles(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	s.client(t, Options{Dir: dir}).Policy(t.Context(), d)
	good, err := os.ReadFile(filepath.Join(dir, "d.test.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"half.test.json": string(good[:len(good)/2]), "other.test.json": string(good), "empty.test.json": "", ".new-1": "x", "README": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.record()
	c := s.client(t, Options{Dir: dir})
	if p, _ := c.Policy(t.Context(), d); p.Mode != Enforce || len(c.kept) != 1 {
		t.Errorf("%+v, %d policies", p, len(c.kept))
	}
	if _, err := New(Options{Resolver: s, Permitted: func(netip.Addr) bool { return true }, Dir: filepath.Join(dir, "README")}); err == nil {
		t.Error("a file for a folder")
	}
}

func TestOptions(t *testing.T) {
	s := &scene{}
	for _, o := range []Options{{}, {Resolver: s}, {Permitted: netip.Addr.IsValid}, {Resolver: s, Permitted: netip.Addr.IsValid, Port: 65536}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	newScene(t).client(t, Options{}).Run(ctx)
}

// Who only looks obeys what is kept, and writes and removes nothing.
func TestLook(t *testing.T) {
	s := newScene(t)
	dir := filepath.Join(t.TempDir(), "mta-sts")
	looker := s.client(t, Options{Dir: dir, Look: true})
	if p, err := looker.Policy(t.Context(), d); p.Mode != Enforce || err != nil {
		t.Fatal(p, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was written", err)
	}
	if p, err := s.client(t, Options{Dir: dir}).Policy(t.Context(), d); p.Mode != Enforce || err != nil {
		t.Fatal(p, err)
	}
	s.record()
	if p, _ := s.client(t, Options{Dir: dir, Look: true}).Policy(t.Context(), d); p.Mode != Enforce {
		t.Errorf("what is kept does not count: %+v", p)
	}
	s.now = s.now.Add(8 * 24 * time.Hour)
	s.client(t, Options{Dir: dir, Look: true})
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("a file was removed: %v", left)
	}
}
