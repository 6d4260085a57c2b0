package explain_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/explain"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/deliver"
	"dancemta/smtpd/policy"
)

// planner returns a plan, and asks DNS once for it.
type planner struct {
	plan  deliver.Plan
	asks  *explain.Recorder
	given string
}

func (p *planner) Plan(ctx context.Context, destination string, _ queue.Envelope) deliver.Plan {
	p.given = destination
	for range 2 { // the second time is not shown again
		p.asks.Lookup(ctx, dnsname.MustParse("far.test"), dnssec.TypeMX)
	}
	return p.plan
}

type answering dnssec.Answer

func (a answering) Lookup(context.Context, dnsname.Name, dnssec.Type) dnssec.Answer {
	return dnssec.Answer(a)
}

type doors struct{ known, allow bool }

func (d doors) RelayRecipient(mailaddr.Address) (bool, policy.Verdict) {
	return d.known, policy.Verdict{Allow: d.allow, Reason: policy.NotRelayDomain}
}

func rcpt(plan deliver.Plan, a dnssec.Answer) *explain.Rcpt {
	rec := &explain.Recorder{Resolver: answering(a)}
	e := explain.RcptExplainer{Planner: &planner{plan: plan, asks: rec}, Recorder: rec, Rules: doors{true, true}, Limits: explain.Limits{Rate: "5 in 1m0s"}}
	return e.Explain(context.Background(), mailaddr.MustParse("ann@far.test"))
}

func TestRcptVerdicts(t *testing.T) {
	addrs := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25")}
	good := deliver.Stop{Host: "mx.far.test", Addrs: addrs, TLS: deliver.TLSPlan{Wanted: "may"}}
	unmet := deliver.Stop{Host: "b.far.test", Addrs: addrs, Refuse: &deliver.Refusal{Status: "4.7.5", Text: "not named"}}
	final := deliver.Stop{Host: "b.far.test", Addrs: addrs, Refuse: &deliver.Refusal{Final: true, Status: "5.7.30", Text: "no"}}
	gone := deliver.Refusal{Final: true, Status: "5.1.2", Text: "does not exist"}
	later := deliver.Refusal{Status: "4.4.3", Text: "no answer"}
	for name, c := range map[string]struct {
		plan deliver.Plan
		want string
	}{
		"a host":                    {deliver.Plan{Groups: [][]deliver.Stop{{good}}}, explain.Open},
		"one of two":                {deliver.Plan{Groups: [][]deliver.Stop{{unmet}, {good}}}, explain.Open},
		"a socket":                  {deliver.Plan{Groups: [][]deliver.Stop{{{Host: "unix:/x", Socket: true}}}}, explain.Open},
		"no host that may be used":  {deliver.Plan{Groups: [][]deliver.Stop{{unmet, final}}}, explain.Temporary},
		"none for good":             {deliver.Plan{Groups: [][]deliver.Stop{{final}}}, explain.Refused},
		"no address, for now":       {deliver.Plan{Groups: [][]deliver.Stop{{{Host: "mx.far.test"}}}, Refuse: []deliver.Refusal{later}}, explain.Temporary},
		"no domain":                 {deliver.Plan{Refuse: []deliver.Refusal{gone}}, explain.Refused},
		"temporary outlives final":  {deliver.Plan{Refuse: []deliver.Refusal{gone, later}}, explain.Temporary},
		"a host, another has gone":  {deliver.Plan{Groups: [][]deliver.Stop{{good, {Host: "x.test"}}}, Refuse: []deliver.Refusal{gone}}, explain.Open},
		"a host without an address": {deliver.Plan{Groups: [][]deliver.Stop{{{Host: "mx.far.test"}}}, Refuse: []deliver.Refusal{gone}}, explain.Refused},
	} {
		if got := rcpt(c.plan, dnssec.Answer{}); got.Verdict != c.want || got.Destination != "far.test" {
			t.Errorf("%s: %s, want %s", name, got.Verdict, c.want)
		}
	}
}

func TestRcptReport(t *testing.T) {
	stop := deliver.Stop{
		Host: "mx.far.test", Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25")}, Secure: true,
		TLS: deliver.TLSPlan{Wanted: "dane", Required: true, Proof: "dane", Base: "mx.far.test", Records: []string{"3 1 1 abcd"}},
	}
	r := rcpt(deliver.Plan{Groups: [][]deliver.Stop{{stop}}, Refuse: []deliver.Refusal{{Status: "4.4.3", Text: "host b.far.test: \x1b[31mbogus"}}},
		dnssec.Answer{State: dnssec.Bogus, Reason: "no\u202esignature\x07", TXT: []string{"a\x1b]0;x"}, NXDomain: true})
	next := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	message := queue.Summary{ID: "M1", Recipients: []queue.RecipientSummary{
		{Destination: "other.test", State: "deferred", Next: next, LastReply: "not this one"},
		{Destination: "far.test", State: "delivered", LastReply: "nor this"},
		{Destination: "far.test", State: "deferred", Attempts: 3, Next: next, LastReply: "450 \x1blater", LastTLS: "dane: none"},
		{Destination: "far.test", State: "deferred", Attempts: 3, Next: next, LastReply: "once is enough"},
	}}
	for range 22 {
		r.Add(message)
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{
		"mail to ann@far.test: hosts would be called", "from strangers  taken", "the MX hosts of far.test", "5 in 1m0s on this way",
		"mx.far.test  192.0.2.1:25", "dane: TLSA records at mx.far.test decide", "3 1 1 abcd", "host b.far.test: ?[31mbogus (4.4.3 waits)",
		"bogus  far.test MX  a?]0;x, no such name; no?signature?", "M1  deferred", "3 tries, next 2026-07-01 12:00:00 UTC", "450 ?later", "and 2 more",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not there: %q\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\x07\u202e") || strings.Contains(out, "not this") || strings.Contains(out, "nor this") || strings.Contains(out, "once is") {
		t.Errorf("%q", out)
	}
	if len(r.Lookups) != 1 || len(r.Queued) != 20 {
		t.Errorf("%d lookups, %d messages", len(r.Lookups), len(r.Queued))
	}
	if text, err := json.Marshal(r); err != nil || !strings.Contains(string(text), `"verdict":"open"`) {
		t.Errorf("%s %v", text, err)
	}
}

// A socket has neither an address that could be missing nor a name to prove.
func TestRcptSocket(t *testing.T) {
	r := rcpt(deliver.Plan{Groups: [][]deliver.Stop{{{Host: "unix:/run/lmtp", Socket: true}}}}, dnssec.Answer{})
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.Contains(text, "unix:/run/lmtp  a socket of this host\n") || strings.Contains(text, "not proved") || strings.Contains(text, "(empty)") {
		t.Error(text)
	}
}
