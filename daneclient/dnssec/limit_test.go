package dnssec

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// spent runs a lookup outside the caches and returns what it used up.
func (b *bench) spent(t *testing.T, name string) (Answer, budget) {
	t.Helper()
	b.forget()
	l := &lookup{fetch: b.r.up.exchange, mem: b.r.memory(), now: b.now()}
	q := question{name, dns.TypeTLSA}
	a, err := l.resolve(t.Context(), q)
	if err != nil {
		a = failedAnswer(mustName(strings.TrimSuffix(name, ".")), q, asFault(err), l.steps)
	}
	a.Steps = l.steps
	return a, l.spent
}

// colliding makes n DNSKEYs with the tag and the algorithm of a zone's key.
func colliding(t *testing.T, z *lab.Zone, n int) []string {
	t.Helper()
	like := text(t, z.Keys()[0]).(*dns.DNSKEY)
	var out []string
	for i := range n {
		raw := make([]byte, 64)
		binary.BigEndian.PutUint32(raw, uint32(i))
		k := &dns.DNSKEY{Hdr: like.Hdr, Flags: 256, Protocol: 3, Algorithm: like.Algorithm}
		for last := 0; k.KeyTag() != like.KeyTag(); last++ {
			if last > 3 {
				t.Fatal("no colliding key")
			}
			k.PublicKey = base64.StdEncoding.EncodeToString(raw)
			// The tag is a sum of 16 bit words (RFC 4034 B), of which this is one.
			word := binary.BigEndian.Uint16(raw[62:]) + like.KeyTag() - k.KeyTag()
			binary.BigEndian.PutUint16(raw[62:], word)
			k.PublicKey = base64.StdEncoding.EncodeToString(raw)
		}
		out = append(out, k.String())
	}
	return out
}

// broken returns n copies of the signatures of an answer, each with one octet
// changed, in front of it.
func broken(answer []dns.RR, n int) []dns.RR {
	var out []dns.RR
	for i := range n {
		for _, rr := range answer {
			if sig, ok := rr.(*dns.RRSIG); ok {
				c := dns.Copy(sig).(*dns.RRSIG)
				raw, _ := base64.StdEncoding.DecodeString(c.Signature)
				raw[5] ^= byte(i + 1)
				c.Signature = base64.StdEncoding.EncodeToString(raw)
				out = append(out, c)
			}
		}
	}
	return append(out, answer...)
}

// TestKeyTrap meets many keys and many signatures, alone and together.
// CVE-2023-50387
func TestKeyTrap(t *testing.T) {
	for _, c := range []struct {
		keys, signatures int
		state            State
		reason           string
		maxChecks        int
	}{
		{1, 1, Secure, "", 9},
		{1, 3, Secure, "", 13},
		{1, 4, Failed, "x.z.test. TLSA: more than 4 signatures to try", 14},
		{2, 1, Failed, "x.z.test. TLSA: z.test. DNSKEY: more than 2 keys with the tag #", 4},
		{100, 100, Failed, "x.z.test. TLSA: z.test. DNSKEY: more than 2 keys with the tag #", 4},
		{0, 100, Failed, "x.z.test. TLSA: more than 4 signatures to try", 10},
	} {
		t.Run(fmt.Sprintf("%d keys, %d signatures", c.keys, c.signatures), func(t *testing.T) {
			b := newBench(t)
			z := b.zone("z.test.", lab.ZoneOptions{}, "x"+tlsa)
			z.Add(colliding(t, z, c.keys)...)
			b.tamper("x.z.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg {
				m.Answer = broken(m.Answer, c.signatures)
				return m
			})
			a, spent := b.spent(t, "x.z.test.")
			check(t, a, c.state, c.reason)
			if spent.checks > c.maxChecks {
				t.Errorf("%d signature checks, want at most %d", spent.checks, c.maxChecks)
			}
		})
	}
}

// TestWrongSignatures adds up over the links of a lookup.
func TestWrongSignatures(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, "a CNAME b", "b CNAME c", "c"+tlsa)
	b.server.Tamper(func(q, m *dns.Msg) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeTLSA {
			m.Answer = broken(m.Answer, 3)
		}
		return m
	})
	a, spent := b.spent(t, "a.z.test.")
	check(t, a, Failed, "a.z.test. TLSA: more than 8 wrong signatures in one lookup")
	if spent.failedChecks != maxFailedChecks+1 {
		t.Errorf("%d wrong signatures were checked", spent.failedChecks)
	}
	if a := b.lookup("b.z.test", TypeTLSA); a.State != Secure {
		t.Errorf("six wrong signatures: %s %q", a.State, a.Reason)
	}
}

