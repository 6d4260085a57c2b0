package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/boltstore"
	"dancemta/queue/tlsrpt"
)

// newKeyFile runs dkim new and returns the file and the record's zone line.
func newKeyFile(t *testing.T, dir, domain, selector, kind string) (file, line string) {
	t.Helper()
	code, out, text := run(t, "dkim", "new", "--domain", domain, "--selector", selector, "--type", kind, "--dir", dir)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, text)
	}
	file = filepath.Join(dir, selector+"._domainkey."+domain+".pem")
	for l := range strings.Lines(out) {
		if !strings.HasPrefix(l, ";") {
			line += l
		}
	}
	return file, line
}

func TestDKIMNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	file, line := newKeyFile(t, dir, "example.test", "ed", "ed25519")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if !strings.HasPrefix(line, `ed._domainkey.example.test. 3600 IN TXT "v=DKIM1; k=ed25519; p=`) || strings.Count(line, "\n") != 1 {
		t.Errorf("the record is %s", line)
	}
	_, rsa := newKeyFile(t, dir, "example.test", "rsa", "rsa")
	if _, text, ok := strings.Cut(rsa, "TXT "); !ok || strings.Count(text, `" "`) != 1 {
		t.Errorf("the RSA record is %s", rsa)
	}
	code, out, _ := run(t, "dkim", "show", "--domain", "example.test", "--selector", "ed", file)
	if code != exitOK || out != line {
		t.Errorf("show: exit %d, %s", code, out)
	}
	if code, out, text := run(t, "dkim", "show", file); code != exitOK || out != line {
		t.Errorf("show by the file's name: exit %d, %s%s", code, out, text)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUnavailable, "already exists", []string{"new", "--domain", "example.test", "--selector", "ed", "--dir", dir}},
		{exitUsage, "--domain and --selector", []string{"new", "--domain", "example.test", "--dir", dir}},
		{exitUsage, "--selector", []string{"new", "--domain", "example.test", "--selector", "a b", "--dir", dir}},
		{exitUsage, "--domain", []string{"new", "--domain", "exa mple", "--selector", "a", "--dir", dir}},
		{exitUsage, "--dir is missing", []string{"new", "--domain", "example.test", "--selector", "a"}},
		{exitUsage, "ed25519 or rsa", []string{"new", "--domain", "example.test", "--selector", "a", "--type", "dsa", "--dir", dir}},
		{exitUsage, "--domain and --selector", []string{"show", filepath.Join(dir, "none.pem")}},
		{exitUnavailable, "no such file", []string{"show", "--domain", "example.test", "--selector", "a", filepath.Join(dir, "none")}},
	} {
		if code, _, text := run(t, append([]string{"dkim"}, c.args...)...); code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, text)
		}
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Error("the key was overwritten")
	}
}

// TestDKIMShow: what show and check say of each state of the record.
func TestDKIMShow(t *testing.T) {
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	zone := internet.World.Zone("example.test.")
	dir := t.TempDir()
	file, line := newKeyFile(t, dir, "example.test", "s", "ed25519")
	_, other := newKeyFile(t, t.TempDir(), "example.test", "s", "ed25519")
	bogus, _ := newKeyFile(t, dir, "bogus.test", "s", "ed25519")
	for _, c := range []struct {
		name, domain, file, record string
		code                       int
		shows, checks              string
	}{
		{"match", "example.test", file, line, exitOK, "; DNS: match\n", "ok       dkim: s._domainkey.example.test is published"},
		{"mismatch", "example.test", file, other, exitBroken, "; DNS: mismatch (another key is published)", "problem  dkim: s._domainkey.example.test: another key"},
		{"missing", "example.test", file, "", exitBroken, "; DNS: missing (no TXT record)", "problem  dkim: s._domainkey.example.test: no TXT"},
		{"bogus", "bogus.test", bogus, "", exitTemporary, "; DNS: failed (", "warning  dkim: whether s._domainkey.bogus.test is published"},
	} {
		zone.Remove("s._domainkey", uint16(dnssec.TypeTXT))
		if c.record != "" {
			zone.Add(c.record)
		}
		path := writeConfig(t, strings.Replace(minimalConfig, `"127.0.0.1:1"]`, `"`+internet.DNS.Addr()+`"], trust_anchors = "root.key"`, 1)+
			fmt.Sprintf("[[dkim]]\ndomain = %q\nselector = \"s\"\nkey = %q\n", c.domain, c.file))
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "root.key"), []byte(internet.World.Anchor()), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, text := run(t, "dkim", "show", "--config", path); code != c.code || !strings.Contains(out, c.shows) {
			t.Errorf("%s: exit %d\n%s%s", c.name, code, out, text)
		}
		if _, out, _ := run(t, "dkim", "show", "--json", "--config", path); !json.Valid([]byte(out)) {
			t.Errorf("%s: %s is no JSON", c.name, out)
		}
		if _, out, _ := run(t, "check", "--config", path); !strings.Contains(out, c.checks) {
			t.Errorf("%s: check says\n%s", c.name, out)
		}
	}
}

