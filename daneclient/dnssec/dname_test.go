package dnssec

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// longLabels is a name of three labels with 62 octets each.
var longLabels = strings.Repeat("a", 61) + "." + strings.Repeat("b", 61) + "." + strings.Repeat("c", 61)

// newDNAMEs makes zones with DNAMEs that lead to good and other ends.
func newDNAMEs(t *testing.T) (b *bench, good *lab.Zone) {
	b = newBench(t)
	good = b.zone("good.test.", lab.ZoneOptions{},
		"x.to"+tlsa, "bad.to"+tlsa, "*.w.to"+tlsa, "c.to CNAME x.far.other.test.", "apex"+tlsa, "d TXT text",
		"d DNAME to", "far DNAME far.other.test.", "un DNAME un.test.", "gone DNAME nope", "self DNAME x.self",
		"root DNAME .", "long DNAME "+longLabels, "one DNAME two", "two DNAME one", "broken DNAME to", "plain DNAME to", "links DNAME n")
	good.Break("bad.to", dns.TypeTLSA, lab.Expired)
	good.Break("broken", dns.TypeDNAME, lab.BrokenSignatures)
	good.Break("plain", dns.TypeDNAME, lab.NoSignatures)
	good.Add("n1.n CNAME n2.n", "n2.n CNAME n3.links", "n3.n CNAME n4.links", "n4.n CNAME n5.n", "n5.n"+tlsa,
		"m1.n CNAME m2.n", "m2.n CNAME m3.links", "m3.n CNAME m4.links", "m4.n CNAME m5.n", "m5.n CNAME m6.n", "m6.n"+tlsa)
	b.zone("other.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}}, "x.far"+tlsa, "back DNAME to.good.test.")
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa, "back DNAME to.good.test.", "bad DNAME to.good.test.", "links DNAME links.good.test.")
	return b, good
}

// TestDNAME goes where DNAMEs lead, in good zones and others.
func TestDNAME(t *testing.T) {
	b, _ := newDNAMEs(t)
	un := "un.test. has no DS in test."
	for name, want := range map[string]struct {
		state    State
		reason   string
		final    string
		records  int
		nxdomain bool
		wildcard bool
	}{
		"x.d.good":       {Secure, "", "x.to.good.test", 1, false, false},
		"c.d.good":       {Secure, "", "x.far.other.test", 1, false, false}, // DNAME, CNAME
		"x.far.good":     {Secure, "", "x.far.other.test", 1, false, false},
		"x.back.other":   {Secure, "", "x.to.good.test", 1, false, false},
		"x.un.good":      {Insecure, un, "x.un.test", 1, false, false},
		"x.back.un":      {Insecure, un, "x.to.good.test", 1, false, false},
		"x.back.un.good": {Insecure, un, "x.to.good.test", 1, false, false}, // secure, insecure, secure
		"nope.d.good":    {Secure, "", "nope.to.good.test", 0, true, false},
		"x.gone.good":    {Secure, "", "x.nope.good.test", 0, true, false},
		"any.w.d.good":   {Secure, "", "any.w.to.good.test", 1, false, true},
		"x.root.good":    {Secure, "", "x", 0, true, false},
		"x.y.d.good":     {Secure, "", "x.y.to.good.test", 0, true, false},
		"bad.d.good":     {Bogus, "bad.d.good.test. TLSA: bad.to.good.test. TLSA: signature expired on 20261123120000", "bad.d.good.test", 0, false, false},
		"bad.bad.un":     {Bogus, "bad.bad.un.test. TLSA: bad.to.good.test. TLSA: signature expired on 20261123120000", "bad.bad.un.test", 0, false, false},
		"x.broken.good":  {Bogus, "x.broken.good.test. TLSA: broken.good.test. DNAME: the signature of the key # is wrong", "x.broken.good.test", 0, false, false},
		"x.plain.good":   {Bogus, "x.plain.good.test. TLSA: plain.good.test. DNAME: no signature, but the zone good.test. is signed", "x.plain.good.test", 0, false, false},
		"x.one.good":     {Failed, "x.one.good.test. TLSA: CNAMEs go round in a loop at x.one.good.test.", "x.one.good.test", 0, false, false},
		"x.self.good":    {Failed, "x.self.good.test. TLSA: more than 8 CNAMEs", "x.self.good.test", 0, false, false},
		"n1.links.good":  {Secure, "", "n5.n.good.test", 1, false, false},                                             // seven links
		"m1.links.good":  {Secure, "", "m6.n.good.test", 1, false, false},                                             // eight
		"m1.links.un":    {Failed, "m1.links.un.test. TLSA: more than 8 CNAMEs", "m1.links.un.test", 0, false, false}, // nine
	} {
		t.Run(name, func(t *testing.T) {
			a := b.lookup(name+".test", TypeTLSA)
			check(t, a, want.state, want.reason)
			if a.Final.String() != want.final || len(a.TLSA) != want.records || a.NXDomain != want.nxdomain || a.Wildcard != want.wildcard {
				t.Errorf("got %+v, want %+v", a, want)
			}
			if ok := want.state == Secure || want.state == Insecure; ok != a.CNAME {
				t.Errorf("CNAME is %v", a.CNAME)
			}
		})
	}
}

