package daneclient_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/clientid"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// tlsServer serves one certificate on loopback and greets whoever finishes the
// handshake.
func tlsServer(t *testing.T, config *tls.Config) (port string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func serving(c lab.Credential) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.TLSCertificate()}}
}

// dialWorld is a small Internet with zones for servers.
func dialWorld(t *testing.T) (*lab.World, *dnssec.Resolver) {
	t.Helper()
	w := lab.NewWorld(time.Now())
	w.AddZone("test.", lab.ZoneOptions{})
	w.AddZone("srv.test.", lab.ZoneOptions{})
	w.AddZone("host.test.", lab.ZoneOptions{})
	w.AddZone("plain.test.", lab.ZoneOptions{Unsigned: true})
	w.AddZone("bad.test.", lab.ZoneOptions{Fault: lab.BrokenSignatures})
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
	return w, r
}

// hello dials, reads the greeting, and closes.
func hello(t *testing.T, address string, o daneclient.DialOptions) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := daneclient.DialTLS(ctx, "tcp", address, o)
	if err != nil {
		return err
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != "hello" {
		t.Errorf("%s says %q", address, got)
	}
	return err
}

// What the records at _port._tcp.host make of the certificate shown.
func TestDialRecords(t *testing.T) {
	w, r := dialWorld(t)
	ca, other := lab.NewCA("servers", lab.CAOptions{}), lab.NewCA("others", lab.CAOptions{})
	server := func(names ...string) lab.LeafOptions { return lab.LeafOptions{Names: names, EKU: serverAuth} }
	long := time.Now().Add(-time.Hour)
	for i, test := range []struct {
		name   string
		leaf   lab.LeafOptions // %s is the host
		usage  uint8
		record *x509.Certificate // nil: the leaf
		roots  *x509.CertPool
		want   daneclient.Reason
	}{
		{"usage 3", server("%s"), 3, nil, nil, 0},
		{"usage 3, no name", server(), 3, nil, nil, 0},
		{"usage 3, another name, expired", lab.LeafOptions{Names: []string{"other.test"}, NotAfter: long}, 3, nil, nil, 0},
		{"usage 3, another key", server("%s"), 3, ca.Certificate, nil, daneclient.NoMatch},
		{"usage 2", server("%s"), 2, ca.Certificate, nil, 0},
		{"usage 2, a wildcard", server("*.srv.test"), 2, ca.Certificate, nil, 0},
		{"usage 2, another CA", server("%s"), 2, other.Certificate, nil, daneclient.NoMatch},
		{"usage 2, another name", server("other.test"), 2, ca.Certificate, nil, daneclient.NameMismatch},
		{"usage 2, the CN alone", lab.LeafOptions{CommonName: "%s", EKU: serverAuth}, 2, ca.Certificate, nil, daneclient.NameMismatch},
		{"usage 2, for clients only", lab.LeafOptions{Names: []string{"%s"}, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, 2, ca.Certificate, nil, daneclient.NoMatch},
		{"usage 2, expired", lab.LeafOptions{Names: []string{"%s"}, NotAfter: long}, 2, ca.Certificate, nil, daneclient.NoMatch},
		{"usage 1 without roots", server("%s"), 1, nil, nil, daneclient.Unusable},
		{"usage 0 without roots", server("%s"), 0, ca.Certificate, nil, daneclient.Unusable},
		{"usage 1 with roots", server("%s"), 1, nil, poolOf(ca), 0},
		{"usage 0 with roots", server("%s"), 0, ca.Certificate, poolOf(ca), 0},
		{"usage 0 with other roots", server("%s"), 0, ca.Certificate, poolOf(other), daneclient.NoMatch},
	} {
		host := fmt.Sprintf("h%d.srv.test", i)
		leaf := test.leaf
		leaf.CommonName = strings.Replace(leaf.CommonName, "%s", host, 1)
		leaf.Names = nil
		for _, n := range test.leaf.Names {
			leaf.Names = append(leaf.Names, strings.Replace(n, "%s", host, 1))
		}
		cred := ca.Issue(leaf)
		published := test.record
		if published == nil {
			published = cred.Leaf()
		}
		port := tlsServer(t, serving(cred))
		w.Zone("srv.test").Add(host+". A 127.0.0.1", fmt.Sprintf("_%s._tcp.%s. %s", port, host, lab.TLSA(test.usage, 1, 1, published)))
		err := hello(t, host+":"+port, daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: r, Roots: test.roots}})
		if reasonOf(t, err) != test.want {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// Where the records stand, what is secure of the way there, and when PKIX may
// decide instead.
func TestDialWays(t *testing.T) {
	w, r := dialWorld(t)
	ca := lab.NewCA("public", lab.CAOptions{})
	cred := ca.Issue(lab.LeafOptions{Names: []string{"*.srv.test", "*.plain.test", "*.bad.test"}, EKU: serverAuth})
	based := ca.Issue(lab.LeafOptions{Names: []string{"a.host.test"}, EKU: serverAuth})
	port, basedPort := tlsServer(t, serving(cred)), tlsServer(t, serving(based))
	good := lab.TLSA(3, 1, 1, cred.Leaf())
	at := func(host, record string) string { return fmt.Sprintf("_%s._tcp.%s %s", port, host, record) }
	w.Zone("srv.test").Add(
		"none A 127.0.0.1",
		"unusable A 127.0.0.1", at("unusable", "TLSA 3 2 1 abcd"),
		"alias CNAME b.host.test.", at("alias", good),
		"base CNAME a.host.test.", fmt.Sprintf("_%s._tcp.base %s", basedPort, lab.TLSA(3, 1, 1, ca.Certificate)),
		"leads-out CNAME x.plain.test.", at("leads-out", good),
		"leads-out-bare CNAME x.plain.test.",
		"tlsa-out A 127.0.0.1", at("tlsa-out", "CNAME t.plain.test."),
		"tlsa-bad A 127.0.0.1", at("tlsa-bad", "CNAME t.bad.test."),
		"six AAAA ::1", at("six", good),
	)
	w.Zone("host.test").Add("b A 127.0.0.1", "a A 127.0.0.1", fmt.Sprintf("_%s._tcp.a %s", basedPort, lab.TLSA(2, 0, 1, ca.Certificate)))
	w.Zone("plain.test").Add("x A 127.0.0.1", at("x", good), "t "+good)
	w.Zone("bad.test").Add("x A 127.0.0.1", at("x", good), "t "+good)
	for _, test := range []struct {
		name, host     string
		want, fallback daneclient.Reason // without and with PKIXFallback
	}{
		{"no records", "none.srv.test", daneclient.NoRecord, 0},
		{"none of use", "unusable.srv.test", daneclient.Unusable, 0},
		{"no such host", "absent.srv.test", daneclient.NoRecord, daneclient.NoRecord},
		{"an alias, the records at the name itself", "alias.srv.test", 0, 0},
		{"an unsigned zone with perfect records", "x.plain.test", daneclient.Insecure, 0},
		{"an alias into an unsigned zone", "leads-out.srv.test", 0, 0},
		{"the same without records", "leads-out-bare.srv.test", daneclient.NoRecord, 0},
		{"records by an alias into an unsigned zone", "tlsa-out.srv.test", daneclient.Insecure, 0},
		{"a zone with wrong signatures", "x.bad.test", daneclient.BogusDNS, daneclient.BogusDNS},
		{"records in a zone with wrong signatures", "tlsa-bad.srv.test", daneclient.BogusDNS, daneclient.BogusDNS},
	} {
		for fallback, want := range map[bool]daneclient.Reason{false: test.want, true: test.fallback} {
			o := daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: r, Roots: poolOf(ca), PKIXFallback: fallback}}
			if err := hello(t, test.host+":"+port, o); reasonOf(t, err) != want {
				t.Errorf("%s, fallback %v: %v, want %v", test.name, fallback, err, want)
			}
		}
	}
	o := daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: r}}
	if err := hello(t, "base.srv.test:"+basedPort, o); err != nil { // RFC 7671 7: the base's records and name, not the alias's
		t.Errorf("an alias, the records at its base: %v", err)
	}
	if _, err := daneclient.DialTLS(t.Context(), "tcp4", "six.srv.test:"+port, o); err == nil || !strings.Contains(err.Error(), "no address of this family") {
		t.Errorf("an IPv6 host by tcp4: %v", err)
	}
}

