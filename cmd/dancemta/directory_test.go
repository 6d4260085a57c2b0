//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/saslext"
	"dancemta/smtpd/callout"
)

// directoryConfig asks a socket about what there is to ask.
func directoryConfig(socket string) string {
	return jsonLog + minimalConfig + fmt.Sprintf(`
[directory]
servers            = ["unix:%s"]
base               = "dc=staff,dc=test"
filter             = "(mail={address})"
group_filter       = "(&(objectClass=groupOfNames)(member={dn}))"
address_attributes = ["mail"]
timeout            = "2s"

[[group]]
name         = "writers"
directory    = "cn=writers,dc=staff,dc=test"

[[group]]
name         = "guests"
members_file = "guests.users"

[[group]]
name         = "both"
directory    = "cn=writers,dc=staff,dc=test"
members_file = "guests.users"

[[subaddress]]
users     = "*@listed.test"
delimiter = "+"

[[relay_domain]]
domain     = "listed.test"
recipients = "directory"

[[rule]]
who    = "*@staff.test"
action = "allow"
group  = "writers"
from   = ["own", "directory"]
`, socket)
}

func writeDirectoryConfig(t *testing.T, socket string) string {
	t.Helper()
	path := writeConfig(t, directoryConfig(socket))
	must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "guests.users"), []byte("bob@staff.test\ngil@staff.test\n"), 0o600))
	return path
}

func liveOf(t *testing.T, path string) *live {
	t.Helper()
	cfg, err := loadConfig(path)
	must(t, err)
	l, err := newLive(cfg)
	must(t, err)
	t.Cleanup(l.people.close)
	return l
}

func identity(t *testing.T, s string) saslext.Identity {
	t.Helper()
	id, err := saslext.ParseIdentity(s)
	must(t, err)
	return id
}

// TestDirectoryAway: check says so, recipients are told to come again, and a reload
// says what waits for a restart.
func TestDirectoryAway(t *testing.T) {
	path := writeDirectoryConfig(t, filepath.Join(t.TempDir(), "gone"))
	code, out, _ := run(t, "check", "--config", path)
	if code != exitBroken || !strings.Contains(out, "directory.servers (line ") || !strings.Contains(out, "no directory server answers") {
		t.Errorf("check ends with %d:\n%s", code, out)
	}
	l := liveOf(t, path)
	if _, err := l.people.Lookup(t.Context(), identity(t, "bob@staff.test")); err == nil {
		t.Error("what the directory has of bob is known")
	}
	l.people.asked = false // nothing in the configuration says what it has of users
	if e, err := l.people.Lookup(t.Context(), identity(t, "bob@staff.test")); err != nil || fmt.Sprint(e.Groups) != "[both guests]" {
		t.Errorf("%v, %v", e, err)
	}
	if got := (&live{rules: l.rules}).inDirectory(t.Context(), mailaddr.MustParse("x@listed.test")); got != callout.Unknown {
		t.Errorf("without a directory: %v", got)
	}

	c := startServer(t, path)
	if reply := rcpt(t, c.addresses["relay"], "ann@listed.test"); !strings.HasPrefix(reply, "450 4.4.1") {
		t.Errorf("RCPT: %s", reply)
	}
	text, err := os.ReadFile(path)
	must(t, err)
	more := strings.Replace(string(text), "timeout ", "password_rate_per_user = \"1/m\"\ntimeout ", 1)
	must(t, os.WriteFile(path, []byte(more), 0o600))
	c.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, c, `"directory.password_domains"`)
	stopWithOpenSession(t, c)
}

// TestDomainWithoutPasswords: what a reload has taken from password_domains, where serve
// still offers PLAIN, has no passwords any more: the new rules may let certificates in.
func TestDomainWithoutPasswords(t *testing.T) {
	path := writeDirectoryConfig(t, filepath.Join(t.TempDir(), "gone"))
	password, err := saslext.NewPassword("x")
	must(t, err)
	for domain, want := range map[string]string{
		"other.test": "password_domains has staff.test no more",
		"staff.test": "no directory server answers",
	} {
		cfg, err := loadConfig(path)
		must(t, err)
		cfg.Directory.PasswordDomains = []dnsname.Name{dnsname.MustParse(domain)}
		l, err := newLive(cfg)
		must(t, err)
		t.Cleanup(l.people.close)
		p := &parts{}
		p.live.Store(l)
		err = livePasswords{p}.CheckPassword(t.Context(), identity(t, "ann@staff.test"), password)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", domain, err, want)
		}
	}
}

