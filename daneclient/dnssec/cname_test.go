package dnssec

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// chainOfCNAMEs adds n links that lead to the TLSA record at "end".
func chainOfCNAMEs(z *lab.Zone, n int) {
	for i := range n {
		z.Add(fmt.Sprintf("n%d-%d CNAME n%d-%d", n, i, n, i+1))
	}
	z.Add(fmt.Sprintf("n%d-%d"+tlsa, n, n))
}

func TestCNAME(t *testing.T) {
	b := newBench(t)
	good := b.zone("good.test.", lab.ZoneOptions{}, "x"+tlsa,
		"to-good CNAME x", "to-other CNAME x.other.test.", "to-un CNAME x.un.test.", "to-un-and-back CNAME to-good.un.test.",
		"to-bad CNAME bad", "bad"+tlsa, "to-nothing CNAME nope", "to-nodata CNAME ns", "un-to-bad CNAME to-bad.un.test.",
		"loop1 CNAME loop2", "loop2 CNAME loop1", "self CNAME self", "*.w CNAME x", "to-root CNAME .", "to-odd CNAME a/b.good.test.", "a/b"+tlsa)
	b.zone("other.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}}, "x"+tlsa)
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa, "to-good CNAME x.good.test.", "to-bad CNAME bad.good.test.")
	good.Break("bad", 52, lab.Expired)
	chainOfCNAMEs(good, maxLinks)
	chainOfCNAMEs(good, maxLinks+1)
	un := "un.test. has no DS in test."
	for name, want := range map[string]struct {
		state    State
		reason   string
		final    string // "": none that is a name; of bogus and failed: the name itself
		records  int
		nxdomain bool
		wildcard bool
	}{
		"to-good":        {Secure, "", "x.good.test", 1, false, false},
		"to-other":       {Secure, "", "x.other.test", 1, false, false},
		"to-un":          {Insecure, un, "x.un.test", 1, false, false},
		"to-un-and-back": {Insecure, un, "x.good.test", 1, false, false},
		"to-bad":         {Bogus, "to-bad.good.test. TLSA: bad.good.test. TLSA: signature expired on 20261123120000", "to-bad.good.test", 0, false, false},
		"un-to-bad":      {Bogus, "un-to-bad.good.test. TLSA: bad.good.test. TLSA: signature expired on 20261123120000", "un-to-bad.good.test", 0, false, false},
		"to-nothing":     {Secure, "", "nope.good.test", 0, true, false},
		"to-nodata":      {Secure, "", "ns.good.test", 0, false, false},
		"loop1":          {Failed, "loop1.good.test. TLSA: CNAMEs go round in a loop at loop1.good.test.", "loop1.good.test", 0, false, false},
		"self":           {Failed, "self.good.test. TLSA: CNAMEs go round in a loop at self.good.test.", "self.good.test", 0, false, false},
		"any.w":          {Secure, "", "x.good.test", 1, false, true},
		"to-root":        {Secure, "", "", 0, false, false},
		"to-odd":         {Secure, "", "", 1, false, false},
		"n8-0":           {Secure, "", "n8-8.good.test", 1, false, false},
		"n9-0":           {Failed, "n9-0.good.test. TLSA: more than 8 CNAMEs", "n9-0.good.test", 0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.lookup(name+".good.test", TypeTLSA)
			check(t, a, want.state, want.reason)
			if a.Final.String() != want.final || len(a.TLSA) != want.records || a.NXDomain != want.nxdomain || a.Wildcard != want.wildcard {
				t.Errorf("got %+v, want %+v", a, want)
			}
			if ok := want.state == Secure || want.state == Insecure; ok != a.CNAME {
				t.Errorf("CNAME is %v", a.CNAME)
			}
		})
	}
	if a := b.lookup("any.w.good.test", TypeTLSA); len(a.Enclosers) != 1 || a.Enclosers[0].String() != "w.good.test" {
		t.Errorf("made from *.w.good.test, but from wildcards below %v", a.Enclosers)
	}
	a := b.lookup("to-bad.good.test", TypeCNAME)
	check(t, a, Secure, "")
	if len(a.Names) != 1 || a.Names[0].String() != "bad.good.test" || a.CNAME || a.Final.String() != "to-bad.good.test" {
		t.Errorf("the CNAME itself: %+v", a)
	}
}

