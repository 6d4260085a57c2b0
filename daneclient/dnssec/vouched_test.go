package dnssec

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// believing makes a bench that takes its upstream's word; ad says which names
// are secure for it, by their zones.
func believing(t *testing.T) *bench {
	b := newBench(t, func(o *Options) { o.Trust = AD })
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa, "c CNAME x", "d DNAME to", "x.to"+tlsa, "*.w"+tlsa, "alias CNAME any.w",
		"loop CNAME loop", "far CNAME x.un.test.", "*._device.w"+tlsa, "twice.w CNAME a._device.w")
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa)
	b.server.Tamper(vouch)
	return b
}

// vouch sets AD as a validating resolver does when asked: on what comes from a
// signed zone alone.
func vouch(q, m *dns.Msg) *dns.Msg {
	m.AuthenticatedData = q.AuthenticatedData && !q.CheckingDisabled
	for _, rr := range append(m.Answer, m.Ns...) {
		if within("un.test.", canonical(rr.Header().Name)) {
			m.AuthenticatedData = false
		}
	}
	return m
}

// TestVouched takes what the upstream vouches for, and nothing else as secure.
func TestVouched(t *testing.T) {
	b := believing(t)
	no := "x.un.test. TLSA: UPSTREAM does not say that it is secure (trust=ad)"
	for name, want := range map[string]struct {
		state     State
		reason    string
		records   int
		final     string
		enclosers string
	}{
		"x.z.test":       {Secure, "", 1, "x.z.test", ""},
		"c.z.test":       {Secure, "", 1, "x.z.test", ""},
		"x.d.z.test":     {Secure, "", 1, "x.to.z.test", ""},
		"nope.z.test":    {Secure, "", 0, "nope.z.test", ""},
		"any.w.z.test":   {Secure, "", 1, "any.w.z.test", "w.z.test"},
		"alias.z.test":   {Secure, "", 1, "any.w.z.test", "w.z.test"},
		"twice.w.z.test": {Secure, "", 1, "a._device.w.z.test", "_device.w.z.test"},
		"x.un.test":      {Insecure, no, 1, "x.un.test", ""},
		"far.z.test":     {Insecure, "far.z.test. TLSA: UPSTREAM does not say that it is secure (trust=ad)", 1, "x.un.test", ""},
		"loop.z.test":    {Failed, "loop.z.test. TLSA: CNAMEs go round in a loop at loop.z.test. (trust=ad)", 0, "loop.z.test", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second comes from the cache
				a := b.lookup(name, TypeTLSA)
				check(t, a, want.state, strings.ReplaceAll(want.reason, "UPSTREAM", b.server.Addr()))
				var enclosers []string
				for _, e := range a.Enclosers {
					enclosers = append(enclosers, e.String())
				}
				if len(a.TLSA) != want.records || a.Final.String() != want.final || strings.Join(enclosers, " ") != want.enclosers || a.Wildcard != (want.enclosers != "") {
					t.Errorf("got %+v, want %+v", a, want)
				}
				if a.Trusted != "ad" || !strings.Contains(a.Steps[0].Detail, "trust=ad") && a.State != Failed {
					t.Errorf("not marked: %+v", a)
				}
			}
		})
	}
	if a := b.lookup("nope.z.test", TypeTLSA); !a.NXDomain {
		t.Error("the name is there")
	}
	for _, q := range b.server.Queries() {
		if q.CD || !q.DO {
			t.Errorf("asked with CD or without DO: %+v", q)
		}
	}
	if n := b.count("z.test", dns.TypeDNSKEY); n != 0 {
		t.Error("it proves by itself")
	}
}

