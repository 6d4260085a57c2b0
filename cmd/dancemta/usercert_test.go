package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
	"dancemta/saslext"
)

// mustRun executes a command that has to succeed without a word of complaint.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	code, out, text := run(t, args...)
	if code != exitOK || text != "" {
		t.Fatalf("dancemta %s: exit %d, %s", strings.Join(args, " "), code, text)
	}
	return out
}

func writeFile(t *testing.T, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ownKeys is a folder in which the commands have made a CA and a user of own.test.
func ownKeys(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mustRun(t, "usercert", "ca", "--domain", "own.test", "--out", dir+"/ca")
	mustRun(t, "usercert", "issue", "--ca", dir+"/ca", "--user", "Rick", "--out", dir+"/users")
	return dir
}

// verifierOf asks a DNS server of the lab.
func verifierOf(t *testing.T, w *lab.World) *daneclient.Verifier {
	t.Helper()
	dns, err := w.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	anchors, err := dnssec.ParseAnchors(w.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dnssec.New(dnssec.Options{Upstreams: []string{dns.Addr()}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resolver.Close() })
	v, err := daneclient.New(daneclient.Options{Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// handshake shows a pair to a server, and returns what the server saw.
func handshake(t *testing.T, certFile, keyFile string) daneclient.Credential {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.test"}}).TLSCertificate()
	near, far := net.Pipe()
	client := tls.Client(far, &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- client.HandshakeContext(t.Context()) }()
	if err := errors.Join(server.HandshakeContext(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	near.Close() // nothing is said on it
	far.Close()
	cred, ok := daneclient.FromState(server.ConnectionState(), netip.MustParseAddr("127.0.0.1"))
	if !ok {
		t.Fatal("no credential")
	}
	return cred
}

// everybody lets every user in, as himself.
type everybody struct{}

func (everybody) AllowsUser(saslext.Identity) bool    { return true }
func (everybody) MayActAs(_, _ saslext.Identity) bool { return false }

// What the commands made logs in, in a zone that is the very text they printed.
func TestUserLogsInWithOwnKeys(t *testing.T) {
	dir := ownKeys(t)
	zone := mustRun(t, "tlsa", "user", "own.test", dir+"/ca/ca.pem", "--zone", "own.test", "--ns", "ns.own.test=127.0.0.1")
	w := lab.NewWorld(time.Now())
	w.AddZone("test.", lab.ZoneOptions{})
	w.AddZoneFile(zone, lab.ZoneOptions{})
	a := saslext.Authenticator{Verifier: verifierOf(t, w), Rules: everybody{}}

	login, err := a.Login(t.Context(), handshake(t, dir+"/users/rick.pem", dir+"/users/rick.key"), "rick@own.test")
	if err != nil || login.Identity.String() != "rick@own.test" {
		t.Fatalf("%s, %v", login.Identity, err)
	}
	if left := time.Until(login.Until); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the identity lives %s: the TTL is not that of the record", left)
	}

	// A second CA of the same domain is not the one published.
	mustRun(t, "usercert", "ca", "--domain", "own.test", "--out", dir+"/other")
	mustRun(t, "usercert", "issue", "--ca", dir+"/other", "--user", "rick", "--out", dir+"/others")
	if _, err := a.Login(t.Context(), handshake(t, dir+"/others/rick.pem", dir+"/others/rick.key"), ""); err == nil {
		t.Error("a CA that is not published logged a user in")
	}
}

func TestUserCertFiles(t *testing.T) {
	dir := ownKeys(t)
	for path, mode := range map[string]os.FileMode{"ca/ca.pem": 0o644, "ca/ca.key": 0o600, "users/rick.pem": 0o644, "users/rick.key": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	// All of it again: nothing is overwritten.
	before := read(t, dir+"/ca/ca.key") + read(t, dir+"/users/rick.key")
	for _, args := range [][]string{
		{"usercert", "ca", "--domain", "own.test", "--out", dir + "/ca"},
		{"usercert", "issue", "--ca", dir + "/ca", "--user", "rick", "--out", dir + "/users"},
	} {
		if code, _, text := run(t, args...); code != exitUnavailable || !strings.Contains(text, "exists") || !strings.Contains(text, "hint: nothing is overwritten") {
			t.Errorf("%v: exit %d, %s", args, code, text)
		}
	}
	if after := read(t, dir+"/ca/ca.key") + read(t, dir+"/users/rick.key"); after != before {
		t.Error("a key was overwritten")
	}
	// A PKCS #12 file in the way: the pair is not made either.
	password := writeFile(t, dir+"/password", []byte("secret\r\nnot this\n"))
	taken := writeFile(t, dir+"/taken.p12", nil)
	if code, _, _ := run(t, "usercert", "issue", "--ca", dir+"/ca", "--user", "eve", "--out", dir+"/users", "--p12", taken, "--p12-password-file", password); code != exitUnavailable {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Stat(dir + "/users/eve.key"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half of it was made: %v", err)
	}
	out := mustRun(t, "usercert", "issue", "--ca", dir+"/ca", "--user", "eve", "--out", dir+"/users", "--p12", dir+"/eve.p12", "--p12-password-file", password, "--days", "7")
	if !strings.Contains(out, "eve@own.test") || !strings.Contains(out, "eve.p12") {
		t.Error(out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUserCertJSON(t *testing.T) {
	dir := t.TempDir()
	var ca, user madeFiles
	for _, c := range []struct {
		to   *madeFiles
		args []string
	}{
		{&ca, []string{"ca", "--domain", "Bücher.Example.", "--out", dir, "--days", "10"}},
		{&user, []string{"issue", "--ca", dir, "--user", "Jürgen", "--out", dir}},
	} {
		if err := json.Unmarshal([]byte(mustRun(t, append([]string{"usercert"}, append(c.args, "--json")...)...)), c.to); err != nil {
			t.Fatal(err)
		}
	}
	if ca.Domain != "xn--bcher-kva.example" || !strings.HasPrefix(ca.Record, "_user.xn--bcher-kva.example. 3600 IN TLSA 2 0 1 ") {
		t.Errorf("%+v", ca)
	}
	if user.Identity != "jürgen@bücher.example" || user.Certificate != filepath.Join(dir, "jürgen.pem") || !user.NotAfter.Equal(ca.NotAfter) {
		t.Errorf("%+v: it should end with the CA, %s", user, ca.NotAfter)
	}
	if got := strings.TrimSpace(mustRun(t, "tlsa", "user", "bücher.example", ca.Certificate)); got != ca.Record {
		t.Errorf("tlsa says %s, usercert %s", got, ca.Record)
	}
}

func TestUserCertShow(t *testing.T) {
	dir := ownKeys(t)
	now := time.Now()
	ca := lab.NewCA("x", lab.CAOptions{})
	leaf := func(name string, o lab.LeafOptions) string {
		return writeFile(t, filepath.Join(dir, name), ca.Issue(o).CertPEM())
	}
	other := lab.NewCA("other", lab.CAOptions{})
	mixed := ca.Issue(lab.LeafOptions{Names: []string{"own.test"}, UIDs: []string{"rick"}})
	mixed.Chain[1] = other.Certificate
	alone := handshake(t, dir+"/users/rick.pem", dir+"/users/rick.key").Chain[0].Raw
	for _, c := range []struct {
		file string
		code int
		kind string
		id   string
		says string
	}{
		{dir + "/users/rick.pem", exitOK, "user", "rick@own.test", ""},
		{dir + "/ca/ca.pem", exitOK, "CA", "", "a CA vouches for users"},
		{writeFile(t, dir+"/alone.der", alone), exitBroken, "user", "rick@own.test", "the CA is missing"},
		{writeFile(t, dir+"/mixed.pem", mixed.CertPEM()), exitBroken, "user", "rick@own.test", "x509: certificate signed by unknown authority"},
		{leaf("server.pem", lab.LeafOptions{Names: []string{"own.test"}}), exitBroken, "other", "", "no uid in the subjectAltName"},
		{leaf("two.pem", lab.LeafOptions{Names: []string{"own.test", "victim.test"}, UIDs: []string{"rick"}}), exitBroken, "user", "", "more than one dNSName"},
		{leaf("at.pem", lab.LeafOptions{Names: []string{"own.test"}, UIDs: []string{"rick@own.test"}}), exitBroken, "user", "", "uid has no normal form"},
		{leaf("wild.pem", lab.LeafOptions{Names: []string{"*.own.test"}, UIDs: []string{"rick"}}), exitBroken, "user", "", "not a domain for users"},
		{leaf("old.pem", lab.LeafOptions{Names: []string{"own.test"}, UIDs: []string{"rick"}, NotBefore: now.AddDate(0, -2, 0), NotAfter: now.AddDate(0, -1, 0)}), exitBroken, "user", "rick@own.test", "expired"},
		{leaf("web.pem", lab.LeafOptions{Names: []string{"own.test"}, UIDs: []string{"rick"}, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), exitBroken, "user", "rick@own.test", "incompatible key usage"},
		{leaf("esc.pem", lab.LeafOptions{Names: []string{"own.test"}, CommonName: "\x1b[2J"}), exitBroken, "other", "", "no uid"},
	} {
		code, out, text := run(t, "usercert", "show", c.file)
		if code != c.code || !strings.Contains(out, c.says) || c.code != exitOK && !strings.Contains(text, c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", c.file, code, c.code, c.says, out, text)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: an escape reached the terminal", c.file)
		}
		_, out, _ = run(t, "usercert", "show", "--json", c.file)
		var s shownCert
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		if s.Kind != c.kind || s.Identity != c.id || s.User != (c.says == "") || (s.Record != "") != s.User || len(s.Chain) == 0 {
			t.Errorf("%s: %+v", c.file, s)
		}
	}
	out := mustRun(t, "usercert", "show", dir+"/users/rick.pem")
	record := strings.TrimSpace(mustRun(t, "tlsa", "user", "own.test", dir+"/ca/ca.pem"))
	for _, want := range []string{record, "ECDSA P-256", "CN=rick@own.test", "CN=User CA of own.test (a CA)"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestUserCertRefuses(t *testing.T) {
	dir := ownKeys(t)
	foreign := lab.NewCA("users", lab.CAOptions{})
	pair := func(name string, c lab.Credential) string {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, folder+"/ca.pem", c.CertPEM())
		writeFile(t, folder+"/ca.key", c.KeyPEM())
		return folder
	}
	other := pair("foreign", lab.Credential{Chain: foreign.Chain(), Key: foreign.Key})
	noCA := pair("leaf", foreign.Issue(lab.LeafOptions{Names: []string{"own.test"}}))
	mixed := pair("mixed", lab.Credential{Chain: foreign.Chain(), Key: lab.NewKey()})
	oldCA := lab.NewCA("old", lab.CAOptions{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	old := pair("old", lab.Credential{Chain: oldCA.Chain(), Key: oldCA.Key})
	weak := lab.NewCA("weak", lab.CAOptions{KeyUsage: x509.KeyUsageCRLSign})
	noSign := pair("nosign", lab.Credential{Chain: weak.Chain(), Key: weak.Key})
	empty, good := writeFile(t, dir+"/empty", []byte("\nsecond\n")), writeFile(t, dir+"/good", []byte("secret\n"))
	emoji := writeFile(t, dir+"/emoji", []byte("\U0001F511\n"))
	issue := func(ca, user string, more ...string) []string {
		return append([]string{"issue", "--ca", ca, "--user", user, "--out", dir + "/new"}, more...)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"ca: no domain", []string{"ca", "--out", dir + "/new"}, exitUsage, "needs --domain"},
		{"ca: no folder", []string{"ca", "--domain", "own.test"}, exitUsage, "needs --out"},
		{"ca: top-level domain", []string{"ca", "--domain", "test", "--out", dir + "/new"}, exitUsage, "a single label"},
		{"ca: underscore", []string{"ca", "--domain", "_user.own.test", "--out", dir + "/new"}, exitUsage, "character not allowed"},
		{"ca: wildcard", []string{"ca", "--domain", "*.own.test", "--out", dir + "/new"}, exitUsage, "character not allowed"},
		{"ca: address", []string{"ca", "--domain", "192.0.2.1", "--out", dir + "/new"}, exitUsage, "ends in a number"},
		{"ca: no days", []string{"ca", "--domain", "own.test", "--out", dir + "/new", "--days", "0"}, exitUsage, "from 1 to 36500"},
		{"ca: a file as the folder", []string{"ca", "--domain", "own.test", "--out", good}, exitUnavailable, "not a directory"},
		{"ca: words", []string{"ca", "own.test"}, exitUsage, "takes no words"},
		{"issue: no user", []string{"issue", "--ca", dir + "/ca", "--out", dir + "/new"}, exitUsage, "needs --user"},
		{"issue: no CA there", issue(dir+"/nowhere", "rick"), exitUnavailable, `"dancemta usercert ca" makes`},
		{"issue: user of another domain", issue(dir+"/ca", "rick@other.test"), exitUsage, "that of own.test"},
		{"issue: user below the domain", issue(dir+"/ca", "rick@mail.own.test"), exitUsage, "that of own.test"},
		{"issue: path", issue(dir+"/ca", "../rick"), exitUsage, "uid has no normal form"},
		{"issue: space", issue(dir+"/ca", "rick deckard"), exitUsage, "uid has no normal form"},
		{"issue: Kelvin sign", issue(dir+"/ca", "\u212aelvin"), exitUsage, "becomes so"},
		{"issue: too many days", issue(dir+"/ca", "rick", "--days", "36501"), exitUsage, "from 1 to 36500"},
		{"issue: CA without a domain", issue(other, "rick"), exitUsage, "write rick@ and the domain"},
		{"issue: no CA", issue(noCA, "rick@own.test"), exitUnavailable, "not the certificate of a CA"},
		{"issue: another's key", issue(mixed, "rick@own.test"), exitUnavailable, "does not belong"},
		{"issue: expired CA", issue(old, "rick@own.test"), exitBroken, "not valid now"},
		{"issue: CA that must not sign", issue(noSign, "rick@own.test"), exitBroken, "would prove nobody"},
		{"issue: PKCS #12 without a password", issue(dir+"/ca", "rick", "--p12", dir+"/x.p12"), exitUsage, "go together"},
		{"issue: password without PKCS #12", issue(dir+"/ca", "rick", "--p12-password-file", good), exitUsage, "go together"},
		{"issue: empty password", issue(dir+"/ca", "rick", "--p12", dir+"/x.p12", "--p12-password-file", empty), exitUsage, "no password"},
		{"issue: password of emoji", issue(dir+"/ca", "rick", "--p12", dir+"/x.p12", "--p12-password-file", emoji), exitUsage, "PKCS #12"},
		{"issue: no password file", issue(dir+"/ca", "rick", "--p12", dir+"/x.p12", "--p12-password-file", dir+"/none"), exitUnavailable, "no such file"},
		{"show: nothing", []string{"show"}, exitUsage, "takes one file"},
		{"show: no file", []string{"show", dir + "/none"}, exitUnavailable, "no such file"},
		{"show: a key", []string{"show", dir + "/users/rick.key"}, exitUnavailable, "no certificate in it"},
		{"show: a folder", []string{"show", dir}, exitUnavailable, "is a directory"},
		{"show: too large", []string{"show", writeFile(t, dir+"/large", make([]byte, maxKeyFile+1))}, exitUnavailable, "over 1048576 octets"},
		{"no command", nil, exitUsage, "needs a command"},
	} {
		code, out, text := run(t, append([]string{"usercert"}, c.args...)...)
		if code != c.code || !strings.Contains(text, c.says) || out != "" {
			t.Errorf("%s: exit %d, %q; want %d, %q (%q on standard output)", c.name, code, text, c.code, c.says, out)
		}
	}
	if _, err := os.Stat(dir + "/new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	if code, _, text := run(t, issueArgs(other, dir)...); code != exitOK || text != "" {
		t.Errorf("with the CA of other software: exit %d, %s", code, text)
	}
	if err := os.Chmod(dir+"/ca/ca.key", 0o640); err != nil {
		t.Fatal(err)
	}
	if code, _, text := run(t, issueArgs(dir+"/ca", dir+"/loose")...); code != exitOK || !strings.Contains(text, "warning: "+dir+"/ca/ca.key: others may read") {
		t.Errorf("a key that others may read: exit %d, %s", code, text)
	}
}

func issueArgs(ca, dir string) []string {
	return []string{"usercert", "issue", "--ca", ca, "--user", "rick@own.test", "--out", dir + "/good2"}
}
