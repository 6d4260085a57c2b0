package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/explain"
	"dancemta/internal/lab"
)

func explainRcpt(t *testing.T, config, to string) (int, *explain.Rcpt) {
	t.Helper()
	code, out, text := run(t, "explain", "rcpt", to, "--json", "--config", config)
	r := &explain.Rcpt{}
	if err := json.Unmarshal([]byte(out), r); err != nil {
		t.Fatalf("%v: %s %s", err, out, text)
	}
	return code, r
}

// One route is flipped, and both a delivery and what is said of it change.
func TestExplainRcptIsTheDelivery(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	other, err := lab.StartSink("127.0.0.1:0", lab.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, port, err := splitPort(n.Sink.Addr())
	if err != nil {
		t.Fatal(err)
	}
	open := fmt.Sprintf(demoConfig, n.DNS.Addr(), port) + "\n[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n"
	route := fmt.Sprintf("\n[[route]]\ndomain = \"remote.test\"\nnext_hop = [%q]\ntls = \"encrypt\"\nrate = \"600/m\"\n", other.Addr())
	for _, c := range []struct {
		name, config string
		sink         *lab.Sink
		host, tls    string
		way          string
	}{
		{"no route", open, n.Sink, lab.SinkName, "may", "the MX hosts of remote.test"},
		{"a route", open + route, other, "[127.0.0.1]", "encrypt", "route remote.test"},
	} {
		config := writeConfig(t, c.config)
		if err := n.WritePKI(filepath.Dir(config)); err != nil {
			t.Fatal(err)
		}
		code, r := explainRcpt(t, config, "ann@remote.test")
		if code != exitOK || r.Verdict != explain.Open || r.Way != c.way || !r.Door.Open || len(r.Hosts) != 1 ||
			r.Hosts[0].Host != c.host || r.Hosts[0].TLS.Wanted != c.tls || len(r.Hosts[0].Addresses) != 1 || r.Hosts[0].Addresses[0] != c.sink.Addr() {
			t.Errorf("%s: %d, %+v", c.name, code, r)
		}
		if (r.Limits.Rate != "") != strings.Contains(c.config, "rate") {
			t.Errorf("%s: %+v", c.name, r.Limits)
		}
		s := startServer(t, config)
		handOver(t, s.addresses["relay"], "bob@partner.test", "ann@remote.test")
		if _, err := c.sink.Wait(withTimeout(t), func(m lab.Message) bool { return true }); err != nil {
			t.Errorf("%s: not there: %v\n%s", c.name, err, s.text())
		}
		s.kill()
	}
}

// What waits for the destination is shown with its next try, from a running server.
func TestExplainRcptQueue(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	_, port, err := splitPort(n.Sink.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n.Sink.Stop()
	config := writeConfig(t, strings.Replace(fmt.Sprintf(demoConfig, n.DNS.Addr(), port), `["1s"]`, `["1h"]`, 1)+"\n[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n")
	if err := n.WritePKI(filepath.Dir(config)); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, config)
	handOver(t, s.addresses["relay"], "bob@partner.test", "ann@remote.test")
	waitLog(t, s, `"msg":"deferred"`)
	code, r := explainRcpt(t, config, "carl@remote.test")
	if code != exitOK || len(r.Queued) != 1 || r.Queued[0].State != "deferred" || time.Until(r.Queued[0].Next) < 30*time.Minute || r.Queued[0].LastReply == "" {
		t.Errorf("%d %+v", code, r)
	}
}

func TestExplainRcptCodes(t *testing.T) {
	n, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	config := writeConfig(t, fmt.Sprintf(demoConfig, n.DNS.Addr(), 25))
	if err := n.WritePKI(filepath.Dir(config)); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]struct {
		code int
		text string
	}{
		"ann@none.partner.test": {exitRefused, "5.1.2 bounces"},
		"ann@bogus.test":        {exitTemporary, "4.4.3 waits"},
		"ann@remote.test":       {exitOK, "refused (not-a-relay-domain)"},
	} {
		code, out, text := run(t, "explain", "rcpt", to, "--config", config)
		if code != want.code || !strings.Contains(out, want.text) || !strings.Contains(out, "not known: ") {
			t.Errorf("%s: %d\n%s%s", to, code, out, text)
		}
	}
	for _, to := range []string{"ann", "<>", "", "a@b@c"} {
		if code, _, _ := run(t, "explain", "rcpt", to, "--config", config); code != exitUsage {
			t.Errorf("%q: %d", to, code)
		}
	}
}