// TestVouchedForged is what an upstream may say that does not make it secure.
func TestVouchedForged(t *testing.T) {
	b := believing(t)
	for name, c := range map[string]struct {
		asked  string
		forge  func(m *dns.Msg) *dns.Msg
		state  State
		reason string
	}{
		"no AD":                  {"x.z.test", func(m *dns.Msg) *dns.Msg { m.AuthenticatedData = false; return m }, Insecure, "x.z.test. TLSA: UPSTREAM does not say that it is secure (trust=ad)"},
		"no AD, denied":          {"nope.z.test", func(m *dns.Msg) *dns.Msg { m.AuthenticatedData = false; return m }, Insecure, "nope.z.test. TLSA: UPSTREAM does not say that it is secure (trust=ad)"},
		"SERVFAIL":               {"x.z.test", func(m *dns.Msg) *dns.Msg { m.Rcode, m.Answer = dns.RcodeServerFailure, nil; return m }, Failed, "x.z.test. TLSA: UPSTREAM says SERVFAIL (trust=ad)"},
		"without signatures":     {"x.z.test", func(m *dns.Msg) *dns.Msg { m.Answer = without(m.Answer, signature); return m }, Failed, "x.z.test. TLSA: UPSTREAM says that it is secure, and leaves out the signatures (trust=ad)"},
		"a wildcard's, stripped": {"any.w.z.test", func(m *dns.Msg) *dns.Msg { m.Answer = without(m.Answer, signature); return m }, Failed, "any.w.z.test. TLSA: UPSTREAM says that it is secure, and leaves out the signatures (trust=ad)"},
		"the target in one reply": {"c.z.test", func(m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer[:2], text(t, "x.z.test. TLSA 3 1 1 "+strings.Repeat("ab", 32)))
			return m
		}, Secure, ""},
		"another CNAME": {"x.d.z.test", func(m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer[:2], text(t, "x.d.z.test. CNAME x.un.test."))
			return m
		}, Secure, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b.forget()
			b.server.Tamper(func(q, m *dns.Msg) *dns.Msg {
				m = vouch(q, m)
				if canonical(q.Question[0].Name) == c.asked+"." {
					m = c.forge(m)
				}
				return m
			})
			a := b.lookup(c.asked, TypeTLSA)
			check(t, a, c.state, strings.ReplaceAll(c.reason, "UPSTREAM", b.server.Addr()))
			if a.State == Secure && (len(a.TLSA) != 1 || a.TLSA[0].Data[0] != 0) {
				t.Errorf("records: %+v", a.TLSA)
			}
		})
	}
}

// TestVouchedSignatures: of several signatures the widest wildcard counts, since
// nobody says which of them was checked.
func TestVouchedSignatures(t *testing.T) {
	b := believing(t)
	b.server.Tamper(func(q, m *dns.Msg) *dns.Msg {
		m = vouch(q, m)
		if sig, ok := m.Answer[len(m.Answer)-1].(*dns.RRSIG); ok && sig.TypeCovered == dns.TypeTLSA {
			for _, labels := range []uint8{4, 2, 3} {
				c := dns.Copy(sig).(*dns.RRSIG)
				c.Labels = labels
				m.Answer = append(m.Answer, c)
			}
		}
		return m
	})
	a := b.lookup("a._device.w.z.test", TypeTLSA)
	check(t, a, Secure, "")
	if len(a.Enclosers) != 1 || a.Enclosers[0].String() != "z.test" {
		t.Errorf("enclosers %v", a.Enclosers)
	}
}

// TestTrustIsLocal takes the word of this host's resolvers alone.
func TestTrustIsLocal(t *testing.T) {
	for upstream, ok := range map[string]bool{
		"127.0.0.1:53": true, "[::1]:53": true, "127.0.0.2:5353": true, "[::ffff:127.0.0.1]:53": true, "tls://127.0.0.1:853#dns.test": true,
		"127.0.0.53:53": false, "127.0.0.54:53": false, "[::ffff:127.0.0.53]:53": false, "192.0.2.1:53": false, "10.0.0.1:53": false, "0.0.0.0:53": false,
		"[::]:53": false, "[fe80::1%lo]:53": false, "tls://192.0.2.1:853#dns.test": false,
	} {
		for _, all := range [][]string{{upstream}, {"127.0.0.1:53", upstream}} {
			r, err := New(Options{Upstreams: all, Trust: AD})
			if (err == nil) != ok {
				t.Errorf("%q: %v", all, err)
			}
			if err == nil {
				r.Close()
			}
			if r, err := New(Options{Upstreams: all}); err != nil {
				t.Errorf("%q: %v", all, err)
			} else {
				r.Close()
			}
		}
	}
	if _, err := New(Options{Upstreams: []string{"127.0.0.1:53"}, Trust: 2}); err == nil {
		t.Error("an unknown trust is taken")
	}
}

