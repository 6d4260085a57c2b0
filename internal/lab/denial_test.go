package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// ask puts a question with DO and splits the authority section: the denial
// records in order, without their signatures, each of which must be there.
func ask(t *testing.T, w *World, name, typ string) (reply *dns.Msg, denial []dns.RR) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.StringToType[typ])
	q.SetEdns0(1232, true)
	reply = w.Answer(q)
	signed := map[string]bool{}
	for _, rr := range reply.Ns {
		if sig, ok := rr.(*dns.RRSIG); ok {
			signed[sig.Hdr.Name+dns.TypeToString[sig.TypeCovered]] = true
		}
	}
	for _, rr := range reply.Ns {
		h := rr.Header()
		if h.Rrtype == dns.TypeRRSIG {
			continue
		}
		if !signed[h.Name+dns.TypeToString[h.Rrtype]] {
			t.Errorf("%s %s is not signed", h.Name, dns.TypeToString[h.Rrtype])
		}
		if h.Rrtype == dns.TypeNSEC || h.Rrtype == dns.TypeNSEC3 {
			denial = append(denial, rr)
		}
	}
	return reply, denial
}

// appendixA is the zone of RFC 4035 appendix A and RFC 5155 appendix A, which
// differ in one delegation without DS.
func appendixA(w *World, o ZoneOptions, insecure string) {
	z := w.AddZone("example.", o)
	z.Remove("ns", dns.TypeA)
	z.Remove("@", dns.TypeNS)
	z.Add(
		"@ NS ns1",
		"@ NS ns2",
		"@ MX 1 xx",
		"a NS ns1.a",
		"a NS ns2.a",
		"a DS 58470 5 1 3079F1593EBAD6DC121E202A8B766A6A4837206C",
		"ns1.a A 192.0.2.5",
		"ns2.a A 192.0.2.6",
		"ai A 192.0.2.9",
		"ai HINFO KLH-10 ITS",
		"ai AAAA 2001:db8::f00:baa9",
		insecure+" NS ns1."+insecure,
		insecure+" NS ns2."+insecure,
		"ns1."+insecure+" A 192.0.2.7",
		"ns2."+insecure+" A 192.0.2.8",
		"ns1 A 192.0.2.1",
		"ns2 A 192.0.2.2",
		"*.w MX 1 ai",
		"x.w MX 1 xx",
		"x.y.w MX 1 xx",
		"xx A 192.0.2.10",
		"xx HINFO KLH-10 TOPS-20",
		"xx AAAA 2001:db8::f00:baaa",
	)
}

// The NSEC records are those of RFC 4035 appendix A and B, but for the types
// that the lab's own apex has.
func TestNSECDenialIsThatOfRFC4035(t *testing.T) {
	w := NewWorld(today())
	appendixA(w, ZoneOptions{}, "b")
	for _, c := range []struct {
		name, typ string
		rcode     int
		answers   int // without signatures
		denial    string
	}{
		{"ml.example.", "A", dns.RcodeNameError, 0, "b.example. → ns1.example. NS RRSIG NSEC|example. → a.example. NS SOA MX RRSIG NSEC DNSKEY"}, // B.2
		{"ns1.example.", "MX", dns.RcodeSuccess, 0, "ns1.example. → ns2.example. A RRSIG NSEC"},                                                  // B.3
		{"b.example.", "DS", dns.RcodeSuccess, 0, "b.example. → ns1.example. NS RRSIG NSEC"},                                                     // B.5
		{"a.z.w.example.", "MX", dns.RcodeSuccess, 1, "x.y.w.example. → xx.example. MX RRSIG NSEC"},                                              // B.6
		{"a.z.w.example.", "AAAA", dns.RcodeSuccess, 0, "x.y.w.example. → xx.example. MX RRSIG NSEC|*.w.example. → x.w.example. MX RRSIG NSEC"},  // B.7
		{"y.w.example.", "A", dns.RcodeSuccess, 0, "x.w.example. → x.y.w.example. MX RRSIG NSEC"},                                                // empty non-terminal
		{"zz.example.", "A", dns.RcodeNameError, 0, "xx.example. → example. A HINFO AAAA RRSIG NSEC|example. → a.example. NS SOA MX RRSIG NSEC DNSKEY"},
		{"a.example.", "DS", dns.RcodeSuccess, 1, ""},
		{"x.w.example.", "MX", dns.RcodeSuccess, 1, ""},
	} {
		t.Run(c.name+c.typ, func(t *testing.T) {
			reply, denial := ask(t, w, c.name, c.typ)
			var got []string
			for _, rr := range denial {
				n := rr.(*dns.NSEC)
				got = append(got, fmt.Sprintf("%s → %s %s", n.Hdr.Name, n.NextDomain, typeNames(n.TypeBitMap)))
			}
			if reply.Rcode != c.rcode || answers(reply) != c.answers || strings.Join(got, "|") != c.denial {
				t.Errorf("rcode %s, %d answers, denial %q; want %q", dns.RcodeToString[reply.Rcode], answers(reply), got, c.denial)
			}
		})
	}
}

