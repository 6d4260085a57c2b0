package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
)

// golden is the report about the sessions of countAll, by hand from RFC 8460 4.4.
const golden = `{"organization-name":"Sender Org","date-range":{"start-datetime":"2026-11-24T00:00:00Z","end-datetime":"2026-11-24T23:59:59Z"},` +
	`"contact-info":"tls@sender.test","report-id":"2026-11-24.d.test@mx.sender.test","policies":[` +
	`{"policy":{"policy-type":"no-policy-found","policy-domain":"d.test"},"summary":{"total-successful-session-count":2,"total-failure-session-count":0}},` +
	`{"policy":{"policy-type":"sts","policy-string":["version: STSv1","mode: enforce","mx: *.d.test","max_age: 86400"],"policy-domain":"d.test","mx-host":["*.d.test"]},` +
	`"summary":{"total-successful-session-count":0,"total-failure-session-count":3},"failure-details":[` +
	`{"result-type":"certificate-expired","sending-mta-ip":"2001:db8::1","receiving-mx-hostname":"mx1.d.test","receiving-mx-helo":"mx1.d.test??","receiving-ip":"192.0.2.7","failed-session-count":2},` +
	`{"result-type":"sts-policy-fetch-error","failed-session-count":1,"failure-reason-code":"timeout"}]},` +
	`{"policy":{"policy-type":"tlsa","policy-string":["3 1 1 0123"],"policy-domain":"mx1.d.test"},"summary":{"total-successful-session-count":1,"total-failure-session-count":1},"failure-details":[` +
	`{"result-type":"validation-failure","receiving-mx-hostname":"mx1.d.test","receiving-ip":"2001:db8::7","failed-session-count":1,"additional-information":"https://x.test/y","failure-reason-code":"no match"}]}]}`

func (w *world) countAll() {
	d, mx := name("d.test"), name("mx1.d.test")
	none := Policy{Type: NoPolicy, Domain: d}
	sts := Policy{Type: STS, Domain: d, Strings: []string{"version: STSv1", "mode: enforce", "mx: *.d.test", "max_age: 86400"}, MXHosts: []string{"*.d.test"}}
	dane := Policy{Type: TLSA, Domain: mx, Strings: []string{"3 1 1 0123"}}
	expired := Session{Domain: d, Policy: sts, Result: CertificateExpired, MX: mx, Helo: "mx1.d.test\r\n", SendingIP: address("2001:db8::1"), ReceivingIP: address("192.0.2.7")}
	for _, s := range []Session{
		expired, {Domain: d, Policy: none, MX: mx}, expired, {Domain: d, Policy: none, MX: name("mx2.d.test")},
		{Domain: d, Policy: sts, Result: STSPolicyFetchError, Reason: "timeout"},
		{Domain: d, Policy: dane, MX: mx, ReceivingIP: address("2001:db8::7")},
		{Domain: d, Policy: dane, Result: ValidationFailure, MX: mx, ReceivingIP: address("2001:db8::7"), Reason: "no match", Info: "https://x.test/y"},
		{Policy: none}, // of no domain
	} {
		w.r.Counter().Add(s)
	}
}

// TestHTTPS: a real server gets the report, and the counts survive a restart.
func TestHTTPS(t *testing.T) {
	w := newWorld(t)
	h := newHost(t, w, "reports.d.test")
	w.wants("d.test", "v=TLSRPTv1; rua=https://reports.d.test:"+h.port()+"/v1?key=1#x")
	w.countAll()
	w.r.save()
	w.start()
	w.at(w.midnight().Add(59 * time.Minute))
	w.equal("posts before its time", h.count(), 0)
	w.at(w.midnight().Add(time.Hour))
	w.equal("posts", h.count(), 1)
	w.equal("report", h.posts[0].body, golden)
	w.equal("type", h.posts[0].header.Get("Content-Type"), "application/tlsrpt+gzip")
	w.equal("files", w.files(), "")
	w.at(w.midnight().Add(30 * time.Hour))
	w.equal("posts later", h.count(), 1)
	w.equal("log", strings.Contains(w.log.String(), `msg="TLS report sent" domain=d.test day=2026-11-24 to=https://reports.d.test:`+h.port()+`/v1`), true)
}