// TestDKIMKeys: a server with a key that it cannot use does not start; a reload with
// one changes nothing; a good one takes effect.
func TestDKIMKeys(t *testing.T) {
	dir := t.TempDir()
	ed, _ := newKeyFile(t, dir, "example.test", "ed", "ed25519")
	rsa, _ := newKeyFile(t, dir, "example.test", "rsa", "rsa")
	key := filepath.Join(dir, "key.pem")
	use := func(file string) {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(key, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	use(ed)
	path := writeConfig(t, minimalConfig+fmt.Sprintf("[[dkim]]\ndomain = \"example.test\"\nsubdomains = true\nselector = \"s\"\nkey = %q\n", key))
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newParts(path, cfg, newLogger(cfg.Log, t.Output()), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	algorithm := func() string {
		signed, err := p.signBounce([]byte("From: MAILER-DAEMON@mx.example.test\r\n\r\nbody\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(signed), "a=")
		return rest[:strings.IndexByte(rest, ';')]
	}
	if got := algorithm(); got != "ed25519-sha256" {
		t.Error(got)
	}
	for _, bad := range []string{"", "no key"} {
		if err := os.WriteFile(key, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		p.reload()
		if got := algorithm(); got != "ed25519-sha256" {
			t.Errorf("after a reload with a bad key: %s", got)
		}
		if code, _, text := run(t, "serve", "--config", path); code != exitUnavailable || !strings.Contains(text, "dkim.key in line") || !strings.Contains(text, "no key in it") {
			t.Errorf("a start with a bad key: exit %d, %s", code, text)
		}
	}
	use(rsa)
	p.reload()
	if got := algorithm(); got != "rsa-sha256" {
		t.Errorf("after a reload with another key: %s", got)
	}
	unsigned, err := p.signBounce([]byte("From: MAILER-DAEMON@mx.example.org\r\n\r\nbody\r\n"))
	if err != nil || strings.Contains(string(unsigned), "DKIM") {
		t.Errorf("without a key: %s, %v", unsigned, err)
	}
}

// TestSubmitReport: a report goes by the queue in spite of TLS, no bounce comes back,
// and without [tls_reports] nothing is counted.
func TestSubmitReport(t *testing.T) {
	for _, reports := range []string{"", "[tls_reports]\norganization = \"Example\"\ncontact = \"tls@example.test\"\n"} {
		path := writeConfig(t, minimalConfig+reports)
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newParts(path, cfg, newLogger(cfg.Log, t.Output()), boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if counts := p.countTLS() != nil; counts != (reports != "") || (p.reports != nil) != counts {
			t.Errorf("%q: counts %v", reports, counts)
		}
		m := tlsrpt.Mail{Sender: mailaddr.MustParse("tls@example.test"), Recipient: mailaddr.MustParse("a@remote.test"), Body: []byte("From: tls@example.test\r\n\r\n")}
		if err := p.submitReport(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		jobs, _, err := p.store.Due(queue.DueRequest{Now: time.Now().Add(time.Second), Max: 1, Next: func(queue.Envelope, int) time.Time { return time.Now() }})
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%v, %v", jobs, err)
		}
		e := jobs[0].Envelope
		if !e.TLSOptional || e.Identity != reportsIdentity || e.Sender != m.Sender || e.Recipients[0].Notify != queue.NotifyNever {
			t.Errorf("%+v", e)
		}
		p.close()
	}
}
