package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"dancemta/config"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/internal/msgauth"
)

// judgedWorld serves judged.test, whose SPF and DMARC are good for 192.0.2.7, and a
// zone that is not signed as it should be; it returns a resolver of ours.
func judgedWorld(tb testing.TB) (*lab.World, *dnssec.Resolver) {
	tb.Helper()
	w := lab.NewWorld(time.Now())
	w.AddZone("test.", lab.ZoneOptions{})
	w.AddZone("judged.test.", lab.ZoneOptions{}).Add(
		`@ TXT "v=spf1 include:spf.judged.test -all"`, `spf TXT "v=spf1 ip4:192.0.2.0/24 -all"`, `_dmarc TXT "v=DMARC1; " "p=reject"`,
		`@ MX 0 .`, `two MX 1 m1`, `two MX 2 m2`, `m1 A 192.0.2.7`, `m1 AAAA 2001:db8::7`)
	w.AddZone("insecure.test.", lab.ZoneOptions{Unsigned: true}).Add(`@ TXT "v=spf1 +all"`)
	w.AddZone("bogus.test.", lab.ZoneOptions{Fault: lab.NoSignatures}).Add(`@ TXT "v=spf1 +all"`, `_dmarc TXT "v=DMARC1; p=none"`)
	server, err := w.Start("127.0.0.1:0")
	sure(tb, err)
	tb.Cleanup(func() { server.Close() })
	anchors, err := dnssec.ParseAnchors(w.Anchor())
	sure(tb, err)
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{server.Addr()}, Anchors: anchors})
	sure(tb, err)
	tb.Cleanup(func() { r.Close() })
	return w, r
}

// unjudged stands before settings under which much mail comes from anybody, where what
// it costs to judge it is of no concern.
const unjudged = "authentication = { dmarc = \"none\" }\n"

func sure(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// TestTextResolver: what our resolver proves, or proves to be unsigned, is known to
// those who judge mail; nothing else is.
func TestTextResolver(t *testing.T) {
	_, inner := judgedWorld(t)
	r := textResolver{inner}
	for _, c := range []struct {
		name      string
		of        msgauth.Type
		known, no bool
		want      string // of what there is
	}{
		{"judged.test", msgauth.TypeTXT, true, false, "v=spf1 include:spf.judged.test -all"},
		{"_dmarc.judged.test", msgauth.TypeTXT, true, false, "v=DMARC1; p=reject"},
		{"judged.test", msgauth.TypeMX, true, false, ""}, // a null MX
		{"two.judged.test", msgauth.TypeMX, true, false, "m1.judged.test m2.judged.test"},
		{"m1.judged.test", msgauth.TypeA, true, false, "192.0.2.7"},
		{"m1.judged.test", msgauth.TypeAAAA, true, false, "2001:db8::7"},
		{"m1.judged.test", msgauth.TypeTXT, true, false, ""},
		{"none.judged.test", msgauth.TypeTXT, true, true, ""},
		{"insecure.test", msgauth.TypeTXT, true, false, "v=spf1 +all"},
		{"bogus.test", msgauth.TypeTXT, false, false, ""},
		{"none.bogus.test", msgauth.TypeTXT, false, false, ""},
	} {
		a := r.Lookup(t.Context(), dnsname.MustParse(c.name), c.of)
		got := a.TXT
		for _, n := range a.Names {
			got = append(got, n.String())
		}
		for _, addr := range a.Addrs {
			got = append(got, addr.String())
		}
		if a.Known != c.known || a.NXDomain != c.no || strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %+v, want %q", c.name, c.of, a, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := r.Lookup(ctx, dnsname.MustParse("unasked.judged.test"), msgauth.TypeTXT); a.Known {
		t.Errorf("given up, and %+v", a)
	}
}

// TestInboundSettings: what the settings make of it.
func TestInboundSettings(t *testing.T) {
	for _, c := range []struct {
		of                       config.Authentication
		judges, reject, partners bool
	}{
		{config.Authentication{DMARC: config.DMARCNone}, false, false, false},
		{config.Authentication{DMARC: config.DMARCMark}, true, false, false},
		{config.Authentication{DMARC: config.DMARCReject}, true, true, false},
		{config.Authentication{DMARC: config.DMARCReject, Partners: true}, true, true, true},
	} {
		in := (&parts{cfg: &config.Config{Hostname: dnsname.MustParse("mx.example.test"), Authentication: c.of}}).inbound()
		if (in.Verifier != nil) != c.judges || in.Reject != c.reject || in.Partners != c.partners {
			t.Errorf("%+v makes %+v", c.of, in)
		}
	}
}

// TestInboundReport: what check says of it.
func TestInboundReport(t *testing.T) {
	for _, c := range []struct {
		dmarc    config.DMARCUse
		domains  int
		says     string
		warnings int
	}{
		{config.DMARCNone, 1, `warning  mail from anybody is not judged by SPF, DKIM and DMARC: authentication.dmarc is "none"`, 1},
		{config.DMARCMark, 1, "ok       mail from anybody is judged, marked and delivered", 0},
		{config.DMARCReject, 1, "ok       mail from anybody is judged, and refused where the domain in its From field asks for it (DMARC)", 0},
		{config.DMARCNone, 0, "", 0},
	} {
		var out strings.Builder
		r := &report{w: &out}
		r.inbound(&config.Config{RelayDomains: make([]config.RelayDomain, c.domains), Authentication: config.Authentication{DMARC: c.dmarc}})
		if strings.TrimSpace(out.String()) != c.says || r.warnings != c.warnings {
			t.Errorf("%s: %q, %d warnings", c.dmarc, out.String(), r.warnings)
		}
	}
}
