package usercert_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/newfile"
	"dancemta/saslext/usercert"
)

// openssl runs the stranger who judges what we made; it skips where there is
// none, unless the environment demands it.
func openssl(t *testing.T, args ...string) (out string, ok bool) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("DANCEMTA_E2E") == "required" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed; this test asks it about certificates that we made")
	}
	text, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(text), err == nil
}

// write puts the pair into files, and returns their paths without .pem and .key.
func write(t *testing.T, name string, p *usercert.Pair) string {
	t.Helper()
	base := filepath.Join(t.TempDir(), name)
	key, err := p.KeyPEM()
	if err == nil {
		err = newfile.Write(newfile.File{Path: base + ".pem", Data: p.CertPEM(), Mode: newfile.Public},
			newfile.File{Path: base + ".key", Data: key, Mode: newfile.Secret})
	}
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// today is like newCA and issue, by the clock that openssl reads.
func today(t *testing.T) (ca *usercert.CA, rick *usercert.Pair) {
	t.Helper()
	now := time.Now()
	ca, err := usercert.NewCA(example, now, now.AddDate(20, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	rick, err = ca.Issue(usercert.User{UID: "rick", Domain: example, Shown: "rick@example.org", NotAfter: now.AddDate(1, 0, 0)}, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca, rick
}

func TestOpenSSLVerifies(t *testing.T) {
	ca, rick := today(t)
	caFile, userFile := write(t, "ca", &ca.Pair)+".pem", write(t, "rick", rick)
	if out, ok := openssl(t, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", caFile, userFile+".pem"); !ok {
		t.Error(out)
	}
	if out, ok := openssl(t, "verify", "-purpose", "sslserver", "-CAfile", caFile, userFile+".pem"); ok {
		t.Errorf("good for a server too: %s", out)
	}
	out, _ := openssl(t, "x509", "-noout", "-text", "-in", userFile+".pem")
	for _, want := range []string{"DNS:example.org, ", "userId:", ":rick\n", "TLS Web Client Authentication"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, ok := openssl(t, "pkey", "-in", userFile+".key", "-noout"); !ok {
		t.Error(out)
	}
}

// OpenSSL heeds the name constraint as we do: the CA names no other domain, and
// makes no CA.
func TestOpenSSLHeedsConstraints(t *testing.T) {
	ca, _ := today(t)
	caFile := write(t, "ca", &ca.Pair) + ".pem"
	bad := &lab.CA{Certificate: ca.Chain[0], Key: ca.Key}
	for name, c := range map[string]lab.Credential{
		"other domain": bad.Issue(lab.LeafOptions{Names: []string{"victim.example"}, UIDs: []string{"rick"}}),
		"CA below":     lab.NewCA("below", lab.CAOptions{Parent: bad}).Issue(lab.LeafOptions{Names: []string{"example.org"}, UIDs: []string{"rick"}}),
	} {
		file := write(t, "bad", &usercert.Pair{Chain: c.Chain, Key: c.Key}) + ".pem"
		if out, ok := openssl(t, "verify", "-purpose", "sslclient", "-CAfile", caFile, "-untrusted", file, file); ok {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestOpenSSLReadsPKCS12(t *testing.T) {
	_, rick := today(t)
	data, err := rick.PKCS12("open sésame")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, password := filepath.Join(dir, "rick.p12"), filepath.Join(dir, "password")
	err = newfile.Write(newfile.File{Path: file, Data: data, Mode: newfile.Secret},
		newfile.File{Path: password, Data: []byte("open sésame\n"), Mode: newfile.Secret})
	if err != nil {
		t.Fatal(err)
	}
	out, ok := openssl(t, "pkcs12", "-in", file, "-passin", "file:"+password, "-noenc")
	if !ok || strings.Count(out, "BEGIN CERTIFICATE") != 2 || strings.Count(out, "BEGIN PRIVATE KEY") != 1 {
		t.Errorf("%s", out)
	}
	key, err := rick.KeyPEM()
	if err != nil || !strings.Contains(out, strings.TrimSpace(string(key))) {
		t.Error("another key came out")
	}
	wrong := filepath.Join(dir, "wrong")
	if err := newfile.Write(newfile.File{Path: wrong, Data: []byte("sesame\n"), Mode: newfile.Secret}); err != nil {
		t.Fatal(err)
	}
	if out, ok := openssl(t, "pkcs12", "-in", file, "-passin", "file:"+wrong, "-noenc"); ok {
		t.Errorf("opens with a wrong password: %s", out)
	}
}

// What we issue with a CA of OpenSSL's, which has no name constraints, is good
// there too; the domain has A-labels and the uid letters beyond ASCII.
func TestOpenSSLMakesTheCA(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	if out, ok := openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30",
		"-subj", "/CN=users", "-keyout", key, "-out", cert); !ok {
		t.Fatal(out)
	}
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ca, err := usercert.ParseCA(read(cert), read(key))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	user, err := ca.Issue(usercert.User{UID: "jürgen", Domain: dnsname.MustParse("xn--bcher-kva.example"), NotAfter: now.AddDate(0, 0, 7)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := openssl(t, "verify", "-purpose", "sslclient", "-CAfile", cert, write(t, "user", user)+".pem"); !ok {
		t.Error(out)
	}
}
