package dnssec

import (
	"fmt"
	"reflect"
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

// ianaXML is IANA's file of 2024 in short: a withdrawn key and the two of the roll.
const ianaXML = `<?xml version="1.0" encoding="UTF-8"?>
<TrustAnchor id="E9724F53-1851-4F86-85E5-F1392102940B"
             source="http://data.iana.org/root-anchors/root-anchors.xml">
  <Zone>.</Zone>
  <KeyDigest id="Kjqmt7v" validFrom="2010-07-15T00:00:00+00:00" validUntil="2019-01-11T00:00:00+00:00">
    <KeyTag>19036</KeyTag>
    <Algorithm>8</Algorithm>
    <DigestType>2</DigestType>
    <Digest>49AAC11D7B6F6446702E54A1607371607A1A41855200FD2CE1CDDE32F24E8FB5</Digest>
  </KeyDigest>
  <KeyDigest id="Klajeyz" validFrom="2017-02-02T00:00:00+00:00">
    <KeyTag>20326</KeyTag>
    <Algorithm>8</Algorithm>
    <DigestType>2</DigestType>
    <Digest>E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D</Digest>
    <PublicKey>AwEAAaz</PublicKey>
    <Flags>257</Flags>
  </KeyDigest>
  <KeyDigest id="Kmyv6jo" validFrom="2024-07-18T00:00:00+00:00">
    <KeyTag>38696</KeyTag>
    <Algorithm>8</Algorithm>
    <DigestType>2</DigestType>
    <Digest>683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16</Digest>
  </KeyDigest>
</TrustAnchor>
`

func TestAnchorsXML(t *testing.T) {
	anchors, err := ParseAnchors(ianaXML)
	if err != nil || len(anchors) != 3 {
		t.Fatalf("%v %v", anchors, err)
	}
	if anchors[1].String() != ds2017 || anchors[2].String() != ds2024 {
		t.Errorf("%v", anchors)
	}
	for at, want := range map[string]int{ // how many are valid
		"2010-07-14T23:59:59Z": 0, "2010-07-15T00:00:00Z": 1, "2017-02-02T00:00:00Z": 2,
		"2019-01-10T23:59:59Z": 2, "2019-01-11T00:00:00Z": 1, "2024-07-18T00:00:00Z": 2,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if set, _ := records(anchors, now); len(set) != want {
			t.Errorf("%s: %d are valid, want %d", at, len(set), want)
		}
	}
	change := func(from, to string) string {
		out := strings.ReplaceAll(ianaXML, from, to)
		if out == ianaXML {
			t.Errorf("%q is not there", from)
		}
		return out
	}
	for name, c := range map[string]struct {
		text string
		want string // the number of anchors, or what the error says
	}{
		"with a mark":       {"\ufeff\n" + ianaXML[39:], "3"},
		"no zone of time":   {change("2017-02-02T00:00:00+00:00", "2017-02-02T00:00:00"), "3"},
		"broken lines":      {change("E06D44B8", "E06D44B8\n   "), "3"},
		"SHA-1":             {change("<DigestType>2</DigestType>\n    <Digest>49AA", "<DigestType>1</DigestType>\n    <Digest>49AA"), "2"},
		"unknown algorithm": {change("<Algorithm>8</Algorithm>", "<Algorithm>99</Algorithm>"), "no KeyDigest that is supported"},
		"another zone":      {change("<Zone>.</Zone>", "<Zone>test.</Zone>"), `those of the zone "test.", not of the root`},
		"no zone":           {change("<Zone>.</Zone>", ""), `those of the zone "", not of the root`},
		"a bad end":         {change("2019-01-11T00:00:00+00:00", "2019"), `KeyDigest 1: "2019" is no date`},
		"a bad beginning":   {change("2010-07-15T00:00:00+00:00", "soon"), `KeyDigest 1: "soon" is no date`},
		"no beginning":      {change(` validFrom="2017-02-02T00:00:00+00:00"`, ""), "KeyDigest 2: no validFrom"},
		"a short digest":    {change("E06D44", "6D44"), "KeyDigest 2: the digest has a wrong length"},
		"a large tag":       {change("20326", "86000"), "XML: "},
		"cut":               {ianaXML[:300], "XML: "},
		"more behind it":    {ianaXML + "<TrustAnchor/>", "something stands behind the end"},
		"another document":  {"<html></html>", "XML: "},
		"an entity":         {`<!DOCTYPE x [<!ENTITY a "b">]>` + change("<Zone>.", "<Zone>&a;")[39:], "XML: "},
	} {
		anchors, err := ParseAnchors(c.text)
		got := fmt.Sprint(len(anchors))
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestAnchorDates uses an anchor between its dates, and what was proved by it no
// longer.
func TestAnchorDates(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	anchors := b.r.memory().anchors
	anchors[0].ValidFrom, anchors[0].ValidUntil = today.Add(time.Minute), today.Add(2*time.Minute)
	none := "x.z.test. TLSA: none of the trust anchors is valid now"
	b.r.SetAnchors(anchors)
	check(t, b.lookup("x.z.test", TypeTLSA), Bogus, none)
	b.forward(time.Minute)
	a := b.lookup("x.z.test", TypeTLSA)
	check(t, a, Secure, "")
	if !a.Expires.Equal(anchors[0].ValidUntil) {
		t.Errorf("until %v, but the anchor ends at %v", a.Expires, anchors[0].ValidUntil)
	}
	b.forward(time.Minute)
	check(t, b.lookup("x.z.test", TypeTLSA), Bogus, none)
	if err := b.r.SelfTest(t.Context()); err == nil || err.Error() != "none of the trust anchors is valid now; are they those of today's root, and is the clock right?" {
		t.Error(err)
	}
}

// TestAnchors says of each anchor whether the live root has its key.
func TestAnchors(t *testing.T) {
	b := newBench(t)
	mine := b.r.memory().anchors[0]
	old, early := mine, mine
	old.ValidUntil, early.ValidFrom = today, today.Add(24*time.Hour)
	standby, err := ParseAnchors(colliding(t, b.Root(), 1)[0]) // an SEP key below
	if err == nil {
		t.Errorf("a zone key is an anchor: %v", standby)
	}
	key := strings.Replace(colliding(t, b.Root(), 1)[0], "\t256 ", "\t257 ", 1)
	b.Root().Add(key)
	if standby, err = ParseAnchors(key); err != nil {
		t.Fatal(err)
	}
	b.r.SetAnchors(append([]Anchor{mine, old, early, standby[0]}, BuiltinAnchors()...))
	got, err := b.r.Anchors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []AnchorStatus{
		{mine, true, true, ""}, {old, false, false, "not valid since 2026-11-24"}, {early, false, false, "not valid before 2026-11-25"},
		{standby[0], true, false, ""},
		{BuiltinAnchors()[0], false, false, "names no key of the live root"}, {BuiltinAnchors()[1], false, false, "names no key of the live root"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// A key that is there, in a set that nothing proves, is no match.
	b.server.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Answer = without(m.Answer, signature); return m })
	if got, err = b.r.Anchors(t.Context()); err != nil || got[0].Matches || got[0].Reason != ". DNSKEY: no signature, but the zone . is signed" {
		t.Errorf("%+v %v", got, err)
	}
	b.server.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Answer = nil; return m })
	if got, err = b.r.Anchors(t.Context()); err == nil || err.Error() != ". DNSKEY: none in the reply" {
		t.Errorf("%+v %v", got, err)
	}
	b.server.Tamper(func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m })
	if _, err = b.r.Anchors(t.Context()); err == nil || err.Error() != ". DNSKEY: "+b.server.Addr()+" says REFUSED" {
		t.Errorf("%v", err)
	}
	b.forward(-60 * 24 * time.Hour)
	if _, err = b.r.Anchors(t.Context()); err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("%v", err)
	}
}

