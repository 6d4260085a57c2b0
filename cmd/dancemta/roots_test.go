package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/config"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue/boltstore"
)

func TestReadRoots(t *testing.T) {
	dir := t.TempDir()
	one, two := lab.NewCA("one", lab.CAOptions{}), lab.NewCA("two", lab.CAOptions{})
	file := func(name, text string) config.PKIXRoots {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.PKIXRoots(path)
	}
	both := x509.NewCertPool()
	both.AddCert(one.Certificate)
	both.AddCert(two.Certificate)
	for _, test := range []struct {
		roots config.PKIXRoots
		want  *x509.CertPool
		err   string
	}{
		{"", nil, ""}, // nil: usages 0 and 1 stay unusable
		{file("both", string(one.PEM())+string(two.PEM())), both, ""},
		{file("empty", "# none\n"), nil, "empty: no certificate in it"},
		{file("broken", strings.ReplaceAll(string(one.PEM()), "MII", "MIJ")), nil, "broken: certificate 1: "},
		{config.PKIXRoots(dir) + "/absent", nil, "absent: no such file"},
	} {
		got, err := readRoots(config.DANE{PKIXRoots: test.roots})
		if test.err == "" && (err != nil || !got.Equal(test.want)) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || exitCode(err) != exitUnavailable) {
			t.Errorf("%q: %v, %v", test.roots, got, err)
		}
	}
}

func TestCheckNamesRoots(t *testing.T) {
	path := writeConfig(t, "dane.pkix_roots = \"absent.pem\"\n"+minimalConfig)
	code, out, _ := run(t, "check", "--config", path)
	if code != exitBroken || !strings.Contains(out, "problem  open ") || !strings.Contains(out, "absent.pem") || !strings.Contains(out, "hint: see dane.pkix_roots") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

// A reload exchanges the roots, or keeps the old ones when the new are no good.
func TestReloadRoots(t *testing.T) {
	internet, path, pki := verifyWorld(t)
	ca := lab.NewCA("public", lab.CAOptions{})
	chain := ca.Issue(lab.LeafOptions{Names: []string{"pump7._device.partner.test"}}).Chain
	internet.World.Zone("partner.test").Add("pump7._device " + lab.TLSA(0, 0, 1, ca.Certificate))
	if err := os.WriteFile(filepath.Join(pki, "roots.pem"), ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	without, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newParts(path, cfg, newLogger(cfg.Log, io.Discard), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for _, step := range []struct {
		roots string
		known bool
	}{{"", false}, {"roots.pem", true}, {"absent.pem", true}, {"", false}} {
		text := string(without)
		if step.roots != "" {
			text = fmt.Sprintf("dane.pkix_roots = %q\n", step.roots) + text
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.reload()
		_, err := p.verifier.Match(t.Context(), dnsname.MustParse("pump7._device.partner.test"), chain, func(dnsname.Name) bool { return true })
		if (err == nil) != step.known {
			t.Errorf("after %q: %v", step.roots, err)
		}
	}
}
