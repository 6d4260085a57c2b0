package probe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue/deliver/probe"
	"dancemta/queue/deliver/smtpclient"
	"dancemta/queue/mtasts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "mx.far.test"

// stage is a host in a signed zone, whose port is the one of a sink.
type stage struct {
	*lab.World
	o    probe.Options
	port string
}

// newStage makes a host at an address; what listens there is the test's.
func newStage(t *testing.T, addr string) *stage {
	t.Helper()
	w := lab.NewWorld(time.Now())
	w.AddZone("test.", lab.ZoneOptions{})
	w.AddZone("far.test.", lab.ZoneOptions{}).Add("mx A 127.0.0.1")
	d, err := w.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := dnssec.ParseAnchors(w.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{d.Addr()}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); d.Close() })
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{World: w, port: port, o: probe.Options{Host: dnsname.MustParse(host), Hostname: dnsname.MustParse("here.test"), Resolver: r,
		Timeouts: smtpclient.Timeouts{Greeting: 5 * time.Second, Hello: 5 * time.Second, Handshake: 5 * time.Second, Quit: time.Second}}}
	fmt.Sscan(port, &s.o.Port)
	return s
}

func (s *stage) tlsa(record string) { s.Zone("far.test.").Add("_" + s.port + "._tcp.mx " + record) }

