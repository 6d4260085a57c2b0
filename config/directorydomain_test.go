package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirectoryDomains(t *testing.T) {
	const head = `hostname = "mx.example.org"
postmaster = "postmaster@example.org"
state_dir = "state"
tls = { certificate = "mx.pem", key = "mx.key" }
dns = { upstreams = ["127.0.0.1:53"] }
listener = [{ name = "sub", kind = "submission", address = ":587" }]
group = [{ name = "staff", directory = "cn=staff" }, { name = "file", members_file = "list" }]
`
	const user, staff, small = `{ who = "*@a.test", action = "allow" }`, `, group = "staff" }`, "quota_class = [{ name = \"small\" }]\n"
	rule := func(who, more string) string { return `{ who = "` + who + `", action = "allow"` + more }
	for _, c := range []struct {
		name, rules, tables, base, filter string
		more                              string
		good                              bool
	}{
		{name: "one domain", rules: rule("*@a.test", staff) + "," + rule("rick@a.test", staff), filter: "(uid={uid})", good: true},
		{name: "two domains", rules: rule("*@a.test", staff) + "," + rule("*@b.test", staff), filter: "(uid={uid})"},
		{name: "a star", rules: rule("*@*.a.test", staff), filter: "(uid={uid})"},
		{name: "any", rules: rule("*@any", staff), filter: "(uid={uid})"},
		{name: "any by address", rules: rule("*@any", staff), filter: "(mail={address})", good: true},
		{name: "any by base", rules: rule("*@any", staff), base: "ou={domain},", filter: "(uid={uid})", good: true},
		{name: "the other is asked of a file", rules: rule("*@a.test", staff) + "," + rule("*@b.test", `, group = "file" }`), filter: "(uid={uid})", good: true},
		{name: "addresses", rules: rule("*@a.test", staff) + "," + rule("*@b.test", `, from = ["directory"] }`), filter: "(uid={uid})"},
		{name: "classes concern all", rules: user + "," + rule("*@b.test", " }"), tables: small, filter: "(uid={uid})"},
		{name: "a password domain", rules: rule("*@a.test", staff) + "," + rule("*@b.test", `, proved = ["password"] }`), filter: "(uid={uid})", more: `password_domains = ["b.test"]`},
	} {
		text := head + c.tables + "rule = [" + c.rules + "]\n[directory]\nservers = [\"unix:/run/slapd/ldapi\"]\nbase = \"" + c.base + `dc=test"
filter = "` + c.filter + "\"\ngroup_attribute = \"memberOf\"\nquota_attribute = \"businessCategory\"\naddress_attributes = [\"mail\"]\n" + c.more + "\n"
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if said := err != nil && strings.Contains(err.Error(), "directory.filter: neither it nor base has the domain"); err != nil && !said || said == c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
