package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestDNAME: the record with its signature, the CNAME made of it without one,
// and what is at the target; the owner itself is not redirected, and what lies
// below it is hidden.
func TestDNAME(t *testing.T) {
	w := NewWorld(time.Now())
	z := w.AddZone("test.", ZoneOptions{})
	z.Add("d DNAME to", "d TXT owner", "x.d A 192.0.2.9", "x.to A 192.0.2.1", "far DNAME "+strings.Repeat("a", 63)+"."+strings.Repeat("b", 63)+"."+strings.Repeat("c", 63))
	reply, _ := ask(t, w, "x.d.test.", "A")
	var got []string
	for _, rr := range reply.Answer {
		got = append(got, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype])
	}
	want := []string{"d.test. DNAME", "d.test. RRSIG", "x.d.test. CNAME", "x.to.test. A", "x.to.test. RRSIG"}
	if !slices.Equal(got, want) || reply.Answer[2].(*dns.CNAME).Target != "x.to.test." {
		t.Errorf("got %v, want %v", got, want)
	}
	if reply, _ = ask(t, w, "d.test.", "TXT"); len(reply.Answer) != 2 {
		t.Errorf("the owner: %v", reply.Answer)
	}
	if reply, denial := ask(t, w, "e.test.", "A"); reply.Rcode != dns.RcodeNameError || !slices.ContainsFunc(denial, func(rr dns.RR) bool {
		n := rr.(*dns.NSEC)
		return n.Hdr.Name == "d.test." && n.NextDomain == "far.test." && slices.Contains(n.TypeBitMap, dns.TypeDNAME)
	}) {
		t.Errorf("the chain: %v", denial)
	}
	if reply, _ = ask(t, w, strings.Repeat("x", 63)+".far.test.", "A"); reply.Rcode != dns.RcodeYXDomain || len(reply.Answer) != 2 {
		t.Errorf("too long: %v", reply)
	}
}
