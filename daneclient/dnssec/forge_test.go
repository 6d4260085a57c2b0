package dnssec

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// forgery is a world with what a forger can record from its zones: everything
// that any owner of a zone under test. can sign, and the replies to others.
type forgery struct {
	*bench
	good, evil, sibling *lab.Zone
}

func newForgery(t *testing.T) *forgery {
	b := newBench(t)
	f := &forgery{bench: b}
	f.good = b.zone("good.test.", lab.ZoneOptions{},
		"x"+tlsa, "y"+tlsa, "c CNAME x", "*.w"+tlsa, "b.w A 127.0.0.1", "z.w A 127.0.0.1")
	f.sibling = b.zone("sibling.test.", lab.ZoneOptions{}, "x"+tlsa)
	f.evil = b.zone("evilgood.test.", lab.ZoneOptions{}, "x"+tlsa)
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa)
	b.zone("good3.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}}, "x"+tlsa, "*.w"+tlsa, "b.w A 127.0.0.1")
	return f
}

// reply is what the world says to a question.
func (f *forgery) reply(name string, typ uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, typ)
	q.SetEdns0(4096, true)
	return f.Answer(q)
}

// text parses a record.
func text(t *testing.T, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// renamed gives all records of an owner another one.
func renamed(rrs []dns.RR, from, to string) []dns.RR {
	for _, rr := range rrs {
		if rr.Header().Name == from {
			rr.Header().Name = to
		}
	}
	return rrs
}

func without(rrs []dns.RR, drop func(dns.RR) bool) []dns.RR {
	return slices.DeleteFunc(slices.Clone(rrs), drop)
}

// signature reports whether a record is an RRSIG.
func signature(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }

// ownedBy reports whether a record, or what a signature covers, is the NSEC of
// an owner.
func nsecOf(owner string) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		sig, isSig := rr.(*dns.RRSIG)
		return rr.Header().Name == owner && (rr.Header().Rrtype == dns.TypeNSEC || isSig && sig.TypeCovered == dns.TypeNSEC)
	}
}

