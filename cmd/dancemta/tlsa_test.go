package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// keyFiles writes NAME.pem (the chain), NAME.key and, for those of a CA, NAME-ca.pem.
func keyFiles(t *testing.T, dir, name string, c lab.Credential) (cert, key string) {
	t.Helper()
	base := filepath.Join(dir, name)
	if len(c.Chain) > 1 {
		writeFile(t, base+"-ca.pem", lab.Credential{Chain: c.Chain[1:]}.CertPEM())
	}
	return writeFile(t, base+".pem", c.CertPEM()), writeFile(t, base+".key", c.KeyPEM())
}

func anyName(dnsname.Name) bool { return true }

// Machines in a zone that is made of the very lines that were printed.
func TestMachinesLogInByPrintedRecords(t *testing.T) {
	dir := t.TempDir()
	named := func(name string) lab.LeafOptions { return lab.LeafOptions{Names: []string{name}} }
	machines := lab.NewCA("machines", lab.CAOptions{})
	// printf sensor9._device.own.test | sha256sum | cut -c 1-32
	const opaque = "0416fe706567d654030ca920164e53ab._device.own.test"
	for _, c := range []struct {
		name  string
		cred  lab.Credential
		args  []string // F is the certificate, K the key, C the CA
		owner string
	}{
		{"mta", lab.SelfSigned(named("mta.own.test")), []string{"client", "mta.own.test", "F"}, "_smtp-client.mta.own.test"},
		{"byca", machines.Issue(named("byca.own.test")), []string{"client", "byca.own.test", "C", "--usage", "2"}, "_smtp-client.byca.own.test"},
		{"bykey", machines.Issue(named("bykey.own.test")), []string{"client", "bykey.own.test", "F", "--usage", "2", "--selector", "1", "--matching", "2"}, "_smtp-client.bykey.own.test"},
		{"whole", lab.SelfSigned(named("whole.own.test")), []string{"client", "whole.own.test.", "F", "--selector", "0", "--matching", "0"}, "_smtp-client.whole.own.test"},
		{"anchor", machines.Issue(named("anchor.own.test")), []string{"client", "anchor.own.test", "F", "--usage", "2", "--matching", "0"}, "_smtp-client.anchor.own.test"},
		{"sensor7", lab.SelfSigned(named("sensor7._device.own.test")), []string{"device", "sensor7", "own.test", "F"}, "sensor7._device.own.test"},
		{"sensor8", lab.SelfSigned(named("sensor8._device.own.test")), []string{"device", "sensor8", "own.test", "K"}, "sensor8._device.own.test"},
		{"opaque", lab.SelfSigned(named(opaque)), []string{"device", "--hash-label", "sensor9", "own.test", "F"}, opaque},
		{"below", machines.Issue(named("a.b._device.wild.test")), []string{"wildcard", "wild.test", "C"}, "a.b._device.wild.test"},
		{"free", lab.SelfSigned(named("_imap.box.own.test")), []string{"owner", "_imap.box.own.test", "F"}, "_imap.box.own.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cert, key := keyFiles(t, dir, c.name, c.cred)
			replace := map[string]string{"F": cert, "K": key, "C": filepath.Join(dir, c.name+"-ca.pem")}
			args := []string{"tlsa"}
			for _, a := range c.args {
				if path, ok := replace[a]; ok {
					a = path
				}
				args = append(args, a)
			}
			zone := "own.test"
			if strings.HasSuffix(c.owner, "wild.test") {
				zone = "wild.test"
			}
			text := mustRun(t, append(args, "--zone", zone, "--ns", "ns."+zone+"=127.0.0.1")...)
			w := lab.NewWorld(time.Now())
			w.AddZone("test.", lab.ZoneOptions{})
			w.AddZoneFile(text, lab.ZoneOptions{})
			got, err := verifierOf(t, w).Client(t.Context(), handshake(t, cert, key), anyName)
			if err != nil || got.Name.String() != c.owner {
				t.Errorf("%s, %v; want %s\n%s", got.Name, err, c.owner, text)
			}
		})
	}
}

