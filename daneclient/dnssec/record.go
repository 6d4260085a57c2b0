package dnssec

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

// fill copies the RDATA of the records into the answer. It fails when records
// are there and none can be used, since that must not look like an empty
// answer.
func (a *Answer) fill(set *rrset) error {
	if set == nil {
		return nil
	}
	for _, rr := range set.rrs {
		a.fillOne(rr)
	}
	if len(a.TLSA)+len(a.MX)+len(a.Addrs)+len(a.TXT) == 0 && set.typ != dns.TypePTR && set.typ != dns.TypeCNAME {
		return failed("%s: no record that could be used", set)
	}
	return nil
}

func (a *Answer) fillOne(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.TLSA:
		if data, err := hex.DecodeString(rr.Certificate); err == nil {
			a.TLSA = append(a.TLSA, TLSA{rr.Usage, rr.Selector, rr.MatchingType, data})
		}
	case *dns.MX:
		host := nameOrZero(canonical(rr.Mx))
		if rr.Mx == root || !host.IsZero() { // RFC 7505 3: the null MX
			a.MX = append(a.MX, MX{rr.Preference, host})
		}
	case *dns.A:
		a.addAddr(rr.A)
	case *dns.AAAA:
		a.addAddr(rr.AAAA)
	case *dns.TXT:
		a.TXT = append(a.TXT, unescape(strings.Join(rr.Txt, "")))
	case *dns.PTR:
		if n, err := dnsname.Parse(strings.TrimSuffix(rr.Ptr, ".")); err == nil {
			a.Names = append(a.Names, n)
		}
	case *dns.CNAME:
		if n := nameOrZero(canonical(rr.Target)); !n.IsZero() {
			a.Names = append(a.Names, n)
		}
	}
}

func (a *Answer) addAddr(ip []byte) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		a.Addrs = append(a.Addrs, addr.Unmap())
	}
}

// unescape gives back the octets of a text as miekg/dns shows it. RFC 1035 5.1
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			b.WriteByte(s[i+1])
			i++
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
