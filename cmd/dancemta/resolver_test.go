package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

// resolvers is a world that is served in clear and over TLS, where only who shows
// a certificate is served.
type resolvers struct {
	*lab.Internet
	tls *lab.DNSServer
	ca  *lab.CA
	pin string
}

func newResolvers(t *testing.T) *resolvers {
	t.Helper()
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	r := &resolvers{Internet: n, ca: lab.NewCA("dns CA", lab.CAOptions{})}
	cred := r.ca.Issue(lab.LeafOptions{Names: []string{"dns.test"}})
	sum := sha256.Sum256(cred.Leaf().RawSubjectPublicKeyInfo)
	r.pin = "sha256/" + base64.StdEncoding.EncodeToString(sum[:])
	r.tls, err = n.World.StartTLS("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cred.TLSCertificate()}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.tls.Close() })
	return r
}

// write makes a configuration with a [dns] of its own, and the files that it may
// name.
func (r *resolvers) write(t *testing.T, dns string) string {
	t.Helper()
	path := writeConfig(t, strings.Replace(minimalConfig, `dns        = { upstreams = ["127.0.0.1:1"] }`, "dns = { "+dns+" }", 1))
	for name, text := range map[string][]byte{
		"root.ds": []byte(r.World.Anchor()), "ca.pem": r.ca.PEM(), "other-ca.pem": r.ServerCA.PEM(),
		"mx.pem": r.Server.CertPEM(), "mx.key": r.Server.KeyPEM(),
		"two.ds": []byte(r.World.Anchor() + lab.NewWorld(time.Now()).Anchor()),
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestCheckResolvers: what check says of each way to ask, and of each anchor.
func TestCheckResolvers(t *testing.T) {
	r := newResolvers(t)
	at := "tls://" + r.tls.Addr()
	const mine, shown = `, trust_anchors = "root.ds"`, `, tls_certificate = "mx.pem", tls_key = "mx.key"`
	for name, c := range map[string]struct {
		dns   string
		code  int
		lines []string
	}{
		"in clear": {fmt.Sprintf(`upstreams = [%q]`, r.DNS.Addr()) + mine, exitOK, []string{
			"ok       the root's keys are proved through [" + r.DNS.Addr() + "]", "ok       trust anchor ", " matches the live root, and signs its keys"}},
		"over TLS, by name": {fmt.Sprintf(`upstreams = ["%s#dns.test"], tls_roots = "ca.pem"`, at) + shown + mine, exitOK, []string{
			"ok       the root's keys are proved through [" + at + "#dns.test]"}},
		"over TLS, by key": {fmt.Sprintf(`upstreams = ["%s#%s"]`, at, r.pin) + shown + mine, exitOK, []string{
			"ok       the root's keys are proved through [" + at + "#" + r.pin + "]"}},
		"over TLS, another CA": {fmt.Sprintf(`upstreams = ["%s#dns.test"], tls_roots = "other-ca.pem"`, at) + shown + mine, exitBroken, []string{
			"problem  DNSSEC: ", "certificate signed by unknown authority"}},
		"over TLS, and nothing to show": {fmt.Sprintf(`upstreams = ["%s#dns.test"], tls_roots = "ca.pem"`, at) + mine, exitBroken, []string{
			"problem  DNSSEC: ", "certificate required"}},
		"no such roots": {fmt.Sprintf(`upstreams = ["%s#dns.test"], tls_roots = "none.pem"`, at) + mine, exitBroken, []string{
			"none.pem", "hint: see dns.tls_roots in the configuration"}},
		"no such certificate": {fmt.Sprintf(`upstreams = ["%s#dns.test"], tls_certificate = "none.pem", tls_key = "mx.key"`, at) + mine, exitBroken, []string{
			"none.pem", "hint: see dns.tls_certificate in the configuration"}},
		"an anchor of another root": {fmt.Sprintf(`upstreams = [%q], trust_anchors = "two.ds"`, r.DNS.Addr()), exitOK, []string{
			"warning  trust anchor ", " does not match the live root: names no key of the live root", " matches the live root, and signs its keys"}},
		"none of them": {fmt.Sprintf(`upstreams = [%q]`, r.DNS.Addr()), exitBroken, []string{
			"warning  trust anchor 20326 does not match the live root: names no key of the live root", "warning  trust anchor 38696 does not match",
			"problem  DNSSEC: ", "are the trust anchors those of today's root?"}},
		"a resolver that does not vouch": {fmt.Sprintf(`upstreams = [%q], trust = "ad"`, r.DNS.Addr()) + mine, exitBroken, []string{
			"problem  DNSSEC: . DNSKEY: " + r.DNS.Addr() + " does not vouch for it by AD"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, _ := run(t, "check", "--config", r.write(t, c.dns))
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, line := range c.lines {
				if !strings.Contains(out, line) {
					t.Errorf("not there: %s", line)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// A resolver over TLS that asks for our name is told it, by the server and by send.
func TestResolverIsTold(t *testing.T) {
	r := newResolvers(t)
	name := `, tls_client_name = "sensor7._device.partner.test"`
	const shown = `, trust_anchors = "root.ds", tls_certificate = "mx.pem", tls_key = "mx.key"`
	if !clientid.Supported {
		path := r.write(t, fmt.Sprintf(`upstreams = ["tls://%s#dns.test"]`, r.tls.Addr())+shown+name)
		if code, out, _ := run(t, "check", "--config", path); code != exitBroken || !strings.Contains(out, "dns.tls_client_name: this build has no dane_clientid") {
			t.Errorf("%d\n%s", code, out)
		}
		return
	}
	told := make(chan string, 100)
	cred := r.ca.Issue(lab.LeafOptions{Names: []string{"dns.test"}})
	config := &tls.Config{Certificates: []tls.Certificate{cred.TLSCertificate()}, ClientAuth: tls.RequireAnyClientCert}
	err := clientid.Request(config, clientid.DefaultType, func(_ context.Context, s tls.ConnectionState) error {
		data, _ := clientid.FromState(s, clientid.DefaultType)
		told <- string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	asking, err := r.World.StartTLS("127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	path := r.write(t, fmt.Sprintf(`upstreams = ["tls://%s#dns.test"], tls_roots = "ca.pem"`, asking.Addr())+shown+name)
	code, out, _ := run(t, "check", "--config", path)
	if code == exitConfig || !strings.Contains(out, "ok       the root's keys are proved") {
		t.Errorf("check: %d\n%s", code, out)
	}
	dir := filepath.Dir(path)
	_, _, text := runSend(t, "Subject: x\n\n", "send", "--dns", "tls://"+asking.Addr()+"#dns.test", "--dns-ca", filepath.Join(dir, "ca.pem"), "--dns-cert",
		"--trust-anchors", filepath.Join(dir, "root.ds"), "--cert", filepath.Join(dir, "mx.pem"), "--key", filepath.Join(dir, "mx.key"),
		"--client-name", "sensor7._device.partner.test", "--relay", "none.example.test", "-f", "a@b.test", "c@d.test")
	if !strings.Contains(text, "no-record") { // what the resolver said
		t.Errorf("send: %s", text)
	}
	for range 2 {
		select {
		case got := <-told:
			if got != "\x1csensor7._device.partner.test" {
				t.Errorf("told %q", got)
			}
		default:
			t.Error("nothing was told")
		}
	}
}
