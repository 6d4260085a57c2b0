package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/lab"
	"dancemta/internal/metrics"
	"dancemta/internal/msgauth"
	"dancemta/ldapbridge"
	ldapmessage "dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
	"dancemta/queue"
	"dancemta/queue/dsn"
	"dancemta/queue/mtasts"
	"dancemta/saslext"
	"dancemta/smtpd"
	"dancemta/smtpd/policy"
	"dancemta/smtpd/wire"
)

// scrape returns the samples that a server shows, by series.
func scrape(t *testing.T, address string) map[string]string {
	t.Helper()
	client := &http.Client{Timeout: testTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	samples := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if i := strings.LastIndexByte(line, ' '); line[0] != '#' && i > 0 {
			samples[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return samples
}

// waitSample scrapes until a series has a value.
func waitSample(t *testing.T, address, series, value string) {
	t.Helper()
	ctx := withTimeout(t)
	for got := ""; got != value; {
		if got = scrape(t, address)[series]; ctx.Err() != nil {
			t.Fatalf("%s is %q, not %s", series, got, value)
		}
	}
}

// demoWithMetrics starts a server in the world of the demo, with metrics.
func demoWithMetrics(t *testing.T) *demo {
	t.Helper()
	d := &demo{dir: t.TempDir(), out: &transcript{w: io.Discard}}
	var err error
	if d.net, err = lab.NewInternet(time.Now()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.net.Close() })
	if d.ldap, err = d.net.StartDirectory(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.ldap.Close() })
	if err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(d.configPath())
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "\n[metrics]\naddress = \"127.0.0.1:0\"\n"...)
	if err := os.WriteFile(d.configPath(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	d.server = startServer(t, d.configPath())
	return d
}

// play is a short day of a server: one who relays, one with another key, one
// whose zone is broken, a user, and one who sends a NUL.
func play(t *testing.T, d *demo) {
	t.Helper()
	ctx := withTimeout(t)
	refused := []string{"MAIL FROM:<someone@partner.test>", "RCPT TO:<" + recipient + ">"}
	for _, s := range []struct {
		listener string
		client   *lab.Client
		lines    []string
		last     string
	}{
		{"relay", &d.net.Device, nil, "250"},
		{"relay", &d.net.Wrong, refused, "550 5.7.1"},
		{"relay", &d.net.Bogus, refused, "451 4.7.5"},
		{"relay", nil, refused, "550 5.7.1"},
		{"submission", &d.net.Rick, []string{"AUTH EXTERNAL ="}, "235"},
	} {
		k, err := d.connect(ctx, s.listener, s.client)
		if err != nil {
			t.Fatal(err)
		}
		var reply string
		if s.lines == nil {
			reply, err = k.send("sensor7@partner.test", recipient, message("sensor7@partner.test", "a number"))
		}
		for _, line := range s.lines {
			if reply, err = k.quiet(line); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil || !strings.HasPrefix(reply, s.last) {
			t.Fatalf("%s: %q, %v; want %s", s.listener, reply, err, s.last)
		}
		k.close()
	}
	conn, err := net.DialTimeout("tcp", d.server.addresses["relay"], testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "EHLO a.test\x00\r\n")
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "220 ") {
		t.Fatalf("NUL: %q, %v", text, err)
	}
}

// After a scripted day the numbers are exact.
func TestMetrics(t *testing.T) {
	d := demoWithMetrics(t)
	address := d.server.addresses[metricsEar]
	text, err := os.ReadFile(filepath.Join(d.dir, "root.ds"))
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := dnssec.ParseAnchors(string(text))
	if err != nil {
		t.Fatal(err)
	}
	anchor := fmt.Sprintf("dancemta_trust_anchor_matched{key_tag=\"%d\"}", anchors[0].KeyTag)
	before := scrape(t, address)
	for series, value := range before {
		if value != "0" && !strings.HasPrefix(series, "dancemta_build_info{") && series != anchor {
			t.Errorf("%s is %s at the start", series, value)
		}
	}
	play(t, d)
	waitSample(t, address, `dancemta_deliveries_total{result="delivered"}`, "1")
	waitSample(t, address, anchor, "1")
	waitSample(t, address, `dancemta_queue_messages{state="active"}`, "0")
	after := scrape(t, address)
	if len(after) != len(before) {
		t.Errorf("%d series have become %d", len(before), len(after))
	}
	want := map[string]string{
		`dancemta_sessions_total{listener="relay",tls="none"}`:                         "4",
		`dancemta_sessions_total{listener="relay",tls="1.3"}`:                          "4",
		`dancemta_sessions_total{listener="submission",tls="none"}`:                    "1",
		`dancemta_sessions_total{listener="submission",tls="1.3"}`:                     "1",
		`dancemta_client_verdicts_total{reason="proved",source="certificate"}`:         "1",
		`dancemta_client_verdicts_total{reason="no-match",source="certificate"}`:       "1",
		`dancemta_client_verdicts_total{reason="bogus-dns",source="certificate"}`:      "1",
		`dancemta_client_verdicts_total{reason="no-certificate",source="certificate"}`: "1",
		`dancemta_logins_total{how="external",reason="proved"}`:                        "1",
		`dancemta_wire_events_total{event="nul octet"}`:                                "1",
		`dancemta_accepted_message_bytes_count{listener="relay"}`:                      "1",
		`dancemta_deliveries_total{result="delivered"}`:                                "1",
		`dancemta_delivery_tls_total{got="encrypted",wanted="may"}`:                    "1",
		anchor: "1",
		// The device's TLSA, known by the time that the other key is shown; rick's; MX, A and
		// AAAA of the delivery, and that no TLSA and no TXT record says how its TLS must be;
		// whoever asks for TLSA looks at the addresses once more; and the MX was looked at by RCPT.
		`dancemta_lookups_total{cache="miss",state="secure"}`: "7",
		`dancemta_lookups_total{cache="hit",state="secure"}`:  "4",
		`dancemta_lookups_total{cache="miss",state="bogus"}`:  "1",
		// Each of five says EHLO, STARTTLS, EHLO, QUIT: 5 × (220, 250, 220, 250, 221). The
		// device adds MAIL, RCPT and the message, three others MAIL, the user his login; the
		// NUL is greeted.
		`dancemta_replies_total{class="2xx"}`: "33",
		`dancemta_replies_total{class="3xx"}`: "1",
		`dancemta_replies_total{class="4xx"}`: "1",
		`dancemta_replies_total{class="5xx"}`: "3", // two who may not relay, and the NUL
	}
	for series, value := range after {
		switch {
		case strings.HasPrefix(series, "dancemta_build_info"), strings.Contains(series, "_bucket{"), strings.Contains(series, "_sum{"):
			continue
		case want[series] == "":
			want[series] = "0"
		}
		if value != want[series] {
			t.Errorf("%s is %s, want %s", series, value, want[series])
		}
		delete(want, series)
	}
	for series := range want {
		t.Errorf("%s is not there", series)
	}
}

// Each word of the parts has its place in the table, and nothing else is there: a
// reason without one would be "other", one that is gone would stay zero for ever.
func TestMetricsKnowAllWords(t *testing.T) {
	m := metrics.New(metrics.Options{})
	ear, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{metrics: m, scrapes: ear}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { p.serveMetrics(ctx) })
	defer wait.Wait()
	defer cancel()

	const unknown = "unknown" // what the tables of reasons and kinds say of the rest
	c := p.smtpCounters()
	sources := []daneclient.Source{daneclient.SourceExtension, daneclient.SourceCertificate, "proxy"}
	for n := range 256 {
		if word := daneclient.Reason(n).String(); word != unknown {
			for _, s := range sources {
				c.Client(s, word)
			}
			loginEachWay(c, word)
		}
		if word := saslext.Reason(n).String(); word != unknown {
			loginEachWay(c, word)
		}
		if k := wire.Kind(n); k.String() != unknown {
			c.Wire(k)
		}
	}
	for _, s := range sources {
		c.Client(s, smtpd.Proved)
	}
	loginEachWay(c, smtpd.Proved)
	for _, k := range kinds {
		c.Accepted(k, 1)
		for _, v := range []smtpd.TLSVersion{0, tls.VersionTLS12, tls.VersionTLS13} {
			c.Session(k, v)
		}
	}
	for code := 200; code < 600; code += 100 {
		c.Reply(code)
	}
	for _, s := range []dnssec.State{dnssec.Secure, dnssec.Insecure, dnssec.Bogus, dnssec.Failed} {
		p.countLookups()(s, true)
		p.countLookups()(s, false)
	}
	for _, r := range []queue.Result{queue.Delivered, queue.Deferred, queue.Failed} {
		p.countOutcomes()(queue.Outcome{Result: r})
	}
	for _, wanted := range []string{"may", "encrypt", "verify", "dane", "dane-only", "mta-sts", "mta-sts testing", "requiretls", "dane (not secure to the domain)"} {
		for _, got := range []string{"none", "TLS1.3", "TLS1.3 verified 3 1 1", "TLS1.2 not verified"} {
			p.countOutcomes()(queue.Outcome{TLS: wanted + ": " + got})
		}
	}
	for _, err := range []error{nil, msgauth.ErrUnsigned, errors.New("trouble")} {
		p.countSignature("bounce", err)
		p.countSignature("tls-report", err)
		p.countSignature("quota-notice", err)
	}
	for _, method := range []string{"spf", "dkim", "dmarc"} {
		for _, result := range []string{"none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"} { // RFC 8601 2.7
			c.Checked(method, result)
		}
	}
	for _, result := range []string{"signed", "unsigned", "failed"} {
		c.Signed(result)
	}
	for _, result := range []string{"sent", "failed", "given up"} {
		p.countTLSReports()(result)
	}
	for _, k := range []mtasts.Kind{mtasts.FetchError, mtasts.InvalidError, mtasts.WebPKIError} {
		p.countFetches()(k.String())
	}
	p.countFetches()("fetched")
	for _, stage := range []string{"mail", "recipient", "message"} {
		for _, verdict := range []string{"continue", "changed", "held", "reject", "tempfail", "discard", "failed", "skipped"} {
			c.Filtered(stage, verdict)
		}
	}
	for _, each := range []string{policy.EachIdentity, policy.EachDomain, policy.EachAddress} {
		c.OverQuota(policy.Messages, each)
		c.OverQuota(policy.Recipients, each)
	}
	for _, word := range ldapbridge.Events() {
		m.LDAPEvent(word)
	}
	for _, how := range ldapbridge.Binds() {
		for _, code := range ldapbridge.BindCodes() {
			p.ldapCounters().Bind(how, code)
		}
	}
	for _, op := range []ldapmessage.Op{ldapmessage.SearchRequest, ldapmessage.CompareRequest, ldapmessage.AddRequest, ldapmessage.ModifyRequest,
		ldapmessage.DeleteRequest, ldapmessage.ModifyDNRequest, ldapmessage.ExtendedRequest} {
		for _, code := range ldapmessage.Codes() {
			if code != ldapmessage.Other { // which has the name of what is not known
				p.ldapCounters().Operation(op.String(), code)
			}
		}
	}
	for _, event := range []string{upstream.EventConnected, upstream.EventFailed, upstream.EventLost, upstream.EventBusy, upstream.EventUnavailable} {
		p.countUpstream()(event)
	}
	for _, question := range []string{"user", "recipient", "password"} {
		for _, result := range []string{"found", "none", "trouble"} {
			m.Directory(question, result, true)
			m.Directory(question, result, false)
		}
	}
	p.countNotices()("queued")
	p.countNotices()("failed")
	for _, a := range []dsn.Action{dsn.Failed, dsn.Delayed, dsn.Relayed, dsn.Delivered} {
		p.countReports()(a.String())
	}
	for series, value := range scrape(t, ear.Addr().String()) {
		counted := strings.Contains(series, "_total") || strings.Contains(series, "_count")
		if isOther := strings.Contains(series, `"other"`); counted && isOther != (value == "0") {
			t.Errorf("%s is %s", series, value)
		}
	}
}

func loginEachWay(c smtpd.Counters, word string) {
	c.Login("external", word)
	c.Login("implicit", word)
	c.Login("proxy", word)
	c.Login("plain", word)
}

func TestCheckOfMetrics(t *testing.T) {
	for address, want := range map[string]string{
		"":               "",
		"127.0.0.1:9110": "ok       metrics are shown at http://127.0.0.1:9110/metrics",
		"[::1]:9110":     "ok       metrics are shown",
		":9110":          "warning  metrics.address :9110: whoever reaches it",
		"192.0.2.1:9110": "warning  metrics.address 192.0.2.1:9110",
		"[::]:9110":      "warning  metrics.address [::]:9110",
		"0.0.0.0:9110":   "warning  metrics.address 0.0.0.0:9110",
		"[fe80::1]:9110": "warning  metrics.address",
	} {
		var b strings.Builder
		r := &report{w: &b}
		r.metrics(config.Metrics{Address: config.ListenAddress(address)})
		if !strings.HasPrefix(b.String(), want) || want == "" && b.Len() > 0 || r.problems != 0 {
			t.Errorf("%q: %q", address, b.String())
		}
	}
}

func TestMetricsPortInUse(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	mustFail(t, writeConfig(t, minimalConfig+fmt.Sprintf("\n[metrics]\naddress = %q\n", busy.Addr())), exitUnavailable, "listener metrics: ")
}

// The port is let go at the stop, also while a client holds a connection.
func TestMetricsStop(t *testing.T) {
	c := startServer(t, writeConfig(t, jsonLog+minimalConfig+"\n[metrics]\naddress = \"127.0.0.1:0\"\n"))
	conn, err := net.DialTimeout("tcp", c.addresses[metricsEar], testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	stopWithOpenSession(t, c)
}
