package dnssec

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func mustName(s string) dnsname.Name { return dnsname.MustParse(s) }

// The published keys: KSK-2017, and one made invalid by its state.
const (
	ksk2017 = ". 172800 IN DNSKEY 257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU="
	ds2017  = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
	ds2024  = ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16"
)

func TestBuiltinAnchors(t *testing.T) {
	var got []string
	for _, a := range BuiltinAnchors() {
		got = append(got, a.String())
	}
	if len(got) != 2 || got[0] != ds2017 || got[1] != ds2024 {
		t.Errorf("got %q", got)
	}
}

func TestParseAnchors(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want string // lines, or what the error says
	}{
		"DS":          {ds2017 + "\n\n; a comment\n" + ds2024 + " ; KSK-2024\n", ds2017 + "\n" + ds2024},
		"lower case":  {strings.ToLower(ds2017), ds2017},
		"DNSKEY":      {ksk2017, ds2017},
		"valid":       {ksk2017 + " ;{id = 20326 (ksk), size = 2048b} ;;state=2 [  VALID  ] ;;count=0", ds2017},
		"missing":     {ksk2017 + " ;;state=3 [ MISSING ]", ds2017},
		"not yet":     {ds2024 + "\n" + ksk2017 + " ;;state=1 [ ADDPEND ]", ds2024},
		"revoked":     {ds2024 + "\n" + strings.Replace(ksk2017, " 257 ", " 385 ", 1), ds2024},
		"zone key":    {strings.Replace(ksk2017, " 257 ", " 256 ", 1), "no DS or DNSKEY of a key signing key"},
		"empty":       {"; nothing\n", "no DS or DNSKEY of a key signing key"},
		"other owner": {ds2024 + "\ntest. IN DS 1 8 2 " + strings.Repeat("00", 32), "line 2: no record of the root"},
		"other type":  {". IN A 127.0.0.1", "line 1: neither a DS nor a DNSKEY"},
		"SHA-1":       {". IN DS 20326 8 1 " + strings.Repeat("00", 20), "line 1: algorithm 8 or digest type 1 is not supported"},
		"short":       {". IN DS 20326 8 2 " + strings.Repeat("00", 31), "line 1: the digest has a wrong length"},
		"XML":         {`<?xml version="1.0" encoding="UTF-8"?>`, "line 1: this is XML"},
		"directive":   {"$INCLUDE /etc/passwd", "line 1: no directives here"},
		"noise":       {"hello", "line 1: "},
		"too long":    {strings.Repeat(" ", maxAnchorText+1), "more than 65536 octets"},
	} {
		t.Run(name, func(t *testing.T) {
			anchors, err := ParseAnchors(c.text)
			var lines []string
			for _, a := range anchors {
				lines = append(lines, a.String())
			}
			got := strings.Join(lines, "\n")
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestRootAnchors proves the root by its DNSKEY as anchor, and not by others.
func TestRootAnchors(t *testing.T) {
	b := newBench(t)
	byKey, err := ParseAnchors(strings.Join(b.Root().Keys(), "\n"))
	if err != nil || len(byKey) != 1 {
		t.Fatalf("%v %v", byKey, err)
	}
	b.r.SetAnchors(byKey)
	check(t, b.lookup("test", TypeTLSA), Secure, "")
	b.r.SetAnchors(BuiltinAnchors())
	check(t, b.lookup("test", TypeTLSA), Bogus, "test. TLSA: . DNSKEY: no usable key matches the DS (key #)")
	b.r.SetAnchors(nil)
	if a := b.lookup("test", TypeTLSA); a.State != Bogus {
		t.Errorf("without anchors: %s %q", a.State, a.Reason)
	}
}

func TestSelfTest(t *testing.T) {
	strip := func(_, m *dns.Msg) *dns.Msg { m.Answer = without(m.Answer, signature); return m }
	for name, c := range map[string]struct {
		prepare func(b *bench)
		want    string // "": no error
	}{
		"well":      {func(b *bench) {}, ""},
		"other key": {func(b *bench) { b.r.SetAnchors(BuiltinAnchors()) }, ". DNSKEY: no usable key matches the DS (key #); are the trust anchors those of today's root?"},
		"stripped":  {func(b *bench) { b.server.Tamper(strip) }, ". DNSKEY: no signature, but the zone . is signed; does the resolver at UPSTREAM pass DNSSEC records on unchanged?"},
		"refused": {func(b *bench) { b.server.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m }) },
			". DNSKEY: UPSTREAM says REFUSED; does the resolver at UPSTREAM serve this host?"},
		"silence": {func(b *bench) { b.server.Tamper(func(_, m *dns.Msg) *dns.Msg { return nil }) },
			"; is a recursive resolver listening at UPSTREAM, for UDP and TCP?"},
		"late":   {func(b *bench) { b.forward(30 * 24 * time.Hour) }, ". DNSKEY: signature expired on 20261208120000; is the clock right? It says 2026-12-24 12:00:00 UTC"},
		"before": {func(b *bench) { b.forward(-30 * 24 * time.Hour) }, "the clock says 2026-10-25 12:00:00, which is before this program was made: set the clock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, hasty)
			c.prepare(b)
			err := b.r.SelfTest(t.Context())
			want := strings.ReplaceAll(c.want, "UPSTREAM", b.server.Addr())
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !strings.HasSuffix(anyKey(err.Error()), want)):
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// TestClock refuses to judge dates by a clock that is wrong for certain.
func TestClock(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{Inception: today.Add(-365 * 24 * time.Hour)}, "x"+tlsa)
	b.forward(-60 * 24 * time.Hour)
	a := b.lookup("x.z.test", TypeTLSA)
	if a.State != Failed || a.Reason != "x.z.test. TLSA: the clock says 2026-09-25 12:00:00, which is before this program was made: set the clock" {
		t.Errorf("%s %q", a.State, a.Reason)
	}
	if len(b.server.Queries()) != 0 {
		t.Error("it asked all the same")
	}
	b.forward(60 * 24 * time.Hour)
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
}
