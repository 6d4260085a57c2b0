//go:build unix

package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"dancemta/config"
	"dancemta/internal/lab"
	"dancemta/internal/pattern"
	"dancemta/ldapbridge/mapping"
	"dancemta/saslext"
)

// oddUsers are legal identities whose names mean something to DNs, filters, regular
// expressions or the folding of letters.
var oddUsers = []string{
	"rick@partner.test", "rick@other.test", "rick@a.partner.test", "+mail+archive@partner.test", "rick+x@partner.test",
	"{uid}@partner.test", "{domain}@partner.test", "a&b!c$~^|`'{}@partner.test", "$1@partner.test", "a.b@c.test", "a@b.c.test",
	"jürgen@bücher.example", "jurgen@xn--bcher-kva.example", "岡田@partner.test", "иван@partner.test",
	"straße@partner.test", "strasse@partner.test", "σας@partner.test", "σασ@partner.test", "ı@partner.test", "i@partner.test",
	"\u1c80@partner.test", "\u0432@partner.test", "ﬂ@partner.test",
}

// slapdAsGateway is a connection of the gateway.
func slapdAsGateway(t *testing.T, n *lab.Internet, s *lab.Slapd) *ldap.Conn {
	t.Helper()
	c, err := ldap.DialURL("ldaps://"+s.LDAPS, ldap.DialWithTLSConfig(clientTLS(n, lab.DirectoryName, n.Gateway)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.ExternalBind())
	return c
}

func proxyAs(a mapping.Authzid) ldap.Control {
	return ldap.NewControlString("2.16.840.1.113730.3.4.18", true, string(a))
}

// TestOracleSlapdReadsOurNames: slapd takes what mapping makes, by DN and by name, for the
// DN that it should be, and no two users for one.
func TestOracleSlapdReadsOurNames(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	c := slapdAsGateway(t, n, newSlapd(t, n))
	rules := map[string]mapping.Rule{
		"by DN":   {DN: "uid={uid},ou={domain}," + lab.DirectoryPeople},
		"by name": {Authzid: "u:{uid}@{domain}"},
	}
	byDN := newRuleMapper(t, rules["by DN"])
	for name, rule := range rules {
		m, whose := newRuleMapper(t, rule), map[string]string{}
		for _, user := range oddUsers {
			id, err := saslext.ParseIdentity(user)
			if err != nil {
				continue // it has no normal form: nobody has it
			}
			mapped, err := m.Map(t.Context(), id)
			must(t, err)
			want, err := byDN.Map(t.Context(), id)
			must(t, err)
			who, err := c.WhoAmI([]ldap.Control{proxyAs(mapped.Authzid)})
			if err != nil {
				t.Errorf("%s, %s: %v", name, mapped.Authzid, err)
				continue
			}
			dn, ok := strings.CutPrefix(who.AuthzID, "dn:")
			if !ok || !mapping.SameDN(dn, want.DN) {
				t.Errorf("%s, %s: slapd says %q, and we %q", name, user, who.AuthzID, want.DN)
			}
			if other, twice := whose[dn]; twice {
				t.Errorf("%s: %s and %s are one to slapd: %s", name, other, user, dn)
			}
			whose[dn] = user
		}
		if len(whose) < len(oddUsers)-1 {
			t.Errorf("%s: %d users of %d", name, len(whose), len(oddUsers))
		}
	}
}

func newRuleMapper(t *testing.T, r mapping.Rule) *mapping.Mapper {
	t.Helper()
	r.Who, r.Allow = pattern.MustParse("*@any"), true
	m, err := mapping.New(mapping.Options{Rules: []mapping.Rule{r}})
	must(t, err)
	return m
}

// TestOracleSlapdExample: what docs/ldap.md says of docs/examples/slapd.
func TestOracleSlapdExample(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	c := slapdAsGateway(t, n, s)
	seen := func(controls ...ldap.Control) string {
		t.Helper()
		r, err := c.Search(ldap.NewSearchRequest(lab.DirectorySuffix, ldap.ScopeWholeSubtree, 0, 0, 0, false, "(objectClass=*)", []string{"1.1"}, controls))
		if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			t.Fatal(err)
		}
		var names []string
		for _, e := range r.Entries {
			names = append(names, strings.TrimSuffix(e.DN, ","+lab.DirectorySuffix))
		}
		return strings.Join(names, "; ")
	}
	rick := "dn:uid=rick,ou=partner.test," + lab.DirectoryPeople
	for as, want := range map[string]string{
		rick: "uid=rick,ou=partner.test,ou=people; ou=partner.test,ou=shared; cn=price list,ou=partner.test,ou=shared",
		"dn:uid=rick,ou=other.test," + lab.DirectoryPeople:       "uid=rick,ou=other.test,ou=people; ou=other.test,ou=shared; cn=price list,ou=other.test,ou=shared",
		"dn:uid=no.entry,ou=partner.test," + lab.DirectoryPeople: "ou=partner.test,ou=shared; cn=price list,ou=partner.test,ou=shared",
		"dn:uid=rick,ou=third.test," + lab.DirectoryPeople:       "",
	} {
		if got := seen(proxyAs(mapping.Authzid(as))); got != want {
			t.Errorf("%s sees %s", as, got)
		}
	}
	if got := seen(); got != "" {
		t.Errorf("without the control the gateway sees %s", got)
	}
	for _, as := range []string{"dn:" + lab.DirectoryPeople, "dn:ou=partner.test," + lab.DirectoryPeople, "dn:" + lab.DirectorySuffix, "dn:uid=x," + rick[3:], "u:rick", "u:a@b@c", "rick@partner.test"} {
		if _, err := c.WhoAmI([]ldap.Control{proxyAs(mapping.Authzid(as))}); !ldap.IsErrorWithCode(err, 123) {
			t.Errorf("as %s: %v", as, err)
		}
	}
	exampleForbids(t, c, rick)
	exampleStrangers(t, n, s)
}