func TestIterations(t *testing.T) {
	for _, c := range []struct {
		iterations uint16
		state      State
		reason     string
	}{
		{0, Secure, ""},
		{50, Secure, ""},
		{51, Failed, "nope.z.test. TLSA: z.test.: NSEC3 with 51 iterations, more than 50"},
		{2500, Failed, "nope.z.test. TLSA: z.test.: NSEC3 with 2500 iterations, more than 50"},
	} {
		t.Run(fmt.Sprint(c.iterations), func(t *testing.T) {
			b := newBench(t)
			b.zone("z.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: c.iterations}}, "x"+tlsa)
			a, spent := b.spent(t, "nope.z.test.")
			check(t, a, c.state, c.reason)
			if spent.blocks > 300 {
				t.Errorf("%d blocks of SHA-1", spent.blocks)
			}
			check(t, b.lookup("x.z.test", TypeTLSA), Secure, "") // needs no denial
			var forged atomic.Value                              // the owner whose record is forged
			b.tamper("nope.z.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg {
				for _, rr := range m.Ns {
					if n, ok := rr.(*dns.NSEC3); ok {
						n.Iterations = 51 // the signature comes first
						forged.Store(n.Hdr.Name)
						break
					}
				}
				return m
			})
			if c.iterations == 0 {
				a, _ := b.spent(t, "nope.z.test.")
				check(t, a, Bogus, fmt.Sprintf("nope.z.test. TLSA: %v NSEC3: the signature of the key # is wrong", forged.Load()))
			}
		})
	}
}

// TestBlocks denies long names at 50 iterations. CVE-2023-50868
func TestBlocks(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{NSEC3: &lab.NSEC3Options{Iterations: 50}}, "x"+tlsa)
	long := strings.Repeat("a.", 30) + "z.test."
	a, spent := b.spent(t, long)
	check(t, a, Failed, long+" TLSA: more than 1000 blocks of SHA-1 in one lookup")
	if spent.blocks > maxBlocks+200 {
		t.Errorf("%d blocks of SHA-1", spent.blocks)
	}
	a, _ = b.spent(t, strings.Repeat("a.", 8)+"z.test.")
	check(t, a, Secure, "")
}

func TestCounts(t *testing.T) {
	b := newBench(t)
	b.zone("z.test.", lab.ZoneOptions{}, strings.Repeat("a.", 41)+"z"+tlsa, "x"+tlsa)
	b.tamper(strings.Repeat("a.", 41)+"z.z.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg {
		m.Answer = without(m.Answer, signature)
		return m
	})
	long := strings.Repeat("a.", 41) + "z.z.test."
	a, spent := b.spent(t, long)
	check(t, a, Failed, long+" TLSA: more than 40 queries in one lookup")
	if len(b.server.Queries()) != maxQueries || len(a.Steps) > maxSteps {
		t.Errorf("%d queries, %+v", len(b.server.Queries()), spent)
	}

	name := "test."
	for i := range 11 {
		name = fmt.Sprintf("z%d.%s", i, name)
		b.zone(name, lab.ZoneOptions{}, "x"+tlsa)
	}
	a, _ = b.spent(t, "x."+name) // with the root and test. one zone too many
	check(t, a, Failed, "x."+name+" TLSA: more than 12 zones in one lookup")
	a, _ = b.spent(t, "x."+parentOf(name))
	check(t, a, Secure, "")

	b.zone("ds.test.", lab.ZoneOptions{}, "x"+tlsa)
	for i := range maxDS - 1 {
		b.Zone("test.").Add(fmt.Sprintf("ds DS %d 13 2 %s", i, strings.Repeat("00", 32)))
	}
	b.Zone("test.").Add("ds DS 7 5 1 " + strings.Repeat("00", 20)) // one that is not followed does not count
	a, _ = b.spent(t, "x.ds.test.")
	check(t, a, Secure, "")
	b.Zone("test.").Add("ds DS 99 13 2 " + strings.Repeat("00", 32))
	a, _ = b.spent(t, "x.ds.test.")
	check(t, a, Failed, "x.ds.test. TLSA: ds.test. DS: more than 6 records")
}

// TestManyDenials sends nine NSECs with a denial for which two would do.
func TestManyDenials(t *testing.T) {
	b := newBench(t)
	z := b.zone("z.test.", lab.ZoneOptions{})
	for i := range 9 {
		z.Add(fmt.Sprintf("n%d"+tlsa, i))
	}
	b.tamper("n5a.z.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg {
		for i := range 9 {
			if i != 5 {
				m.Ns = append(m.Ns, z.Signed(fmt.Sprintf("n%d", i), dns.TypeNSEC)...)
			}
		}
		return m
	})
	a, spent := b.spent(t, "n5a.z.test.")
	check(t, a, Failed, "n5a.z.test. TLSA: z.test.: more than 8 NSEC or NSEC3 records of one zone")
	if spent.checks > 5+maxDenials {
		t.Errorf("%d signature checks", spent.checks)
	}
}

// TestBlame keeps the fault of a costly lookup from the zone that it met last.
func TestBlame(t *testing.T) {
	b := newBench(t)
	mem := b.r.memory()
	l := &lookup{mem: mem, now: today}
	k := question{"victim.test.", dns.TypeDS}
	for kind, remembered := range map[faultKind]bool{
		proofFault: true, recordLimit: true, silence: true, lookupLimit: false, deadline: false, ours: false,
	} {
		mem.failures.forget(k)
		l.rememberCut(k, nil, &fault{kind: kind})
		if got := mem.failures.get(k, today) != nil; got != remembered {
			t.Errorf("kind %d: remembered is %v", kind, got)
		}
	}
}
