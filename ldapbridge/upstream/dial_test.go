package upstream

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"dancemta/internal/lab"
	"dancemta/ldapbridge/message"
)

// bindExternal is the operation of our bind, written by hand: version 3, no name, the
// mechanism EXTERNAL, and credentials that are there and empty (RFC 4513 5.2.1).
const bindExternal = "6013" + "020103" + "0400" + "a30c" + "0408" + "45585445524e414c" + "0400"

// tlsServer is a directory server behind TLS.
type tlsServer struct {
	address string
	config  *tls.Config
	start   bool         // TLS begins by StartTLS
	behind  []byte       // follows the reply to StartTLS in clear
	code    message.Code // of the reply to StartTLS
	seen    chan *x509.Certificate
	bound   chan string
}

func startTLSServer(t *testing.T, s *tlsServer) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address, s.seen, s.bound = l.Addr().String(), make(chan *x509.Certificate, 10), make(chan string, 10)
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { s.serve(conn); conn.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
}

func (s *tlsServer) serve(conn net.Conn) {
	if s.start {
		m, err := message.Read(bufio.NewReader(conn), message.Limits{})
		if err != nil || m.Tag() != message.ExtendedRequest {
			return
		}
		conn.Write(append(result(m.ID, message.ExtendedResponse, s.code), s.behind...))
	}
	secure := tls.Server(conn, s.config)
	if secure.Handshake() != nil {
		return
	}
	if chain := secure.ConnectionState().PeerCertificates; len(chain) > 0 {
		s.seen <- chain[0]
	} else {
		s.seen <- nil
	}
	r := bufio.NewReader(secure)
	for {
		m, err := message.Read(r, message.Limits{})
		if err != nil {
			return
		}
		if m.Tag() == message.BindRequest {
			s.bound <- hex.EncodeToString(m.Op)
		}
		if m.Tag().Reply() != 0 {
			secure.Write(result(m.ID, m.Tag().Reply(), message.Success))
		}
	}
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// TestTLS: who the server is, and who we are, is proved before anything is said.
func TestTLS(t *testing.T) {
	ca, strange := lab.NewCA("directory", lab.CAOptions{}), lab.NewCA("strange", lab.CAOptions{})
	own := ca.Issue(lab.LeafOptions{Names: []string{"ldap.test"}})
	ours := lab.SelfSigned(lab.LeafOptions{CommonName: "dancemta bridge"})
	for _, c := range []struct {
		name   string
		server tlsServer
		o      Options
		host   string
		want   string // in the error; empty: it is bound
	}{
		{"ldaps", tlsServer{}, Options{}, "", ""},
		{"StartTLS", tlsServer{start: true}, Options{}, "", ""},
		{"another CA", tlsServer{}, Options{Roots: pool(strange.Certificate)}, "", "TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"no CA", tlsServer{}, Options{Roots: pool()}, "", "unknown authority"},
		{"another name", tlsServer{start: true}, Options{}, "other.test", "certificate is valid for ldap.test, not other.test"},
		{"octets behind the reply", tlsServer{start: true, behind: []byte{0x30, 5, 2, 1, 2, 0x61, 0}}, Options{}, "", "StartTLS: octets in clear behind the reply to StartTLS"},
		{"one octet behind it", tlsServer{start: true, behind: []byte{0x16}}, Options{}, "", "StartTLS: octets in clear"},
		{"StartTLS refused", tlsServer{start: true, code: message.ProtocolError}, Options{}, "", "StartTLS: the directory server says protocolError"},
		{"old TLS", tlsServer{config: &tls.Config{MaxVersion: tls.VersionTLS11}}, Options{}, "", "TLS: "},
	} {
		s := &c.server
		if s.config == nil {
			s.config = &tls.Config{}
		}
		s.config.MinVersion = tls.VersionTLS10
		s.config.Certificates, s.config.ClientAuth = []tls.Certificate{own.TLSCertificate()}, tls.RequestClientCert
		startTLSServer(t, s)
		if c.o.Roots == nil {
			c.o.Roots = pool(ca.Certificate)
		}
		server := Server{TLS, s.address, "ldap.test"}
		if s.start {
			server.Transport = StartTLS
		}
		if c.host != "" {
			server.Name = c.host
		}
		cert := ours.TLSCertificate()
		c.o.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		c.o.Servers = []Server{server}
		var log strings.Builder
		c.o.Logger = logTo(&log)
		p, err := New(c.o)
		if err != nil {
			t.Fatal(err)
		}
		sink := newClient()
		l, err := p.Lease(t.Context(), sink)
		switch {
		case c.want != "":
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
			if !strings.Contains(log.String(), "advice=") || len(s.bound) != 0 {
				t.Errorf("%s: binds %d, log %s", c.name, len(s.bound), log.String())
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		default:
			send(t, l, search(1))
			sink.finished(t, 1)
			if got := <-s.seen; got == nil || !got.Equal(ours.Leaf()) {
				t.Errorf("%s: the server saw another certificate", c.name)
			}
			if got := <-s.bound; got != bindExternal {
				t.Errorf("%s: bound by %s", c.name, got)
			}
			l.Return()
		}
		if err == nil {
			if faults := p.Check(t.Context()); faults[0] != nil {
				t.Errorf("%s: Check: %v", c.name, faults)
			}
		} else if faults := p.Check(t.Context()); faults[0] == nil || !strings.Contains(faults[0].Error(), "see that") && !strings.Contains(faults[0].Error(), "compare") && !strings.Contains(faults[0].Error(), "give") {
			t.Errorf("%s: Check: %v", c.name, faults)
		}
		p.Close()
	}
}

// TestBindReplies: whoever does not say success to our bind is no server of ours.
func TestBindReplies(t *testing.T) {
	for _, c := range []struct {
		name string
		says func(id int32) []byte
		want string
	}{
		{"a step more", func(id int32) []byte { return result(id, message.BindResponse, 14) }, "bind: the directory server says"},
		{"no rights", func(id int32) []byte { return result(id, message.BindResponse, message.InappropriateAuthentication) }, "(48)"},
		{"another ID", func(id int32) []byte { return result(id+1, message.BindResponse, 0) }, "bind: a reply of the wrong kind"},
		{"another reply", func(id int32) []byte { return result(id, message.SearchDone, 0) }, "bind: a reply of the wrong kind"},
		{"no result", func(id int32) []byte { return message.AppendMessage(nil, id, []byte{0x61, 0}, nil) }, "bind: not an LDAP message"},
		{"too much", func(id int32) []byte { return []byte{0x30, 0x83, 1, 0, 1} }, "bind: LDAP message too big"},
	} {
		f := &fake{t: t, bind: func(fc *fakeConn, m message.Message) {
			fc.say(c.says(m.ID))
		}}
		p := f.pool(t, Options{})
		if _, err := p.Lease(t.Context(), newClient()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if st := p.Stats(); st != (Stats{}) {
			t.Errorf("%s: %+v", c.name, st)
		}
	}
}
