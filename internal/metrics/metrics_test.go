package metrics

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves m until the end of the test and returns the address.
func start(t *testing.T, m *Metrics) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(m)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func request(t *testing.T, method, url string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// scrape returns the samples of m, as Prometheus would get them.
func scrape(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	code, text := request(t, "GET", "http://"+start(t, m)+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	samples := map[string]string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			i := strings.LastIndexByte(line, ' ')
			samples[line[:i]] = line[i+1:]
		}
	}
	return samples
}

// Before anything has happened, every series is there and zero.
func TestAllFromTheStart(t *testing.T) {
	samples := scrape(t, New(Options{}))
	for _, m := range all() {
		if m.name == anchorMatched.name || m.name == buildInfo.name {
			continue // their labels come from the configuration and from the build
		}
		name := m.name
		if m.kind == histogram {
			name += "_count"
		}
		for _, values := range m.combinations() {
			if s := sample(name, m.labelNames(), values); samples[s] != "0" {
				t.Errorf("%s is %q", s, samples[s])
			}
		}
	}
}

// sample writes a series as Prometheus does, with its labels in order.
func sample(name string, labels, values []string) string {
	if len(labels) == 0 {
		return name
	}
	var pairs []string
	for i, l := range labels {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l, values[i]))
	}
	slices.Sort(pairs)
	return name + "{" + strings.Join(pairs, ",") + "}"
}

func TestNumbers(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	m := New(Options{
		Version: "1.2.3", Extension: true, Now: func() time.Time { return now },
		Queue: func() Queue {
			return Queue{New: 3, Active: 2, Deferred: 1, Held: 4, Oldest: now.Add(-90 * time.Second), Broken: true}
		},
		Anchors: func() []Anchor { return []Anchor{{20326, true}, {20326, false}, {38696, false}} },
		Own: func() []OwnTLSA {
			return []OwnTLSA{{"server", "match"}, {"server", "match"}, {"client", "mismatch"}, {"x", "y"}}
		},
		Upstream: func() Upstream { return Upstream{Leased: 5, Idle: 6, Waiting: 7} },
	})
	m.Session("relay", "1.3")
	m.Session("relay", "1.3")
	m.Client("extension", "no-match")
	m.Login("external", "proved")
	m.Reply(250)
	m.Reply(354)
	m.Reply(535)
	m.Reply(550)
	m.Wire("nul octet")
	m.Lookup("bogus", true)
	m.Lookup("secure", false)
	m.Accepted("submission", 4096)
	m.Accepted("submission", 4097)
	m.Delivery("deferred")
	m.DeliveryTLS("dane", "verified")
	m.LDAPUpstream("lost")
	samples := scrape(t, m)
	for s, want := range map[string]string{
		`dancemta_sessions_total{listener="relay",tls="1.3"}`:                      "2",
		`dancemta_sessions_total{listener="relay",tls="none"}`:                     "0",
		`dancemta_client_verdicts_total{reason="no-match",source="extension"}`:     "1",
		`dancemta_client_verdicts_total{reason="no-match",source="certificate"}`:   "0",
		`dancemta_logins_total{how="external",reason="proved"}`:                    "1",
		`dancemta_replies_total{class="2xx"}`:                                      "1",
		`dancemta_replies_total{class="3xx"}`:                                      "1",
		`dancemta_replies_total{class="4xx"}`:                                      "0",
		`dancemta_replies_total{class="5xx"}`:                                      "2",
		`dancemta_wire_events_total{event="nul octet"}`:                            "1",
		`dancemta_lookups_total{cache="hit",state="bogus"}`:                        "1",
		`dancemta_lookups_total{cache="miss",state="secure"}`:                      "1",
		`dancemta_accepted_message_bytes_count{listener="submission"}`:             "2",
		`dancemta_accepted_message_bytes_sum{listener="submission"}`:               "8193",
		`dancemta_accepted_message_bytes_bucket{listener="submission",le="4096"}`:  "1",
		`dancemta_accepted_message_bytes_bucket{listener="submission",le="16384"}`: "2",
		`dancemta_deliveries_total{result="deferred"}`:                             "1",
		`dancemta_delivery_tls_total{got="verified",wanted="dane"}`:                "1",
		`dancemta_delivery_tls_total{got="none",wanted="may"}`:                     "0",
		`dancemta_queue_messages{state="new"}`:                                     "3",
		`dancemta_queue_messages{state="active"}`:                                  "2",
		`dancemta_queue_messages{state="deferred"}`:                                "1",
		`dancemta_queue_messages{state="held"}`:                                    "4",
		`dancemta_queue_oldest_seconds`:                                            "90",
		`dancemta_ldap_upstream_total{event="lost"}`:                               "1",
		`dancemta_ldap_upstream_connections{state="leased"}`:                       "5",
		`dancemta_ldap_upstream_connections{state="idle"}`:                         "6",
		`dancemta_ldap_upstream_connections{state="waiting"}`:                      "7",
		`dancemta_store_broken`:                                                    "1",
		`dancemta_own_tlsa{identity="server",verdict="match"}`:                     "2",
		`dancemta_own_tlsa{identity="server",verdict="none"}`:                      "0",
		`dancemta_own_tlsa{identity="client",verdict="mismatch"}`:                  "1",
		`dancemta_trust_anchor_matched{key_tag="20326"}`:                           "1",
		`dancemta_trust_anchor_matched{key_tag="38696"}`:                           "0",
	} {
		if samples[s] != want {
			t.Errorf("%s is %q, want %s", s, samples[s], want)
		}
	}
	for s := range samples {
		if strings.HasPrefix(s, "dancemta_build_info") &&
			!(strings.Contains(s, `version="1.2.3"`) && strings.Contains(s, `extension="true"`)) {
			t.Error(s)
		}
	}
}