// TestForgedReplies replaces the reply to one question; all else is in order.
func TestForgedReplies(t *testing.T) {
	f := newForgery(t)
	const tlsaType = dns.TypeTLSA
	noProof := ": no records, and no NSEC or NSEC3 signed by good.test."
	badProof := ": the NSEC or NSEC3 records of good.test. do not prove that there is none"
	empty := func(m *dns.Msg) *dns.Msg { m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeSuccess; return m }
	denyBy := func(rcode int, ns ...dns.RR) func(*dns.Msg) *dns.Msg {
		return func(m *dns.Msg) *dns.Msg { m.Answer, m.Ns, m.Rcode = nil, ns, rcode; return m }
	}
	for name, c := range map[string]struct {
		asked  string
		typ    uint16 // of the question whose reply is forged; 0: TLSA
		at     string // its name; "": the one asked
		forge  func(m *dns.Msg) *dns.Msg
		state  State
		reason string
	}{
		"signatures stripped": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = without(m.Answer, signature)
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: no signature, but the zone good.test. is signed"},
		"forged, with AD": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.AuthenticatedData = true
			m.Answer = []dns.RR{text(t, "x.good.test."+tlsa)}
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: no signature, but the zone good.test. is signed"},
		"other data under the signature": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.AuthenticatedData = true
			m.Answer[0].(*dns.TLSA).Certificate = strings.Repeat("ab", 32)
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: the signature of the key # is wrong"},
		"a record more": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer, text(t, "x.good.test. TLSA 3 1 1 "+strings.Repeat("ab", 32)))
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: the signature of the key # is wrong"},
		"records of another name": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = renamed(f.good.Signed("y", tlsaType), "y.good.test.", "x.good.test.")
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: the signature of the key # is wrong"},
		"signed by a zone whose name is a suffix": {asked: "x.evilgood.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = f.good.SignRRset(text(t, "x.evilgood.test. 3600"+tlsa))
			return m
		}, state: Bogus, reason: "x.evilgood.test. TLSA: signed by good.test., not by its zone evilgood.test."},
		"signed by a sibling": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = f.sibling.SignRRset(text(t, "x.good.test. 3600"+tlsa))
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: signed by sibling.test., not by its zone good.test."},
		"signer is no zone": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer[1].(*dns.RRSIG).SignerName = "x.good.test."
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: signed by x.good.test., which is no zone"},
		"nothing at all": {asked: "x.good.test.", forge: empty, state: Bogus, reason: "x.good.test. TLSA" + noProof},
		"NXDOMAIN without proof": {asked: "x.good.test.", forge: denyBy(dns.RcodeNameError), state: Bogus,
			reason: "x.good.test. TLSA" + noProof},
		"denied by a sibling": {asked: "x.good.test.",
			forge: denyBy(dns.RcodeNameError, f.reply("nope.sibling.test.", tlsaType).Ns...),
			state: Bogus, reason: "x.good.test. TLSA" + noProof},
		"the denial of another name": {asked: "x.good.test.",
			forge: denyBy(dns.RcodeNameError, f.reply("nope.good.test.", tlsaType).Ns...),
			state: Bogus, reason: "x.good.test. TLSA" + badProof},
		"the denial of another type": {asked: "x.good.test.",
			forge: denyBy(dns.RcodeSuccess, f.reply("x.good.test.", dns.TypeTXT).Ns...),
			state: Bogus, reason: "x.good.test. TLSA" + badProof},
		"a CNAME denied": {asked: "c.good.test.", forge: denyBy(dns.RcodeSuccess, f.good.Signed("c", dns.TypeNSEC)...),
			state: Bogus, reason: "c.good.test. TLSA" + badProof},
		"the parent denies the child": {asked: "good.test.",
			forge: denyBy(dns.RcodeSuccess, f.Zone("test.").Signed("good", dns.TypeNSEC)...),
			state: Bogus, reason: "good.test. TLSA: the NSEC or NSEC3 records of test. do not prove that there is none"},
		"the parent denies names of the child": {asked: "x.good.test.",
			forge: denyBy(dns.RcodeNameError, append(f.Zone("test.").Signed("good", dns.TypeNSEC), f.Zone("test.").Signed("@", dns.TypeNSEC)...)...),
			state: Bogus, reason: "x.good.test. TLSA: the NSEC or NSEC3 records of test. do not prove that there is none"},
		"half an NXDOMAIN: the wildcard not denied": {asked: "nope.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Ns = without(m.Ns, nsecOf("good.test."))
			return m
		}, state: Bogus, reason: "nope.good.test. TLSA" + badProof},
		"half an NXDOMAIN: the name not denied": {asked: "nope.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Ns = without(m.Ns, nsecOf("c.good.test."))
			return m
		}, state: Bogus, reason: "nope.good.test. TLSA" + badProof},
		"a denial with a broken signature": {asked: "nope.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			for _, rr := range m.Ns {
				if n, ok := rr.(*dns.NSEC); ok && n.Hdr.Name == "c.good.test." {
					n.NextDomain = "zzz.good.test."
				}
			}
			return m
		}, state: Bogus, reason: "nope.good.test. TLSA: c.good.test. NSEC: the signature of the key # is wrong"},
		"a wildcard without proof": {asked: "any.w.good.test.", forge: func(m *dns.Msg) *dns.Msg { m.Ns = nil; return m },
			state: Bogus, reason: "any.w.good.test. TLSA: made from *.w.good.test., without proof that nothing is closer"},
		"a wildcard for a name that exists": {asked: "b.w.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = renamed(f.good.Signed("*.w", tlsaType), "*.w.good.test.", "b.w.good.test.")
			m.Ns = append(f.good.Signed("b.w", dns.TypeNSEC), f.good.Signed("*.w", dns.TypeNSEC)...)
			return m
		}, state: Bogus, reason: "b.w.good.test. TLSA: made from *.w.good.test., without proof that nothing is closer"},
		"a wildcard past a closer name": {asked: "no.b.w.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = renamed(f.good.Signed("*.w", tlsaType), "*.w.good.test.", "no.b.w.good.test.")
			m.Ns = f.good.Signed("b.w", dns.TypeNSEC)
			m.Rcode = dns.RcodeSuccess
			return m
		}, state: Bogus, reason: "no.b.w.good.test. TLSA: made from *.w.good.test., without proof that nothing is closer"},
		"a wildcard's NSEC as that of a name": {asked: "y.w.good.test.",
			forge: denyBy(dns.RcodeSuccess, renamed(f.good.Signed("*.w", dns.TypeNSEC), "*.w.good.test.", "y.w.good.test.")...),
			state: Bogus, reason: "y.w.good.test. TLSA" + noProof},
		"NSEC3 without the encloser": {asked: "nope.good3.test.", forge: func(m *dns.Msg) *dns.Msg {
			apex := lab3(t, f.reply("good3.test.", dns.TypeTXT)) // its NODATA shows the record of the apex
			m.Ns = without(m.Ns, func(rr dns.RR) bool { return rr.Header().Name == apex })
			return m
		}, state: Bogus, reason: "nope.good3.test. TLSA: the NSEC or NSEC3 records of good3.test. do not prove that there is none"},
		"an NSEC3 wildcard without proof": {asked: "any.w.good3.test.", forge: func(m *dns.Msg) *dns.Msg { m.Ns = nil; return m },
			state: Bogus, reason: "any.w.good3.test. TLSA: made from *.w.good3.test., without proof that nothing is closer"},
		"the DS taken away": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDS, forge: empty, state: Bogus,
			reason: "x.good.test. TLSA: good.test. DS: no records, and no NSEC or NSEC3 signed by test."},
		"the DS denied by its own zone": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDS,
			forge: denyBy(dns.RcodeSuccess, f.good.Signed("@", dns.TypeNSEC)...), state: Bogus,
			reason: "x.good.test. TLSA: good.test. DS: no records, and no NSEC or NSEC3 signed by test."},
		"the DS denied by the NSEC of its parent": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDS,
			forge: denyBy(dns.RcodeSuccess, f.Zone("test.").Signed("good", dns.TypeNSEC)...), state: Bogus,
			reason: "x.good.test. TLSA: good.test. DS: the NSEC or NSEC3 records of test. do not prove that there is none"},
		"the DS denied as that of an unsigned neighbour": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDS,
			forge: denyBy(dns.RcodeSuccess, renamed(f.Zone("test.").Signed("un", dns.TypeNSEC), "un.test.", "good.test.")...), state: Bogus,
			reason: "x.good.test. TLSA: good.test. NSEC: the signature of the key # is wrong"},
		"the DS of another zone": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDS, forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = renamed(f.Zone("test.").Signed("sibling", dns.TypeDS), "sibling.test.", "good.test.")
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: good.test. DS: the signature of the key # is wrong"},
		"the keys of another zone": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDNSKEY, forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = renamed(f.sibling.Signed("@", dns.TypeDNSKEY), "sibling.test.", "good.test.")
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: good.test. DNSKEY: no usable key matches the DS (key #)"},
		"a key more": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDNSKEY, forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer, renamed(f.sibling.Signed("@", dns.TypeDNSKEY), "sibling.test.", "good.test.")...)
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: good.test. DNSKEY: the signature of the key # is wrong"},
		"junk in an unsigned zone": {asked: "x.un.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = f.sibling.SignRRset(m.Answer...)
			m.Answer[1].(*dns.RRSIG).SignerName = "test."
			return m
		}, state: Insecure, reason: "un.test. has no DS in test."},
		"junk in an unsigned zone, denied": {asked: "x.un.test.",
			forge: denyBy(dns.RcodeSuccess, f.Zone("test.").Signed("un", dns.TypeNSEC)...),
			state: Insecure, reason: "un.test. has no DS in test."},
		"a DNAME above": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = []dns.RR{text(t, "good.test. DNAME un.test."), text(t, "x.good.test. CNAME x.un.test."), text(t, "x.un.test."+tlsa)}
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: good.test. DNAME: no signature, but the zone good.test. is signed"},
		"a DNAME above a DS": {asked: "x.good.test.", at: "good.test.", typ: dns.TypeDS, forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = []dns.RR{text(t, "test. DNAME un.test."), text(t, "good.test. CNAME good.un.test.")}
			return m
		}, state: Bogus, reason: "x.good.test. TLSA: test. DNAME: no signature, but the zone test. is signed"},
		"a DNAME in an unsigned zone": {asked: "x.un.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = []dns.RR{text(t, "un.test. DNAME good.test."), text(t, "x.un.test. CNAME x.good.test.")}
			return m
		}, state: Insecure, reason: "un.test. has no DS in test."},
		"the target's records in the same reply": {asked: "c.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Answer = without(m.Answer, func(rr dns.RR) bool { return rr.Header().Name == "x.good.test." })
			m.Answer = append(m.Answer, text(t, "x.good.test. TLSA 3 1 1 "+strings.Repeat("ab", 32)))
			return m
		}, state: Secure},
		"letters of any case": {asked: "x.good.test.", forge: func(m *dns.Msg) *dns.Msg {
			m.Question[0].Name = "X.gOOd.teST."
			for i, rr := range m.Answer {
				rr.Header().Name = []string{"X.GOOD.TEST.", "x.Good.Test."}[i%2]
			}
			return m
		}, state: Secure},
	} {
		t.Run(name, func(t *testing.T) {
			f.forget()
			at, typ := c.at, c.typ
			if at == "" {
				at, typ = c.asked, tlsaType
			}
			var forged atomic.Int32
			f.tamper(at, typ, func(m *dns.Msg) *dns.Msg { forged.Add(1); return c.forge(m) })
			a := f.lookup(strings.TrimSuffix(c.asked, "."), TypeTLSA)
			check(t, a, c.state, c.reason)
			if forged.Load() == 0 {
				t.Error("the forgery was not asked for")
			}
			if a.State == Secure && (len(a.TLSA) != 1 || a.TLSA[0].Data[0] != 0) {
				t.Errorf("records: %+v", a.TLSA)
			}
		})
	}
}

// lab3 returns the owner of the one NSEC3 in a reply.
func lab3(t *testing.T, m *dns.Msg) string {
	t.Helper()
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeNSEC3 {
			return rr.Header().Name
		}
	}
	t.Fatal("no NSEC3")
	return ""
}