// exampleForbids: users write their own password and what is theirs, and the gateway
// nothing.
func exampleForbids(t *testing.T, c *ldap.Conn, rick string) {
	t.Helper()
	bridge, namesake := "cn=bridge,ou=services,"+lab.DirectorySuffix, "uid=rick,ou=other.test,"+lab.DirectoryPeople
	for _, tt := range []struct {
		as, dn, attribute, value string
		code                     uint16
	}{
		{rick, rick[3:], "telephoneNumber", "+1 555 0303", 0},
		{rick, rick[3:], "userPassword", "secret", 0},
		{rick, rick[3:], "mail", "x@y.example", ldap.LDAPResultInsufficientAccessRights},
		{rick, rick[3:], "authzTo", "dn.regex:.*", ldap.LDAPResultInsufficientAccessRights},
		{rick, namesake, "telephoneNumber", "+1 555 0303", ldap.LDAPResultInsufficientAccessRights},
		{rick, namesake, "userPassword", "secret", ldap.LDAPResultInsufficientAccessRights},
		{rick, bridge, "authzTo", "dn.regex:.*", ldap.LDAPResultInsufficientAccessRights},
		{"", bridge, "authzTo", "dn.regex:.*", ldap.LDAPResultInsufficientAccessRights},
		{"", rick[3:], "telephoneNumber", "1", ldap.LDAPResultInsufficientAccessRights},
	} {
		var controls []ldap.Control
		if tt.as != "" {
			controls = append(controls, proxyAs(mapping.Authzid(tt.as)))
		}
		r := ldap.NewModifyRequest(tt.dn, controls)
		r.Replace(tt.attribute, []string{tt.value})
		if err := c.Modify(r); (err == nil) != (tt.code == 0) || err != nil && !ldap.IsErrorWithCode(err, tt.code) {
			t.Errorf("%s writes %s of %s: %v", tt.as, tt.attribute, tt.dn, err)
		}
	}
}

// exampleStrangers: nothing without TLS, and nothing for other certificates.
func exampleStrangers(t *testing.T, n *lab.Internet, s *lab.Slapd) {
	t.Helper()
	plain, err := ldap.DialURL("ldap://" + s.LDAP)
	must(t, err)
	defer plain.Close()
	if _, err := plain.WhoAmI(nil); !ldap.IsErrorWithCode(err, ldap.LDAPResultConfidentialityRequired) {
		t.Errorf("in clear: %v", err)
	}
	for name, c := range map[string]*tls.Config{
		"a user":     clientTLS(n, lab.DirectoryName, n.Rick.Credential),
		"no one":     {RootCAs: clientTLS(n, lab.DirectoryName, n.Gateway).RootCAs, ServerName: lab.DirectoryName},
		"a namesake": clientTLS(n, lab.DirectoryName, n.Namesake.Credential),
	} {
		conn, err := ldap.DialURL("ldaps://"+s.LDAPS, ldap.DialWithTLSConfig(c))
		if err != nil {
			continue // the handshake said it
		}
		if err := conn.ExternalBind(); err == nil {
			t.Errorf("%s binds", name)
		}
		conn.Close()
	}
}

