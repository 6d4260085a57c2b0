package dnssec

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// TestZones looks up one TLSA record in zones of every kind: in good order, of
// other algorithms, and spoilt in one way each.
func TestZones(t *testing.T) {
	const unsupported = "the DS of z.test. has only algorithms or digests that are not supported"
	for name, c := range map[string]struct {
		o      lab.ZoneOptions
		state  State
		reason string
	}{
		"ECDSA P-256":  {lab.ZoneOptions{}, Secure, ""},
		"ECDSA P-384":  {lab.ZoneOptions{Algorithm: 14}, Secure, ""},
		"Ed25519":      {lab.ZoneOptions{Algorithm: 15}, Secure, ""},
		"RSA SHA-256":  {lab.ZoneOptions{Algorithm: 8}, Secure, ""},
		"RSA SHA-512":  {lab.ZoneOptions{Algorithm: 10}, Secure, ""},
		"NSEC3":        {lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Salt: "aabb", Iterations: 5}}, Secure, ""},
		"two keys":     {lab.ZoneOptions{SplitKeys: true}, Secure, ""},
		"standby key":  {lab.ZoneOptions{StandbyKey: true}, Secure, ""},
		"DS SHA-384":   {lab.ZoneOptions{DSDigest: 4}, Secure, ""},
		"RSA MD5":      {lab.ZoneOptions{Algorithm: 1}, Insecure, unsupported},
		"DSA":          {lab.ZoneOptions{Algorithm: 3}, Insecure, unsupported},
		"RSA SHA-1":    {lab.ZoneOptions{Algorithm: 5}, Insecure, unsupported},
		"DSA NSEC3":    {lab.ZoneOptions{Algorithm: 6}, Insecure, unsupported},
		"RSA NSEC3":    {lab.ZoneOptions{Algorithm: 7}, Insecure, unsupported},
		"GOST":         {lab.ZoneOptions{Algorithm: 12}, Insecure, unsupported},
		"Ed448":        {lab.ZoneOptions{Algorithm: 16}, Insecure, unsupported},
		"unknown":      {lab.ZoneOptions{Algorithm: 99}, Insecure, unsupported},
		"DS SHA-1":     {lab.ZoneOptions{DSDigest: 1}, Insecure, unsupported},
		"DS GOST":      {lab.ZoneOptions{DSDigest: 3}, Insecure, unsupported},
		"DS unknown":   {lab.ZoneOptions{DSDigest: 99}, Insecure, unsupported},
		"unsigned":     {lab.ZoneOptions{Unsigned: true}, Insecure, "z.test. has no DS in test."},
		"no DS":        {lab.ZoneOptions{NoDS: true}, Insecure, "z.test. has no DS in test."},
		"no DS, junk":  {lab.ZoneOptions{NoDS: true, Fault: lab.BrokenSignatures}, Insecure, "z.test. has no DS in test."},
		"expired":      {lab.ZoneOptions{Fault: lab.Expired}, Bogus, "z.test. DNSKEY: signature expired on 20261123120000"},
		"not yet":      {lab.ZoneOptions{Fault: lab.NotYetValid}, Bogus, "z.test. DNSKEY: signature not valid before 20261125120000"},
		"broken":       {lab.ZoneOptions{Fault: lab.BrokenSignatures}, Bogus, "_x.z.test. TLSA: the signature of the key # is wrong"},
		"wrong key":    {lab.ZoneOptions{Fault: lab.WrongKey}, Bogus, "_x.z.test. TLSA: signed by the key #, which the zone z.test. does not have"},
		"no RRSIG":     {lab.ZoneOptions{Fault: lab.NoSignatures}, Bogus, "_x.z.test. DS: no records, and no NSEC or NSEC3 signed by z.test."},
		"keys no sig":  {lab.ZoneOptions{Fault: lab.NoKeySignature}, Bogus, "z.test. DNSKEY: no signature, but the zone z.test. is signed"},
		"no DNSKEY":    {lab.ZoneOptions{Fault: lab.NoDNSKEY}, Bogus, "z.test. DNSKEY: none, but there is a DS"},
		"stray DS":     {lab.ZoneOptions{Fault: lab.StrayDS}, Bogus, "z.test. DNSKEY: no usable key matches the DS (key #)"},
		"no zone flag": {lab.ZoneOptions{Fault: lab.NoZoneBit}, Bogus, "z.test. DNSKEY: no usable key matches the DS (key #)"},
		"revoked":      {lab.ZoneOptions{Fault: lab.RevokedKey}, Bogus, "z.test. DNSKEY: no usable key matches the DS (key #)"},
		// Whoever signs the DS could replace it, so this takes nothing away.
		"by parent": {lab.ZoneOptions{SignedBy: "test."}, Secure, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.zone("z.test.", c.o, "_x"+tlsa)
			a := b.lookup("_x.z.test", TypeTLSA)
			want := c.reason
			if strings.HasPrefix(want, "z.test. DNSKEY") { // the step that failed was at another name
				want = "_x.z.test. TLSA: " + want
			}
			check(t, a, c.state, want)
			if ok := c.state == Secure || c.state == Insecure; ok != (len(a.TLSA) == 1) {
				t.Errorf("records: %v", a.TLSA)
			}
		})
	}
}