func (w *world) files() string {
	entries, err := os.ReadDir(w.o.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestHTTPSRefuses: hosts that do not take it or must not be called; each report is
// tried again later.
func TestHTTPSRefuses(t *testing.T) {
	for _, c := range []struct {
		name, host string // of the certificate: the record says reports.d.test
		change     func(*world, *host)
		posts      int
		why        string
	}{
		{"another name", "evil.test", nil, 0, "certificate"},
		{"unknown CA", "reports.d.test", func(w *world, _ *host) { w.o.Roots = nil }, 0, "certificate"},
		{"redirect", "reports.d.test", func(_ *world, h *host) { h.status = 307 }, 1, "the host answers 307"},
		{"error", "reports.d.test", func(_ *world, h *host) { h.status = 503 }, 1, "the host answers 503"},
		{"private address", "reports.d.test", func(w *world, _ *host) {
			w.o.Permitted = func(a netip.Addr) bool { return !a.IsLoopback() }
		}, 0, "no address that may be called"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			h := newHost(t, w, c.host)
			if c.change != nil {
				c.change(w, h)
				w.start()
			}
			w.wants("d.test", "v=TLSRPTv1; rua=https://reports.d.test:"+h.port()+"/v1")
			w.add("d.test")
			w.at(w.midnight().Add(time.Hour))
			w.equal("posts", h.count(), c.posts)
			if !strings.Contains(w.log.String(), c.why) || !strings.Contains(w.log.String(), "TLS report not sent") {
				t.Errorf("the log is %s", w.log.String())
			}
			w.equal("left", len(w.r.planned["2026-11-24"]), 1)
		})
	}
}

// TestMail: the form of RFC 8460 5.3, signed, to each mailbox.
func TestMail(t *testing.T) {
	w := newWorld(t)
	w.wants("d.test", "v=TLSRPTv1;rua=mailto:tls%2Dreports@d.test?subject=x,mailto:other@e.test")
	w.countAll()
	w.at(w.midnight().Add(time.Hour))
	w.equal("mails", len(w.mails), 2)
	m := w.mails[0]
	w.equal("sender", m.Sender.String(), "tls@sender.test")
	w.equal("recipients", m.Recipient.String()+" "+w.mails[1].Recipient.String(), "tls-reports@d.test other@e.test")
	w.equal("signed", strings.HasPrefix(string(m.Body), "DKIM-Signature: signed\r\n"), true)
	msg, err := mail.ReadMessage(bytes.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"From": "<tls@sender.test>", "To": "<tls-reports@d.test>",
		"Subject":           "Report Domain: d.test Submitter: mx.sender.test Report-ID: <2026-11-24.d.test@mx.sender.test>",
		"TLS-Report-Domain": "d.test", "TLS-Report-Submitter": "mx.sender.test", "TLS-Required": "No", "Auto-Submitted": "auto-generated",
		"Date": "Wed, 25 Nov 2026 01:00:00 +0000", "MIME-Version": "1.0",
	} {
		w.equal(k, msg.Header.Get(k), want)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	text, err := parts.NextPart()
	if err != nil || text.Header.Get("Content-Type") != "text/plain; charset=us-ascii" {
		t.Fatal(err)
	}
	data, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	w.equal("type", data.Header.Get("Content-Type"), "application/tlsrpt+gzip")
	w.equal("file", data.FileName(), "mx.sender.test!d.test!1795478400!1795564799.json.gz")
	packed, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, data))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	w.equal("report", string(body), golden)
	for line := range bytes.SplitSeq(m.Body, []byte("\r\n")) {
		if len(line) > 78 || bytes.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
}

// TestUnsigned: no mail leaves without a signature. RFC 8460 3
func TestUnsigned(t *testing.T) {
	for what, sign := range map[string]func([]byte) ([]byte, error){
		"no key": nil, "the key fails": func([]byte) ([]byte, error) { return nil, errTest },
	} {
		w := newWorld(t, func(w *world) { w.o.Sign = sign })
		w.wants("d.test", "v=TLSRPTv1; rua=mailto:a@d.test")
		w.add("d.test")
		w.at(w.midnight().Add(time.Hour))
		w.equal(what, len(w.mails), 0)
	}
}

// TestOnce: whatever a crash cuts off, no report is sent twice.
func TestOnce(t *testing.T) {
	due := func(w *world) time.Time { return w.midnight().Add(time.Hour) }
	for _, c := range []struct {
		name  string
		crash func(w *world)
		want  int // mails after the restart
	}{
		{"after it was sent", func(w *world) {
			w.add("other.test") // which keeps the day alive
			w.txt["_smtp._tls.other.test"] = dnssec.Answer{Reason: "no answer"}
			w.r.save()
			w.at(due(w))
		}, 1},
		{"while it was sent", func(w *world) {
			w.r.save()
			ctx, cancel := context.WithCancel(w.t.Context())
			w.o.Submit = func(context.Context, Mail) error { cancel(); return ctx.Err() }
			w.start()
			w.now = due(w)
			w.r.plan()
			w.r.sendDue(ctx)
			w.o.Submit = func(_ context.Context, m Mail) error { w.mails = append(w.mails, m); return nil }
		}, 0},
		{"before it was sent", func(w *world) { w.r.save() }, 1},
		{"after it was refused", func(w *world) {
			w.r.save()
			w.submit = errTest
			w.at(due(w))
			w.submit = nil
		}, 1},
		{"in the middle of the note", func(w *world) {
			w.r.save()
			if err := os.WriteFile(filepath.Join(w.o.Dir, "2026-11-24.sent"), []byte("beg"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.wants("d.test", "v=TLSRPTv1; rua=mailto:a@d.test")
			w.add("d.test")
			c.crash(w)
			w.start()
			w.at(due(w).Add(time.Hour))
			w.at(due(w).Add(8 * time.Hour))
			w.equal("mails", len(w.mails), c.want)
		})
	}
}

// TestRetry: a report is tried for a day, at growing intervals, then given up.
func TestRetry(t *testing.T) {
	w := newWorld(t)
	w.submit = errTest
	w.wants("d.test", "v=TLSRPTv1; rua=mailto:a@d.test")
	w.add("d.test")
	var tries []string
	for at := w.midnight(); at.Before(w.midnight().Add(48 * time.Hour)); at = at.Add(time.Minute) {
		before := len(w.asked)
		w.at(at)
		if len(w.asked) > before {
			tries = append(tries, at.Sub(w.midnight()).String())
		}
	}
	w.equal("tries", strings.Join(tries, " "), "1h0m0s 1h15m0s 1h45m0s 2h45m0s 4h45m0s 8h45m0s 12h45m0s 16h45m0s 20h45m0s 24h45m0s")
	w.equal("given up", strings.Contains(w.log.String(), "given up"), true)
	w.equal("files", w.files(), "")
}

// TestPlaces: one place that takes it is enough, all are tried, and trouble of DNS
// is no answer.
func TestPlaces(t *testing.T) {
	w := newWorld(t)
	w.wants("d.test", "v=TLSRPTv1; rua=https://nowhere.d.test:1/,mailto:a@d.test")
	w.txt["_smtp._tls.bogus.test"] = dnssec.Answer{State: dnssec.Bogus, Reason: "forged", TXT: []string{"v=TLSRPTv1; rua=mailto:a@bogus.test"}}
	w.wants("none.test", "v=TLSRPTv1")
	for _, d := range []string{"d.test", "bogus.test", "none.test", "absent.test"} {
		w.add(d)
	}
	w.at(w.midnight().Add(time.Hour))
	w.equal("mails", len(w.mails), 1)
	left := w.r.planned["2026-11-24"]
	if len(left) != 1 || left[0].domain.String() != "bogus.test" {
		t.Errorf("left: %v", left)
	}
}

// TestRun: the days go by, and each is reported once, at its own delay.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.o.Now, w.o.Delay = nil, nil })
		w.wants("d.test", "v=TLSRPTv1; rua=mailto:a@d.test")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.r.Run(ctx) }()
		start := time.Now().UTC() // midnight of a day, in synctest
		for range 3 {
			w.add("d.test")
			time.Sleep(24 * time.Hour)
		}
		time.Sleep(maxDelay + time.Minute)
		synctest.Wait()
		w.equal("mails", len(w.mails), 3)
		for i, m := range w.mails {
			msg, err := mail.ReadMessage(bytes.NewReader(m.Body))
			if err != nil {
				t.Fatal(err)
			}
			sent, err := msg.Header.Date()
			end := start.Add(time.Duration(i+1) * 24 * time.Hour)
			if err != nil || sent.Before(end) || sent.After(end.Add(maxDelay+time.Minute)) {
				t.Errorf("report %d was sent at %v, %v", i, sent, err)
			}
		}
		cancel()
		<-done
		w.equal("files", w.files(), "")
	})
}

