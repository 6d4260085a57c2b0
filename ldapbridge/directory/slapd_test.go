//go:build unix

package directory

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/saslext"
)

// storiesEnv runs tests with real servers; its value "required" forbids to skip any.
const storiesEnv = "DANCEMTA_E2E"

// slapdConf knows us by our certificate, by our user and by a password, and lets us
// search.
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
authz-regexp "^cn=dancemta$" "cn=dancemta,dc=test"
authz-regexp "^gidNumber=[0-9]+\\+uidNumber=%[2]s,cn=peercred,cn=external,cn=auth$" "cn=dancemta,dc=test"
database mdb
suffix dc=test
directory %[1]s
access to attrs=userPassword by * auth
access to * by dn.base="cn=dancemta,dc=test" read by * none
`

const slapdEntries = `dn: dc=test
objectClass: domain
dc: test

dn: cn=dancemta,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: dancemta
userPassword: ours

dn: ou=people,dc=test
objectClass: organizationalUnit
ou: people

dn: ou=example.org,ou=people,dc=test
objectClass: organizationalUnit
ou: example.org

dn: ou=example.net,ou=people,dc=test
objectClass: organizationalUnit
ou: example.net

dn: uid=rick,ou=example.org,ou=people,dc=test
objectClass: inetOrgPerson
uid: rick
cn: Rick
sn: Rick
mail: rick@example.org
mail: boss@example.org
businessCategory: small
userPassword: right

dn: uid=rick,ou=example.net,ou=people,dc=test
objectClass: inetOrgPerson
uid: rick
cn: Another Rick
sn: Rick
mail: rick@example.net
userPassword: other

dn: uid=bare,ou=example.org,ou=people,dc=test
objectClass: inetOrgPerson
uid: bare
cn: Bare
sn: Bare

dn: cn=staff,dc=test
objectClass: groupOfNames
cn: staff
member: uid=rick,ou=example.org,ou=people,dc=test
`

func startSlapd(t *testing.T) (s *lab.Slapd, ca *lab.CA) {
	t.Helper()
	switch missing := lab.Missing(lab.SlapdPrograms...); {
	case os.Getenv(storiesEnv) == "required" && missing != nil:
		t.Fatalf("missing: %s", strings.Join(missing, ", "))
	case os.Getenv(storiesEnv) == "" || missing != nil:
		t.Skipf("needs slapd; set %s=1 to run it", storiesEnv)
	}
	me, err := osuser.Current()
	if err != nil {
		t.Fatal(err)
	}
	ca = lab.NewCA("directory", lab.CAOptions{})
	own := ca.Issue(lab.LeafOptions{Names: []string{"ldap.test"}})
	dir := t.TempDir()
	for name, text := range map[string]string{
		"slapd.conf": fmt.Sprintf(slapdConf, dir, me.Uid), "base.ldif": slapdEntries,
		"ca.pem": string(ca.PEM()), "slapd.pem": string(own.CertPEM()), "slapd.key": string(own.KeyPEM()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = lab.StartSlapd(dir, filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "base.ldif")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, ca
}

// TestSlapd: OpenLDAP knows us by each way, and says what we ask.
func TestSlapd(t *testing.T) {
	s, ca := startSlapd(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	ours := ca.Issue(lab.LeafOptions{CommonName: "dancemta"}).TLSCertificate()
	c := &tls.Config{RootCAs: roots, ServerName: "ldap.test", MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }}
	simple := Bind{"cn=dancemta,dc=test", "ours"}
	for name, way := range map[string]struct {
		server Server
		bind   Bind
	}{
		"ldaps, EXTERNAL":    {Server{"tcp", s.LDAPS, true, c}, Bind{}},
		"StartTLS, EXTERNAL": {Server{"tcp", s.LDAP, false, c}, Bind{}},
		"StartTLS, simple":   {Server{"tcp", s.LDAP, false, c}, simple},
		"socket, EXTERNAL":   {Server{"unix", s.Socket, false, nil}, Bind{}},
		"socket, simple":     {Server{"unix", s.Socket, false, nil}, simple},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := New(Options{Servers: []Server{way.server}, Bind: way.bind, Base: "ou={domain},ou=people,dc=test", Filter: "(uid={uid})",
				GroupFilter: "(member={dn})", GroupBase: "dc=test", Groups: []Group{{"staff", "CN=staff,DC=test"}},
				AddressAttributes: []string{"mail"}, QuotaAttribute: "businessCategory"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			askSlapd(t, d)
		})
	}
	stranger, err := New(Options{Servers: []Server{{"tcp", s.LDAPS, true, c}}, Bind: Bind{"cn=dancemta,dc=test", "wrong"},
		Base: "ou=people,dc=test", Filter: "(uid={uid})"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Close)
	isTrouble(t, "our password is wrong", stranger.Probe(t.Context()))
	isTrouble(t, "our password is wrong", stranger.CheckPassword(t.Context(), user(t, "rick@example.org"), password(t, "right")))
}

// askSlapd asks all that there is to ask.
func askSlapd(t *testing.T, d *Directory) {
	if err := d.Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	for who, want := range map[string]string{
		"rick@example.org":     `["staff"] [rick@example.org boss@example.org] "small"`,
		"rick@example.net":     `[] [rick@example.net] ""`, // the same uid, and nothing of the other's
		"eve@example.org":      `[] [] ""`,
		"rick@nowhere.example": `[] [] ""`, // there is no such base
	} {
		e, err := d.Lookup(t.Context(), user(t, who))
		if got := show(e); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", who, got, err, want)
		}
	}
	for address, want := range map[string]bool{"boss@example.org": true, "BOSS@EXAMPLE.ORG": true, "boss@example.net": false, `"*"@example.org`: false} {
		to := mailaddr.MustParse(address)
		found, err := d.search(t.Context(), template{base: "ou=people,dc=test", filter: d.recipient.filter}, values{address: to.Local() + "@" + to.Domain().String()}, 1, noAttributes)
		if err != nil || (len(found) > 0) != want {
			t.Errorf("%s: %d, %v, want %v", address, len(found), err, want)
		}
	}
	for _, c := range []struct {
		who, password string
		good          bool
	}{
		{"rick@example.org", "right", true}, {"rick@example.org", "wrong", false}, {"rick@example.org", "other", false},
		{"rick@example.net", "other", true}, {"rick@example.net", "right", false},
		{"eve@example.org", "right", false}, {"bare@example.org", "right", false}, {"rick@nowhere.example", "right", false},
		{"rick@example.org", "right", true}, // after all that
	} {
		err := d.CheckPassword(t.Context(), user(t, c.who), password(t, c.password))
		if c.good && err != nil || !c.good && !errors.Is(err, saslext.ErrPassword) {
			t.Errorf("%s, %s: %v", c.who, c.password, err)
		}
	}
}

// TestSlapdRestarts: while it is away there is trouble, and then there is none.
func TestSlapdRestarts(t *testing.T) {
	s, _ := startSlapd(t)
	d, err := New(Options{Servers: []Server{{"unix", s.Socket, false, nil}}, Base: "ou=people,dc=test", Filter: "(mail={address})"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	rick := user(t, "rick@example.org")
	check := func() error { return d.CheckPassword(t.Context(), rick, password(t, "right")) }
	if err := check(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	isTrouble(t, "stopped", check())
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := check(); err != nil {
		t.Errorf("started again: %v", err)
	}
}