func TestTLSAForms(t *testing.T) {
	dir := t.TempDir()
	one := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.own.test"}})
	two := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.own.test"}})
	cert1, key1 := keyFiles(t, dir, "one", one)
	cert2, _ := keyFiles(t, dir, "two", two)
	hash := func(c lab.Credential) string { return strings.Fields(lab.TLSA(3, 1, 1, c.Leaf()))[4] }

	const owner = "_smtp-client.mx.own.test. "
	line1, line2 := owner+"3600 IN TLSA 3 1 1 "+hash(one)+"\n", owner+"3600 IN TLSA 3 1 1 "+hash(two)+"\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"client", "mx.own.test", cert1}, line1},
		{[]string{"client", "MX.own.test.", key1}, line1},
		{[]string{"client", "mx.own.test", cert1, cert2}, line1 + line2}, // while keys change
		{[]string{"client", "mx.own.test", cert1, key1}, line1},          // the same key
		{[]string{"client", "mx.own.test", "--ttl", "60", cert1}, strings.ReplaceAll(line1, "3600", "60")},
		{[]string{"client", "mx.own.test", cert1, cert2, "--nsupdate"}, "update add " + line1 + "update add " + line2 + "send\n"},
		{[]string{"server", "mx.own.test", cert1}, "_25._tcp.mx.own.test. 3600 IN TLSA 3 1 1 " + hash(one) + "\n"},
		{[]string{"server", "mx.own.test", cert1, "--port", "465"}, "_465._tcp.mx.own.test. 3600 IN TLSA 3 1 1 " + hash(one) + "\n"},
	} {
		if got := mustRun(t, append([]string{"tlsa"}, c.args...)...); got != c.want {
			t.Errorf("%v:\n%swant\n%s", c.args, got, c.want)
		}
	}

	var doc struct {
		Owner, Data, Line, File string
		TTL                     uint32
		Usage, Selector         uint8
		Matching                uint8
		Warnings                []string
	}
	code, out, _ := run(t, "tlsa", "client", "other.own.test", cert1, "--json", "--ttl", "59")
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exitOK {
		t.Fatal(code, err, out)
	}
	if doc.Owner != "_smtp-client.other.own.test" || doc.Data != hash(one) || doc.TTL != 59 || doc.Usage != 3 || doc.Selector != 1 || doc.Matching != 1 ||
		doc.File != cert1 || doc.Line != "_smtp-client.other.own.test. 59 IN TLSA 3 1 1 "+hash(one) || len(doc.Warnings) != 2 {
		t.Errorf("%+v", doc)
	}
}

func TestTLSAWarns(t *testing.T) {
	dir := t.TempDir()
	cert, _ := keyFiles(t, dir, "mx", lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.own.test"}}))
	user, _ := keyFiles(t, dir, "rick", lab.NewCA("ca", lab.CAOptions{}).Issue(lab.LeafOptions{Names: []string{"own.test"}, UIDs: []string{"rick"}}))
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"client", "mx.own.test", cert, "--ttl", "59"}, "under 60 s"},
		{[]string{"client", "mx.own.test", cert, "--ttl", "3601"}, "over 3600 s"},
		{[]string{"client", "mail.own.test", cert}, "claims _smtp-client.mx.own.test, not _smtp-client.mail.own.test"},
		{[]string{"device", "mx", "own.test", cert}, "only a client that tells its name by dane_clientid"},
		{[]string{"device", "--hash-label", "mx", "own.test", cert}, "only a client that tells"},
		{[]string{"owner", "mx.own.test", cert}, "only a client that tells"},
		{[]string{"client", "own.test", user}, "it holds a uid"},
		{[]string{"client", "mx.own.test", cert, "--usage", "1"}, "only at relays that were told to trust public CAs"},
		{[]string{"user", "own.test", filepath.Join(dir, "rick.pem"), "--ttl", "0"}, "under 60 s"},
	} {
		code, out, text := run(t, append([]string{"tlsa"}, c.args...)...)
		if code != exitOK || !strings.HasPrefix(text, "warning: "+dir) || !strings.Contains(text, c.says) || strings.Count(text, "\n") != 1 || !strings.Contains(out, " IN TLSA ") {
			t.Errorf("%v: exit %d, %q, want %q\n%s", c.args, code, text, c.says, out)
		}
	}
}

