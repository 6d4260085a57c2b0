//go:build unix

package upstream

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/internal/lab"
	"dancemta/ldapbridge/message"
)

// slapdConf knows the bridge by its certificate and by its user, and lets it act for
// everybody below ou=people.
const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
argsfile %[1]s/args
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/slapd.pem
TLSCertificateKeyFile %[1]s/slapd.key
TLSVerifyClient try
authz-policy to
authz-regexp "^cn=bridge$" "cn=bridge,dc=test"
authz-regexp "^gidNumber=[0-9]+\\+uidNumber=%[2]s,cn=peercred,cn=external,cn=auth$" "cn=bridge,dc=test"
authz-regexp "^uid=([^,@]+)@([a-z0-9.-]+),cn=external,cn=auth$" "uid=$1,ou=people,dc=test"
sizelimit unlimited
database mdb
suffix dc=test
directory %[1]s
maxsize 1073741824
access to dn.base="cn=bridge,dc=test" by * auth
access to * by dn.children="ou=people,dc=test" read by * search
`

// slapd is a real server with a number of entries below ou=many.
type slapd struct {
	*lab.Slapd
	ca   *lab.CA
	ours tls.Certificate
}

func startSlapd(tb testing.TB, entries int) *slapd {
	tb.Helper()
	if os.Getenv("DANCEMTA_E2E") == "" || lab.Missing(lab.SlapdPrograms...) != nil {
		tb.Skip("needs DANCEMTA_E2E and slapd")
	}
	s := &slapd{ca: lab.NewCA("directory", lab.CAOptions{})}
	s.ours = s.ca.Issue(lab.LeafOptions{CommonName: "bridge"}).TLSCertificate()
	own := s.ca.Issue(lab.LeafOptions{Names: []string{"ldap.test"}})
	me, err := user.Current()
	if err != nil {
		tb.Fatal(err)
	}
	var ldif strings.Builder
	ldif.WriteString("dn: dc=test\nobjectClass: domain\ndc: test\n\n" +
		"dn: cn=bridge,dc=test\nobjectClass: organizationalRole\ncn: bridge\nauthzTo: dn.regex:^uid=[^,]+,ou=people,dc=test$\n\n" +
		"dn: ou=people,dc=test\nobjectClass: organizationalUnit\nou: people\n\n" +
		"dn: uid=rick,ou=people,dc=test\nobjectClass: inetOrgPerson\nuid: rick\ncn: Rick\nsn: Rick\n\n" +
		"dn: ou=many,dc=test\nobjectClass: organizationalUnit\nou: many\n\n")
	for i := range entries {
		fmt.Fprintf(&ldif, "dn: uid=u%d,ou=many,dc=test\nobjectClass: inetOrgPerson\nuid: u%d\ncn: User %d\nsn: User\nmail: u%d@many.test\n\n", i, i, i, i)
	}
	dir := tb.TempDir()
	for name, text := range map[string]string{
		"slapd.conf": fmt.Sprintf(slapdConf, dir, me.Uid), "base.ldif": ldif.String(),
		"ca.pem": string(s.ca.PEM()), "slapd.pem": string(own.CertPEM()), "slapd.key": string(own.KeyPEM()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	if s.Slapd, err = lab.StartSlapd(dir, filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "base.ldif")); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// servers are all the ways to it.
func (s *slapd) servers() []Server {
	return []Server{{TLS, s.LDAPS, "ldap.test"}, {StartTLS, s.LDAP, "ldap.test"}, {Unix, s.Socket, ""}}
}

func (s *slapd) pool(tb testing.TB, server Server) *Pool {
	tb.Helper()
	p, err := New(Options{
		Servers: []Server{server}, Roots: pool(s.ca.Certificate), Logger: logTo(tb.Output()),
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &s.ours, nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

func searchBelow(id int32, base string, scope int32, controls ...message.Control) message.Message {
	op := message.Search{Base: []byte(base), Scope: scope, Filter: message.FilterPresent("objectClass"), Attributes: message.AttributeSelection()}.AppendOp(nil)
	return message.Message{ID: id, Op: op, Controls: message.AppendControls(nil, controls...)}
}

// TestSlapd: OpenLDAP takes us by each way, and does what we ask as whom we say.
func TestSlapd(t *testing.T) {
	s := startSlapd(t, 0)
	const rick = "uid=rick,ou=people,dc=test"
	whoami := message.Message{ID: 1, Op: message.ExtendedOp(message.OIDWhoAmI, nil)}
	for _, server := range s.servers() {
		p := s.pool(t, server)
		for _, c := range []struct {
			name string
			m    message.Message
			as   Authzid
			code message.Code
			text string // in the replies
		}{
			{"by DN", whoami, "dn:" + rick, 0, "dn:" + rick},
			{"by name", whoami, "u:rick@a.test", 0, "dn:" + rick},
			{"anonymous", whoami, "", 0, ""},
			{"whom we may not be", whoami, "dn:cn=bridge,dc=nowhere", message.AuthorizationDenied, ""},
			{"no form of a DN", whoami, "dn:rick", message.AuthorizationDenied, ""},
			{"a search as a user", searchBelow(1, rick, 0), "dn:" + rick, 0, rick},
			{"a search as nobody", searchBelow(1, rick, 0), "", 0, ""},
			{"a write that is not allowed", message.Message{ID: 1, Op: append([]byte{byte(message.DeleteRequest), byte(len(rick))}, rick...)}, "dn:" + rick, message.InsufficientAccessRights, ""},
		} {
			sink := newClient()
			l := lease(t, p, sink)
			if err := l.Send(t.Context(), c.m, c.as); err != nil {
				t.Fatalf("%v, %s: %v", server, c.name, err)
			}
			sink.until(t, func() bool { return len(sink.done) > 0 || sink.why != nil })
			if sink.why != nil {
				t.Fatalf("%v, %s: %v", server, c.name, sink.why)
			}
			var all strings.Builder
			for _, w := range sink.writes {
				all.Write(w)
			}
			if got := sink.done[0].Code; got != c.code || !strings.Contains(all.String(), c.text) {
				t.Errorf("%v, %s: %v, %q", server, c.name, got, all.String())
			}
			l.Return()
		}
		if faults := p.Check(t.Context()); faults[0] != nil {
			t.Error(faults)
		}
	}
}

// TestSlapdCancel: a long search ends when it is abandoned or cancelled, and the
// connection serves the next client.
func TestSlapdCancel(t *testing.T) {
	s := startSlapd(t, 20_000)
	p := s.pool(t, s.servers()[0])
	sink := newClient()
	sink.changed = make(chan struct{}, 100_000)
	l := lease(t, p, sink)
	send := func(m message.Message) {
		t.Helper()
		if err := l.Send(t.Context(), m, "u:rick@a.test"); err != nil {
			t.Fatal(err)
		}
	}
	send(searchBelow(1, "ou=many,dc=test", message.ScopeSubtree))
	if err := l.Cancel(t.Context(), 2, 1); err != nil {
		t.Fatal(err)
	}
	sink.finished(t, 2)
	for _, d := range sink.done {
		if d.ID == 1 && d.Code != message.Canceled || d.ID == 2 && d.Code != message.Success {
			t.Errorf("%v", sink.done)
		}
	}
	send(searchBelow(3, "ou=many,dc=test", message.ScopeSubtree))
	if err := l.Abandon(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	send(searchBelow(4, "uid=u1,ou=many,dc=test", message.ScopeBase))
	sink.finished(t, 3)
	if d := sink.done[2]; d.ID != 4 || d.Code != 0 {
		t.Errorf("%v", sink.done)
	}
	l.Return()
	settled(t, p)
	if st := p.Stats(); st.Idle != 1 {
		t.Errorf("%+v", st)
	}
}

// TestSlapdGoesAndComes: clients hear that the server is unavailable, and are served
// when it is there again.
func TestSlapdGoesAndComes(t *testing.T) {
	s := startSlapd(t, 0)
	p := s.pool(t, s.servers()[0])
	sink := newClient()
	lease(t, p, sink)
	lease(t, p, newClient()).Return()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if why := sink.lost(t); why == nil {
		t.Error("nobody noticed")
	}
	for range 3 {
		if _, err := p.Lease(t.Context(), newClient()); err == nil {
			t.Error("a server that is down")
		}
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.health[0].retry = p.health[0].retry.Add(-lastRetry) // time passes
	p.mu.Unlock()
	sink = newClient()
	l := lease(t, p, sink)
	send(t, l, searchBelow(1, "dc=test", 0))
	sink.finished(t, 1)
	l.Return()
}

// TestSlapdStream: 100,000 entries by each way.
func TestSlapdStream(t *testing.T) {
	const entries = 100_000
	s := startSlapd(t, entries)
	for _, server := range s.servers() {
		p := s.pool(t, server)
		sink := &count{done: make(chan []Done, 1)}
		l := lease(t, p, sink)
		send(t, l, searchBelow(1, "ou=many,dc=test", message.ScopeOne))
		done, ok := <-sink.done
		if !ok || done[0].Code != 0 || sink.octets < entries*100 {
			t.Errorf("%v: %v, %d octets", server, done, sink.octets)
		}
		t.Logf("%v: %d octets in %d writes", server, sink.octets, sink.writes)
		l.Return()
	}
}