// TestDNAMEAsked asks for the CNAME that a DNAME makes, and for its owner.
func TestDNAMEAsked(t *testing.T) {
	b, _ := newDNAMEs(t)
	a := b.lookup("x.far.good.test", TypeCNAME)
	check(t, a, Secure, "")
	if len(a.Names) != 1 || a.Names[0].String() != "x.far.other.test" || a.CNAME || a.Final.String() != "x.far.good.test" {
		t.Errorf("the CNAME itself: %+v", a)
	}
	a = b.lookup("d.good.test", TypeTXT)
	check(t, a, Secure, "")
	if len(a.TXT) != 1 || a.CNAME {
		t.Errorf("the owner is redirected: %+v", a)
	}
	a = b.lookup("d.good.test", TypeTLSA)
	check(t, a, Secure, "")
	if a.NXDomain || a.CNAME || len(a.TLSA) != 0 {
		t.Errorf("the owner has no TLSA: %+v", a)
	}
}

// TestDNAMETooLong makes a name over the limit, which is 253 octets as text:
// one that fits is followed.
func TestDNAMETooLong(t *testing.T) {
	b, _ := newDNAMEs(t)
	fits := strings.Repeat("x", 253-len(longLabels+".good.test")-1) + ".long.good.test"
	check(t, b.lookup(fits, TypeTLSA), Secure, "")
	long := "y" + fits
	check(t, b.lookup(long, TypeTLSA), Failed, long+". TLSA: "+b.server.Addr()+" says YXDOMAIN")
	b.tamper(long+".", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeSuccess; return m })
	b.forget()
	check(t, b.lookup(long, TypeTLSA), Failed, long+". TLSA: the name that the DNAME at long.good.test. makes is too long")
}

// allNSEC3 collects the NSEC3 chain of a zone, with signatures, from denials.
func (f *forgery) allNSEC3(zone string) []dns.RR {
	var out []dns.RR
	seen := map[string]bool{}
	for i := range 200 {
		for _, rr := range f.reply(strings.Repeat("n", 1+i%60)+string(rune('a'+i/60))+"."+zone, dns.TypeTLSA).Ns {
			sig, isSig := rr.(*dns.RRSIG)
			if (rr.Header().Rrtype == dns.TypeNSEC3 || isSig && sig.TypeCovered == dns.TypeNSEC3) && !seen[rr.String()] {
				seen[rr.String()] = true
				out = append(out, rr)
			}
		}
	}
	return out
}

