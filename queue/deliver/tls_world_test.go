package deliver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"

	"dancemta/internal/lab"
	"dancemta/queue/mtasts"
	"dancemta/queue/tlsrpt"
)

// policyHost serves a policy by HTTPS on a loopback address until the test ends,
// and says on which port.
func policyHost(t *testing.T, c lab.Credential, policy func() string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, policy())
	})}
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{c.TLSCertificate()}})) })
	t.Cleanup(func() { s.Close(); serving.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// TestSTSByHTTPS: DNS, policy host and mail servers are all there. A policy that was
// seen once protects also from those who hide DNS records and HTTPS, break TLS, or
// are another server, until the domain itself says otherwise.
func TestSTSByHTTPS(t *testing.T) {
	ca := lab.NewCA("ca", lab.CAOptions{})
	w := newTLSWorld(t)
	w.add(toPlain...)
	w.add("p.test: mta-sts A 127.0.0.1", `p.test: _mta-sts TXT "v=STSv1; id=1;"`)
	mode := "enforce"
	port := policyHost(t, ca.Issue(lab.LeafOptions{Names: []string{"mta-sts.p.test"}}), func() string {
		return "version: STSv1\nmode: " + mode + "\nmx: *.p.test\nmax_age: 86400\n"
	})
	client, err := mtasts.New(mtasts.Options{Resolver: w, Permitted: Permitted(true), Roots: pool(ca), Port: port, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d := newDeliverer(t, w.options(Options{STS: client, Roots: pool(ca)}))
	good := ca.Issue(lab.LeafOptions{Names: []string{"mx.p.test"}})
	wrong := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.p.test"}})
	for _, step := range []struct {
		name  string
		set   func()
		shows *lab.Credential
		want  string
	}{
		{"the policy is fetched", func() {}, &good, "delivered 2.0.0 mx.p.test"},
		{"another server", func() {}, &wrong, "deferred 4.7.5"},
		{"no TLS", func() {}, nil, "deferred 4.7.10"},
		{"no record", func() { w.silent["_mta-sts.p.test"] = true }, &wrong, "deferred 4.7.5"},
		{"no policy host", func() { w.silent["mta-sts.p.test"] = true }, nil, "deferred 4.7.10"},
		{"the right one", func() {}, &good, "delivered 2.0.0 mx.p.test"},
	} {
		step.set()
		w.sink(t, "192.0.2.1", step.shows)
		if got := d.attempt(t.Context(), job("x\r\n", "b@p.test")); text(got) != step.want {
			t.Errorf("%s: %s, %q; want %s", step.name, text(got), got[0].Reply, step.want)
		}
	}
	if n := len(w.sessions); n != 6 || w.sessions[0].Policy.Type != tlsrpt.STS || w.sessions[0].Policy.MXHosts[0] != "*.p.test" {
		t.Errorf("%d sessions: %+v", n, w.sessions)
	}
}

// TestImplicitTLS: TLS from the first octet is judged as any other.
func TestImplicitTLS(t *testing.T) {
	own, other := lab.SelfSigned(lab.LeafOptions{}), lab.SelfSigned(lab.LeafOptions{})
	w := newTLSWorld(t)
	w.add("h.test: mx A 192.0.2.1", "h.test: _465._tcp.mx "+lab.TLSA(3, 1, 1, own.Leaf()))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{other.TLSCertificate()}})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		if conn, err := l.Accept(); err == nil {
			fmt.Fprint(conn, "220 mx\r\n") // too late to matter when the handshake fails
			_, err = io.ReadAll(conn)
			heard <- err
			conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	o := w.options(Options{Route: func(string) Route { return Route{Hosts: []string{"mx.h.test:465"}, ImplicitTLS: true} }})
	dial := (&net.Dialer{}).DialContext
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, l.Addr().String())
	}
	got := newDeliverer(t, o).attempt(t.Context(), job("x\r\n", "b@d.test"))
	if text(got) != "deferred 4.7.5" || got[0].TLS != "dane: TLS1.3 not verified" {
		t.Errorf("%s, %q, %q", text(got), got[0].TLS, got[0].Reply)
	}
	if err := <-heard; err == nil {
		t.Error("the server was not told by an alert")
	}
}
