package smtpd

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// Nothing of the plaintext phase lives on after STARTTLS.
func TestSTARTTLSBeginsAnew(t *testing.T) {
	w := newWorld(t)
	d := open(t, w.serve()["mx"])
	d.expect("EHLO before.test", "250")
	d.expect("MAIL FROM:<a@b.test>", "250 ")
	d.expect("RCPT TO:<info@example.test>", "250 ")
	d.expect("STARTTLS", "220 ")
	if err := d.secure(clientTLS(nil)); err != nil {
		t.Fatal(err)
	}
	d.expect("RCPT TO:<info@example.test>", "503 5.5.1 ")
	d.expect("MAIL FROM:<a@b.test>", "503 5.5.1 ")
	d.expect("EHLO after.test", "250")
	d.send("a@b.test", "info@example.test", "x")
	if m := w.queue.messages()[0]; m.Helo != "after.test" || len(m.Recipients) != 1 {
		t.Errorf("%+v", m.Envelope)
	}
}

// Which certificates are asked for, and what TLS must be.
func TestTLSOfListeners(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	addrs := w.serve()
	handshake := func(listener string, c *tls.Config) (*dialog, error) {
		d := open(t, addrs[listener])
		d.expect("EHLO peer.test", "250")
		d.expect("STARTTLS", "220 ")
		if err := d.secure(c); err != nil {
			return nil, err
		}
		if got := d.cmd("EHLO peer.test"); !strings.HasPrefix(got, "250") { // a TLS 1.3 server refuses after the client's handshake
			return nil, fmt.Errorf("%s", got)
		}
		return d, nil
	}
	var asked atomic.Int32
	cert := deviceCert()
	count := clientTLS(nil)
	count.GetClientCertificate = func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Add(1)
		if len(i.AcceptableCAs) > 0 {
			t.Errorf("CAs are named: %d", len(i.AcceptableCAs))
		}
		return cert, nil
	}
	old := count.Clone()
	old.MaxVersion = tls.VersionTLS12
	for _, c := range []struct {
		listener string
		config   *tls.Config
		asked    int32
		want     string // "": success
	}{
		{"mx", count, 1, ""},
		{"sub", count, 1, ""},
		{"plain", count, 0, ""},
		{"strict", count, 1, ""},
		{"mx", clientTLS(nil), 0, ""},
		{"strict", clientTLS(nil), 0, "certificate required"},
		{"mx", old, 1, ""},
		{"strict", old, 0, "protocol version"},
	} {
		asked.Store(0)
		_, err := handshake(c.listener, c.config)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.listener, err, c.want)
		}
		if asked.Load() != c.asked {
			t.Errorf("%s: asked for a certificate %d times, want %d", c.listener, asked.Load(), c.asked)
		}
	}

	d := open(t, addrs["strict"]) // in clear there is nothing but the way to TLS
	d.expect("EHLO peer.test", "250")
	d.expect("MAIL FROM:<>", "530 5.7.0 ")

	cached := clientTLS(cert)
	cached.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	cached.ServerName = "mx.example.test"
	for range 2 {
		d, err := handshake("mx", cached)
		if err != nil {
			t.Fatal(err)
		}
		if d.conn.(*tls.Conn).ConnectionState().DidResume {
			t.Error("a session was resumed where certificates are asked for")
		}
	}

	d, err := handshake("mx", old) // TLS 1.2 gives no identity, and breaks nothing
	if err != nil {
		t.Fatal(err)
	}
	d.expect("MAIL FROM:<a@partner.test>", "250 ")
	d.expect("RCPT TO:<a@remote.test>", "550 5.7.1 ")
	d.expect("RCPT TO:<info@example.test>", "250 ")
	if d, err = handshake("sub", old); err != nil {
		t.Fatal(err)
	}
	d.expect("AUTH EXTERNAL =", "504 5.5.4 ")
}

// A certificate without its key is nobody's, whatever the records say.
func TestForeignCertificate(t *testing.T) {
	w := newWorld(t) // a question to the verifier is an error
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	d.expect("STARTTLS", "220 ")
	thief := *deviceCert()
	thief.PrivateKey = lab.NewKey()
	err := d.secure(clientTLS(&thief))
	if err == nil { // TLS 1.3: the client's handshake is over before the server judges it
		d.expect("EHLO peer.test", "! ")
	}
	waitFor(t, "a line about the handshake", func() bool { return strings.Contains(w.log.String(), "handshake failed") })
	if q := w.verifier.questions(); len(q) > 0 || strings.Contains(w.log.String(), " authenticated") {
		t.Errorf("questions %v, log:\n%s", q, w.log)
	}
}

// A chain that only fills memory ends the handshake, by itself or by what comes
// with it; an honest long one does not.
func TestChainIsBounded(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	addr := w.serve()["mx"]
	for _, c := range []struct {
		name                string
		copies, scts, octet int // octet: of each timestamp
		ocsp                int
		refused             bool
	}{
		{name: "a long chain", copies: 10},
		{name: "as browsers' CAs make them", copies: 3, scts: 3, octet: 120, ocsp: 2000},
		{name: "100 certificates", copies: 100, refused: true},
		{name: "many timestamps", scts: 20000, octet: 1, refused: true},
		{name: "a large timestamp", scts: 1, octet: 60000, refused: true},
		{name: "a large OCSP response", ocsp: 60000, refused: true},
	} {
		cert := *deviceCert()
		for range c.copies {
			cert.Certificate = append(cert.Certificate, cert.Certificate[0])
		}
		for range c.scts {
			cert.SignedCertificateTimestamps = append(cert.SignedCertificateTimestamps, make([]byte, c.octet))
		}
		if c.ocsp > 0 {
			cert.OCSPStaple = make([]byte, c.ocsp)
		}
		d := open(t, addr)
		d.expect("EHLO peer.test", "250")
		d.expect("STARTTLS", "220 ")
		if err := d.secure(clientTLS(&cert)); err != nil {
			t.Fatal(err)
		}
		if got := d.cmd("EHLO peer.test"); strings.HasPrefix(got, "250") == c.refused {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