// Whatever the parts say, no series is made of it.
func TestLabelsAreClosed(t *testing.T) {
	m := New(Options{Version: "bad\xff"})
	before := len(scrape(t, m))
	for i := range 100 {
		word := fmt.Sprintf("evil-%d.example\nx 1", i)
		m.Client("certificate", word)
		m.Login("external", word)
		m.Wire(word)
		m.Session("relay", word)
	}
	samples := scrape(t, m)
	for _, s := range []string{
		`dancemta_client_verdicts_total{reason="other",source="certificate"}`,
		`dancemta_logins_total{how="external",reason="other"}`,
		`dancemta_wire_events_total{event="other"}`,
		`dancemta_sessions_total{listener="relay",tls="other"}`,
	} {
		if samples[s] != "100" {
			t.Errorf("%s is %q", s, samples[s])
		}
	}
	if len(samples) != before {
		t.Errorf("%d series have become %d", before, len(samples))
	}
	// Also where no other is foreseen, there is one more and not a hundred.
	for i := range 100 {
		word := fmt.Sprint("evil", i)
		m.Reply(1000 + 100*i)
		m.Lookup(word, false)
		m.Delivery(word)
	}
	if samples := scrape(t, m); len(samples) != before+3 || samples[`dancemta_deliveries_total{result="other"}`] != "100" {
		t.Errorf("%d series have become %d", before, len(samples))
	}
	m.Accepted("evil", 1)
	if s := scrape(t, m)[`dancemta_accepted_message_bytes_count{listener="other"}`]; s != "1" {
		t.Errorf("a listener of another kind: %q", s)
	}
}

func TestServerAnswersNothingElse(t *testing.T) {
	base := "http://" + start(t, New(Options{}))
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/metrics", http.StatusOK},
		{"HEAD", "/metrics", http.StatusOK},
		{"POST", "/metrics", http.StatusMethodNotAllowed},
		{"GET", "/", http.StatusNotFound},
		{"GET", "/metrics/x", http.StatusNotFound},
		{"GET", "/debug/pprof/", http.StatusNotFound},
	} {
		if code, _ := request(t, c.method, base+c.path); code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, code, c.code)
		}
	}
}

func TestServerBounds(t *testing.T) {
	h := NewServer(New(Options{})).http
	if h.ReadTimeout <= 0 || h.WriteTimeout <= 0 || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 {
		t.Errorf("an HTTP server without a bound: %+v", h)
	}
}

const docsHead = `# Metrics

<!-- Made from internal/metrics/table.go: go test ./internal/metrics -run TestDocs -update -->

With an address in ` + "`[metrics]`" + ` of the [settings](config.md), the server shows numbers to Prometheus at ` + "`http://ADDRESS/metrics`" + `:

` + "```toml\n[metrics]\naddress = \"127.0.0.1:9110\"\n```" + `

Whoever reaches the address may read them, so it should be one of this host alone; ` + "`dancemta check`" + ` warns when it is not.
Every series is there from the start. No label holds an address, a name or a domain of a peer: the values below are all there
are, and a word that is none of them would be counted as ` + "`other`" + `. Which peer it was, the log says, in the same words.

`

// TestDocs: docs/metrics.md is what the table says, and the table is what the
// registry has.
func TestDocs(t *testing.T) {
	m := New(Options{Version: "v", Anchors: func() []Anchor { return []Anchor{{1, true}} }})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{} // name → kind, help, names of labels
	for _, f := range families {
		s := strings.ToLower(f.GetType().String()) + " " + f.GetHelp()
		for _, l := range f.GetMetric()[0].GetLabel() {
			s += " " + l.GetName()
		}
		shown[f.GetName()] = s
	}
	var doc strings.Builder
	doc.WriteString(docsHead)
	for _, m := range all() {
		labels := m.labelNames()
		slices.Sort(labels)
		if want := strings.Join(append([]string{string(m.kind), m.help}, labels...), " "); shown[m.name] != want {
			t.Errorf("%s: the registry says %q, the table %q", m.name, shown[m.name], want)
		}
		delete(shown, m.name)
		m.write(&doc)
	}
	if len(shown) > 0 {
		t.Errorf("not in the table: %v", shown)
	}
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != doc.String() {
		t.Errorf("%s differs from the table (%v); -update writes it", path, err)
	}
}

func (m *metric) write(doc *strings.Builder) {
	fmt.Fprintf(doc, "## `%s`\n\n%s. %s\n\n", m.name, strings.ToUpper(string(m.kind[:1]))+string(m.kind[1:]), m.help)
	for _, l := range m.labels {
		values := "as it is"
		if l.values != nil {
			values = "`" + strings.Join(l.values, "`, `") + "`"
		}
		fmt.Fprintf(doc, "- `%s`: %s\n", l.name, values)
	}
	if len(m.labels) > 0 {
		doc.WriteString("\n")
	}
}

// Names as Prometheus wants them: counters end in _total, sizes and times in
// their unit, and nobody else does.
func TestNames(t *testing.T) {
	form := regexp.MustCompile(`^dancemta_[a-z]+(_[a-z]+)*$`)
	for _, m := range all() {
		if !form.MatchString(m.name) || strings.HasSuffix(m.name, "_total") != (m.kind == counter) {
			t.Errorf("%s is a %s", m.name, m.kind)
		}
		if !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: %q", m.name, m.help)
		}
		for _, l := range m.labels {
			sorted := slices.Clone(l.values)
			slices.Sort(sorted)
			if len(slices.Compact(sorted)) != len(l.values) {
				t.Errorf("%s: label %s has a value twice", m.name, l.name)
			}
		}
	}
}