// PKIX as the fallback is PKIX: names, roots, dates.
func TestDialFallback(t *testing.T) {
	w, r := dialWorld(t)
	w.Zone("srv.test").Add("x A 127.0.0.1")
	ca, other := lab.NewCA("public", lab.CAOptions{}), lab.NewCA("other", lab.CAOptions{})
	for name, test := range map[string]struct {
		leaf lab.LeafOptions
		ca   *lab.CA
		want daneclient.Reason
	}{
		"good":         {lab.LeafOptions{Names: []string{"x.srv.test"}}, ca, 0},
		"another name": {lab.LeafOptions{Names: []string{"y.srv.test"}}, ca, daneclient.NoMatch},
		"another CA":   {lab.LeafOptions{Names: []string{"x.srv.test"}}, other, daneclient.NoMatch},
		"expired":      {lab.LeafOptions{Names: []string{"x.srv.test"}, NotAfter: time.Now().Add(-time.Minute)}, ca, daneclient.NoMatch},
		"for clients":  {lab.LeafOptions{Names: []string{"x.srv.test"}, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, daneclient.NoMatch},
	} {
		port := tlsServer(t, serving(test.ca.Issue(test.leaf)))
		o := daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: r, Roots: poolOf(ca), PKIXFallback: true}}
		if err := hello(t, "x.srv.test:"+port, o); reasonOf(t, err) != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// Both directions at once: the server is proved to the client by _port._tcp, the
// client to the server by its own records.
func TestDialBothDirections(t *testing.T) {
	w, r := dialWorld(t)
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"x.srv.test"}})
	me := lab.SelfSigned(lab.LeafOptions{Names: []string{"sensor7._device.host.test"}})
	w.Zone("host.test").Add("sensor7._device " + lab.TLSA(3, 1, 1, me.Leaf()))
	v := verifier(t, daneclient.Options{Resolver: r})
	names := make(chan string, 1)
	config := serving(own)
	config.ClientAuth, config.SessionTicketsDisabled = tls.RequestClientCert, true
	port, serve := listen(t)
	w.Zone("srv.test").Add("x A 127.0.0.1", fmt.Sprintf("_%s._tcp.x %s", port, lab.TLSA(3, 1, 1, own.Leaf())))
	serve(config, func(conn *tls.Conn) {
		cred, _ := daneclient.FromState(conn.ConnectionState(), netip.MustParseAddr("127.0.0.1"))
		c, err := v.Client(t.Context(), cred, allow("sensor7._device.host.test"))
		names <- fmt.Sprint(c.Name, err)
	})
	cert := me.TLSCertificate()
	o := daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: r, Certificate: &cert}}
	if err := hello(t, "x.srv.test:"+port, o); err != nil {
		t.Fatal(err)
	}
	if got := <-names; got != "sensor7._device.host.test <nil>" {
		t.Errorf("the server knows %s", got)
	}
}