// TestOracleMappingSearchesSlapd: exactly one entry is a user's, and slapd away is no
// verdict on him.
func TestOracleMappingSearchesSlapd(t *testing.T) {
	needSlapd(t)
	dir := openFolder(t)
	must(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	const story = "../../testdata/e2e/18-directory/"
	text, err := os.ReadFile(story + "slapd.conf")
	must(t, err)
	conf := filepath.Join(dir, "slapd.conf")
	must(t, os.WriteFile(conf, []byte(strings.NewReplacer("DIR", dir, "USER", strconv.Itoa(os.Getuid())).Replace(string(text))), 0o600))
	s, err := lab.StartSlapd(dir, conf, story+"people.ldif")
	must(t, err)
	defer s.Close()

	cfg := &config.Config{Directory: config.Directory{Servers: []config.DirectoryServer{config.DirectoryServer("unix:" + s.Socket)}, Base: "dc=staff,dc=test", Filter: "(uid={uid})"}}
	d, err := newDirectory(cfg)
	must(t, err)
	defer d.Close()
	maps := func(user, filter string) string {
		t.Helper()
		m, err := mapping.New(mapping.Options{Searcher: d, Rules: []mapping.Rule{{Who: pattern.MustParse("*@any"), Allow: true, SearchBase: "dc=staff,dc=test", SearchFilter: filter}}})
		must(t, err)
		id, err := saslext.ParseIdentity(user)
		must(t, err)
		mapped, err := m.Map(t.Context(), id)
		if e, ok := errors.AsType[*mapping.Error](err); ok {
			return e.Reason.String()
		}
		return string(mapped.Authzid)
	}
	for _, tt := range []struct{ user, filter, want string }{
		{"ann@staff.test", "(mail={uid}@{domain})", "dn:uid=ann,dc=staff,dc=test"},
		{"ann@other.test", "(mail={uid}@{domain})", "no-entry"},
		{"nobody@staff.test", "(mail={uid}@{domain})", "no-entry"},
		{"a'+b&c|d!e@staff.test", "(mail={uid}@{domain})", "no-entry"},
		{"ann@staff.test", "(|(mail={uid}@{domain})(uid=bob))", "many-entries"},
	} {
		if got := maps(tt.user, tt.filter); got != tt.want {
			t.Errorf("%s by %s: %s, not %s", tt.user, tt.filter, got, tt.want)
		}
	}
	must(t, s.Stop())
	if got := maps("ann@staff.test", "(mail={uid}@{domain})"); got != "directory-trouble" {
		t.Errorf("slapd is away: %s", got)
	}
}

// TestExplainSaysWhatTheBridgeDoes: a bind and explain read one configuration, and the
// log names the command that explains.
func TestExplainSaysWhatTheBridgeDoes(t *testing.T) {
	n := newInternet(t)
	bridge := newBridge(t, n, "unix:/nowhere/ldapi") // binds never get there
	dir := t.TempDir()
	must(t, n.WritePKI(dir))
	config := filepath.Join(dir, "dancemta.toml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, bridgeConfig, n.DNS.Addr(), "unix:/nowhere/ldapi"), 0o600))
	for _, c := range []struct {
		who    lab.Client
		as     string
		result int
	}{
		{n.Rick, "", 0},
		{n.Namesake, "u:RICK@other.test", 0},
		{n.Rick, "dn:" + dnOf(n.Rick), 0},
		{n.Rick, "dn:" + dnOf(n.Namesake), 49},
		{n.Namesake, "u:rick@partner.test", 49},
		{n.Unknown, "", 48},
		{n.Eve, "", 48},
	} {
		w := dialWire(t, bridge.addresses["ldaps"], clientTLS(n, lab.ServerName, c.who.Credential), true)
		a := w.do(saslBind(c.as))
		args := []string{"explain", "user", filepath.Join(dir, c.who.File+".pem"), "--listener", "ldaps", "--json", "--config", config}
		if c.as != "" {
			args = append(args, "--as", c.as)
		}
		status, out, _ := run(t, args...)
		var r struct {
			Reply string
			LDAP  struct{ Authzid string }
		}
		must(t, json.Unmarshal([]byte(out), &r))
		said := strconv.Itoa(code(a[0]))
		if code(a[0]) != c.result || (status == exitOK) != (c.result == 0) || c.result != 0 && !strings.HasPrefix(r.Reply, said+" ") {
			t.Errorf("%s as %q: the bridge says %s, explain %d %q", c.who.User, c.as, said, status, r.Reply)
		}
		if want := "dn:" + dnOf(c.who); c.result == 0 && r.LDAP.Authzid != want {
			t.Errorf("%s as %q: %s, not %s", c.who.User, c.as, r.LDAP.Authzid, want)
		}
	}
	bridge.kill() // then its log is whole
	explained := 0
	for text := range strings.SplitSeq(bridge.text(), "\n") {
		var line struct{ Msg, Explain string }
		if json.Unmarshal([]byte(text), &line) != nil || line.Explain == "" {
			continue
		}
		explained++
		words := strings.Fields(line.Explain)
		words[len(words)-1] = config // the bridge's own is gone, and says the same
		if status, out, _ := run(t, words[1:]...); status != exitRefused || !strings.HasPrefix(out, "user on listener ldaps: refused") {
			t.Errorf("%s: exit %d\n%s", line.Explain, status, out)
		}
	}
	if explained != 2 {
		t.Errorf("%d commands in the log:\n%s", explained, bridge.text())
	}
}
