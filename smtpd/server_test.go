package smtpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/mailaddr"
	"dancemta/saslext/door"
)

func deviceCert() *tls.Certificate {
	c := lab.SelfSigned(lab.LeafOptions{Names: []string{device}}).TLSCertificate()
	return &c
}

func userCert(uid string) *tls.Certificate {
	c := lab.SelfSigned(lab.LeafOptions{Names: []string{"partner.test"}, UIDs: []string{uid}}).TLSCertificate()
	return &c
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no hostname":             func(o *Options) { o.Hostname = dnsname.Name{} },
		"no postmaster":           func(o *Options) { o.Postmaster = mailaddr.Address{} },
		"no queue":                func(o *Options) { o.Queue = nil },
		"no verifier":             func(o *Options) { o.Verifier = nil },
		"no rules":                func(o *Options) { o.Rules = nil },
		"no listener":             func(o *Options) { o.Listeners = nil },
		"not unique":              func(o *Options) { o.Listeners = []Listener{{Name: "a"}, {Name: "a"}} },
		"missing":                 func(o *Options) { o.Listeners = []Listener{{}} },
		"unknown kind":            func(o *Options) { o.Listeners = []Listener{{Name: "a", Kind: 9}} },
		"there is no certificate": func(o *Options) { o.Certificate, o.Listeners = nil, []Listener{{Name: "a", Kind: Submission}} },
		"needs TLS": func(o *Options) {
			o.Certificate, o.Listeners = nil, []Listener{{Name: "a", ClientCertificates: Require}}
		},
	} {
		o := newWorld(t).opts
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ear, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := newWorld(t).Serve("other", ear); err == nil {
		t.Error("served a listener that is none")
	}
}

func TestDeviceRelaysOverSTARTTLS(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	d := openTLS(t, w.serve()["mx"], deviceCert())
	got := d.send("sensor7@partner.test", "a@remote.test", "Subject: one\r\n\r\n..dot")
	if !strings.HasPrefix(got, "250 2.6.0 queued as ") {
		t.Fatal(got)
	}
	d.expect("MAIL FROM:<sensor7@partner.test> BODY=8BITMIME", "250 ")
	d.expect("RCPT TO:<a@remote.test>", "250 ")
	d.expect("BDAT 14\r\nSubject: two", "250 ")
	d.expect("BDAT 2 LAST\r\n", "250 2.6.0 queued as ")
	d.expect("QUIT", "221 ")
	ms := w.queue.messages()
	if len(ms) != 2 || ms[0].EightBit || !ms[1].EightBit || !strings.HasSuffix(got, string(ms[0].ID)) {
		t.Fatalf("%+v", ms)
	}
	if _, body, _ := strings.Cut(ms[0].body, "+0000\r\n"); body != "Subject: one\r\n\r\n.dot\r\n" {
		t.Errorf("%q", body)
	}
	if _, body, _ := strings.Cut(ms[1].body, "+0000\r\n"); body != "Subject: two\r\n\r\n" {
		t.Errorf("%q", body)
	}
	for _, want := range []string{"Received: from peer.test ([127.0.0.1])\r\n\t(client dane " + device + ")\r\n",
		"with ESMTPS id ", "\r\n\ttls TLS_"} {
		if !strings.Contains(ms[0].body, want) {
			t.Errorf("no %q in\n%s", want, ms[0].body)
		}
	}
}

func TestTraceInClear(t *testing.T) {
	w := newWorld(t)
	addr := w.serve()["mx"]
	for hello, want := range map[string]string{"EHLO": " with ESMTP id ", "HELO": " with SMTP id "} {
		d := open(t, addr)
		d.expect(hello+" peer.test", "250")
		d.send("a@b.test", "info@example.test", "x")
		ms := w.queue.messages()
		if body := ms[len(ms)-1].body; !strings.Contains(body, want) || strings.Contains(body, "tls ") {
			t.Errorf("%s:\n%s", hello, body)
		}
	}
}