// TestCutsAndCNAMEs walks past names that have a CNAME, where a DS is asked for
// and the CNAME answers.
func TestCutsAndCNAMEs(t *testing.T) {
	b := newBench(t)
	strip := func(q, m *dns.Msg) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeTLSA {
			m.Answer = without(m.Answer, signature)
		}
		return m
	}
	b.zone("good.test.", lab.ZoneOptions{}, "x"+tlsa, "c CNAME x", "a.c"+tlsa, "*.w CNAME x", "broken CNAME x", "a.broken"+tlsa)
	b.Zone("good.test.").Break("broken", dns.TypeCNAME, lab.NoSignatures)
	b.zone("un.c.good.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa)
	b.zone("optout.test.", lab.ZoneOptions{OptOut: true}, "x"+tlsa, "*.w CNAME x")
	check(t, b.lookup("a.c.good.test", TypeTLSA), Secure, "")
	check(t, b.lookup("x.un.c.good.test", TypeTLSA), Insecure, "un.c.good.test. has no DS in good.test.")
	b.server.Tamper(strip)
	b.forget()
	check(t, b.lookup("a.c.good.test", TypeTLSA), Bogus, "a.c.good.test. TLSA: no signature, but the zone good.test. is signed")
	check(t, b.lookup("q.w.good.test", TypeTLSA), Bogus, "q.w.good.test. CNAME: no signature, but the zone good.test. is signed")
	check(t, b.lookup("a.broken.good.test", TypeTLSA), Bogus,
		"a.broken.good.test. TLSA: broken.good.test. CNAME: no signature, but the zone good.test. is signed")
	// An unsigned delegation may be there, so the first link is insecure; its
	// target is not.
	check(t, b.lookup("q.w.optout.test", TypeTLSA), Bogus, "q.w.optout.test. TLSA: x.optout.test. TLSA: no signature, but the zone optout.test. is signed")
	a := b.lookup("q.w.optout.test", TypeCNAME)
	check(t, a, Insecure, "made from a wildcard in an opt-out span of optout.test.")
}

// TestRecords reads each type once.
func TestRecords(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "a A 192.0.2.1", "a AAAA 2001:db8::1", "m MX 10 mx.other.test.", "m MX 5 _odd.z.test.",
		"nullmx MX 0 .", "badmx MX 10 a/b.z.test.", `t TXT "one " "two\"\\\200"`, `t TXT "three"`, "t"+tlsa)
	b.zone("in-addr.arpa.", lab.ZoneOptions{}, "1.2.0.192 PTR mail.z.test.", "1.2.0.192 PTR bad_name.z.test.",
		"2.2.0.192 CNAME 2.0/25.2.0.192", "2.0/25.2.0.192 PTR sub.z.test.")
	name := dnsname.MustParse
	for _, c := range []struct {
		name string
		typ  Type
		want Answer
	}{
		{"a.z.test", TypeA, Answer{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		{"a.z.test", TypeAAAA, Answer{Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}},
		{"m.z.test", TypeMX, Answer{MX: []MX{{10, name("mx.other.test")}, {5, name("_odd.z.test")}}}},
		{"nullmx.z.test", TypeMX, Answer{MX: []MX{{}}}},
		{"t.z.test", TypeTXT, Answer{TXT: []string{"one two\"\\\xc8", "three"}}},
		{"1.2.0.192.in-addr.arpa", TypePTR, Answer{Names: []dnsname.Name{name("mail.z.test")}}},
		{"2.2.0.192.in-addr.arpa", TypePTR, Answer{Names: []dnsname.Name{name("sub.z.test")}, CNAME: true}},
		{"a.z.test", TypeMX, Answer{}},
	} {
		t.Run(c.name+" "+typeText(uint16(c.typ)), func(t *testing.T) {
			a := b.lookup(c.name, c.typ)
			check(t, a, Secure, "")
			c.want.State, c.want.Final, c.want.Expires, c.want.Steps = a.State, a.Final, a.Expires, a.Steps
			if !reflect.DeepEqual(a, c.want) {
				t.Errorf("got  %+v\nwant %+v", a, c.want)
			}
		})
	}
	check(t, b.lookup("badmx.z.test", TypeMX), Failed, "badmx.z.test. MX: no record that could be used")
	a := b.lookup("t.z.test", TypeTLSA)
	if len(a.TLSA) != 1 || a.TLSA[0].Usage != 3 || a.TLSA[0].Selector != 1 || a.TLSA[0].Matching != 1 || len(a.TLSA[0].Data) != 32 || a.TLSA[0].Data[1] != 0x11 {
		t.Errorf("TLSA: %+v", a.TLSA)
	}
	for _, c := range []struct {
		name dnsname.Name
		typ  Type
		want string
	}{
		{dnsname.Name{}, TypeA, ". A: no name to look up"},
		{name("z.test"), Type(dns.TypeSOA), "z.test. SOA: type SOA is not one to look up"},
		{name("z.test"), Type(dns.TypeANY), "z.test. ANY: type ANY is not one to look up"},
	} {
		if a := b.r.Lookup(t.Context(), c.name, c.typ); a.State != Failed || a.Reason != c.want {
			t.Errorf("%s: %s %q", c.name, a.State, a.Reason)
		}
	}
}