// TestSavedAtStop: what was counted since the last save is not lost by a stop.
func TestSavedAtStop(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.add("d.test")
	w.r.Run(ctx)
	w.equal("files", w.files(), "2026-11-24.json")
	w.start()
	w.equal("counted", w.r.counter.tallies("2026-11-24", name("d.test")).Policies[0].Successes, int64(1))
}

// TestDamaged: what cannot be read is left out, and the rest works.
func TestDamaged(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"domains":{"d.test":null,"":{}}}`} {
		w := newWorld(t, func(w *world) {
			if err := os.WriteFile(filepath.Join(w.o.Dir, "2026-11-23.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		})
		w.add("d.test")
		w.at(w.midnight().Add(time.Hour))
		w.equal(text, len(w.mails), 0)
	}
}

// TestLab: the record is found in signed zones by the resolver of the program.
func TestLab(t *testing.T) {
	internet := lab.NewWorld(time.Now())
	internet.AddZone("test.", lab.ZoneOptions{})
	internet.AddZone("d.test.", lab.ZoneOptions{}).Add(`_smtp._tls IN TXT "v=TLSRPTv1; rua=" "mailto:a@d.test"`)
	server, err := internet.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	anchors, err := dnssec.ParseAnchors(internet.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dnssec.New(dnssec.Options{Upstreams: []string{server.Addr()}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	w := newWorld(t, func(w *world) { w.o.Resolver = resolver })
	w.add("d.test")
	w.add("absent.test")
	w.at(w.midnight().Add(time.Hour))
	w.equal("mails", len(w.mails), 1)
	w.equal("files", w.files(), "")
}