func TestVerdicts(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	good := ca.Issue(lab.LeafOptions{Names: []string{host}, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	other := lab.SelfSigned(lab.LeafOptions{Names: []string{"else.test"}})
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	policy := func(mode mtasts.Mode, mx string) func(context.Context, dnsname.Name) (mtasts.Policy, error) {
		return func(_ context.Context, d dnsname.Name) (mtasts.Policy, error) {
			return mtasts.Policy{Domain: d, ID: "1", Mode: mode, MX: []string{mx}}, nil
		}
	}
	for _, c := range []struct {
		name    string
		cert    *lab.Credential // nil: no TLS
		record  string          // %s: none
		policy  func(context.Context, dnsname.Name) (mtasts.Policy, error)
		verdict string
		dane    string
		pkix    string
	}{
		{"DANE and PKIX", &good, lab.TLSA(3, 1, 1, good.Leaf()), nil, probe.Good, "match", "match"},
		{"DANE by its CA", &good, lab.TLSA(2, 0, 1, ca.Certificate), nil, probe.Good, "match", "match"},
		{"DANE alone", &other, lab.TLSA(3, 1, 1, other.Leaf()), nil, probe.Good, "match", "mismatch"},
		{"DANE of another key", &good, lab.TLSA(3, 1, 1, other.Leaf()), nil, probe.Broken, "mismatch", "match"},
		{"DANE, no TLS", nil, lab.TLSA(3, 1, 1, good.Leaf()), nil, probe.Broken, "mismatch", ""},
		{"records of no use", &good, "TLSA 3 2 1 abcd", nil, probe.Good, "unusable", "match"},
		{"nothing published", &other, "", nil, probe.Good, "no-record", "mismatch"},
		{"nothing at all", nil, "", nil, probe.Good, "no-record", ""},
		{"a policy that holds", &good, "", policy(mtasts.Enforce, host), probe.Good, "no-record", "match"},
		{"a policy for another host", &good, "", policy(mtasts.Enforce, "else.test"), probe.Broken, "no-record", "match"},
		{"a policy, and no proof", &other, "", policy(mtasts.Enforce, host), probe.Broken, "no-record", "mismatch"},
		{"a policy, and no TLS", nil, "", policy(mtasts.Enforce, host), probe.Broken, "no-record", ""},
		{"a policy that tests", &other, "", policy(mtasts.Testing, "else.test"), probe.Good, "no-record", "mismatch"},
		{"DANE before a policy", &other, lab.TLSA(3, 1, 1, other.Leaf()), policy(mtasts.Enforce, "else.test"), probe.Good, "match", "mismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := lab.SinkOptions{NoTLS: c.cert == nil}
			if c.cert != nil {
				o.Certificate = new(c.cert.TLSCertificate())
			}
			sink, err := lab.StartSink("127.0.0.1:0", o)
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			s := newStage(t, sink.Addr())
			s.o.Roots = roots
			if c.record != "" {
				s.tlsa(c.record)
			}
			if c.policy != nil {
				s.o.Policy, s.o.Domain = c.policy, dnsname.MustParse("far.test")
			}
			r := probe.Look(t.Context(), s.o)
			if r.Verdict != c.verdict || r.DANE.Verdict != c.dane || r.PKIX.Verdict != c.pkix {
				t.Errorf("%s, DANE %s, PKIX %q; want %s, %s, %q\n%+v", r.Verdict, r.DANE.Verdict, r.PKIX.Verdict, c.verdict, c.dane, c.pkix, r)
			}
			if r.TLS.Offered != (c.cert != nil) || r.TLS.AsksCertificate != (c.cert != nil) || r.TLS.Shown || r.Banner == "" {
				t.Errorf("%+v", r)
			}
			if len(sink.Messages()) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestNotReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there any more
	s := newStage(t, l.Addr().String())
	if r := probe.Look(t.Context(), s.o); r.Verdict != probe.Temporary || len(r.Addresses) != 1 || r.Addresses[0].Error == "" {
		t.Errorf("%+v", r)
	}
	s.o.Host = dnsname.MustParse("none.far.test")
	if r := probe.Look(t.Context(), s.o); r.Verdict != probe.Temporary || r.Trouble != "the host has no address" {
		t.Errorf("%+v", r)
	}
}

// serve plays a server of one connection.
func serve(t *testing.T, play func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		play(conn)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// What the far side says cannot command a terminal, and is bounded.
func TestHostileText(t *testing.T) {
	bell := "\x1b]0;owned\x07\u202e"
	addr := serve(t, func(c net.Conn) {
		var more strings.Builder
		for i := range 300 {
			fmt.Fprintf(&more, "250-X%d %s\r\n", i, bell+strings.Repeat("x", 150))
		}
		fmt.Fprintf(c, "220 %s\r\n", bell)
		c.Read(make([]byte, 512))
		io.WriteString(c, "250-hi\r\n"+more.String()+"250 HELP\r\n")
		c.Read(make([]byte, 512))
	})
	s := newStage(t, addr)
	r := probe.Look(t.Context(), s.o)
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\u202e") || !strings.Contains(b.String(), "greeting: 220 ") {
		t.Errorf("%q", b.String())
	}
	if len(r.Clear) != 50 || b.Len() > 16<<10 {
		t.Errorf("%d extensions, %d octets", len(r.Clear), b.Len())
	}
}

// A server that refuses our certificate says so by an alert, after the handshake.
func TestAlert(t *testing.T) {
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"here.test"}}).TLSCertificate()
	server := lab.SelfSigned(lab.LeafOptions{Names: []string{host}}).TLSCertificate()
	for _, show := range []bool{false, true} {
		addr := serve(t, func(c net.Conn) {
			conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert,
				VerifyConnection: func(tls.ConnectionState) error { return errors.New("nobody I know") }})
			conn.Handshake()
			io.Copy(io.Discard, c)
		})
		s := newStage(t, addr)
		s.o.Implicit = true
		want := "tls: certificate required"
		if show {
			s.o.Certificate, want = &own, "tls: bad certificate"
		}
		r := probe.Look(t.Context(), s.o)
		if r.TLS.Alert != want || !r.TLS.AsksCertificate || r.TLS.Shown != show || r.TLS.Version != "TLS 1.3" || len(r.Chain) != 1 {
			t.Errorf("%+v, want the alert %q", r.TLS, want)
		}
	}
}

func TestReport(t *testing.T) {
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{host}})
	sink, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{Certificate: new(cert.TLSCertificate())})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	s := newStage(t, sink.Addr())
	s.tlsa(lab.TLSA(3, 1, 1, cert.Leaf()))
	s.o.Domain = dnsname.MustParse("far.test")
	s.o.Policy = func(context.Context, dnsname.Name) (mtasts.Policy, error) { return mtasts.Policy{}, errors.New("no") }
	r := probe.Look(t.Context(), s.o)
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"mx.far.test port " + s.port + ": good", "  address 127.0.0.1", "  greeting: 220 ", "  offers in clear: ", "  TLS: TLS 1.3, TLS_",
		"  asks for a certificate", "  certificate 0: ", "    names: mx.far.test", "  DANE: match by 3 1 1 ",
		"    TLSA at mx.far.test: 3 1 1 ", "  MTA-STS of far.test: none: no", "  offers inside TLS: ",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("not there: %q\n%s", line, b.String())
		}
	}
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"dane":{"verdict":"match"`) || !strings.Contains(string(text), `"asks_dane_clientid":false`) {
		t.Errorf("%s %v", text, err)
	}
}