// TestClockSkew takes signatures whose dates are off by no more than was said.
func TestClockSkew(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration
		from time.Duration // dates of the signature, from now
		to   time.Duration
		want string
		life time.Duration
	}{
		{0, -time.Hour, time.Hour, "", 300 * time.Second},
		{0, time.Second, time.Hour, "signature not valid before 20261124120001", 0},
		{0, -time.Hour, -time.Second, "signature expired on 20261124115959", 0},
		{time.Minute, time.Minute, time.Hour, "", 300 * time.Second},
		{time.Minute, 61 * time.Second, time.Hour, "signature not valid before 20261124120101", 0},
		{time.Minute, -time.Hour, -30 * time.Second, "", 30 * time.Second},
		{time.Minute, -time.Hour, -59 * time.Second, "", time.Second},
		{time.Minute, -time.Hour, -61 * time.Second, "signature expired on 20261124115859", 0},
	} {
		b := newBench(t, func(o *Options) { o.ClockSkew = c.skew })
		b.zone("z.test.", lab.ZoneOptions{Inception: today.Add(c.from), Expiration: today.Add(c.to)}, "x 300"+tlsa)
		a := b.lookup("x.z.test", TypeTLSA)
		if c.want != "" {
			check(t, a, Bogus, "x.z.test. TLSA: z.test. DNSKEY: "+c.want)
			continue
		}
		check(t, a, Secure, "")
		if !a.Expires.Equal(today.Add(c.life)) {
			t.Errorf("%+v: kept for %v", c, a.Expires.Sub(today))
		}
	}
	for skew, ok := range map[time.Duration]bool{0: true, MaxClockSkew: true, MaxClockSkew + 1: false, -1: false} {
		r, err := New(Options{Upstreams: []string{"127.0.0.1:53"}, ClockSkew: skew})
		if (err == nil) != ok {
			t.Errorf("%v: %v", skew, err)
		}
		if err == nil {
			r.Close()
		}
	}
}