// TestOneRRset breaks the signature of one RRset in a zone in good order.
func TestOneRRset(t *testing.T) {
	b := newBench(t)
	z := b.zone("z.test.", lab.ZoneOptions{}, "a"+tlsa, "b"+tlsa, "c CNAME a", "d"+tlsa, "e"+tlsa, "f"+tlsa)
	z.Break("a", 52, lab.Expired)
	z.Break("b", 52, lab.NotYetValid)
	z.Break("d", 52, lab.WrongKey)
	z.Break("e", 52, lab.NoSignatures)
	z.Break("f", 52, lab.BrokenSignatures)
	check(t, b.lookup("a.z.test", TypeTLSA), Bogus, "a.z.test. TLSA: signature expired on 20261123120000")
	check(t, b.lookup("b.z.test", TypeTLSA), Bogus, "b.z.test. TLSA: signature not valid before 20261125120000")
	check(t, b.lookup("c.z.test", TypeTLSA), Bogus, "c.z.test. TLSA: a.z.test. TLSA: signature expired on 20261123120000")
	check(t, b.lookup("d.z.test", TypeTLSA), Bogus, "d.z.test. TLSA: signed by the key #, which the zone z.test. does not have")
	check(t, b.lookup("e.z.test", TypeTLSA), Bogus, "e.z.test. TLSA: no signature, but the zone z.test. is signed")
	check(t, b.lookup("f.z.test", TypeTLSA), Bogus, "f.z.test. TLSA: the signature of the key # is wrong")
}

// TestNames looks up names of every kind under parents that deny by NSEC, by
// NSEC3 and by NSEC3 with opt-out.
func TestNames(t *testing.T) {
	type want struct {
		state    State
		reason   string
		nxdomain bool
		wildcard bool
		records  int
	}
	nothing := want{state: Secure}
	noName := want{state: Secure, nxdomain: true}
	for _, kind := range []struct {
		name    string
		o       lab.ZoneOptions
		noName  want // for a name that does not exist
		insured want // a name below an unsigned delegation
		expand  want
	}{
		{"NSEC", lab.ZoneOptions{}, noName,
			want{state: Insecure, reason: "un.p.test. has no DS in p.test.", records: 1},
			want{state: Secure, wildcard: true, records: 1}},
		{"NSEC3", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Salt: "ab", Iterations: 1}}, noName,
			want{state: Insecure, reason: "un.p.test. has no DS in p.test.", records: 1},
			want{state: Secure, wildcard: true, records: 1}},
		{"opt-out", lab.ZoneOptions{OptOut: true},
			want{state: Insecure, reason: "nope.p.test. lies in an opt-out span of p.test.", nxdomain: true},
			want{state: Insecure, reason: "un.p.test. lies in an opt-out span of p.test.", records: 1},
			want{state: Insecure, reason: "made from a wildcard in an opt-out span of p.test.", wildcard: true, records: 1}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			b := newBench(t)
			b.zone("p.test.", kind.o, "@"+tlsa, "x._dev"+tlsa, "*.w"+tlsa, "b.w A 127.0.0.1", "deep.er.b.w A 127.0.0.1", "*.t TXT text", "a.*.e TXT text")
			b.zone("s.p.test.", lab.ZoneOptions{}, "@"+tlsa, "x"+tlsa)
			b.zone("un.p.test.", lab.ZoneOptions{Unsigned: true}, "x.y"+tlsa)
			below := kind.noName
			for name, want := range map[string]want{
				"p.test":            {state: Secure, records: 1},
				"x._dev.p.test":     {state: Secure, records: 1},
				"_dev.p.test":       nothing, // an empty non-terminal
				"b.w.p.test":        nothing,
				"er.b.w.p.test":     nothing,
				"w.p.test":          nothing,
				"any.t.p.test":      {state: kind.noName.state}, // the wildcard has no TLSA
				"q.e.p.test":        {state: kind.noName.state}, // the wildcard is an empty non-terminal
				"nope.p.test":       kind.noName,
				"s.p.test":          {state: Secure, records: 1},
				"x.s.p.test":        {state: Secure, records: 1},
				"nope.s.p.test":     noName,
				"x.y.un.p.test":     kind.insured,
				"nope.un.p.test":    {state: Insecure, reason: kind.insured.reason, nxdomain: true},
				"un.p.test":         {state: Insecure, reason: kind.insured.reason},
				"any.w.p.test":      kind.expand,
				"two.more.w.p.test": kind.expand,
				"no.b.w.p.test":     {state: below.state, nxdomain: true}, // b.w exists, so *.w says nothing
				"test":              nothing,
				"nope":              noName,
				"ns.test":           nothing,
			} {
				a := b.lookup(name, TypeTLSA)
				if want.state == Insecure && want.reason == "" {
					want.reason = name + ". lies in an opt-out span of p.test."
				}
				check(t, a, want.state, want.reason)
				if a.NXDomain != want.nxdomain || a.Wildcard != want.wildcard || len(a.TLSA) != want.records || a.CNAME {
					t.Errorf("%s: %+v, want %+v", name, a, want)
				}
			}
		})
	}
}

