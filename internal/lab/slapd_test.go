//go:build unix

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
argsfile %[1]s/args
database mdb
suffix dc=example,dc=test
directory %[1]s
`

func TestSlapdStartsAgain(t *testing.T) {
	if missing := Missing(SlapdPrograms...); missing != nil {
		t.Skipf("not installed: %s", strings.Join(missing, " "))
	}
	dir := t.TempDir()
	conf, ldif := filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "base.ldif")
	for path, text := range map[string]string{
		conf: fmt.Sprintf(slapdConf, dir), ldif: "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := StartSlapd(dir, conf, ldif)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		for _, at := range []string{"ldap://" + s.LDAP, "ldapi://" + s.Socket} {
			c, err := ldap.DialURL(at)
			if err != nil {
				t.Fatal(err)
			}
			r, err := c.Search(ldap.NewSearchRequest("dc=example,dc=test", 0, 0, 0, 0, false, "(dc=example)", nil, nil))
			if err != nil || len(r.Entries) != 1 {
				t.Errorf("%s: %v %v", at, r, err)
			}
			c.Close()
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := ldap.DialURL("ldap://" + s.LDAP); err == nil {
			t.Error("it was stopped")
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(); err == nil {
		t.Error("started twice")
	}
}