// AUTH EXTERNAL in all its forms, with the exact codes of RFC 4954.
func TestAuthOnTheWire(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	addr := w.serve()["sub"]
	d := open(t, addr)
	if got := d.expect("EHLO peer.test", "250"); strings.Contains(got, "AUTH") || !strings.Contains(got, "STARTTLS") {
		t.Errorf("in clear: %s", got)
	}
	d.expect("MAIL FROM:<rick@partner.test>", "530 5.7.0 ")
	d.expect("AUTH EXTERNAL =", "530 5.7.0 ")

	d = openTLS(t, addr, nil)
	if got := d.cmd("EHLO peer.test"); strings.Contains(got, "AUTH") {
		t.Errorf("without a certificate: %s", got)
	}
	d.expect("AUTH EXTERNAL =", "504 5.5.4 ")

	d = openTLS(t, addr, userCert("Rick"))
	if got := d.cmd("EHLO peer.test"); !strings.Contains(got, "AUTH EXTERNAL") || strings.Contains(got, "STARTTLS") {
		t.Errorf("with a certificate: %s", got)
	}
	d.expect("AUTH PLAIN =", "504 5.5.4 ")
	d.expect("AUTH EXTERNAL", "334 ")
	d.expect("*", "501 5.7.0 ")
	d.expect("AUTH EXTERNAL a?", "501 5.5.2 ")
	d.expect("AUTH EXTERNAL "+b64("rick@partner.test\x00"), "501 5.5.4 ")
	d.expect("AUTH EXTERNAL "+b64("eve@partner.test"), "535 5.7.8 ")
	d.expect("MAIL FROM:<eve@partner.test>", "530 5.7.0 ")

	d = openTLS(t, addr, userCert("Rick"))
	d.expect("AUTH EXTERNAL", "334 ")
	fmt.Fprint(d.conn, "\r\n") // an empty line: his own identity
	d.expect("", "235 2.7.0 ")
	d.expect("AUTH EXTERNAL =", "503 5.5.1 ")
	d.expect("RSET", "250 ")
	d.expect("EHLO peer.test", "250")
	d.expect("STARTTLS", "503 5.5.1 ")
	d.expect("MAIL FROM:<eve@partner.test>", "553 5.7.1 ")
	d.expect(`MAIL FROM:<"rick"@partner.test>`, "250 ")
	d.expect("AUTH EXTERNAL =", "503 5.5.1 ")
	d.expect("RSET", "250 ")

	for _, line := range []string{"AUTH EXTERNAL =", "AUTH EXTERNAL " + b64("rick@partner.test")} {
		d = openTLS(t, addr, userCert("rick"))
		d.expect(line, "235 2.7.0 ")
		d.expect("MAIL FROM:<rick@partner.test>", "250 ")
	}
}

func TestSubmissionsLogsInByCertificate(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	d := dial(t, w.serve()["subs"])
	if err := d.secure(clientTLS(userCert("rick"))); err != nil {
		t.Fatal(err)
	}
	d.expect("", "220 ")
	d.expect("EHLO peer.test", "250")
	d.expect("MAIL FROM:<eve@partner.test>", "553 5.7.1 ")
	if got := d.send("rick@partner.test", "a@remote.test", "x"); !strings.HasPrefix(got, "250 2.6.0 ") {
		t.Error(got)
	}
}

