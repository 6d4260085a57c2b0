package deliver

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"dancemta/internal/dialog"
	"dancemta/internal/lab"
)

// played is one server whose certificate names in.test, and what became of its
// script.
func played(t *testing.T, ca *lab.CA, script string) (dial func() net.Conn, end chan error) {
	t.Helper()
	own := ca.Issue(lab.LeafOptions{Names: []string{"in.test"}})
	config := &tls.Config{Certificates: []tls.Certificate{own.TLSCertificate()}, ClientAuth: tls.RequestClientCert}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	end = make(chan error, 1)
	go func() {
		defer l.Close()
		conn, err := l.Accept()
		if err == nil {
			err = dialog.Play(conn, config, script)
		}
		end <- err
	}()
	return func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}, end
}

// TestLogin: a password is for a host that TLS has proved, and for no other; what
// goes wrong with a login is temporary.
func TestLogin(t *testing.T) {
	ca, other := lab.NewCA("ours", lab.CAOptions{}), lab.NewCA("another", lab.CAOptions{})
	const inTLS = offersTLS + "S: 220 go\nTLS\nC: EHLO mx.example.test\nS: 250-mx\n"
	const plain = "C: AUTH PLAIN AHJpY2sAczNjcmV0\n"
	transaction := to("b@d.test", good) + leaves
	rick := Auth{User: "rick", Password: "s3cret"}
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.example.test"}})
	for _, c := range []struct {
		name, script string
		ca           *lab.CA
		route        Route
		want         string
	}{
		{"taken", inTLS + "S: 250 AUTH PLAIN\n" + plain + "S: 235 2.7.0 hello\n" + transaction, ca, Route{TLS: TLSVerify, Auth: rick}, "delivered 2.6.0 in.test"},
		{"without a policy", inTLS + "S: 250 AUTH PLAIN\n" + plain + "S: 235 2.7.0 hello\n" + transaction, ca, Route{Auth: rick}, "delivered 2.6.0 in.test"},
		{"TLS from the first octet", "TLS\n" + greets + "S: 250 AUTH LOGIN PLAIN\n" + plain + "S: 235 2.7.0 hello\n" + transaction, ca, Route{TLS: TLSVerify, ImplicitTLS: true, Auth: rick}, "delivered 2.6.0 in.test"},
		{"wrong password", inTLS + "S: 250 AUTH PLAIN\n" + plain + "S: 535 5.7.8 no\n" + leaves, ca, Route{TLS: TLSVerify, Auth: rick}, "deferred 4.7.8 in.test"},
		{"no login", inTLS + "S: 250 AUTH EXTERNAL\n" + leaves, ca, Route{TLS: TLSVerify, Auth: rick}, "deferred 4.7.0"},
		{"encrypted, and who it is nobody knows", inTLS + "S: 250 AUTH PLAIN\n" + leaves, ca, Route{TLS: TLSEncrypt, Auth: rick}, "deferred 4.7.0"},
		{"no TLS", greets + "S: 250 AUTH PLAIN\n" + leaves, ca, Route{TLS: TLSMay, Auth: rick}, "deferred 4.7.0"},
		{"another CA", offersTLS + "S: 220 go\nTLS", other, Route{TLS: TLSVerify, Auth: rick}, "deferred 4.7.5"},
		{"by certificate", inTLS + "S: 250 AUTH EXTERNAL\nC: AUTH EXTERNAL =\nS: 235 2.7.0 hello\n" + transaction, ca, Route{TLS: TLSVerify, Auth: Auth{External: true}, Certificate: identity(&own, new(int))}, "delivered 2.6.0 in.test"},
		{"by certificate, refused", inTLS + "S: 250 AUTH EXTERNAL\nC: AUTH EXTERNAL =\nS: 550 5.7.1 who\n" + leaves, ca, Route{TLS: TLSVerify, Auth: Auth{External: true}, Certificate: identity(&own, new(int))}, "deferred 4.7.1 in.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dial, end := played(t, c.ca, c.script)
			c.route.Hosts, c.route.Roots = []string{"in.test:587"}, pool(ca)
			d := newDeliverer(t, Options{Resolver: hop, Dial: dialTo(dial), Route: func(string) Route { return c.route }})
			got := d.attempt(t.Context(), job("x\r\n", "b@d.test"))
			if text(got) != c.want || strings.Contains(got[0].Reply, "s3cret") {
				t.Errorf("got %s, %q; want %s", text(got), got[0].Reply, c.want)
			}
			if err := <-end; err != nil && c.ca == ca {
				t.Error(err)
			}
		})
	}
}

// TestTry: what check says of a next hop, without a login and without a message.
func TestTry(t *testing.T) {
	ca := lab.NewCA("ours", lab.CAOptions{})
	const inTLS = offersTLS + "S: 220 go\nTLS\nC: EHLO mx.example.test\nS: 250-mx\n"
	for _, c := range []struct {
		name, script string
		route        Route
		tls, want    string
	}{
		{"good", inTLS + "S: 250 AUTH PLAIN\n" + leaves, Route{TLS: TLSVerify, Auth: Auth{User: "a", Password: "b"}}, "verify: TLS1.3 verified", ""},
		{"no login", inTLS + "S: 250 SIZE\n" + leaves, Route{TLS: TLSVerify, Auth: Auth{User: "a", Password: "b"}}, "verify: TLS1.3 verified", errNoLogin.Error()},
		{"no TLS", greets + "S: 250 SIZE\n" + leaves, Route{TLS: TLSEncrypt}, "encrypt: none", errNoTLS.Error()},
		{"refuses us", "S: 554 5.7.1 no", Route{}, "", "greeting: 554 5.7.1 no"},
	} {
		dial, end := played(t, ca, c.script)
		c.route.Hosts, c.route.Roots = []string{"in.test:587"}, pool(ca)
		d := newDeliverer(t, Options{Resolver: hop, Dial: dialTo(dial)})
		trials := d.Try(t.Context(), c.route)
		if len(trials) != 1 || trials[0].Target != "in.test[192.0.2.7]" || !strings.HasPrefix(trials[0].TLS, c.tls) ||
			(trials[0].Err == nil) != (c.want == "") || trials[0].Err != nil && !strings.Contains(trials[0].Err.Error(), c.want) {
			t.Errorf("%s: %+v", c.name, trials)
		}
		if err := <-end; err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	d := newDeliverer(t, Options{Resolver: zone{}})
	for _, hosts := range [][]string{{"in.test:587"}, {"nonsense"}} {
		if trials := d.Try(t.Context(), Route{Hosts: hosts}); len(trials) != 1 || trials[0].Err == nil {
			t.Errorf("%v: %+v", hosts, trials)
		}
	}
}