func TestTLSARefuses(t *testing.T) {
	dir := t.TempDir()
	ca := lab.NewCA("ca", lab.CAOptions{})
	cert, key := keyFiles(t, dir, "mx", ca.Issue(lab.LeafOptions{Names: []string{"mx.own.test"}}))
	caFile := filepath.Join(dir, "mx-ca.pem")
	leaf := writeFile(t, dir+"/leaf.pem", lab.Credential{Chain: ca.Issue(lab.LeafOptions{}).Chain[:1]}.CertPEM())
	old := writeFile(t, dir+"/old.pem", lab.NewCA("old", lab.CAOptions{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)}).PEM())
	mustRun(t, "usercert", "ca", "--domain", "own.test", "--out", dir)
	text := writeFile(t, dir+"/text", []byte("hello\n"))
	broken := writeFile(t, dir+"/broken.pem", []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	locked := writeFile(t, dir+"/locked.key", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	zone := []string{"user", "own.test", caFile, "--zone"}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no form", nil, exitUsage, "needs a command"},
		{"unknown form", []string{"clients"}, exitUsage, `did you mean "dancemta tlsa client"?`},
		{"no file", []string{"client", "mx.own.test"}, exitUsage, "takes HOST FILE..."},
		{"no domain", []string{"device", "sensor7", cert}, exitUsage, "takes NAME DOMAIN FILE..."},
		{"own key of a user", []string{"user", "own.test", cert, "--usage", "3"}, exitBroken, "could sign himself any user"},
		{"usage 1 at _user", []string{"user", "own.test", cert, "--usage", "1"}, exitBroken, "could sign himself any user"},
		{"one key for all devices", []string{"wildcard", "own.test", cert, "--usage", "3"}, exitBroken, "every device"},
		{"usage 0 of a server", []string{"server", "mx.own.test", cert, "--usage", "0"}, exitBroken, "RFC 7672 3.1.3"},
		{"usage 4", []string{"client", "mx.own.test", cert, "--usage", "4"}, exitBroken, "from 0 to 3"},
		{"usage 256", []string{"client", "mx.own.test", cert, "--usage", "256"}, exitUsage, "from 0 to 255"},
		{"usage -1", []string{"client", "mx.own.test", cert, "--usage", "-1"}, exitUsage, "from 0 to 255"},
		{"selector 2", []string{"client", "mx.own.test", cert, "--selector", "2"}, exitBroken, "unknown"},
		{"matching 3", []string{"client", "mx.own.test", cert, "--matching", "3"}, exitBroken, "unknown"},
		{"leaf as the users' CA", []string{"user", "own.test", leaf}, exitBroken, "no CA"},
		{"leaf as the devices' CA", []string{"wildcard", "own.test", leaf}, exitBroken, "no CA"},
		{"expired CA", []string{"user", "own.test", old}, exitBroken, "expired"},
		{"CA of another domain", []string{"user", "other.test", dir + "/ca.pem"}, exitBroken, "name constraints"},
		{"CA of a domain above", []string{"user", "test.own", dir + "/ca.pem"}, exitBroken, "name constraints"},
		{"user CA for a server", []string{"server", "mx.own.test", dir + "/ca.pem", "--usage", "2"}, exitBroken, "does not vouch for TLS servers"},
		{"whole certificate from a key", []string{"client", "mx.own.test", key, "--selector", "0"}, exitBroken, "a key is selector 1"},
		{"user at a free name", []string{"owner", "_user.own.test", cert}, exitUsage, "never a client's"},
		{"server at a free name", []string{"owner", "_25._tcp.mx.own.test", cert}, exitUsage, "never a client's"},
		{"wildcard at a free name", []string{"owner", "*.own.test", cert}, exitUsage, "character not allowed"},
		{"top-level domain", []string{"user", "test", caFile}, exitUsage, "two labels or more"},
		{"underscore host", []string{"client", "_smtp-client.mx.own.test", cert}, exitUsage, "character not allowed"},
		{"port 0", []string{"server", "mx.own.test", cert, "--port", "0"}, exitUsage, "port 0"},
		{"port 65536", []string{"server", "mx.own.test", cert, "--port", "65536"}, exitUsage, "--port"},
		{"hash of a host", []string{"client", "--hash-label", "mx.own.test", cert}, exitUsage, "unknown flag: --hash-label"},
		{"TTL -1", []string{"client", "mx.own.test", cert, "--ttl", "-1"}, exitUsage, "from 0 to 2147483647"},
		{"TTL over 31 bits", []string{"client", "mx.own.test", cert, "--ttl", "2147483648"}, exitUsage, "from 0 to 2147483647"},
		{"two forms", []string{"client", "mx.own.test", cert, "--json", "--nsupdate"}, exitUsage, "exclude each other"},
		{"ns without a zone", []string{"client", "mx.own.test", cert, "--ns", "ns.own.test"}, exitUsage, "goes with --zone"},
		{"zone without ns", append(zone, "own.test"), exitUsage, "needs a name server"},
		{"zone elsewhere", append(zone, "other.test", "--ns", "ns.own.test"), exitUsage, "does not lie in the zone"},
		{"zone without glue", append(zone, "own.test", "--ns", "ns.own.test"), exitUsage, "needs an address"},
		{"bad glue", append(zone, "own.test", "--ns", "ns.own.test=localhost"), exitUsage, "no IP address"},
		{"bad ns", append(zone, "own.test", "--ns", "a..b"), exitUsage, "empty name or label"},
		{"bad zone", append(zone, "*.test", "--ns", "ns.own.test"), exitUsage, "character not allowed"},
		{"missing file", []string{"client", "mx.own.test", dir + "/none"}, exitUnavailable, "no such file"},
		{"text", []string{"client", "mx.own.test", text}, exitUnavailable, "neither a certificate nor a key"},
		{"broken certificate", []string{"client", "mx.own.test", broken}, exitUnavailable, "certificate 1"},
		{"encrypted key", []string{"client", "mx.own.test", locked}, exitUnavailable, "encrypted"},
		{"one bad file of two", []string{"client", "mx.own.test", cert, text}, exitUnavailable, "neither a certificate"},
	} {
		code, out, text := run(t, append([]string{"tlsa"}, c.args...)...)
		if code != c.code || !strings.Contains(text, c.says) || out != "" || !strings.HasPrefix(text, "error: ") {
			t.Errorf("%s: exit %d, %q; want %d, %q (%q on standard output)", c.name, code, text, c.code, c.says, out)
		}
	}
}

