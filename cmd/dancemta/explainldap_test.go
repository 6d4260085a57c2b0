package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bridgeTables make a configuration that of a bridge, too.
const bridgeTables = `
[ldap]
upstream = ["unix:/nowhere/ldapi"]

[[ldap_listener]]
name    = "ldap"
address = "127.0.0.1:0"
tls     = "starttls"

[[ldap_rule]]
who        = "*@partner.test"
action     = "allow"
dn         = "uid={uid},ou={domain},ou=people,dc=example,dc=test"
operations = ["search", "modify"]

[[ldap_rule]]
who    = "eve@partner.test"
action = "deny"

[[authzid]]
from = "rick@partner.test"
to   = "boss@partner.test"
`

func TestExplainLDAP(t *testing.T) {
	_, config, pki := verifyWorld(t)
	text, err := os.ReadFile(config)
	must(t, err)
	bridge := filepath.Join(filepath.Dir(config), "bridge.toml")
	must(t, os.WriteFile(bridge, append(text, bridgeTables...), 0o600))
	pem := filepath.Join(pki, "rick.pem")
	const rick = "uid=rick,ou=partner.test,ou=people,dc=example,dc=test"
	for _, c := range []struct {
		name   string
		args   string
		config string
		code   int
		out    string // contained in standard output
		stderr string
	}{
		{"a user", pem + " --ldap", bridge, exitOK, "user on listener ldap: accepted\n", ""},
		{"his DN", pem + " --ldap", bridge, exitOK, "authzid    dn:" + rick, ""},
		{"his rule", pem + " --ldap", bridge, exitOK, `mapped by  "*@partner.test" (line `, ""},
		{"what he may", pem + " --ldap", bridge, exitOK, "may        search, modify\n", ""},
		{"by the listener", pem + " --listener ldap", bridge, exitOK, "user on listener ldap: accepted\n", ""},
		{"by identity", "rick@partner.test --ldap", bridge, exitOK, "user on listener ldap: open: ", ""},
		{"as himself", pem + " --ldap --as dn:UID=Rick,ou=partner.test,ou=people,dc=example,dc=test", bridge, exitOK, "acts as     rick@partner.test\n", ""},
		{"as another", pem + " --ldap --as u:boss@partner.test", bridge, exitOK, "acts as     boss@partner.test\n", ""},
		{"as whom he may not", pem + " --ldap --as u:ann@partner.test", bridge, exitRefused, "reply   49 invalidCredentials: not an authorization identity that you may have (session id)", "error: refused: authzid-denied"},
		{"denied", "eve@partner.test --ldap", bridge, exitRefused, `denied by rule "eve@partner.test" (line `, "error: refused: not-allowed"},
		{"no rule", "rick@other.test --ldap", bridge, exitRefused, "reply   48 inappropriateAuthentication: ", "error: refused: not-allowed"},
		{"by mail it is as it was", pem, bridge, exitOK, "user on listener submission: accepted\n", ""},

		{"no bridge", pem + " --ldap", config, exitUsage, "", "the configuration has no LDAP bridge"},
		{"no such listener", pem + " --ldap --listener submission", bridge, exitUsage, "", "it has ldap"},
		{"as nobody known", pem + " --ldap --as boss@partner.test", bridge, exitUsage, "", "an authzid is"},
		{"as another by mail", pem + " --as u:boss@partner.test", bridge, exitUsage, "", "add --ldap"},
	} {
		code, out, text := run(t, append(append([]string{"explain", "user"}, strings.Fields(c.args)...), "--config", c.config)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(text, c.stderr) || (text == "") != (c.code == exitOK) {
			t.Errorf("%s: exit %d, %s%s; want %d, %q, %q", c.name, code, out, text, c.code, c.out, c.stderr)
		}
	}
	code, out, _ := run(t, "explain", "user", pem, "--ldap", "--json", "--config", bridge)
	var r struct {
		Verdict string
		LDAP    struct {
			Acts, Authzid, DN, Rule string
			Operations, Controls    []string
		}
	}
	must(t, json.Unmarshal([]byte(out), &r))
	if l := r.LDAP; code != exitOK || r.Verdict != "accepted" || l.Acts != "rick@partner.test" || l.DN != rick || l.Authzid != "dn:"+rick || len(l.Operations) != 2 || l.Controls == nil {
		t.Errorf("exit %d, %s", code, out)
	}
}

// TestLDAPRulesAreChecked: what only the mapping sees is told by check, with the line.
func TestLDAPRulesAreChecked(t *testing.T) {
	_, config, _ := verifyWorld(t)
	text, err := os.ReadFile(config)
	must(t, err)
	for rules, want := range map[string]string{
		"dn = \"uid={uid}{domain},dc=test\"": "between two placeholders",
		"dn = \"{uid}\"":                     "no distinguished name",
		"search_base = \"dc=test\"\nsearch_filter = \"(uid={uid})\"": "no [directory] says where to search",
	} {
		must(t, os.WriteFile(config, []byte(string(text)+"\n[[ldap_rule]]\nwho = \"*@partner.test\"\naction = \"allow\"\n"+rules+"\n"), 0o600))
		code, out, _ := run(t, "check", "--config", config)
		if code != exitBroken || !strings.Contains(out, "problem  ldap_rule \"*@partner.test\" (line ") || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d, %s", rules, code, out)
		}
	}
	must(t, os.WriteFile(config, []byte(string(text)+bridgeTables+`
[[ldap_rule]]
who    = "eve@partner.test"
action = "allow"
dn     = "cn=eve,dc=test"
`), 0o600))
	if _, out, _ := run(t, "check", "--config", config); !strings.Contains(out, `warning  ldap_rule "eve@partner.test" (line `) {
		t.Error(out)
	}
}
