package daneclient_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/internal/dnsname"
)

// TestStoriesHTTPS: strangers talk to the example's HTTPS server. Where they are
// not installed it is skipped, but for DANCEMTA_E2E=required.
func TestStoriesHTTPS(t *testing.T) {
	for _, program := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("DANCEMTA_E2E") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	internet := newExampleInternet()
	defer internet.close()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello "+r.Header.Get(clientHeader))
	})
	server, err := admittingServer(internet.server, internet.verifier,
		func(n dnsname.Name) bool { return n.Within(dnsname.MustParse("_device.partner.test")) }, handler)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(internet.listener, "", "") }()
	defer func() { server.Close(); <-done }()

	dir := t.TempDir()
	for who, cert := range internet.clients {
		writePEM(t, filepath.Join(dir, who), cert)
	}
	_, port, err := net.SplitHostPort(internet.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ who, want string }{
		{"sensor7", "200 hello sensor7._device.partner.test"}, {"thief", "403 not admitted"}, {"stranger", "403 not admitted"}, {"", "403 a client certificate is needed"},
	} {
		args := []string{"--silent", "--insecure", "--max-time", "10", "--noproxy", "*", "--write-out", "%{http_code}",
			"--header", clientHeader + ": sensor9._device.partner.test", // a lie
			"--resolve", internet.address + ":127.0.0.1", "https://" + internet.address + "/"}
		if test.who != "" {
			args = append(args, "--cert", filepath.Join(dir, test.who)+".pem", "--key", filepath.Join(dir, test.who)+".key")
		}
		out, err := exec.CommandContext(t.Context(), "curl", args...).CombinedOutput()
		text, code := strings.TrimSpace(string(out[:max(len(out)-3, 0)])), string(out[max(len(out)-3, 0):])
		if err != nil || code+" "+text != test.want {
			t.Errorf("curl as %q: %s, %v; want %s", test.who, out, err, test.want)
		}
	}
	openssl := exec.CommandContext(t.Context(), "openssl", "s_client", "-quiet", "-connect", "127.0.0.1:"+port,
		"-servername", "www.example.test", "-cert", filepath.Join(dir, "sensor7.pem"), "-key", filepath.Join(dir, "sensor7.key"))
	openssl.Stdin = strings.NewReader("GET / HTTP/1.0\r\nHost: www.example.test\r\n\r\n")
	var out bytes.Buffer
	openssl.Stdout = &out
	if err := openssl.Run(); err != nil || !strings.HasSuffix(out.String(), "\r\n\r\nhello sensor7._device.partner.test") {
		t.Errorf("openssl: %q, %v", out.String(), err)
	}
}

func writePEM(t *testing.T, path string, cert tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		path + ".pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, path + ".key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