// The names that the commands print are those that the verifier takes from a
// certificate which was made for them.
func TestOwnersAreThoseOfTheVerifier(t *testing.T) {
	cert := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.own.test", "sensor7._device.own.test"}}).Leaf()
	names, err := daneclient.CandidateNames(cert)
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, t.TempDir()+"/x.pem", lab.Credential{Chain: []*x509.Certificate{cert}}.CertPEM())
	printed := mustRun(t, "tlsa", "client", "mx.own.test", file) + mustRun(t, "tlsa", "device", "sensor7", "own.test", file)
	for _, n := range names {
		if !strings.Contains("\n"+printed, fmt.Sprintf("\n%s. ", n)) {
			t.Errorf("%s is not among\n%s", n, printed)
		}
	}
}

// Every form shows an example, and the examples name flags and words that exist.
func TestHelpOfKeys(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	mustRun(t, "usercert", "ca", "--domain", "example.org", "--out", "ca")
	for _, c := range []struct{ name, cert string }{{"mta", "mta.example.org"}, {"mx", "mx.example.org"}, {"sensor7", "sensor7._device.example.org"}, {"box", "_imap-client.box.example.org"}} {
		keyFiles(t, dir, c.name, lab.SelfSigned(lab.LeafOptions{Names: []string{c.cert}}))
	}
	machines := lab.NewCA("machines", lab.CAOptions{})
	writeFile(t, "device-ca.pem", machines.PEM())
	writeFile(t, "chain.pem", machines.Issue(lab.LeafOptions{Names: []string{"mta.example.org"}}).CertPEM())
	writeFile(t, "password", []byte("secret\n"))
	for _, group := range newRoot().Commands() {
		if group.Name() != "tlsa" && group.Name() != "usercert" {
			continue
		}
		for _, c := range append(group.Commands(), group) {
			if c != group && c.Example == "" {
				t.Errorf("%s shows no example", c.CommandPath())
			}
			for _, line := range strings.Split(c.Example, "\n") {
				words := strings.Fields(strings.Split(line, "|")[0])
				if len(words) == 0 || words[0] != "dancemta" {
					continue
				}
				if words[1] == "usercert" {
					os.RemoveAll("users") // each example is the first one
					if words[2] == "ca" {
						os.RemoveAll("ca")
					}
					if words[2] == "show" {
						mustRun(t, "usercert", "issue", "--ca", "ca", "--user", "rick", "--out", "users")
					}
				}
				mustRun(t, words[1:]...)
			}
		}
	}
}