// TestBadDirectory: what only a DN or a filter shows to be wrong.
func TestBadDirectory(t *testing.T) {
	for _, c := range []struct{ old, new, word string }{
		{`"dc=staff,dc=test"`, `"staff"`, `base "staff" is no DN`},
		{`"(mail={address})"`, `"(mail={address}"`, `filter "(mail={address}"`},
		{`"(mail={address})"`, `"(mail={mail})"`, `{mail} is not known`},
		{`base `, "bind_dn = \"cn=x\"\npassword_file = \"absent\"\nbase ", "directory.password_file"},
		{`"unix:/gone"`, "\"ldaps://h.test:636\"]\nroots = \"absent.pem\"\ncertificate = \"absent.pem\"\nkey = \"absent.key\"\n#", "directory.roots"},
	} {
		path := writeConfig(t, strings.Replace(directoryConfig("/gone"), c.old, c.new, 1))
		must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "guests.users"), nil, 0o600))
		_, out, _ := run(t, "check", "--config", path)
		if !strings.Contains(out, c.word) {
			t.Errorf("%s is not said:\n%s", c.word, out)
		}
	}
}

// TestDirectoryWithSlapd: files and directory together, mailboxes with subaddresses, and
// passwords.
func TestDirectoryWithSlapd(t *testing.T) {
	needSlapd(t)
	dir := openFolder(t)
	must(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	const story = storyFolder + "/18-directory/"
	conf, err := os.ReadFile(story + "slapd.conf")
	must(t, err)
	filled := strings.NewReplacer("DIR", dir, "USER", fmt.Sprint(os.Getuid())).Replace(string(conf))
	must(t, os.WriteFile(filepath.Join(dir, "slapd.conf"), []byte(filled), 0o600))
	s, err := lab.StartSlapd(dir, filepath.Join(dir, "slapd.conf"), story+"people.ldif")
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })

	path := writeDirectoryConfig(t, s.Socket)
	if code, out, _ := run(t, "check", "--config", path); !strings.Contains(out, "answers, and lets us search") {
		t.Errorf("check ends with %d:\n%s", code, out)
	}
	l := liveOf(t, path)
	for who, want := range map[string]string{
		"ann@staff.test": "[both writers] [ann@staff.test press@staff.test]",
		"bob@staff.test": "[both guests] [bob@staff.test info@listed.test]",
		"gil@staff.test": "[both guests] []",
		"eve@staff.test": "[] []",
	} {
		e, err := l.people.Lookup(t.Context(), identity(t, who))
		if got := fmt.Sprint(e.Groups, " ", e.Addresses); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", who, got, err, want)
		}
	}
	for address, want := range map[string]callout.Answer{
		"info@listed.test": callout.Exists, "Info+lists@listed.test": callout.Exists, "none@listed.test": callout.Absent, "none+info@listed.test": callout.Absent,
	} {
		if got := l.inDirectory(t.Context(), mailaddr.MustParse(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	p := &parts{}
	l.people.withPasswords = []dnsname.Name{dnsname.MustParse("staff.test")}
	p.live.Store(l)
	for text, want := range map[string]error{"two words, ann": nil, "two words, bob": saslext.ErrPassword} {
		password, err := saslext.NewPassword(text)
		must(t, err)
		if err := (livePasswords{p}).CheckPassword(t.Context(), identity(t, "ann@staff.test"), password); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	p.live.Store(&live{})
	password, err := saslext.NewPassword("two words, ann")
	must(t, err)
	if err := (livePasswords{p}).CheckPassword(t.Context(), identity(t, "ann@staff.test"), password); err == nil || errors.Is(err, saslext.ErrPassword) {
		t.Errorf("without a directory: %v", err)
	}
}

// TestCheckSaysOnce: what two parts of check find is one problem.
func TestCheckSaysOnce(t *testing.T) {
	path := writeDirectoryConfig(t, filepath.Join(t.TempDir(), "gone"))
	text, err := os.ReadFile(path)
	must(t, err)
	changed := strings.Replace(string(text), "{address}", "{adress}", 1)
	if changed == string(text) {
		t.Fatal("nothing to misspell")
	}
	must(t, os.WriteFile(path, []byte(changed), 0o600))
	code, out, _ := run(t, "check", "--config", path)
	if code != exitBroken || strings.Count(out, "{adress} is not known") != 1 {
		t.Errorf("check ends with %d:\n%s", code, out)
	}
}