// A resolver that never answers holds up those who need it, and nobody else
// .
func TestDeadDNS(t *testing.T) {
	const stuck = 200
	w := newWorld(t)
	var waiting atomic.Int32
	w.verifier.client = func(ctx context.Context, _ dnsname.Name) (daneclient.Client, error) {
		waiting.Add(1)
		<-ctx.Done()
		return daneclient.Client{}, &daneclient.Error{Reason: daneclient.FailedDNS, Err: ctx.Err()}
	}
	addrs := w.serve()
	cert := deviceCert()
	for range stuck {
		d := openTLS(t, addrs["mx"], cert)
		d.expect("MAIL FROM:<a@partner.test>", "250 ")
		fmt.Fprint(d.conn, "RCPT TO:<a@remote.test>\r\n")
	}
	waitFor(t, "all look-ups", func() bool { return waiting.Load() == stuck })
	d := openTLS(t, addrs["mx"], cert)
	for range 3 {
		if got := d.send("a@partner.test", "info@example.test", "x"); !strings.HasPrefix(got, "250 2.6.0 ") {
			t.Error(got)
		}
	}
	if got := open(t, addrs["mx"]); got.cmd("EHLO x.test")[:3] != "250" {
		t.Error("plain peer is not served")
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	w.queue.block = make(chan struct{})
	addrs := w.serve()
	idle, busy := open(t, addrs["mx"]), open(t, addrs["mx"])
	idle.expect("EHLO idle.test", "250")
	busy.expect("EHLO busy.test", "250")
	busy.expect("MAIL FROM:<a@b.test>", "250 ")
	busy.expect("RCPT TO:<info@example.test>", "250 ")
	busy.expect("DATA", "354 ")
	fmt.Fprint(busy.conn, "x\r\n.\r\n")
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(context.Background()) }()
	idle.expect("", "421 4.3.2 ")
	idle.conn.Close()
	select {
	case err := <-drained:
		t.Errorf("drained while a message was under way: %v", err)
	default:
	}
	close(w.queue.block)
	busy.expect("", "250 2.6.0 ")
	busy.expect("", "421 4.3.2 ")
	busy.conn.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", addrs["mx"]); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

// Drain's patience has an end, also for those who wait for DNS.
func TestDrainCancelsLookups(t *testing.T) {
	w := newWorld(t)
	asked := make(chan struct{})
	w.verifier.client = func(ctx context.Context, _ dnsname.Name) (daneclient.Client, error) {
		close(asked)
		<-ctx.Done()
		return daneclient.Client{}, ctx.Err()
	}
	d := openTLS(t, w.serve()["mx"], deviceCert())
	d.expect("MAIL FROM:<a@partner.test>", "250 ")
	fmt.Fprint(d.conn, "RCPT TO:<a@remote.test>\r\n")
	<-asked
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := w.Drain(ctx); err != context.DeadlineExceeded {
		t.Errorf("%v", err)
	}
	if d := time.Since(begin); d > door.DecisionTime/2 {
		t.Errorf("took %v", d)
	}
}

func TestReloadWithinASession(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	d := openTLS(t, w.serve()["mx"], deviceCert())
	d.expect("MAIL FROM:<a@partner.test>", "250 ")
	d.expect("RCPT TO:<a@remote.test>", "250 ")
	o := standardRules()
	o.Rules = o.Rules[1:]
	w.setRules(o)
	d.expect("RCPT TO:<b@remote.test>", "550 5.7.1 ")
	d.expect("RSET", "250 ")
	d.expect("MAIL FROM:<a@partner.test>", "250 ")
	d.expect("RCPT TO:<a@remote.test>", "550 5.7.1 ")
}

func TestPanicInTheQueue(t *testing.T) {
	w := newWorld(t)
	w.queue.panics = true
	d := open(t, w.serve()["mx"])
	d.expect("EHLO peer.test", "250")
	if got := d.send("a@b.test", "info@example.test", "x"); !strings.HasPrefix(got, "451 4.3.0 ") {
		t.Error(got)
	}
	w.queue.panics = false
	if got := d.send("a@b.test", "info@example.test", "x"); !strings.HasPrefix(got, "250 2.6.0 ") {
		t.Error(got)
	}
}

// SIZE is announced at every EHLO, and holds for DATA and for BDAT.
func TestSizeOnTheWire(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxMessageBytes = 1 << 20 })
	d := open(t, w.serve()["mx"])
	for range 2 {
		if got := d.cmd("EHLO peer.test"); !strings.Contains(got, "SIZE 1048576\n") || !strings.Contains(got, "LIMITS RCPTMAX=100\n") {
			t.Error(got)
		}
		d.expect("MAIL FROM:<a@b.test> SIZE=1048577", "552 5.3.4 ")
		line := strings.Repeat("x", 998) + "\r\n"
		if got := d.send("a@b.test", "info@example.test", "\r\n"+strings.Repeat(line, 1048)); !strings.HasPrefix(got, "250 ") {
			t.Error(got)
		}
		got := d.send("a@b.test", "info@example.test", "\r\n"+strings.Repeat(line, 1050))
		if !strings.HasPrefix(got, "552 5.3.4 ") {
			t.Error(got)
		}
		d.expect("MAIL FROM:<a@b.test>", "250 ")
		d.expect("RCPT TO:<info@example.test>", "250 ")
		half := "\r\n" + strings.Repeat(line, 600)
		d.expect(fmt.Sprintf("BDAT %d\r\n%s", len(half), half[:len(half)-2]), "250 ")
		d.expect(fmt.Sprintf("BDAT %d LAST\r\n%s", len(half), half[:len(half)-2]), "552 5.3.4 ")
	}
	if n := len(w.queue.messages()); n != 2 {
		t.Errorf("%d messages", n)
	}
	if !strings.Contains(w.log.String(), "reason=aborted") {
		t.Error("no line in the log")
	}
}

// An odd local part stays one address, whatever it holds.
func TestQuotedRecipient(t *testing.T) {
	w := newWorld(t)
	verified(w.verifier, start.Add(time.Hour))
	d := openTLS(t, w.serve()["mx"], deviceCert())
	d.send("sensor7@partner.test", `"a b> NOTIFY=NEVER <c"@remote.test`, "x")
	m := w.queue.messages()[0]
	if len(m.Recipients) != 1 || m.Recipients[0].String() != `"a b> NOTIFY=NEVER <c"@remote.test` {
		t.Errorf("%v", m.Recipients)
	}
	if !strings.Contains(m.body, "\tfor <\"a b> NOTIFY=NEVER <c\"@remote.test>\r\n") {
		t.Error(m.body)
	}
}

func TestWireEventsAreLogged(t *testing.T) {
	w := newWorld(t)
	d := open(t, w.serve()["mx"])
	fmt.Fprint(d.conn, "EHLO a.test\nMAIL FROM:<a@b.test>\r\n")
	d.expect("", "500 5.5.2 ")
	waitFor(t, "a line", func() bool { return strings.Contains(w.log.String(), `msg="connection trouble"`) })
	if log := w.log.String(); !strings.Contains(log, "listener=mx peer=127.0.0.1:") {
		t.Error(log)
	}
}