// listen takes a port first, so that records can name it; serve then serves one
// connection.
func listen(t *testing.T) (port string, serve func(*tls.Config, func(*tls.Conn))) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	close(done)
	t.Cleanup(func() { l.Close(); <-done })
	return port, func(config *tls.Config, judge func(*tls.Conn)) {
		done = make(chan struct{})
		go func() {
			defer close(done)
			raw, err := l.Accept()
			if err != nil {
				return
			}
			defer raw.Close()
			raw.SetDeadline(time.Now().Add(10 * time.Second))
			conn := tls.Server(raw, config)
			if err := conn.Handshake(); err != nil {
				return
			}
			judge(conn)
			io.WriteString(conn, "hello")
			conn.Close()
		}()
	}
}

// With a certificate of our own nothing below TLS 1.3 is spoken.
func TestDialOwnCertificateNeedsTLS13(t *testing.T) {
	w, r := dialWorld(t)
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"x.srv.test"}})
	config := serving(own)
	config.MaxVersion = tls.VersionTLS12
	port := tlsServer(t, config)
	w.Zone("srv.test").Add("x A 127.0.0.1", fmt.Sprintf("_%s._tcp.x %s", port, lab.TLSA(3, 1, 1, own.Leaf())))
	o := daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{Resolver: r}}
	if err := hello(t, "x.srv.test:"+port, o); err != nil {
		t.Errorf("without a certificate: %v", err)
	}
	cert := lab.SelfSigned(lab.LeafOptions{}).TLSCertificate()
	o.Certificate = &cert
	if err := hello(t, "x.srv.test:"+port, o); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("with one: %v", err)
	}
}