// TestVouchedSelfTest demands that the upstream vouches, and that its root is
// ours.
func TestVouchedSelfTest(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func(q, m *dns.Msg) *dns.Msg
		other  bool // anchors
		want   string
	}{
		"well":         {vouch, false, ""},
		"never AD":     {func(_, m *dns.Msg) *dns.Msg { return m }, false, `. DNSKEY: UPSTREAM does not vouch for it by AD, and with signatures; does it validate? If not, set trust = "validate"`},
		"another root": {vouch, true, ". DNSKEY: no usable key matches the DS (key #); are the trust anchors those of today's root?"},
		"bogus for it": {func(q, m *dns.Msg) *dns.Msg {
			if !q.CheckingDisabled {
				m.Rcode = dns.RcodeServerFailure
			}
			return m
		}, false, ". DNSKEY: UPSTREAM says SERVFAIL; does the resolver at UPSTREAM serve this host?"},
		"no DNSSEC in it": {func(q, m *dns.Msg) *dns.Msg {
			if m = vouch(q, m); !q.CheckingDisabled {
				m.Answer = without(m.Answer, signature)
			}
			return m
		}, false, `. DNSKEY: UPSTREAM does not vouch for it by AD, and with signatures; does it validate? If not, set trust = "validate"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := believing(t)
			b.server.Tamper(c.tamper)
			if c.other {
				b.r.SetAnchors(BuiltinAnchors())
			}
			got := ""
			if err := b.r.SelfTest(t.Context()); err != nil {
				got = anyKey(err.Error())
			}
			if want := strings.ReplaceAll(c.want, "UPSTREAM", b.server.Addr()); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestHints adds what the resolver thinks to what we found, cleaned and short.
func TestHints(t *testing.T) {
	for name, c := range map[string]struct {
		options []dns.EDNS0
		want    string
	}{
		"none":       {nil, ""},
		"one":        {[]dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 10}}, "; resolver says: extended error 10 RRSIGs Missing"},
		"with text":  {[]dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 7, ExtraText: "gone\r\nAUTH ok\x1b[2J"}}, `; resolver says: extended error 7 Signature Expired "gone\r\nAUTH ok\x1b[2J"`},
		"long text":  {[]dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 9999, ExtraText: strings.Repeat("x", 500)}}, `; resolver says: extended error 9999 "` + strings.Repeat("x", maxExtended-len(`extended error 9999 "`))},
		"no signals": {[]dns.EDNS0{&dns.EDNS0_NSID{Nsid: "aa"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
			b.tamper("x.z.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg {
				m.Answer = without(m.Answer, signature)
				m.IsEdns0().Option = c.options
				return m
			})
			want := "x.z.test. TLSA: no signature, but the zone z.test. is signed" + c.want
			check(t, b.lookup("x.z.test", TypeTLSA), Bogus, want)
			check(t, b.lookup("x.z.test", TypeTLSA), Bogus, want) // as it is remembered
		})
	}
}

// TestHintIsNoEvidence: what a resolver thinks changes no verdict.
func TestHintIsNoEvidence(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "x"+tlsa)
	b.server.Tamper(func(_, m *dns.Msg) *dns.Msg {
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus}}
		return m
	})
	check(t, b.lookup("x.z.test", TypeTLSA), Secure, "")
	check(t, b.lookup("x.un.test", TypeTLSA), Insecure, "un.test. has no DS in test.")
}
