//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/internal/lab"
)

const (
	slapdExample = "../../docs/examples/slapd"
	exampleHome  = "/etc/ldap/dancemta" // where the example has its files
	partnerUsers = "ou=partner.test," + lab.DirectoryPeople
)

// needSlapd skips a test without the real directory server, or fails it where a skip
// is a failure.
func needSlapd(t *testing.T) {
	t.Helper()
	mode := os.Getenv(storiesEnv)
	switch missing := lab.Missing(lab.SlapdPrograms...); {
	case mode == "":
		t.Skipf("needs a real directory server; set %s=1 to run it", storiesEnv)
	case missing == nil:
	case mode == "required":
		t.Fatalf("missing: %s", strings.Join(missing, ", "))
	default:
		t.Skipf("missing: %s", strings.Join(missing, ", "))
	}
}

// newSlapd starts slapd as the example configures it, for the gateway of the world,
// with the example's entries and these besides. Three things are added: an overlay that
// sorts, that partner.test's users may read without end, and that it costs slapd no
// regular expressions to find out that they may read what manyLDIF has.
func newSlapd(t *testing.T, n *lab.Internet, ldif ...string) *lab.Slapd {
	t.Helper()
	dir := openFolder(t)
	for _, d := range []string{"db", "run"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	text, err := os.ReadFile(filepath.Join(slapdExample, "slapd.conf"))
	must(t, err)
	conf := strings.ReplaceAll(string(text), exampleHome, dir)
	for _, more := range []struct{ before, add string }{
		{"pidfile ", "moduleload sssvlv\n"},
		{"limits ", "overlay sssvlv\nlimits dn.onelevel=" + partnerUsers + " size=unlimited\n"},
		{"# The bridge itself may do nothing", "access to dn.subtree=" + manyBase + " by dn.onelevel=" + partnerUsers + " read\n"},
	} {
		if strings.Count(conf, "\n"+more.before) != 1 {
			t.Fatalf("%q is not once in the example", more.before)
		}
		conf = strings.Replace(conf, "\n"+more.before, "\n"+more.add+more.before, 1)
	}
	server := n.DirectoryCertificate()
	for name, text := range map[string]string{
		"slapd.conf": conf, "bridge-ca.pem": string(n.GatewayCA.PEM()),
		"slapd.pem": string(server.CertPEM()), "slapd.key": string(server.KeyPEM()),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	files := []string{filepath.Join(slapdExample, "base.ldif")}
	for i, text := range ldif {
		files = append(files, filepath.Join(dir, fmt.Sprintf("%d.ldif", i)))
		must(t, os.WriteFile(files[i+1], []byte(text), 0o600))
	}
	s, err := lab.StartSlapd(dir, filepath.Join(dir, "slapd.conf"), files...)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// clientTLS is the TLS of a client that knows our CA and shows a certificate.
func clientTLS(n *lab.Internet, name string, c lab.Credential) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(n.ServerCA.Certificate)
	pair := c.TLSCertificate()
	return &tls.Config{
		RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}
}

// directWire is a client of slapd itself, bound as the gateway.
func directWire(t *testing.T, n *lab.Internet, s *lab.Slapd) *ldapWire {
	t.Helper()
	w := dialWire(t, s.LDAPS, clientTLS(n, lab.DirectoryName, n.Gateway), true)
	if got := w.bind(""); got != 0 {
		t.Fatalf("slapd does not take the gateway: %d", got)
	}
	return w
}

func TestOracleSlapdOfTheExample(t *testing.T) {
	needSlapd(t)
	n := newInternet(t)
	s := newSlapd(t, n)
	w := directWire(t, n, s)
	// The gateway itself may do nothing: who forgets the control reads nothing.
	q := asked{base: lab.DirectorySuffix, scope: 2, filter: filterOf(t, "(objectClass=*)")}
	if all := w.do(q.op()); len(all) != 1 || code(all[0]) != 32 {
		t.Errorf("the gateway reads: %d answers, %d", len(all), code(all[len(all)-1]))
	}
	if all := w.do(q.op(), proxied("dn:uid=rick,ou=partner.test,"+lab.DirectoryPeople)); len(all) != 4 || code(all[3]) != 0 {
		t.Errorf("a user reads: %d answers, %d", len(all), code(all[len(all)-1]))
	}
	for _, who := range []string{"dn:" + lab.DirectorySuffix, "dn:cn=bridge,ou=services," + lab.DirectorySuffix + "x", "u:rick"} {
		if all := w.do(q.op(), proxied(who)); code(all[0]) != 123 {
			t.Errorf("the gateway acts as %s: %d", who, code(all[len(all)-1]))
		}
	}
}
