package lab

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

const (
	testSuffix = "dc=example,dc=test"
	testPeople = "ou=people,dc=example,dc=test"
)

// directory is a server with two people of the same uid, and its gateway.
type directory struct {
	*Directory
	gateway, stranger *tls.Certificate
	roots             *x509.CertPool
}

func newDirectory(t *testing.T, implicit bool) *directory {
	t.Helper()
	serverCA, gatewayCA, otherCA := NewCA("server", CAOptions{}), NewCA("gateway", CAOptions{}), NewCA("other", CAOptions{})
	pool := func(ca *CA) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(ca.Certificate)
		return p
	}
	leaf := func(ca *CA) *tls.Certificate {
		c := ca.Issue(LeafOptions{Names: []string{"ldap.example.test"}}).TLSCertificate()
		return &c
	}
	d := &directory{gateway: leaf(gatewayCA), stranger: leaf(otherCA), roots: pool(serverCA)}
	person := func(domain string) Entry {
		return Entry{"uid=rick,ou=" + domain + "," + testPeople, []Attribute{
			{"objectClass", []string{"inetOrgPerson"}}, {"uid", []string{"rick"}}, {"mail", []string{"rick@" + domain}}, {"title", []string{"guest"}},
		}}
	}
	var err error
	d.Directory, err = StartDirectory("127.0.0.1:0", DirectoryOptions{
		Certificate: *leaf(serverCA), Gateways: pool(gatewayCA), TLS: implicit, People: testPeople,
		Entries: []Entry{
			person("partner.test"), person("ee.test"),
			{testSuffix, []Attribute{{"objectClass", []string{"domain"}}}},
			{testPeople, []Attribute{{"ou", []string{"people"}}}},
			{"cn=shared," + testSuffix, []Attribute{{"cn", []string{"shared"}}, {"member", []string{"a", "b"}}}},
		},
		Access: []Access{
			{"cn=shared," + testSuffix, "partner.test", MayRead},
			{testPeople, "ee.test", MayWrite},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// dial connects over ldaps or StartTLS.
func (d *directory) dial(t *testing.T, cert *tls.Certificate) *ldap.Conn {
	t.Helper()
	config := &tls.Config{RootCAs: d.roots, ServerName: "ldap.example.test"}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	scheme := map[bool]string{true: "ldaps://", false: "ldap://"}[d.opts.TLS]
	c, err := ldap.DialURL(scheme+d.Addr(), ldap.DialWithTLSConfig(config))
	if err == nil && !d.opts.TLS {
		err = c.StartTLS(config)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (d *directory) bound(t *testing.T) *ldap.Conn {
	t.Helper()
	c := d.dial(t, d.gateway)
	if err := c.ExternalBind(); err != nil {
		t.Fatal(err)
	}
	return c
}

func as(authzid string) ldap.Control {
	return ldap.NewControlString(oidProxiedAuthorization, true, authzid)
}

// namesOf searches, and returns the result code and what was found.
func namesOf(c *ldap.Conn, base string, scope int, filter string, controls ...ldap.Control) (code int, found string) {
	r, err := c.Search(ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 0, 0, false, filter, []string{"mail"}, controls))
	if err != nil {
		return codeOf(err), ""
	}
	var names []string
	for _, e := range r.Entries {
		name, _, _ := strings.Cut(strings.TrimSuffix(e.DN, ","+testSuffix), ",ou=people")
		names = append(names, name)
	}
	return 0, strings.Join(names, " ")
}

func codeOf(err error) int {
	if err == nil {
		return 0
	}
	var e *ldap.Error
	if e, _ = err.(*ldap.Error); e == nil {
		return -1
	}
	return int(e.ResultCode)
}

func TestDirectoryShowsEachWhatHeMayRead(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		d := newDirectory(t, implicit)
		c := d.bound(t)
		for _, row := range []struct {
			who, base string
			scope     int
			filter    string
			code      int
			want      string
		}{
			{"u:rick@partner.test", testSuffix, 2, "(objectClass=*)", 0, "uid=rick,ou=partner.test"},
			{"u:rick@partner.test", testSuffix, 2, "(|(uid=RICK)(cn=shared))", 0, "cn=shared uid=rick,ou=partner.test"},
			{"u:rick@ee.test", testSuffix, 2, "(uid=rick)", 0, "uid=rick,ou=partner.test uid=rick,ou=ee.test"},
			{"dn:uid=rick, OU=ee.test," + testPeople, testSuffix, 2, "(&(uid=rick)(mail=rick@ee.test))", 0, "uid=rick,ou=ee.test"},
			{"u:rick@partner.test", testSuffix, 1, "(member=b)", 0, "cn=shared"},
			{"u:rick@partner.test", testSuffix, 1, "(uid=rick)", 0, ""},
			{"u:rick@partner.test", "cn=shared," + testSuffix, 0, "(!(cn=other))", 0, "cn=shared"},
			{"u:rick@ee.test", "cn=shared," + testSuffix, 0, "(cn=*)", 32, ""},
			{"u:rick@partner.test", testSuffix, 2, "(uid=r*)", 53, ""},
			{"u:rick@third.test", testSuffix, 2, "(uid=rick)", 32, ""},
			{"u:rick@third.test", "cn=shared," + testSuffix, 2, "(cn=*)", 32, ""},
			{"u:rick", testSuffix, 2, "(uid=rick)", 123, ""},
			{"dn:cn=admin," + testSuffix, testSuffix, 2, "(uid=rick)", 123, ""},
		} {
			code, found := namesOf(c, row.base, row.scope, row.filter, as(row.who))
			if code != row.code || found != row.want {
				t.Errorf("%+v: %d %q", row, code, found)
			}
		}
		if err := c.StartTLS(&tls.Config{}); err == nil {
			t.Error("TLS within TLS")
		}
	}
}

// TestDirectoryNeedsToKnowWhom: a gateway that forgets the control gets nothing.
func TestDirectoryNeedsToKnowWhom(t *testing.T) {
	d := newDirectory(t, true)
	c := d.bound(t)
	if code, _ := namesOf(c, testSuffix, 2, "(uid=rick)"); code != 53 {
		t.Errorf("without the control: %d", code)
	}
	if code, _ := namesOf(c, testSuffix, 2, "(uid=rick)", ldap.NewControlString(oidProxiedAuthorization, false, "u:rick@ee.test")); code != 2 {
		t.Errorf("with a control that is not critical: %d", code)
	}
	if code, _ := namesOf(c, testSuffix, 2, "(uid=rick)", as("u:rick@ee.test"), ldap.NewControlString("1.2.3", true, "")); code != 12 {
		t.Errorf("with an unknown control: %d", code)
	}
	ops := d.Operations()
	if want := (Operation{Name: "search", DN: testSuffix, Proxied: true, Authzid: "u:rick@ee.test", Result: 0}); slices.Contains(ops, want) {
		t.Errorf("%+v", ops)
	}
	if len(ops) != 4 || ops[0].Name != "bind" || ops[1].Proxied || ops[1].Result != 53 {
		t.Errorf("%+v", ops)
	}
}

func TestDirectoryBind(t *testing.T) {
	d := newDirectory(t, false)
	c := d.dial(t, nil)
	if err := c.ExternalBind(); codeOf(err) != 48 {
		t.Errorf("without a certificate: %v", err)
	}
	if code, _ := namesOf(c, testSuffix, 2, "(uid=rick)", as("u:rick@ee.test")); code != 50 {
		t.Errorf("unbound: %d", code)
	}
	if code, found := namesOf(c, "", 0, "(objectClass=*)"); code != 0 || found != "" {
		t.Errorf("the rootDSE: %d %q", code, found)
	}
	c = d.bound(t)
	if err := c.Bind("cn=x", "secret"); codeOf(err) != 7 {
		t.Errorf("with a password: %v", err)
	}
	if code, _ := namesOf(c, testSuffix, 2, "(uid=rick)", as("u:rick@ee.test")); code != 50 {
		t.Errorf("after a bind that failed: %d", code)
	}
	config := &tls.Config{RootCAs: d.roots, ServerName: "ldap.example.test", Certificates: []tls.Certificate{*d.stranger}}
	plain, err := ldap.DialURL("ldap://" + d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if plain.StartTLS(config) == nil && plain.ExternalBind() == nil {
		t.Error("a stranger's certificate was believed")
	}
}

func TestDirectoryPages(t *testing.T) {
	d := newDirectory(t, true)
	c := d.bound(t)
	pages := ldap.NewControlPaging(1)
	for i, want := range []string{"uid=rick,ou=partner.test", "uid=rick,ou=ee.test"} {
		r, err := c.Search(ldap.NewSearchRequest(testPeople, 2, 0, 0, 0, false, "(uid=rick)", nil, []ldap.Control{pages, as("u:rick@ee.test")}))
		if err != nil || len(r.Entries) != 1 || !strings.HasPrefix(r.Entries[0].DN, want) {
			t.Fatalf("page %d: %v %v", i, r, err)
		}
		next := ldap.FindControl(r.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if (len(next.Cookie) > 0) != (i == 0) {
			t.Errorf("page %d: cookie %q", i, next.Cookie)
		}
		pages.SetCookie(next.Cookie)
	}
	pages.SetCookie([]byte("1"))
	if code, _ := namesOf(c, testPeople, 2, "(uid=rick)", pages, as("u:rick@ee.test")); code != 53 {
		t.Errorf("an unknown cookie: %d", code)
	}
	r, err := c.Search(ldap.NewSearchRequest(testPeople, 2, 0, 1, 0, false, "(uid=rick)", nil, []ldap.Control{as("u:rick@ee.test")}))
	if codeOf(err) != 4 || len(r.Entries) != 1 {
		t.Errorf("a limit of one: %v %v", r, err)
	}
}

func TestDirectoryChangesAndCompares(t *testing.T) {
	d := newDirectory(t, true)
	c := d.bound(t)
	target := "uid=rick,ou=ee.test," + testPeople
	change := func(who, dn string) int {
		m := ldap.NewModifyRequest(dn, []ldap.Control{as(who)})
		m.Replace("title", []string{who})
		return codeOf(c.Modify(m))
	}
	for _, row := range []struct {
		who, dn string
		want    int
	}{
		{"u:rick@ee.test", target, 0},
		{"u:rick@partner.test", target, 32},
		{"u:rick@partner.test", "cn=shared," + testSuffix, 50},
		{"u:rick@partner.test", "uid=rick,ou=partner.test," + testPeople, 50},
		{"u:rick@ee.test", "cn=nobody," + testPeople, 32},
	} {
		if code := change(row.who, row.dn); code != row.want {
			t.Errorf("%+v: %d", row, code)
		}
	}
	if e, ok := d.Entry(target); !ok || fmt.Sprint(e.values("title")) != "[u:rick@ee.test]" {
		t.Errorf("%v", e)
	}
	ops := d.Operations()
	if last := ops[1]; last != (Operation{"modify", target, true, "u:rick@ee.test", 0}) {
		t.Errorf("%+v", last)
	}
	d.Stop()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	r, err := d.bound(t).Search(ldap.NewSearchRequest(target, 0, 0, 0, 0, false, "(title=u:rick@ee.test)", nil, []ldap.Control{as("u:rick@ee.test")}))
	if err != nil || len(r.Entries) != 1 {
		t.Errorf("after a restart: %v %v", r, err)
	}
}

func TestSplitDN(t *testing.T) {
	for _, row := range []struct{ a, b string }{
		{`uid=\+mail\+archive,ou=A.test`, `UID = \2bmail\2Barchive , ou=a.test`},
		{`uid=a\,b`, `uid=a\2cb`},
		{`uid=\ a\ `, `uid=\20a\20`},
		{"uid=" + escapeDN(" #a=,+ "), `uid=\ \#a\=\,\+\ `},
	} {
		if !sameDN(row.a, row.b) {
			t.Errorf("%q %q: %q %q", row.a, row.b, splitDN(row.a), splitDN(row.b))
		}
	}
	for _, row := range []struct{ a, b string }{{`uid=a\,b`, `uid=a,b`}, {`uid=\ a`, `uid=a`}, {"", "dc=test"}} {
		if sameDN(row.a, row.b) {
			t.Errorf("%q is %q", row.a, row.b)
		}
	}
}