// What is wrong with the call is said before anything is asked or dialled.
func TestDialCalledWrong(t *testing.T) {
	dns := &answers{}
	cert := lab.SelfSigned(lab.LeafOptions{}).TLSCertificate()
	good := daneclient.ServerOptions{Resolver: dns}
	with := func(change func(*daneclient.ServerOptions)) daneclient.ServerOptions {
		o := good
		change(&o)
		return o
	}
	for _, test := range []struct {
		network, address string
		o                daneclient.ServerOptions
		want             error
	}{
		{"tcp", "x.test:443", daneclient.ServerOptions{}, daneclient.ErrNoResolver},
		{"udp", "x.test:443", good, daneclient.ErrNetwork},
		{"tcp", "192.0.2.1:443", good, daneclient.ErrOwner},
		{"tcp", "localhost:443", good, daneclient.ErrOwner},
		{"tcp", "x.test:0", good, daneclient.ErrOwner},
		{"tcp", "x.test:https", good, daneclient.ErrOwner},
		{"tcp", "[2001:db8::1]:443", good, dnsname.ErrCharacter},
		{"tcp", "x.test:443", with(func(o *daneclient.ServerOptions) { o.PKIXFallback = true }), daneclient.ErrNoRoots},
		{"tcp", "x.test:443", with(func(o *daneclient.ServerOptions) { o.ClientName = dnsname.MustParse(device) }), daneclient.ErrNoCertificate},
	} {
		_, err := daneclient.DialTLS(t.Context(), test.network, test.address, daneclient.DialOptions{ServerOptions: test.o})
		if !errors.Is(err, test.want) || dns.count() != 0 {
			t.Errorf("%s %s: %v, want %v; %d queries", test.network, test.address, err, test.want, dns.count())
		}
	}
	if clientid.Supported {
		return
	}
	dns.set("_443._tcp.x.test", secure(publish(t, 3, 1, 1, cert.Leaf)))
	_, err := daneclient.DialTLS(t.Context(), "tcp", "x.test:443", daneclient.DialOptions{ServerOptions: daneclient.ServerOptions{
		Resolver: addressed{dns}, Certificate: &cert, ClientName: dnsname.MustParse(device),
	}})
	if !errors.Is(err, clientid.ErrUnsupported) {
		t.Errorf("a name that this build cannot tell: %v", err)
	}
}

// addressed answers for addresses, too, and for no CNAMEs.
type addressed struct{ *answers }

func (a addressed) Lookup(ctx context.Context, name dnsname.Name, t dnssec.Type) dnssec.Answer {
	if t == dnssec.TypeA || t == dnssec.TypeAAAA {
		answer := secure()
		answer.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		return answer
	}
	return a.answers.Lookup(ctx, name, t)
}