// The hashes, and which of them stand in which reply, are those of RFC 5155
// appendix A and B.
func TestNSEC3DenialIsThatOfRFC5155(t *testing.T) {
	w := NewWorld(today())
	appendixA(w, ZoneOptions{OptOut: true, NSEC3: &NSEC3Options{Salt: "aabbccdd", Iterations: 12}}, "c")
	z := w.Zone("example.")
	z.Add("2t7b4g4vsa5smi47k61mv5bv1a22bojr A 192.0.2.127")
	for _, c := range []struct {
		name, typ string
		rcode     int
		answers   int
		denial    string
	}{
		{"a.c.x.w.example.", "A", dns.RcodeNameError, 0, "b4um→gjeq MX RRSIG|0p9m→2t7b NS SOA MX RRSIG DNSKEY NSEC3PARAM|35mt→b4um NS DS RRSIG"}, // B.1
		{"ns1.example.", "MX", dns.RcodeSuccess, 0, "2t7b→2vpt A RRSIG"},                                                                         // B.2
		{"y.w.example.", "A", dns.RcodeSuccess, 0, "ji6n→k8ud "},                                                                                 // B.2.1
		{"c.example.", "DS", dns.RcodeSuccess, 0, "0p9m→2t7b NS SOA MX RRSIG DNSKEY NSEC3PARAM|35mt→b4um NS DS RRSIG"},                           // B.3
		{"a.z.w.example.", "MX", dns.RcodeSuccess, 1, "q04j→r53b A RRSIG"},                                                                       // B.4
		{"a.z.w.example.", "AAAA", dns.RcodeSuccess, 0, "k8ud→koha |q04j→r53b A RRSIG|r53b→t644 MX RRSIG"},                                       // B.5
	} {
		t.Run(c.name+c.typ, func(t *testing.T) {
			reply, denial := ask(t, w, c.name, c.typ)
			var got []string
			for _, rr := range denial {
				n := rr.(*dns.NSEC3)
				if n.Flags != 1 || n.Hash != 1 || n.Iterations != 12 || !strings.EqualFold(n.Salt, "aabbccdd") {
					t.Errorf("parameters: %s", n)
				}
				got = append(got, fmt.Sprintf("%.4s→%.4s %s", n.Hdr.Name, strings.ToLower(n.NextDomain), typeNames(n.TypeBitMap)))
			}
			if reply.Rcode != c.rcode || answers(reply) != c.answers || strings.Join(got, "|") != c.denial {
				t.Errorf("rcode %s, %d answers, denial %q; want %q", dns.RcodeToString[reply.Rcode], answers(reply), got, c.denial)
			}
		})
	}
}

func TestHashesAreThoseOfRFC5155(t *testing.T) {
	for name, want := range map[string]string{
		"example.":       "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"a.example.":     "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"AI.example.":    "gjeqe526plbf1g8mklp59enfd789njgi",
		"*.w.example.":   "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"x.y.w.example.": "2vptu5timamqttgl4luu9kg21e0aor3s",
	} {
		if got := strings.ToLower(hashName(name, "aabbccdd", 12)); got != want {
			t.Errorf("hash of %s is %s, want %s", name, got, want)
		}
	}
}

// RFC 4034 6.1 gives this order.
func TestNamesAreInCanonicalOrder(t *testing.T) {
	want := []string{
		"example.", "a.example.", "yljkjljk.a.example.", "z.a.example.", "zabc.a.example.",
		"z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`,
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNames)
	if !slices.Equal(got, want) {
		t.Errorf("order %q", got)
	}
	if compareNames("Z.a.Example.", "z.A.eXample.") != 0 {
		t.Error("case makes a difference")
	}
}

func TestInsecureDelegationIsOutsideOptOut(t *testing.T) {
	w := NewWorld(today())
	for _, optOut := range []bool{false, true} {
		zone := fmt.Sprintf("opt%v.", optOut)
		w.AddZone(zone, ZoneOptions{NSEC3: &NSEC3Options{}, OptOut: optOut})
		w.AddZone("child."+zone, ZoneOptions{Unsigned: true})
		_, denial := ask(t, w, "child."+zone, "DS")
		matched := false
		for _, rr := range denial {
			matched = matched || rr.(*dns.NSEC3).Match("child."+zone)
		}
		if matched == optOut {
			t.Errorf("opt-out %v: the delegation has an NSEC3 of its own: %v", optOut, matched)
		}
	}
}

func TestNegativeTTLBoundsSOAAndDenial(t *testing.T) {
	w := NewWorld(today())
	w.AddZone("short.", ZoneOptions{TTL: 600, NegativeTTL: 60})
	reply, _ := ask(t, w, "none.short.", "A")
	for _, rr := range reply.Ns {
		if rr.Header().Ttl != 60 {
			t.Errorf("TTL %d: %s", rr.Header().Ttl, rr)
		}
	}
}

func answers(reply *dns.Msg) int {
	n := 0
	for _, rr := range reply.Answer {
		if rr.Header().Rrtype != dns.TypeRRSIG {
			n++
		}
	}
	return n
}

func typeNames(types []uint16) string {
	var names []string
	for _, t := range types {
		names = append(names, dns.TypeToString[t])
	}
	return strings.Join(names, " ")
}
