package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
	"dancemta/queue/deliver/probe"
)

// Our own server, as a stranger sees it.
func TestProbe(t *testing.T) {
	s := newSendStage(t)
	at := "mx.example.test:" + s.ports["relay"]
	dns := []string{"--resolver", s.net.DNS.Addr(), "--trust-anchors", filepath.Join(s.dir, "root.ds")}
	code, out, text := run(t, append([]string{"probe", at, "--json", "--roots", filepath.Join(s.dir, "server-ca.pem")}, dns...)...)
	var r probe.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err, out, text)
	}
	if code != exitOK || r.Verdict != probe.Good || r.DANE.Verdict != "match" || r.PKIX.Verdict != "match" || r.TLS.Version != "TLS 1.3" ||
		!r.TLS.AsksCertificate || r.TLS.AsksName != clientid.Supported || r.TLS.Shown || !strings.HasPrefix(r.Banner, "220 mx.example.test ") {
		t.Errorf("%d\n%s", code, out)
	}
	if strings.Contains(strings.Join(r.Secure, " "), "STARTTLS") || !strings.Contains(strings.Join(r.Clear, " "), "STARTTLS") {
		t.Errorf("offers %q, then %q", r.Clear, r.Secure)
	}

	args := append([]string{"probe", at}, dns...)
	if clientid.Supported {
		args = append(args, "--client-name", s.net.Device.Owner)
	}
	code, out, text = run(t, append(args, s.as(s.net.Device)...)...)
	if code != exitOK || !strings.Contains(out, "ours was shown") {
		t.Errorf("%d %s\n%s", code, text, out)
	}
	if clientid.Supported { // who tells a name is judged within the handshake
		waitLog(t, s.relay, `"msg":"dane verdict","owner":"`+s.net.Device.Owner+`"`)
	}

	code, out, text = run(t, append([]string{"probe", "other.example.test:" + s.ports["relay"]}, dns...)...)
	if code != exitRefused || !strings.Contains(out, "DANE: mismatch") || !strings.Contains(text, "mail would wait") {
		t.Errorf("%d %s\n%s", code, text, out)
	}
}

func TestProbeExitCodes(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	dir := t.TempDir()
	if err := n.WritePKI(dir); err != nil {
		t.Fatal(err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	_, port, _ := net.SplitHostPort(gone.Addr().String())
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"mx.remote.test:" + port, exitTemporary, "nothing can be said now"},
		{"mx.none.remote.test", exitTemporary, "nothing can be said now"},
		{"192.0.2.1", exitUsage, "a name"},
		{"mx.remote.test:0", exitUsage, `"0" is no port`},
		{"mx.remote.test --cert x.pem", exitUsage, "--cert and --key belong together"},
		{"mx.remote.test --client-name a._device.test", exitUsage, "--client-name needs --cert and --key"},
		{"mx.remote.test --cert none.pem --key none.key", exitUnavailable, "none.pem"},
		{"mx.remote.test --roots none.pem", exitUnavailable, "none.pem"},
		{"mx.remote.test --extension-type 0", exitUsage, "no type of an extension"},
		{"mx.remote.test --domain a..b", exitUsage, "--domain"},
	} {
		args := append([]string{"probe"}, strings.Fields(c.args)...)
		code, out, text := run(t, append(args, "--resolver", n.DNS.Addr(), "--trust-anchors", filepath.Join(dir, "root.ds"))...)
		if code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d, %s\n%s", c.args, code, text, out)
		}
	}
}
