//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// bridgeConfig is a server that is a bridge; what it lacks is where the directory is.
const bridgeConfig = `hostname   = "mx.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
log        = { format = "json", level = "debug" }
tls        = { certificate = "mx.pem", key = "mx.key" }
dns        = { upstreams = ["%s"], trust_anchors = "root.ds" }

[[ldap_listener]]
name    = "ldap"
address = "127.0.0.1:0"
tls     = "starttls"

[[ldap_listener]]
name    = "ldaps"
address = "127.0.0.1:0"
tls     = "implicit"

[[ldap_rule]]
who        = "*@partner.test"
action     = "allow"
dn         = "uid={uid},ou={domain},ou=people,dc=example,dc=test"
operations = ["search", "compare", "whoami", "add", "modify", "delete", "modify_dn", "password_modify"]
controls   = ["manage_dsa_it"]

[[ldap_rule]]
who    = "*@other.test"
action = "allow"
dn     = "uid={uid},ou={domain},ou=people,dc=example,dc=test"

[ldap]
upstream = ["%s"]
`

// bridgeTLS is added where the directory is behind TLS.
const bridgeTLS = `roots       = "server-ca.pem"
certificate = "gateway.pem"
key         = "gateway.key"
`

// newBridge starts dancemta before a directory, such as "ldaps://127.0.0.1:636".
func newBridge(t *testing.T, n *lab.Internet, upstream string) *child {
	t.Helper()
	dir := t.TempDir()
	must(t, n.WritePKI(dir))
	text := fmt.Sprintf(bridgeConfig, n.DNS.Addr(), upstream)
	if !strings.HasPrefix(upstream, "unix:") {
		text += bridgeTLS
	}
	config := filepath.Join(dir, "dancemta.toml")
	must(t, os.WriteFile(config, []byte(text), 0o600))
	return startServer(t, config)
}

func newInternet(t testing.TB) *lab.Internet {
	t.Helper()
	n, err := lab.NewInternet(time.Now())
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

// bridgedWire is a client of the bridge, bound by his certificate and nothing else.
func bridgedWire(t *testing.T, n *lab.Internet, bridge *child, c lab.Client) *ldapWire {
	t.Helper()
	w := dialWire(t, bridge.addresses["ldaps"], clientTLS(n, lab.ServerName, c.Credential), true)
	if got := w.bind(); got != 0 {
		t.Fatalf("the bridge does not take %s: %d\n%s", c.User, got, bridge.text())
	}
	return w
}

// dnOf is as whom the rules of bridgeConfig let a user act.
func dnOf(c lab.Client) string {
	uid, domain, _ := strings.Cut(c.User, "@")
	return "uid=" + uid + ",ou=" + domain + "," + lab.DirectoryPeople
}