// TestForgedDNAMEs replaces the reply to one question below a DNAME.
func TestForgedDNAMEs(t *testing.T) {
	f := newForgery(t)
	f.good.Add("d DNAME to", "*.wd DNAME to", "x.to"+tlsa, "twice DNAME to", "twice DNAME two")
	f.sibling.Add("d DNAME un.test.")
	f.zone("opt.test.", lab.ZoneOptions{OptOut: true}, "*.wd DNAME to.good.test.")
	f.zone("d3.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}}, "d DNAME x")
	const tlsaType = dns.TypeTLSA
	noProof := ": no records, and no NSEC or NSEC3 signed by good.test."
	answer := func(rrs ...dns.RR) func(*dns.Msg) *dns.Msg {
		return func(m *dns.Msg) *dns.Msg { m.Answer, m.Ns, m.Rcode = rrs, nil, dns.RcodeSuccess; return m }
	}
	deny := func(rcode int, ns ...dns.RR) func(*dns.Msg) *dns.Msg {
		return func(m *dns.Msg) *dns.Msg { m.Answer, m.Ns, m.Rcode = nil, ns, rcode; return m }
	}
	dname := f.good.Signed("d", dns.TypeDNAME)
	wild := renamed(f.good.Signed("*.wd", dns.TypeDNAME), "*.wd.good.test.", "a.wd.good.test.")
	wildOpt := renamed(f.Zone("opt.test.").Signed("*.wd", dns.TypeDNAME), "*.wd.opt.test.", "a.wd.opt.test.")
	evil := text(t, "x.d.good.test. CNAME x.un.test.")
	for name, c := range map[string]struct {
		asked    string
		at       string // of the question whose reply is forged; "": TLSA of the name asked
		forge    func(m *dns.Msg) *dns.Msg
		state    State
		reason   string
		final    string
		wildcard bool
	}{
		"another CNAME beside it": {asked: "x.d.good.test", state: Secure, final: "x.to.good.test",
			forge: answer(append(dname[:2:2], evil, text(t, "x.un.test."+tlsa))...)},
		"another CNAME before it": {asked: "x.d.good.test", state: Secure, final: "x.to.good.test",
			forge: answer(append([]dns.RR{evil}, dname...)...)},
		"another CNAME, signed by a sibling": {asked: "x.d.good.test", state: Secure, final: "x.to.good.test",
			forge: answer(append(f.sibling.SignRRset(evil), dname...)...)},
		"no CNAME": {asked: "x.d.good.test", state: Secure, final: "x.to.good.test", forge: answer(dname...)},
		"the CNAME alone": {asked: "x.d.good.test", state: Bogus, forge: answer(text(t, "x.d.good.test. CNAME x.to.good.test.")),
			reason: "x.d.good.test. CNAME: no signature, but the zone good.test. is signed"},
		"another target": {asked: "x.d.good.test", state: Bogus, reason: "x.d.good.test. TLSA: d.good.test. DNAME: the signature of the key # is wrong",
			forge: answer(text(t, "d.good.test. 3600 DNAME un.test."), dname[1])},
		"another owner": {asked: "x.y.good.test", state: Bogus, reason: "x.y.good.test. TLSA: y.good.test. DNAME: the signature of the key # is wrong",
			forge: answer(renamed(f.good.Signed("d", dns.TypeDNAME), "d.good.test.", "y.good.test.")...)},
		"signed by a sibling": {asked: "x.d.good.test", state: Bogus, reason: "x.d.good.test. TLSA: d.good.test. DNAME: signed by sibling.test., not by its zone good.test.",
			forge: answer(f.sibling.SignRRset(text(t, "d.good.test. 3600 DNAME un.test."))...)},
		"a sibling's": {asked: "x.d.good.test", state: Bogus, reason: "x.d.good.test. TLSA" + noProof,
			forge: answer(f.sibling.Signed("d", dns.TypeDNAME)...)},
		"one whose name is a suffix": {asked: "x.bad.good.test", state: Bogus, reason: "x.bad.good.test. TLSA" + noProof,
			forge: answer(dname...)},
		"the owner is not redirected": {asked: "d.good.test", state: Bogus, reason: "d.good.test. CNAME: no signature, but the zone good.test. is signed",
			forge: answer(append(dname[:2:2], text(t, "d.good.test. CNAME x.good.test."))...)},
		"two records": {asked: "x.twice.good.test", state: Failed, reason: "x.twice.good.test. TLSA: twice.good.test. DNAME is not one record",
			forge: answer(f.good.Signed("twice", dns.TypeDNAME)...)},
		"of two the higher": {asked: "x.e.d.good.test", state: Secure, final: "x.e.to.good.test",
			forge: answer(append(dname[:2:2], f.good.SignRRset(text(t, "e.d.good.test. 3600 DNAME un.test."))...)...)},
		"from a wildcard, with proof": {asked: "x.a.wd.good.test", state: Secure, final: "x.to.good.test", wildcard: true,
			forge: func(m *dns.Msg) *dns.Msg {
				m.Answer, m.Ns, m.Rcode = wild, f.good.Signed("*.wd", dns.TypeNSEC), dns.RcodeSuccess
				return m
			}},
		"from a wildcard, without": {asked: "x.a.wd.good.test", state: Bogus, forge: answer(wild...),
			reason: "x.a.wd.good.test. TLSA: a.wd.good.test. DNAME: made from *.wd.good.test., without proof that nothing is closer"},
		"from a wildcard in an opt-out span": {asked: "x.a.wd.opt.test", state: Insecure, final: "x.to.good.test", wildcard: true,
			reason: "made from a wildcard in an opt-out span of opt.test.", forge: func(m *dns.Msg) *dns.Msg {
				m.Answer, m.Ns, m.Rcode = wildOpt, f.allNSEC3("opt.test."), dns.RcodeSuccess
				return m
			}},
		"denied by the NSEC of its owner": {asked: "x.d.good.test", state: Bogus,
			forge:  deny(dns.RcodeNameError, append(f.good.Signed("d", dns.TypeNSEC), f.good.Signed("@", dns.TypeNSEC)...)...),
			reason: "x.d.good.test. TLSA: the NSEC or NSEC3 records of good.test. do not prove that there is none"},
		"denied by the NSEC3 of its owner": {asked: "x.d.d3.test", state: Bogus, forge: deny(dns.RcodeNameError, f.allNSEC3("d3.test.")...),
			reason: "x.d.d3.test. TLSA: the NSEC or NSEC3 records of d3.test. do not prove that there is none"},
		"the DS below it, nothing else": {asked: "x.d.good.test", state: Bogus, forge: deny(dns.RcodeSuccess),
			reason: "x.d.good.test. TLSA" + noProof},
	} {
		t.Run(name, func(t *testing.T) {
			f.forget()
			f.tamper(c.asked+".", tlsaType, c.forge)
			a := f.lookup(c.asked, TypeTLSA)
			check(t, a, c.state, c.reason)
			if ok := a.State == Secure || a.State == Insecure; ok && (a.Final.String() != c.final || a.Wildcard != c.wildcard || !a.CNAME) {
				t.Errorf("got %+v", a)
			}
			if c.wildcard && (len(a.Enclosers) != 1 || a.Enclosers[0].Labels()[0] != "wd") {
				t.Errorf("enclosers %v", a.Enclosers)
			}
		})
	}
}

// TestDNAMEHidesDS walks to a name below a DNAME: nothing there is a zone, so
// what is unsigned there is forged.
func TestDNAMEHidesDS(t *testing.T) {
	f := newForgery(t)
	f.good.Add("d DNAME to")
	wild := func(q, m *dns.Msg) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeTLSA {
			m.Answer, m.Ns, m.Rcode = []dns.RR{text(t, q.Question[0].Name+tlsa)}, nil, dns.RcodeSuccess
		}
		return m
	}
	f.server.Tamper(wild)
	check(t, f.lookup("a.b.c.d.good.test", TypeTLSA), Bogus, "a.b.c.d.good.test. TLSA: no signature, but the zone good.test. is signed")
	if f.count("c.d.good.test", dns.TypeDS) != 1 || f.count("b.c.d.good.test", dns.TypeDS) != 0 {
		t.Errorf("queries: %+v", f.server.Queries())
	}
	f.good.Break("d", dns.TypeDNAME, lab.BrokenSignatures)
	f.forget()
	check(t, f.lookup("a.d.good.test", TypeTLSA), Bogus, "a.d.good.test. TLSA: d.good.test. DNAME: the signature of the key # is wrong")
}