// TestMixedDS: what is not supported neither helps nor hurts beside what is.
// RFC 4509 3, RFC 6840 5.2, 5.11
func TestMixedDS(t *testing.T) {
	const noMatch = "_x.z.test. TLSA: z.test. DNSKEY: no usable key matches the DS (key #)"
	stray := " 13 2 " + strings.Repeat("00", 32)
	for name, c := range map[string]struct {
		digest uint8 // of the zone's own DS
		more   string
		state  State
		reason string
	}{
		"a good one, and SHA-1":              {2, "5 13 1 " + strings.Repeat("00", 20), Secure, ""},
		"a good one, and an unknown digest":  {2, "5 13 99 00", Secure, ""},
		"a good one, and another algorithm":  {2, "5 8 2 " + strings.Repeat("00", 32), Secure, ""},
		"a good one, and an unknown one":     {2, "5 200 2 " + strings.Repeat("00", 32), Secure, ""},
		"a good one, and a stray one":        {2, "5" + stray, Secure, ""},
		"SHA-1, and a stray one":             {1, "5" + stray, Bogus, noMatch},
		"an unknown digest, and a stray one": {99, "5" + stray, Bogus, noMatch},
		"SHA-1, and an unknown one":          {1, "5 200 2 " + strings.Repeat("00", 32), Insecure, "the DS of z.test. has only algorithms or digests that are not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.zone("z.test.", lab.ZoneOptions{DSDigest: c.digest}, "_x"+tlsa)
			b.Zone("test.").Add("z DS " + c.more)
			check(t, b.lookup("_x.z.test", TypeTLSA), c.state, c.reason)
		})
	}
}

// TestMixedCase turns the case of letters in everything that is compared
// without it, in every reply: a resolver may give names back as they were asked
// elsewhere. The next name of an NSEC is signed as it is. RFC 6840 5.1
func TestMixedCase(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "_x"+tlsa, "c CNAME _x", "d DNAME w", "*.w"+tlsa)
	b.zone("z3.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{}}, "_x"+tlsa, "*.w"+tlsa)
	b.zone("un.test.", lab.ZoneOptions{Unsigned: true}, "_x"+tlsa)
	b.server.Tamper(func(_, m *dns.Msg) *dns.Msg {
		m.Question[0].Name = mixed(m.Question[0].Name)
		for _, rr := range append(m.Answer, m.Ns...) {
			rr.Header().Name = mixed(rr.Header().Name)
			switch rr := rr.(type) {
			case *dns.RRSIG:
				rr.SignerName = mixed(rr.SignerName)
			case *dns.CNAME:
				rr.Target = mixed(rr.Target)
			}
		}
		return m
	})
	for name, want := range map[string]struct {
		state   State
		reason  string
		records int
	}{
		"_x.z.test": {Secure, "", 1}, "c.z.test": {Secure, "", 1}, "a.d.z.test": {Secure, "", 1}, "any.w.z.test": {Secure, "", 1},
		"nope.z.test": {Secure, "", 0}, "_x.z3.test": {Secure, "", 1}, "any.w.z3.test": {Secure, "", 1}, "nope.z3.test": {Secure, "", 0},
		"_x.un.test": {Insecure, "un.test. has no DS in test.", 1},
	} {
		a := b.lookup(name, TypeTLSA)
		check(t, a, want.state, want.reason)
		if len(a.TLSA) != want.records {
			t.Errorf("%s: %d records", name, len(a.TLSA))
		}
	}
}

// mixed writes every other letter large.
func mixed(name string) string {
	b := []byte(name)
	for i := 0; i < len(b); i += 2 {
		if b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}
